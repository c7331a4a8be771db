//! Clients of Centrifuge's protocol, by the messages that SDKs send, against a hub.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod gaps;
#[path = "../hub/network.rs"]
#[allow(dead_code, reason = "the hub's own tests use all of it")]
mod network;
mod requests;
mod subscriptions;
mod support;
