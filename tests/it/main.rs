//! End-to-end tests of Tautline: real sockets, real TLS, scripted peers. One module for each
//! behaviour.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod support;

// The connection.
mod at_random;
mod calls;
mod cancel;
mod conversation;
mod deflate;
mod ending;
mod flood;
mod halves;
mod idle_half;
mod keepalive;
mod leaving;
mod lifecycle;
mod pieces;
mod rates;
mod senders;
mod slow_reader;
mod split;
mod two_tasks;

// Opening one.
mod answers;
mod auth;
mod bounds;
mod certificates;
mod client;
mod client_auth;
mod client_tls;
mod connect_errors;
mod drain;
mod events;
mod facts;
mod forward_proxy;
mod http2_client;
mod http2_fallback;
mod http2_faults;
mod http2_server;
mod incoming;
mod limits;
mod listeners;
mod origin;
mod per_core;
#[cfg(unix)] // started by a shell
mod process;
mod proxies;
mod reach;
mod reconnect;
mod reconnect_sender;
mod redirect;
mod refusal;
mod registry;
mod request;
mod respond;
mod routes;
mod running;
mod runtime;
mod secrets;
mod secure;
mod server;
mod service;
mod shutdown;
mod tls;
