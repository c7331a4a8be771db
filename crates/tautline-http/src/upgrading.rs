//! The upgrade of a connection, until hyper has handed it over.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::Extensions;
use tautline::{Acceptor, Peer, Transport, WebSocket, WebSocketBuilder};
use tokio::time::{Sleep, sleep};

use crate::transport::{self, Taken};

/// A stream of our own server, when it comes.
type Handover = Pin<Box<dyn Future<Output = io::Result<(Transport, BytesMut)>> + Send + Sync>>;

/// Who hands over the connection.
pub(crate) enum UpgradeSource {
    Hyper(hyper::upgrade::OnUpgrade),
    /// [`Server::service`](tautline::Server::service), by [`tautline::OnUpgrade`].
    Server(Handover),
}

impl UpgradeSource {
    /// Takes it out of a request, if its connection can be upgraded.
    pub(crate) fn take(extensions: &mut Extensions) -> Option<Self> {
        match tautline::OnUpgrade::take(extensions) {
            Some(on) => Some(Self::Server(Box::pin(on.upgraded()))),
            None => extensions.remove().map(Self::Hyper),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Taken, UpgradeError>> {
        match self {
            Self::Hyper(on) => match ready!(Pin::new(on).poll(cx)) {
                Ok(upgraded) => Poll::Ready(transport::take(upgraded).map_err(UpgradeError::Io)),
                Err(error) => Poll::Ready(Err(UpgradeError::Connection(error))),
            },
            Self::Server(on) => match ready!(on.as_mut().poll(cx)) {
                Ok((transport, read)) => Poll::Ready(Ok(Taken::new(transport, read.freeze()))),
                Err(error) => Poll::Ready(Err(UpgradeError::Io(error))),
            },
        }
    }
}

/// Resolves to the [`WebSocket`] once the response has been sent and hyper has handed over the
/// connection. Await it in a task of its own: hyper sends the response only after the service has
/// returned it.
///
/// Over HTTP/1.1 on a [`TcpStream`](tokio::net::TcpStream) in hyper-util's `TokioIo`, the socket is
/// taken back: [`Transport::tcp`](tautline::Transport::tcp) returns it, and nothing lies between it
/// and the connection. In a service of [`Server::service`](tautline::Server::service), that holds
/// for TLS and HTTP/2 too. Every other stream is used through hyper: Unix sockets, TLS, and the
/// streams of HTTP/2.
///
/// # Panics
/// When polled in a runtime without tokio's time driver (`enable_time`), which connections need.
#[must_use = "the connection is closed if this is dropped"]
pub struct Upgrading {
    source: UpgradeSource,
    builder: WebSocketBuilder,
    peer: Peer,
    timeout: Duration,
    /// Counts from the first poll.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Upgrading {
    /// As long as for an answer of an [`Acceptor`].
    pub const DEFAULT_TIMEOUT: Duration = Acceptor::DEFAULT_ANSWER_TIMEOUT;

    pub(crate) fn new(source: UpgradeSource, builder: WebSocketBuilder, peer: Peer) -> Self {
        Self { source, builder, peer, timeout: Self::DEFAULT_TIMEOUT, deadline: None }
    }

    /// Sets who is at the other end. Default: the [`Peer`] among the request's extensions; its
    /// address, if it is unknown, is that of the TCP connection, where there is one for this
    /// WebSocket alone.
    pub fn peer(mut self, peer: impl Into<Peer>) -> Self {
        self.peer = peer.into();
        self
    }

    /// How long to wait for hyper, from the first poll on: until the application has returned the
    /// response, and the client has taken it. It also bounds how long after another response of
    /// HTTP/1.1 the connection may be handed over. Default:
    /// [`DEFAULT_TIMEOUT`](Self::DEFAULT_TIMEOUT).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn open(&self, taken: Taken) -> WebSocket {
        let peer = match (self.peer.addr(), taken.peer.addr()) {
            (None, Some(addr)) => {
                let secure = self.peer.is_secure() || taken.peer.is_secure();
                let peer = Peer::from(addr).with_secure(secure);
                match self.peer.certificate() {
                    Some(certificate) => peer.with_certificate(certificate),
                    None => peer,
                }
            }
            _ => self.peer.clone(),
        };
        let builder = self.builder.clone().peer(peer);
        let ws = builder.leftover(taken.read).build(taken.transport);
        tracing::debug!(subprotocol = ws.subprotocol(), "connection opened");
        ws
    }
}

impl Future for Upgrading {
    type Output = Result<WebSocket, UpgradeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(taken) = self.source.poll(cx) {
            return Poll::Ready(taken.map(|taken| self.open(taken)));
        }
        let timeout = self.timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(timeout)));
        deadline.as_mut().poll(cx).map(|()| Err(UpgradeError::Timeout))
    }
}

impl fmt::Debug for Upgrading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrading")
            .field("builder", &self.builder)
            .field("peer", &self.peer)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Why an upgrade that was answered did not become a WebSocket.
#[derive(Debug)]
#[non_exhaustive]
pub enum UpgradeError {
    /// hyper did not hand over the connection: it ended before the response was sent, another
    /// response was sent over HTTP/2, or hyper serves the connection without upgrades
    /// (`with_upgrades`, `serve_connection_with_upgrades`).
    Connection(hyper::Error),
    /// Nothing happened within [`Upgrading::timeout`]. If the connection is handed over later, it
    /// is closed.
    Timeout,
    /// The socket could not be set up, as it has failed already; or, in
    /// [`Server::service`](tautline::Server::service), the connection was not handed over.
    Io(io::Error),
}

/// This level only: [`source`](std::error::Error::source) has the next.
impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection(_) => "the connection was not handed over",
            Self::Timeout => "the connection was not handed over in time",
            Self::Io(_) => "the stream cannot be used",
        })
    }
}

impl std::error::Error for UpgradeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connection(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::Timeout => None,
        }
    }
}
