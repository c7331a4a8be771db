//! The extractor.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::mem::take;
use std::sync::{Arc, Mutex, PoisonError};

use axum_core::body::Body;
use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;
use tautline::{Acceptor, Config, Connections, HandlerResult, OriginPolicy, Peer, WebSocket};
use tautline_http::{PendingUpgrade, UpgradeError};

use crate::rejection::WebSocketUpgradeRejection;

/// Extracts a request to open a WebSocket, over HTTP/1.1 or HTTP/2, from the request of a handler.
///
/// Route the handler with `any`: over HTTP/1.1 the method is GET, over HTTP/2 it is CONNECT (RFC
/// 8441), to which a route for `get` answers 405. As `Option<WebSocketUpgrade>` it is `None` if the
/// request asks for no WebSocket, so that a route can also have a page.
///
/// The defaults are those of an [`Acceptor`]: pages of other origins are refused, there is no
/// subprotocol and no compression. The extractor looks for these extensions of the request, which a
/// layer `axum::Extension(..)` puts there:
///
/// - an [`Acceptor`], whose settings replace the defaults;
/// - [`Connections`], where handlers run: they can be counted, and closed with 1001 when the server
///   shuts down;
/// - a [`Peer`], for [`WebSocket::peer`]. Without it, that has the address of the TCP connection
///   over HTTP/1.1, and none over HTTP/2; see [`peer`](Self::peer).
///
/// ```
/// use axum::{Extension, Router, response::Response, routing::any};
/// use tautline::{Connections, WebSocket};
/// use tautline_axum::WebSocketUpgrade;
///
/// async fn handler(ws: WebSocketUpgrade) -> Response {
///     ws.protocols(["chat.v2", "chat.v1"]).on_upgrade(echo)
/// }
///
/// async fn echo(mut ws: WebSocket) -> Result<(), tautline::BoxError> {
///     while let Some(message) = ws.next().await {
///         ws.feed(message?).await?;
///     }
///     Ok(())
/// }
///
/// let connections = Connections::new();
/// let app: Router =
///     Router::new().route("/ws", any(handler)).layer(Extension(connections.clone()));
/// ```
#[must_use = "the request is not answered before `on_upgrade`"]
pub struct WebSocketUpgrade {
    pending: PendingUpgrade,
    acceptor: Acceptor,
    connections: Connections,
    peer: Option<Peer>,
    on_failed: Mutex<OnFailed>,
}

/// The lock is never taken: it makes the extractor `Sync`, so that a handler can borrow from it
/// while it awaits.
type OnFailed = Box<dyn FnOnce(UpgradeError) + Send>;

impl WebSocketUpgrade {
    /// Sets everything that an [`Acceptor`] has: limits, origins, subprotocols, compression. It
    /// replaces what was set before.
    pub fn acceptor(mut self, acceptor: Acceptor) -> Self {
        self.acceptor = acceptor;
        self
    }

    /// Sets the limits and deadlines of the connection.
    pub fn config(self, config: impl Into<Arc<Config>>) -> Self {
        self.set(|acceptor| acceptor.config(config))
    }

    /// Sets whose pages may connect (RFC 6455 section 10.2): see [`Acceptor::origins`].
    /// [`on_upgrade`](Self::on_upgrade) refuses all others with 403. Default:
    /// [`OriginPolicy::SameOrigin`].
    pub fn origins(self, origins: OriginPolicy) -> Self {
        self.set(|acceptor| acceptor.origins(origins))
    }

    /// Accepts offers of compression (permessage-deflate, RFC 7692) within these settings. Default:
    /// no offer is accepted.
    #[cfg(feature = "deflate")]
    pub fn compression(self, settings: tautline::Compression) -> Self {
        self.set(|acceptor| acceptor.compression(settings))
    }

    /// Sets the subprotocols that the handler speaks, the preferred one first (RFC 6455 section
    /// 1.9): what [`Acceptor::subprotocols`] does, by the name that axum has for it. The first one
    /// that the client offers too is [selected](Self::selected_protocol).
    pub fn protocols<I>(self, names: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.set(|acceptor| acceptor.subprotocols(names))
    }

    /// The subprotocols that the client offers, in its order.
    pub fn requested_protocols(&self) -> impl Iterator<Item = &str> {
        self.pending.subprotocols().into_iter()
    }

