//! A stream, plain or under TLS, and the peer at its other end.

#[cfg(any(feature = "http2", feature = "tls"))]
mod ahead;
mod boxed;
#[cfg(feature = "http2")]
pub(crate) mod gathered;
#[cfg(feature = "http2")]
pub(crate) mod patient;
mod peer;
#[cfg(feature = "tls")]
mod read_ahead;
pub(crate) mod rewound;
pub(crate) mod socket;
#[cfg(feature = "tls")]
mod tls;

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

#[cfg(feature = "http2")]
use tautline_frame::{WriteQueue, session::Session};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(feature = "tls")]
use tokio_rustls::{client, server};

use self::boxed::Boxed;
pub use self::peer::Peer;
#[cfg(feature = "tls")]
use self::read_ahead::ReadAhead;
#[cfg(feature = "tls")]
pub use self::tls::{
    Certificates, ClientAuth, ClientCertificate, ClientTls, InvalidPin, PublicKeyPin,
    RevocationLists, ServerCertificate, ServerTls, ServerTlsBuilder, TlsError, TlsInfo,
};
#[cfg(feature = "http2")]
use crate::http2::Http2Stream;

/// What connections of [`Client`](crate::Client) and [`Server`](crate::Server) run over: a stream,
/// plain or under TLS, one of the streams of an HTTP/2 connection, or a stream of any type, boxed.
///
/// `S` is [`TcpStream`] unless you provide your own, as with
/// [`Client::connect_over`](crate::Client::connect_over).
pub struct Transport<S = TcpStream>(Kind<S>);

enum Kind<S> {
    Plain(S),
    Boxed(Boxed),
    #[cfg(feature = "http2")]
    Http2(Box<Http2Stream>),
    #[cfg(feature = "tls")]
    TlsClient(Box<client::TlsStream<ReadAhead<S>>>),
    /// Through a proxy, or over a stream of the user's.
    #[cfg(feature = "tls")]
    TlsBoxed(Box<client::TlsStream<ReadAhead<Boxed>>>),
    #[cfg(feature = "tls")]
    TlsServer(Box<server::TlsStream<ReadAhead<S>>>),
}

/// A stream without TLS of ours.
#[cfg(feature = "tls")]
enum Base {
    Tcp(TcpStream),
    Boxed(Boxed),
}

impl Transport {
    /// A TCP connection, with the options that those of a [`Server`](crate::Server) have:
    /// `TCP_NODELAY`, and on Linux `TCP_NOTSENT_LOWAT`, by which deadlines notice soon that the
    /// peer takes what it is sent.
    ///
    /// # Errors
    /// The system's.
    pub fn from_tcp(stream: TcpStream) -> io::Result<Self> {
        socket::prepare(&stream)?;
        Ok(Self::plain(stream))
    }

    /// A stream of any type, for a [`WebSocket`](crate::WebSocket) of the default type: a Unix
    /// socket, or what an HTTP library hands over.
    #[must_use]
    pub fn boxed(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Kind::Boxed(Boxed::new(stream)))
    }

    /// The TCP connection, for its addresses and options. `None` for a stream of HTTP/2, which
    /// shares its connection with others, and for a [boxed](Self::boxed) one.
    #[must_use]
    pub fn tcp(&self) -> Option<&TcpStream> {
        self.get_ref()
    }

    /// What one more layer of TLS runs over: TCP as it is, anything else boxed.
    #[cfg(feature = "tls")]
    fn into_base(self) -> Base {
        match self.0 {
            Kind::Plain(stream) => Base::Tcp(stream),
            Kind::Boxed(stream) => Base::Boxed(stream),
            other => Base::Boxed(Boxed::new(Self(other))),
        }
    }

    /// Turns the end of the connection into a reset, so that the peer does not take what it
    /// received for complete.
    pub(crate) fn reset_at_end(&self) {
        if let Some(stream) = self.tcp() {
            socket::reset_at_end(stream);
        }
    }
}

#[cfg(feature = "tls")]
impl Transport<Boxed> {
    /// The same stream in the type of those over TCP.
    fn of_any_stream(self) -> Transport {
        Transport(match self.0 {
            Kind::TlsClient(stream) => Kind::TlsBoxed(stream),
            other => Kind::Boxed(Boxed::new(Self(other))),
        })
    }
}

impl<S> Transport<S> {
    pub(crate) const fn plain(stream: S) -> Self {
        Self(Kind::Plain(stream))
    }

    #[cfg(feature = "http2")]
    pub(crate) fn http2(stream: Http2Stream) -> Self {
        Self(Kind::Http2(Box::new(stream)))
    }

    /// Whether there are [`poll_take`](Self::poll_take) and [`poll_give`](Self::poll_give).
    #[cfg(feature = "http2")]
    pub(crate) const fn is_http2(&self) -> bool {
        matches!(self.0, Kind::Http2(_))
    }

