//! Opening a WebSocket as a stream of an HTTP/2 connection (RFC 8441 section 5).

use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::BytesMut;
use http::{Request, Version};
use tautline_frame::Role;
use tautline_handshake::{Expectation, ResponseError};
use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio::time::timeout_at;

use super::endpoint::Endpoint;
use super::link::{Known, Link, Opened, StreamError};
use super::open::{Asked, Reply, Security};
use super::timing::{ConnectStage, Timing, TooLate};
use super::{Client, ConnectError};
use crate::handshake_io::NEVER;
use crate::http2::{Http2, Http2Error};
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
        endpoint: &Endpoint,
        upgrade: Asked,
        connect: Ask,
        security: Security,
        timing: &mut Timing,
    ) -> Result<Reply<Transport>, ConnectError> {
        let only = self.http2 == Http2::Prior;
        if !only && matches!(security, Security::Plain) {
            return self.open_own(endpoint, upgrade, security, timing).await;
        }
        let slot = self.pool.slot(endpoint);
        let mut attempts = 1;
        loop {
            // Another one may be connecting, in all stages of it, each with its own deadline.
            let locking = timeout_at(timing.until(), slot.clone().lock_owned());
            let mut known = locking.await.map_err(|_| TooLate(ConnectStage::Connect))?;
            let link = match known.link() {
                Some(link) => {
                    // Others need not wait until the server has answered this one.
                    drop(known);
                    link
                }
                None if !only && known.lacks_http2() => {
                    drop(known);
                    return self.open_own(endpoint, upgrade, security, timing).await;
                }
                None => match self.dial_known(known, endpoint, security, timing).await? {
                    Dialled::Link(link) => link,
                    #[cfg(feature = "tls")]
                    Dialled::Http1(transport, peer) if !only => {
                        return self.upgrade(upgrade, transport, peer, timing).await;
                    }
                    _ if only => return Err(ConnectError::NoHttp2),
                    _ => continue,
                },
            };
            let opening = pin!(self.open_stream(link, connect.clone()));
            match timing.stage(ConnectStage::Handshake, opening).await? {
                Ok(opening) => return opening,
                Err(StreamError::Unprocessed(_)) if attempts < ATTEMPTS => attempts += 1,
                Err(StreamError::Http11(_)) if !only => {
                    return self.open_own(endpoint, upgrade, security, timing).await;
                }
                Err(
                    StreamError::Unprocessed(error)
                    | StreamError::Http11(error)
                    | StreamError::Failed(error),
                ) => return Err(error.into()),
            }
        }
    }

    /// A new connection, noted in what is known of its server. In a task of its own: others wait for
    /// it, whether whoever asked first still polls or not.
    async fn dial_known(
        &self,
        mut known: OwnedMutexGuard<Known>,
        endpoint: &Endpoint,
        security: Security,
        timing: &Timing,
    ) -> Result<Dialled, ConnectError> {
        let (client, endpoint) = (self.clone(), endpoint.clone());
        let mut timing = timing.for_another_task();
        let (tell, told) = oneshot::channel();
        tokio::spawn(async move {
            let dialled = client.dial_shared(&endpoint, security, &mut timing).await;
            match &dialled {
                Ok(Dialled::Link(link)) => known.add(link),
                Ok(_) => known.note_lack(),
                Err(_) => {}
            }
            let slot = OwnedMutexGuard::mutex(&known).clone();
            drop(known);
            if let Err(unclaimed) = tell.send(dialled) {
                // Those who wait have the lock before this task has it, and the link with it.
                drop(slot.lock().await);
                drop(unclaimed);
            }
        });
        told.await.unwrap_or_else(|_| Err(io::Error::other("the task that connects failed").into()))
    }

    /// A new connection for streams.
    async fn dial_shared(
        &self,
        endpoint: &Endpoint,
        security: Security,
        timing: &mut Timing,
    ) -> Result<Dialled, ConnectError> {
        let (stream, peer) = self.reach(endpoint, timing).await?;
        let transport = match security {
            Security::Plain => stream,
            #[cfg(feature = "tls")]
            Security::Tls => {
                let only = self.http2 == Http2::Prior;
                let connecting = pin!(self.tls.secure_http2(stream, endpoint.uri.host(), only));
                let transport = timing.stage(ConnectStage::Tls, connecting).await??;
                if transport.alpn() != Some(b"h2") {
                    return Ok(Dialled::Http1(transport, peer.with_secure(true)));
                }
                transport
            }
        };
        let peer = transport.shared(peer);
        let max_head = u32::try_from(self.limits.get_max_bytes()).unwrap_or(u32::MAX);
        let patience = self.config.get_send_timeout().unwrap_or(NEVER).min(NEVER);
        let secure = transport.is_tls();
        let opening = pin!(Link::open(transport, peer, &self.http2_config, (max_head, patience)));
        match timing.stage(ConnectStage::Handshake, opening).await? {
            Ok(Opened::Link(link)) => Ok(Dialled::Link(link)),
            Ok(Opened::NoConnect) => Ok(Dialled::NoHttp2),
            // Without TLS, what comes may be an answer of HTTP/1.1.
            Err(error) if !secure && is_not_http2(&error) => Ok(Dialled::NoHttp2),
            Err(error) => Err(error.into()),
        }
    }

    async fn open_stream(
        &self,
        link: Arc<Link>,
        (request, expectation): Ask,
    ) -> Result<Opening, StreamError> {
        let peer = link.peer().clone();
        let (response, stream) = link.connect(request).await?;
        let stream = Transport::http2(stream);
        let agreed = match expectation.check(&response) {
            Ok(agreed) => agreed,
            Err(ResponseError::Status(_)) => {
                return Ok(Ok(Reply::Refused(stream, response, BytesMut::new())));
            }
            Err(error) => return Ok(Err(error.into())),
        };
        tracing::debug!(%peer, subprotocol = agreed.subprotocol.as_deref(), "stream opened");
        let ws = WebSocket::builder(Role::Client)
            .config(self.config.clone())
            .agreed(agreed)
            .peer(peer)
            .http_version(Version::HTTP_2)
            .build_on(stream);
        Ok(Ok(Reply::Open(ws, response)))
    }
}

/// What came of a response.
type Opening = Result<Reply<Transport>, ConnectError>;

/// Whether the server does not speak HTTP/2.
fn is_not_http2(error: &io::Error) -> bool {
    matches!(Http2Error::of(error), Some(Http2Error::Peer { .. }))
}
