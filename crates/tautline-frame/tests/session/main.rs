//! What an end does next, without I/O: the test chooses the time, the transport is two pipes in
//! memory.

mod conversations;
mod driver;
mod ending;
mod pieces;
