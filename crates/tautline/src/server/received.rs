//! A request of a connection that carries several, which is not answered yet.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::time::Instant;

use crate::accept::{AcceptError, Acceptance, Acceptor, Asked};
use crate::builder::WebSocketBuilder;
use crate::transport::Peer;
use crate::websocket::WebSocket;

/// Sends the answer of a [`Received`], in its version of HTTP.
pub(super) trait Responder {
    /// Whether the request asks for a WebSocket.
    fn is_for_websocket(request: &Request<()>) -> bool;

    /// Sends a whole response. A client may take none of it for this long.
    async fn respond(
        self,
        request: &Request<()>,
        response: Response<Bytes>,
        patience: Duration,
    ) -> io::Result<()>;

    /// Sends the response that opens the WebSocket, and builds it.
    async fn switch(
        self,
        response: Response<()>,
        builder: WebSocketBuilder,
    ) -> Result<WebSocket, AcceptError>;
}

/// A request, and how to answer it.
pub(super) struct Received<R> {
    pub(super) acceptor: Acceptor,
    pub(super) request: Arc<Request<()>>,
    pub(super) peer: Peer,
    deadline: Instant,
    pub(super) responder: R,
}

impl<R> Received<R> {
    /// One that was received now.
    pub(super) fn new(acceptor: &Acceptor, request: Request<()>, peer: Peer, responder: R) -> Self {
        let (acceptor, deadline) = (acceptor.clone(), acceptor.deadline());
        Self { acceptor, request: Arc::new(request), peer, deadline, responder }
    }
}

impl<R: Responder> Asked for Received<R> {
    type Opened = WebSocket;

    fn acceptor(&self) -> &Acceptor {
        &self.acceptor
    }

    fn request(&self) -> &Arc<Request<()>> {
        &self.request
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn is_for_websocket(&self) -> bool {
        R::is_for_websocket(&self.request)
    }

    async fn respond(self, response: Response<Bytes>) -> io::Result<()> {
        self.responder.respond(&self.request, response, self.acceptor.patience()).await
    }

    async fn switch(self, (response, agreed): Acceptance) -> Result<WebSocket, AcceptError> {
        let builder = self.acceptor.connection(agreed).peer(self.peer);
        self.responder.switch(response, builder).await
    }
}
