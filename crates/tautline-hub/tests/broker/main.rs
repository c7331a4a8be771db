//! The brokers against real servers, which each test starts on a port of its own and ends.
//!
//! Where a server is not installed, its tests are skipped with a message, but never in `cargo xtask hub`.
#![cfg(unix)]
#![allow(clippy::print_stderr, reason = "tests that are skipped say so")]
#![allow(clippy::unwrap_used, reason = "helpers of tests too")]

#[cfg(any(feature = "redis", feature = "nats"))]
mod chaos;
#[cfg(any(feature = "redis", feature = "nats"))]
mod hub;
#[cfg(any(feature = "redis", feature = "nats"))]
mod node;
#[cfg(any(feature = "redis", feature = "nats"))]
mod presence;
#[cfg(any(feature = "redis", feature = "nats"))]
mod process;
#[cfg(any(feature = "redis", feature = "nats"))]
mod server;
#[cfg(any(feature = "redis", feature = "nats"))]
mod suite;
#[cfg(any(feature = "redis", feature = "nats"))]
#[path = "../../src/xorshift.rs"]
mod xorshift;

#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod redis_failover;
