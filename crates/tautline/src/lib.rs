#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod accept;
mod client;
#[cfg(feature = "deflate")]
mod compression;
mod connection;
mod dial;
mod error;
mod handshake_io;
mod hot;
#[cfg(all(test, tautline_loom))]
mod loom_tests;
mod pool;
#[cfg(feature = "tls")]
mod read_ahead;
mod server;
mod shutdown;
mod split;
mod sync;
mod tasks;
mod timer;
#[cfg(feature = "tls")]
mod tls;
mod transport;
mod wakers;
mod websocket;

// The public face.
pub use accept::{
    AcceptError, Acceptor, DEFAULT_HANDSHAKE_TIMEOUT, Upgrade, UpgradeRequest, accept,
};
pub use client::{Client, ConnectError, DEFAULT_CONNECT_TIMEOUT, connect};
pub use error::Error;
#[cfg(feature = "tls")]
pub use read_ahead::ReadAhead;
pub use server::{BoxError, DEFAULT_DRAIN_TIMEOUT, DEFAULT_MAX_CONNECTIONS, Server};
pub use split::{Reader, Writer};
#[cfg(feature = "tls")]
pub use tls::{ClientTls, ServerTls, TlsError};
pub use transport::Transport;
pub use websocket::WebSocket;

pub use tautline_frame::{
    CloseCode, CloseFrame, Compress, Compression, Config, DEFAULT_CLOSE_TIMEOUT,
    DEFAULT_COMPRESSION_IDLE, DEFAULT_COMPRESSION_LEVEL, DEFAULT_COMPRESSION_THRESHOLD,
    DEFAULT_MAX_FRAGMENTS, DEFAULT_MAX_FRAME_SIZE, DEFAULT_MAX_MESSAGE_SIZE, DEFAULT_PING_INTERVAL,
    DEFAULT_PING_TIMEOUT, DEFAULT_SEND_TIMEOUT, DEFAULT_WRITE_MARK, InvalidCloseFrame, Message,
    ProtocolError, Role, Text, Timeout,
};
pub use tautline_handshake::{
    BuildError, HandshakeError, HeadError, HeadLimits, InvalidOrigin, Origin, OriginPolicy,
    ResponseError, UriError, text_response,
};

// Whose types stand in the signatures above.
pub use bytes;
pub use http;
#[cfg(feature = "tls")]
pub use rustls;

/// The guide's code compiles, too.
#[cfg(doctest)]
mod guide {
    #[cfg(feature = "deflate")]
    #[doc = include_str!("../../../docs/guide/compression.md")]
    mod compression {}
    #[doc = include_str!("../../../docs/guide/connections.md")]
    mod connections {}
    #[doc = include_str!("../../../docs/guide/servers.md")]
    mod servers {}
    #[doc = include_str!("../../../docs/guide/errors.md")]
    mod errors {}
}
