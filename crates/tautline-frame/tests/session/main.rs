//! What an end does next, without I/O: the time is what a test says it is, the transport is two pipes in memory.

mod conversations;
mod driver;
mod ending;
