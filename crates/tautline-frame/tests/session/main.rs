//! What an end does next, without I/O: the test chooses the time, the transport is two pipes in
//! memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod conversations;
mod driver;
mod ending;
mod pieces;
mod rates;
