//! Presence with a clock and a network that are simulated.

mod convergence;
mod late;
mod network;
mod rules;
mod signals;
