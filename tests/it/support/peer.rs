//! A peer that speaks raw frames.
