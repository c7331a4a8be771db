//! A connection over a stream whose opening handshake was done elsewhere.

use std::fmt;
use std::sync::Arc;

use bytes::BytesMut;
use http::Version;
use tautline_frame::session::Session;
use tautline_frame::{Config, Role};
use tautline_handshake::Agreed;
use tokio::io::{AsyncRead, AsyncWrite};

#[cfg(feature = "http2")]
use crate::connection::Direct;
use crate::connection::{Connection, Info};
use crate::timer::now;
use crate::transport::Peer;
#[cfg(feature = "http2")]
use crate::transport::Transport;
use crate::websocket::WebSocket;

/// Opens a [`WebSocket`] over a stream whose opening handshake was done elsewhere, for instance by
/// an HTTP library that handed over the upgraded stream. [`WebSocket::builder`] returns one.
///
/// ```
/// use tautline::{Config, Role, WebSocket};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (near, far) = tokio::io::duplex(1024);
/// let mut client = WebSocket::builder(Role::Client).build(near);
/// let mut server = WebSocket::builder(Role::Server)
///     .config(Config::new().max_message_size(1 << 16))
///     .subprotocol("chat.v1")
///     .build(far);
/// client.send("hello").await?;
/// assert_eq!(server.next().await.unwrap()?.as_text(), Some("hello"));
/// assert_eq!(server.subprotocol(), Some("chat.v1"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "it opens nothing before `build`"]
pub struct WebSocketBuilder {
    role: Role,
    /// `None` is the default, which is only allocated if it is used.
    config: Option<Arc<Config>>,
    agreed: Agreed,
    peer: Peer,
    version: Version,
    leftover: BytesMut,
}

impl WebSocket {
    /// Opens a connection, as this end of it, over a stream whose opening handshake was done
    /// elsewhere. Unless set, it has the default [`Config`], no subprotocol and no compression.
    pub fn builder(role: Role) -> WebSocketBuilder {
        WebSocketBuilder {
            role,
            config: None,
            agreed: Agreed::default(),
            peer: Peer::unknown(),
            version: Version::HTTP_11,
            leftover: BytesMut::new(),
        }
    }
}

impl WebSocketBuilder {
    /// Sets the limits and deadlines of the connection. Pass an `Arc<Config>` to share one between
    /// connections.
    pub fn config(mut self, config: impl Into<Arc<Config>>) -> Self {
        self.config = Some(config.into());
        self
    }

    /// Sets what the handshake agreed on, as [`Acceptor::respond`](crate::Acceptor::respond)
    /// returns it. Replaces the [`subprotocol`](Self::subprotocol) and the compression.
    pub fn agreed(mut self, agreed: Agreed) -> Self {
        self.agreed = agreed;
        self
    }

    /// Sets the subprotocol that was agreed on (RFC 6455 section 1.9).
    /// [`WebSocket::subprotocol`] returns it; nothing else changes.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.agreed.subprotocol = Some(name.into());
        self
    }

    /// Compresses messages as agreed in the handshake, seen from this end (RFC 7692). Without it, a
    /// compressed message of the peer is a protocol error.
    ///
    /// ```
    /// use tautline::{Compression, Role, WebSocket};
    ///
    /// # let (near, far) = tokio::io::duplex(1024);
    /// // Agreed on: `permessage-deflate; server_no_context_takeover; client_max_window_bits=12`.
    /// let agreed = Compression::new().own_context_takeover(false).peer_window_bits(12);
    /// let server = WebSocket::builder(Role::Server).compression(agreed).build(near);
    ///
    /// let agreed = Compression::new()
    ///     .peer_context_takeover(false)
    ///     .own_context_takeover(true)
    ///     .own_window_bits(12);
    /// let client = WebSocket::builder(Role::Client).compression(agreed).build(far);
    /// ```
    #[cfg(feature = "deflate")]
    pub fn compression(mut self, agreed: tautline_frame::Compression) -> Self {
        self.agreed.compression = Some(agreed);
        self
    }

    /// Sets who is at the other end. [`WebSocket::peer`] returns it and events show it; nothing
    /// else changes.
    pub fn peer(mut self, peer: impl Into<Peer>) -> Self {
        self.peer = peer.into();
        self
    }

    /// Sets the version of HTTP that the handshake was done in, which [`WebSocket::http_version`]
    /// returns. From HTTP/2 on, the connection is a stream (RFC 8441 section 5): after the closing
    /// handshake a client ends it without waiting for the server to do so first. Default: HTTP/1.1.
    pub const fn http_version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Sets the bytes that were read after the handshake. They are the first bytes of the frames.
    pub fn leftover(mut self, leftover: impl Into<BytesMut>) -> Self {
        self.leftover = leftover.into();
        self
    }

    /// Opens the connection over this stream.
    #[must_use]
    pub fn build<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S) -> WebSocket<S> {
        let config = self.config.unwrap_or_default();
        let mut session = Session::new(self.role, config, self.leftover, now());
        if self.version >= Version::HTTP_2 {
            session.end_at_once();
        }
        #[cfg(feature = "deflate")]
        if let Some(agreed) = self.agreed.compression {
            session.set_compression(agreed);
        }
        let info = Info::new(self.peer, self.version, self.agreed.subprotocol);
        Connection::new(Some(stream), session, info).into()
    }

    /// The same over a stream of HTTP/2, which has ways of its own to move bytes.
    #[cfg(feature = "http2")]
    pub(crate) fn build_on<S>(self, transport: Transport<S>) -> WebSocket<Transport<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (take, give) = (Transport::poll_take, Transport::poll_give);
        let direct = transport.is_http2().then_some(Direct { take, give });
        let mut ws = self.build(transport);
        ws.move_by(direct);
        ws
    }
}

/// Without the bytes that were read.
impl fmt::Debug for WebSocketBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketBuilder")
            .field("role", &self.role)
            .field("config", &self.config)
            .field("agreed", &self.agreed)
            .field("peer", &self.peer)
            .field("version", &self.version)
            .field("leftover", &self.leftover.len())
            .finish()
    }
}
