//! The rules of RFC 6455 sections 5 to 8 against `Protocol`: bytes in, bytes out, at times that the
//! tests choose.
//!
//! Each rule is tested as a server and as a client. What the other end sends, and what it reads,
//! goes through [`peer`], which knows the wire format by itself, so that a mistake of the crate's
//! codec cannot hide.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod close;
#[cfg(feature = "deflate")]
mod compressed_pieces;
#[cfg(feature = "deflate")]
mod compressed_writing;
mod control;
mod conversation;
mod deadlines;
#[cfg(feature = "deflate")]
mod deflate;
#[cfg(feature = "deflate")]
mod deflate_peer;
mod ending;
mod errors;
mod fragments;
mod framing;
#[cfg(feature = "deflate")]
mod hostile_deflate;
#[cfg(feature = "deflate")]
mod inflate;
mod keepalive;
mod limits;
mod peer;
mod pieces;
mod ping;
#[cfg(feature = "tokio-codec")]
mod tokio_codec;
mod transmit;
mod turns;
mod underway;
mod utf8;
mod writing;
