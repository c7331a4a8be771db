//! WebSocket over HTTP/2 (RFC 8441), for both roles: the settings, and the bytes of a stream. HTTP/2
//! itself is what the `h2` crate does.

mod data;
pub(crate) mod error;
mod stream;
mod written;

pub(crate) use self::data::Data;
pub use self::error::Http2Error;
pub(crate) use self::stream::{Carrier, Http2Stream};
pub(crate) use self::written::Written;

/// How much of a peer's tiny DATA may wait for readers, in bytes of overhead: each unread DATA of
/// less than 256 bytes counts as what it lacks of that. Some browsers send every message in DATA of
/// its own, and the connection of all streams ends where this does; the default of `h2` is reached
/// by 2,100 messages that one handler has not read. But each of them takes some 500 bytes: this
/// many take 8 MiB, less than what the default windows allow of large DATA.
const DATA_BUDGET: usize = 4 << 20;

/// What waits to be sent of one stream, in bytes. More waits in the connection's own queue, which
/// [`Config::write_mark`](crate::Config::write_mark) limits.
const SEND_BUFFER: usize = 64 << 10;

/// The longest DATA to receive. With the least that RFC 9113 section 4.2 permits, 16 KiB, a message
/// of that size comes in two, the second one after the first ones of all other streams.
const MAX_FRAME: u32 = 32 << 10;

/// With less, every few bytes would wait for a round trip; with none, for ever.
const MIN_WINDOW: u32 = 1 << 10;

/// The largest window (RFC 9113 section 6.9.1).
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// Whether a [`Client`](crate::Client) uses HTTP/2 (RFC 8441), under which one TCP connection
/// carries many WebSockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Http2 {
    /// HTTP/1.1: each WebSocket has a TCP connection of its own. That is the fastest for a few.
    #[default]
    Never,
    /// HTTP/2 for `wss` if the server selects it (ALPN) and allows WebSockets over it; HTTP/1.1
    /// otherwise, and for `ws`. A server that selects HTTP/2 but does not allow WebSockets costs one
    /// connection more, and is remembered.
    Auto,
    /// HTTP/2 alone, for `ws` without asking the server first ("prior knowledge", RFC 9113 section
    /// 3.3). A server without it is an error.
    Prior,
}

/// Limits of HTTP/2 connections.
///
/// A setter has the name of its setting; the getter has the prefix `get_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Config {
    max_streams: u32,
    stream_window: u32,
}

impl Default for Http2Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Http2Config {
    /// More WebSockets than any page opens, and as many connections as a proxy's pool has.
    pub const DEFAULT_MAX_STREAMS: u32 = 256;

    /// 64 KiB, about what TCP starts with: 100 Mbit/s over 5 ms.
    pub const DEFAULT_STREAM_WINDOW: u32 = 64 << 10;

    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self { max_streams: Self::DEFAULT_MAX_STREAMS, stream_window: Self::DEFAULT_STREAM_WINDOW }
    }

    /// How many streams a client may have open on one connection of a server
    /// (SETTINGS_MAX_CONCURRENT_STREAMS); at least 1. For a client it has no meaning: its server
    /// decides. Default: [`DEFAULT_MAX_STREAMS`](Self::DEFAULT_MAX_STREAMS).
    #[must_use]
    pub const fn max_streams(mut self, streams: u32) -> Self {
        self.max_streams = if streams == 0 { 1 } else { streams };
        self
    }

    /// How many bytes of a stream the peer may send before this end has read them, from 1 KiB to 2
    /// GiB (RFC 9113 section 6.9). It bounds the memory that an unread stream takes, and the speed over
    /// a long way: one window for each round trip. The window of the whole connection has room for
    /// all streams, so none stops another. Default:
    /// [`DEFAULT_STREAM_WINDOW`](Self::DEFAULT_STREAM_WINDOW).
    #[must_use]
    pub const fn stream_window(mut self, bytes: u32) -> Self {
        self.stream_window = match bytes {
            ..MIN_WINDOW => MIN_WINDOW,
            MIN_WINDOW..=MAX_WINDOW => bytes,
            _ => MAX_WINDOW,
        };
        self
    }

    /// See [`max_streams`](Self::max_streams).
    #[must_use]
    pub const fn get_max_streams(&self) -> u32 {
        self.max_streams
    }

    /// See [`stream_window`](Self::stream_window).
    #[must_use]
    pub const fn get_stream_window(&self) -> u32 {
        self.stream_window
    }

    /// Room for what may arrive on all streams together, so that an unread one stops no other.
    fn connection_window(&self) -> u32 {
        self.stream_window.saturating_mul(self.max_streams).clamp(0xffff, MAX_WINDOW)
    }

    /// A server's end, which allows extended CONNECT (RFC 8441 section 3).
    pub(crate) fn server(&self, max_head: u32) -> h2::server::Builder {
        let mut builder = h2::server::Builder::new();
        builder
            .enable_connect_protocol()
            .max_concurrent_streams(self.max_streams)
            .initial_window_size(self.stream_window)
            .initial_connection_window_size(self.connection_window())
            .max_frame_size(MAX_FRAME)
            .max_header_list_size(max_head)
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(DATA_BUDGET);
        builder
    }

    /// A client's end, which may open no stream before the server's SETTINGS are there: they say
    /// whether it allows extended CONNECT.
    pub(crate) fn client(&self, max_head: u32) -> h2::client::Builder {
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_max_send_streams(0)
            .initial_window_size(self.stream_window)
            // How many streams there will be is for the server to say.
            .initial_connection_window_size(MAX_WINDOW)
            .max_frame_size(MAX_FRAME)
            .max_header_list_size(max_head)
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(DATA_BUDGET);
        builder
    }
}
