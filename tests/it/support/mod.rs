//! Scripted peers and helpers. Each submodule serves a part of the tests.

pub(crate) mod authority;
pub(crate) mod forward;
pub(crate) mod handshake;
pub(crate) mod http2;
pub(crate) mod log;
pub(crate) mod peer;
pub(crate) mod wait;
