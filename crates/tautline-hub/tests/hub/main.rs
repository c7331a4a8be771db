//! The hub over connections: who gets what, in which order, and who is too slow.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod compression;
mod history;
mod members;
mod network;
mod nodes;
mod present;
mod runs;
mod server;
mod slow;
mod support;
mod topics;
#[path = "../../src/xorshift.rs"]
mod xorshift;
