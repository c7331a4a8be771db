//! Clients of Centrifuge's protocol, by the messages that SDKs send, against a hub.

mod requests;
mod subscriptions;
mod support;
