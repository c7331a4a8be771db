//! WebSocket frames, messages, compression and the closing handshake (RFC 6455 sections 5 to 8, RFC
//! 7692 section 7.2) as a pure state machine: bytes, commands and the time go in; messages, bytes
//! and deadlines come out. No sockets, no clock, no tasks.
//!
//! - [`Protocol`] is one end of a connection. The `tautline` crate drives it over TCP and TLS; any
//!   other transport can drive it just as well.
//! - [`Codec`] converts between bytes and single [`Frame`]s, for those who need no more than that.
//! - [`Message`], [`Text`], [`CloseFrame`] and [`CloseCode`] are what users see; [`Config`] has
//!   every limit and deadline.
//!
//! ```
//! use bytes::BytesMut;
//! use std::time::Instant;
//! use tautline_frame::{CloseCode, Config, Message, Protocol, ProtocolError, Role};
//!
//! let now = Instant::now();
//! let mut client = Protocol::new(Role::Client, Config::new(), now);
//!
//! // "Hello" in two fragments with a ping between them (RFC 6455 section 5.7), as a server sends it.
//! let mut wire = BytesMut::from(&b"\x01\x03Hel\x89\x00\x80\x02lo"[..]);
//! assert_eq!(client.handle_data(&mut wire, now), Ok(Some(Message::from("Hello"))));
//! assert!(client.poll_transmit(), "the pong is ready to be written");
//!
//! // A masked frame from a server is an error before its payload is seen; the Close for it is ready too.
//! let mut wire = BytesMut::from(&b"\x81\x85"[..]);
//! assert_eq!(client.handle_data(&mut wire, now), Err(ProtocolError::MaskUnexpected));
//! client.poll_transmit();
//! assert_eq!(client.sent_close(), Some(CloseCode::PROTOCOL_ERROR));
//! ```
//!
//! # Features
//! - `deflate`: permessage-deflate (RFC 7692), with `Protocol::set_compression`.
//! - `tokio-codec`: `tokio_util::codec::{Decoder, Encoder}` for [`Codec`].

#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod budget;
pub mod buffers;
mod close;
mod codec;
mod compression;
mod config;
#[cfg(feature = "deflate")]
mod deflate;
#[cfg(not(feature = "deflate"))]
#[path = "no_deflate.rs"]
mod deflate;
mod error;
mod frame_reader;
mod header;
pub mod mask;
mod message;
mod opcode;
#[cfg_attr(not(feature = "deflate"), expect(dead_code, reason = "nothing is compressed"))]
mod prepared;
mod protocol;
mod rate;
mod role;
pub mod session;
mod state;
mod text;
mod timers;
#[cfg(feature = "tokio-codec")]
mod tokio_codec;
mod turn;
pub mod utf8;
mod write_queue;

pub use budget::MemoryBudget;
pub use close::{CloseCode, CloseFrame, InvalidCloseFrame};
pub use codec::{Codec, Frame};
pub use compression::{Compress, Compression};
pub use config::Config;
pub use error::{ProtocolError, SendError, Timeout};
pub use header::{Header, Rsv};
pub use message::{Kind, Message};
pub use opcode::{MAX_CONTROL_PAYLOAD, OpCode};
pub use prepared::Prepared;
pub use protocol::{Ending, Piece, Protocol};
pub use rate::{Excess, Rate, Strikes};
pub use role::Role;
pub use text::Text;
pub use write_queue::WriteQueue;