    /// Moves what has arrived on a stream of HTTP/2 to the session.
    #[cfg(feature = "http2")]
    pub(crate) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Http2(stream) => stream.poll_take(cx, session),
            _ => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    /// Takes bytes off the queue for a stream of HTTP/2, which keeps large payloads instead of
    /// copies.
    #[cfg(feature = "http2")]
    pub(crate) fn poll_give(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut WriteQueue,
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Http2(stream) => stream.poll_give(cx, queue),
            _ => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    #[cfg(feature = "tls")]
    pub(crate) const fn tls_client(stream: Box<client::TlsStream<ReadAhead<S>>>) -> Self {
        Self(Kind::TlsClient(stream))
    }

    #[cfg(feature = "tls")]
    pub(crate) fn tls_server(stream: server::TlsStream<ReadAhead<S>>) -> Self {
        Self(Kind::TlsServer(Box::new(stream)))
    }

    /// The underlying stream, without TLS. Do not read from it or write to it. `None` if the type
    /// of the stream is another one: for HTTP/2, and for a [boxed](Self::boxed) stream.
    #[must_use]
    pub fn get_ref(&self) -> Option<&S> {
        match &self.0 {
            Kind::Plain(stream) => Some(stream),
            Kind::Boxed(_) => None,
            #[cfg(feature = "http2")]
            Kind::Http2(_) => None,
            #[cfg(feature = "tls")]
            Kind::TlsBoxed(_) => None,
            #[cfg(feature = "tls")]
            Kind::TlsClient(stream) => Some(stream.get_ref().0.get_ref()),
            #[cfg(feature = "tls")]
            Kind::TlsServer(stream) => Some(stream.get_ref().0.get_ref()),
        }
    }

    /// Whether this crate encrypts this very stream. One that was already secure, and one of
    /// HTTP/2, whose connection is encrypted as a whole, counts as plain: see
    /// [`Peer::is_secure`].
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return matches!(self.0, Kind::TlsClient(_) | Kind::TlsBoxed(_) | Kind::TlsServer(_));
        #[cfg(not(feature = "tls"))]
        false
    }

    /// The peer of a server's connection, with what TLS tells of it. Its certificate is kept there,
    /// because a stream of HTTP/2 has no TLS of its own.
    pub(crate) fn secured(&self, peer: Peer) -> Peer {
        let peer = peer.with_secure(self.is_tls());
        #[cfg(feature = "tls")]
        if let Some(certificate) = self.tls().and_then(|tls| tls.peer_certificates().next()) {
            return peer.with_certificate(certificate);
        }
        peer
    }

    /// The peer of the streams of an HTTP/2 connection over this, with what TLS negotiated.
    #[cfg(feature = "http2")]
    pub(crate) fn shared(&self, peer: Peer) -> Peer {
        let peer = peer.with_secure(self.is_tls());
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls() {
            return peer.with_tls(tls.to_facts());
        }
        peer
    }

    /// The protocol that was agreed on inside TLS (RFC 7301).
    #[cfg(feature = "http2")]
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        #[cfg(feature = "tls")]
        return self.tls().and_then(|tls| tls.alpn());
        #[cfg(not(feature = "tls"))]
        None
    }

    /// What TLS negotiated. `None` for a connection without TLS, and for a stream of HTTP/2: see
    /// [`WebSocket::tls`](crate::WebSocket::tls) there.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(&self) -> Option<TlsInfo<'_>> {
        match &self.0 {
            Kind::TlsClient(stream) => Some(TlsInfo::client(stream.get_ref().1)),
            Kind::TlsBoxed(stream) => Some(TlsInfo::client(stream.get_ref().1)),
            Kind::TlsServer(stream) => Some(TlsInfo::server(stream.get_ref().1)),
            Kind::Plain(_) | Kind::Boxed(_) => None,
            #[cfg(feature = "http2")]
            Kind::Http2(_) => None,
        }
    }
}

impl<S> fmt::Debug for Transport<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::Plain(_) => "Transport(plain)",
            Kind::Boxed(_) => "Transport(boxed)",
            #[cfg(feature = "http2")]
            Kind::Http2(_) => "Transport(HTTP/2)",
            #[cfg(feature = "tls")]
            Kind::TlsClient(_) | Kind::TlsBoxed(_) | Kind::TlsServer(_) => "Transport(TLS)",
        })
    }
}

/// The same call for each kind of stream.
macro_rules! forward {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.get_mut().0 {
            Kind::Plain($stream) => $call,
            Kind::Boxed($stream) => $call,
            #[cfg(feature = "http2")]
            Kind::Http2($stream) => $call,
            #[cfg(feature = "tls")]
            Kind::TlsClient($stream) => $call,
            #[cfg(feature = "tls")]
            Kind::TlsBoxed($stream) => $call,
            #[cfg(feature = "tls")]
            Kind::TlsServer($stream) => $call,
        }
    };
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Transport<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Transport<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        forward!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        forward!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Kind::Plain(stream) => stream.is_write_vectored(),
            Kind::Boxed(stream) => stream.is_write_vectored(),
            #[cfg(feature = "http2")]
            Kind::Http2(stream) => stream.is_write_vectored(),
            #[cfg(feature = "tls")]
            Kind::TlsClient(_) | Kind::TlsBoxed(_) | Kind::TlsServer(_) => true,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
