//! End-to-end tests of tautline-http: servers of hyper on real sockets, over HTTP/1.1 and HTTP/2.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod layer;
mod lost;
mod refusal;
mod secure;
mod support;
mod upgrade;
