//! Opening a WebSocket as a stream of an HTTP/2 connection (RFC 8441 section 5).

use std::sync::Arc;

use bytes::BytesMut;
use http::{Request, Version};
use tautline_frame::Role;
use tautline_handshake::{Expectation, ResponseError, WsUri};

use super::link::{Link, Opened, StreamError};
use super::open::{Reply, Security, connect_tcp};
use super::{Client, ConnectError};
use crate::http2::Http2;
#[cfg(feature = "tls")]
use crate::transport::Peer;
use crate::transport::Transport;
use crate::websocket::WebSocket;

/// How often a request is sent again that a server did nothing with: connections that were found
/// in the pool may all be going away.
const ATTEMPTS: usize = 3;

/// A request, and what its response must hold.
type Ask = (Request<()>, Expectation);

/// What an attempt at a connection led to.
enum Dialled {
    Link(Arc<Link>),
    /// The server selected HTTP/1.1, on this transport.
    #[cfg(feature = "tls")]
    Http1(Transport, Peer),
    /// There is no WebSocket over HTTP/2.
    NoHttp2,
}

impl Client {
    /// Opens a stream on a connection of the pool, or on a new one; over HTTP/1.1 if the server has
    /// no WebSocket over HTTP/2.
    pub(super) async fn open_shared(
        &self,
        uri: &WsUri,
        upgrade: Ask,
        connect: Ask,
        security: Security,
    ) -> Result<Reply<Transport>, ConnectError> {
        let only = self.http2 == Http2::Prior;
        if !only && matches!(security, Security::Plain) {
            return self.open_own(uri, upgrade, security).await;
        }
        let slot = self.pool.slot(uri);
        let mut failure = None;
        for _ in 0..ATTEMPTS {
            let mut known = slot.lock().await;
            let link = match known.link() {
                Some(link) => link,
                None if !only && known.lacks_http2() => {
                    drop(known);
                    return self.open_own(uri, upgrade, security).await;
                }
                None => match self.dial_shared(uri, security).await? {
                    Dialled::Link(link) => {
                        known.add(&link);
                        link
                    }
                    #[cfg(feature = "tls")]
                    Dialled::Http1(transport, peer) if !only => {
                        known.note_lack();
                        drop(known);
                        return self.upgrade(upgrade, transport, peer).await;
                    }
                    _ if only => return Err(ConnectError::NoHttp2),
                    _ => {
                        known.note_lack();
                        continue;
                    }
                },
            };
            // Others may open streams meanwhile.
            drop(known);
            match self.open_stream(link, connect.clone()).await {
                Err(Attempt::Again(error)) => failure = Some(error),
                Err(Attempt::Failed(error)) => return Err(error),
                Ok(reply) => return Ok(reply),
            }
        }
        Err(failure.unwrap_or(ConnectError::NoHttp2))
    }

    /// A new connection for streams.
    async fn dial_shared(&self, uri: &WsUri, security: Security) -> Result<Dialled, ConnectError> {
        let (stream, peer) = connect_tcp(uri).await?;
        let transport = match security {
            Security::Plain => Transport::plain(stream),
            #[cfg(feature = "tls")]
            Security::Tls => {
                let only = self.http2 == Http2::Prior;
                let transport = self.tls.connect_http2(stream, uri.host(), only).await?;
                if transport.alpn() != Some(b"h2") {
                    return Ok(Dialled::Http1(transport, peer.with_secure(true)));
                }
                transport
            }
        };
        let peer = peer.with_secure(transport.is_tls());
        let max_head = u32::try_from(self.limits.get_max_bytes()).unwrap_or(u32::MAX);
        match Link::open(transport, peer, &self.http2_config, max_head).await? {
            Opened::Link(link) => Ok(Dialled::Link(link)),
            Opened::NoConnect => Ok(Dialled::NoHttp2),
        }
    }

    async fn open_stream(
        &self,
        link: Arc<Link>,
        (request, expectation): Ask,
    ) -> Result<Reply<Transport>, Attempt> {
        let peer = link.peer().clone();
        let (response, stream) = match link.connect(request).await {
            Ok(answered) => answered,
            Err(StreamError::Unprocessed(error)) => return Err(Attempt::Again(error.into())),
            Err(StreamError::Failed(error)) => return Err(Attempt::Failed(error.into())),
        };
        let stream = Transport::http2(stream);
        let agreed = match expectation.check(&response) {
            Ok(agreed) => agreed,
            Err(ResponseError::Status(_)) => {
                return Ok(Reply::Refused(stream, response, BytesMut::new()));
            }
            Err(error) => return Err(Attempt::Failed(error.into())),
        };
        tracing::debug!(%peer, subprotocol = agreed.subprotocol.as_deref(), "stream opened");
        let ws = WebSocket::builder(Role::Client)
            .config(self.config.clone())
            .agreed(agreed)
            .peer(peer)
            .http_version(Version::HTTP_2)
            .build(stream);
        Ok(Reply::Open(Box::new(ws), response))
    }
}

/// Why a stream did not become a WebSocket.
enum Attempt {
    /// The server did nothing with the request.
    Again(ConnectError),
    Failed(ConnectError),
}
