//! The middleware of tower: its settings.

use std::fmt;
use std::sync::Arc;

use tautline::{Acceptor, Connections};
use tower_layer::Layer;

use crate::service::{Choice, Settings, UpgradeService};

/// Opens a WebSocket for each request that asks for one, over HTTP/1.1 or HTTP/2, and passes on all
/// other requests: a [`Layer`] for hyper's and tower's services.
///
/// The handler is called with the [`WebSocket`](tautline::WebSocket) and the head of its request,
/// once the response is sent, in a task of its own. It may return nothing, or a `Result` whose
/// error is logged; how the connection is closed then, also after a panic, is said at
/// [`Connections`].
///
/// A request that asks for a WebSocket and is not valid, or comes from another origin than the
/// [`Acceptor`] allows, is answered with the status and the text of its
/// [`HandshakeError`](tautline::HandshakeError). To decide by credentials, put a layer that does it
/// before this one.
///
/// ```
/// use tautline::{Acceptor, Connections, WebSocket};
/// use tautline_http::UpgradeLayer;
/// use tautline_http::http::request::Parts;
/// use tower_layer::Layer;
///
/// async fn echo(mut ws: WebSocket, request: Parts) -> Result<(), tautline::BoxError> {
///     println!("connected to {}", request.uri.path());
///     while let Some(message) = ws.next().await {
///         ws.feed(message?).await?;
///     }
///     Ok(())
/// }
///
/// # fn example<S>(pages: S) {
/// let connections = Connections::new();
/// let layer = UpgradeLayer::new(echo)
///     .acceptor(Acceptor::new().subprotocols(["echo"]))
///     .connections(connections.clone());
/// // All other requests go to `pages`, a service.
/// let service = layer.layer(pages);
/// # let _ = service;
/// # }
/// // When the server shuts down: `connections.close()`, then `connections.drain(timeout).await`.
/// ```
pub struct UpgradeLayer<H> {
    settings: Settings,
    handler: Arc<H>,
}

impl<H> UpgradeLayer<H> {
    /// A layer with the [`Acceptor`] and the [`Connections`] that are among the extensions of a
    /// request, as they are in [`Server::serve_service`](tautline::Server::serve_service); otherwise
    /// with the defaults of an acceptor, and connections of its own.
    #[must_use]
    pub fn new(handler: H) -> Self {
        Self { settings: Settings::default(), handler: Arc::new(handler) }
    }

    /// Sets limits, origins, subprotocols and compression.
    #[must_use]
    pub fn acceptor(mut self, acceptor: Acceptor) -> Self {
        self.settings.acceptor = Choice::Set(acceptor);
        self
    }

    /// Sets where handlers run, by which they can be counted, and closed with 1001 when the server
    /// shuts down.
    #[must_use]
    pub fn connections(mut self, connections: Connections) -> Self {
        self.settings.connections = Choice::Set(connections);
        self
    }
}

impl<S, H> Layer<S> for UpgradeLayer<H> {
    type Service = UpgradeService<S, H>;

    fn layer(&self, inner: S) -> Self::Service {
        UpgradeService::new(inner, self.settings.clone(), self.handler.clone())
    }
}

impl<H> Clone for UpgradeLayer<H> {
    fn clone(&self) -> Self {
        Self { settings: self.settings.clone(), handler: self.handler.clone() }
    }
}

impl<H> fmt::Debug for UpgradeLayer<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeLayer")
            .field("acceptor", &self.settings.acceptor)
            .field("connections", &self.settings.connections)
            .finish_non_exhaustive()
    }
}