    /// Selects this subprotocol, in place of all [`protocols`](Self::protocols). One that the
    /// client does not offer is not selected, since it would end the connection (RFC 6455 section
    /// 4.1).
    pub fn set_selected_protocol(&mut self, name: impl Into<String>) {
        self.acceptor = take(&mut self.acceptor).subprotocols([name]);
    }

    /// The subprotocol that the response will have.
    #[must_use]
    pub fn selected_protocol(&self) -> Option<&str> {
        self.acceptor.select_subprotocol(&self.pending.subprotocols())
    }

    /// Sets who is at the other end. [`WebSocket::peer`] returns it; nothing else changes. For
    /// instance, with `ConnectInfo(addr): ConnectInfo<SocketAddr>` of axum among the handler's
    /// arguments: `ws.peer(addr)`.
    pub fn peer(mut self, peer: impl Into<Peer>) -> Self {
        self.peer = Some(peer.into());
        self
    }

    /// Sets where the handler runs, in place of the [`Connections`] among the request's extensions.
    pub fn connections(mut self, connections: Connections) -> Self {
        self.connections = connections;
        self
    }

    /// Sets what is called if the connection is lost before it is open. Default: an event at DEBUG.
    pub fn on_failed_upgrade<F>(mut self, callback: F) -> Self
    where
        F: FnOnce(UpgradeError) + Send + 'static,
    {
        self.on_failed = Mutex::new(Box::new(callback));
        self
    }

    /// Answers the request, and runs this handler on the connection once the response is sent, in a
    /// task of its own. Return the response from the route's handler; headers may be added to it.
    /// Decide about the request before: the handler may run even if you return another response. If
    /// the origin is not allowed, it is a refusal, and the handler does not run.
    ///
    /// The handler may return nothing, or a `Result` whose error is logged. How the connection is
    /// closed then, also after a panic, is said at [`Connections`].
    #[must_use = "the connection opens once this response is sent"]
    pub fn on_upgrade<H, Fut>(self, handler: H) -> Response
    where
        H: FnOnce(WebSocket) -> Fut + Send + 'static,
        Fut: Future<Output: HandlerResult> + Send + 'static,
    {
        let (response, upgrading) = match self.pending.accept(&self.acceptor) {
            Ok(answer) => answer,
            Err(refused) => return WebSocketUpgradeRejection::from(refused).into_response(),
        };
        let upgrading = match self.peer {
            Some(peer) => upgrading.peer(peer),
            None => upgrading,
        };
        let on_failed = self.on_failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        let opening = async move {
            match upgrading.await {
                Ok(ws) => Some(ws),
                Err(error) => {
                    on_failed(error);
                    None
                }
            }
        };
        self.connections.spawn(opening, handler);
        response.map(|()| Body::empty())
    }

    fn set(mut self, change: impl FnOnce(Acceptor) -> Acceptor) -> Self {
        self.acceptor = change(self.acceptor);
        self
    }

    fn take(parts: &mut Parts) -> Result<Self, WebSocketUpgradeRejection> {
        let pending = PendingUpgrade::take(parts)?;
        Ok(Self {
            pending,
            acceptor: parts.extensions.get().cloned().unwrap_or_default(),
            connections: parts.extensions.get().cloned().unwrap_or_default(),
            peer: None,
            on_failed: Mutex::new(Box::new(|error| {
                tracing::debug!(%error, cause = error.source(), "upgrade failed");
            })),
        })
    }
}

/// The text of the rejection says which rule the request breaks.
impl<S: Sync> FromRequestParts<S> for WebSocketUpgrade {
    type Rejection = WebSocketUpgradeRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Self::take(parts)
    }
}

/// `None` for a request that asks for no WebSocket; one that does, and is not valid, is rejected.
impl<S: Sync> OptionalFromRequestParts<S> for WebSocketUpgrade {
    type Rejection = WebSocketUpgradeRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        if PendingUpgrade::is_asked(parts) { Self::take(parts).map(Some) } else { Ok(None) }
    }
}

/// Without headers and query, which may hold credentials.
impl fmt::Debug for WebSocketUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketUpgrade")
            .field("pending", &self.pending)
            .field("acceptor", &self.acceptor)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
