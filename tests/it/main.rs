//! End-to-end tests of Tautline: real sockets, real TLS, scripted peers. One module for each behaviour.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod support;

// The connection.
mod cancel;
mod conversation;
mod deflate;
mod ending;
mod flood;
mod keepalive;
mod split;

// Opening one.
mod client;
mod origin;
mod refusal;
mod server;
mod shutdown;
mod tls;
