//! Clients of Centrifuge's protocol, by the messages that SDKs send, against a hub.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod requests;
mod subscriptions;
mod support;
