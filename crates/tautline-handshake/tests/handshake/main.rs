//! The opening handshake of both roles: requests, answers, and what is refused of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot build its input has failed")]

mod client;
mod connect;
#[cfg(feature = "http1")]
mod http1;
#[cfg(feature = "http1")]
mod http1_body;
mod server;
mod support;
