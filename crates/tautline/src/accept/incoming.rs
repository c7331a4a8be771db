//! A request that was read and is not answered yet, with its stream.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use tautline_handshake::is_upgrade_request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::asked::Asked;
use super::handshake::{Acceptance, Opening, Unbuilt};
use super::{AcceptError, Acceptor, ServerHandshake, Upgrade};
use crate::transport::Peer;
use crate::websocket::WebSocket;

/// A valid request to open a WebSocket that has not been answered yet, with its stream: what
/// [`Acceptor::read`](crate::Acceptor::read) returns.
///
/// [Accept](Self::accept) or [refuse](Self::refuse) it. Dropping it closes the stream without an
/// answer.
#[must_use = "the client waits for an answer"]
pub struct Incoming<S> {
    handshake: ServerHandshake<S>,
    request: Arc<Request<()>>,
    peer: Peer,
}

impl<S> Incoming<S> {
    /// The request: its target, and its headers with cookies, credentials, origin and offers.
    #[must_use]
    pub fn request(&self) -> &Request<()> {
        &self.request
    }

    /// The client, as set by [`with_peer`](Self::with_peer).
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Sets who is at the other end of the stream; [`WebSocket::peer`] returns it later.
    pub fn with_peer(mut self, peer: impl Into<Peer>) -> Self {
        self.peer = peer.into();
        self
    }

    /// Sets the peer that this returns for the request, which it may add extensions to.
    pub(crate) fn with_sender(mut self, sender: impl FnOnce(&mut Request<()>) -> Peer) -> Self {
        self.peer = sender(Arc::make_mut(&mut self.request));
        self
    }

    /// The stream, for inspection. Do not read from it or write to it.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        self.handshake.get_ref()
    }

    /// What was read, and the stream with what came after that.
    #[cfg(feature = "service")]
    pub(crate) fn into_parts(self) -> (ServerHandshake<S>, Arc<Request<()>>) {
        (self.handshake, self.request)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Incoming<S> {
    /// Reads the request of this stream; it is not checked.
    pub(crate) async fn read(mut handshake: ServerHandshake<S>) -> Result<Self, AcceptError> {
        let request = Arc::new(handshake.read().await?);
        Ok(Self { handshake, request, peer: Peer::unknown() })
    }

    /// Opens the connection. The answer accepts what the client offers and the
    /// [`Acceptor`](crate::Acceptor) allows, and has what [`Upgrade`] adds.
    ///
    /// # Errors
    /// [`AcceptError::Response`] if `upgrade` has something that cannot be sent; the client is
    /// answered with 500 then. [`AcceptError::Timeout`] or [`AcceptError::Io`] if the client does
    /// not read the answer.
    pub fn accept(
        self,
        upgrade: Upgrade,
    ) -> impl Future<Output = Result<WebSocket<S>, AcceptError>> {
        Opening::new(async move { Ok(Asked::open_checked(self, upgrade).await?.0) })
    }

    /// Answers with a refusal, and closes the stream once the client has it. Returns the status
    /// that was sent: that of the response, or 500 in place of a 1xx status, which is not a final
    /// answer.
    ///
    /// # Errors
    /// [`AcceptError::Timeout`] or [`AcceptError::Io`] if the client does not read the answer.
    pub fn refuse<B: Into<Bytes>>(
        self,
        response: Response<B>,
    ) -> impl Future<Output = Result<StatusCode, AcceptError>> {
        Box::pin(self.answer(response.map(Into::into)))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Asked for Incoming<S> {
    type Opened = Unbuilt<S>;

    fn acceptor(&self) -> &Acceptor {
        &self.handshake.acceptor
    }

    fn request(&self) -> &Arc<Request<()>> {
        &self.request
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn deadline(&self) -> Instant {
        self.handshake.deadline()
    }

    fn is_for_websocket(&self) -> bool {
        is_upgrade_request(&*self.request)
    }

    async fn respond(mut self, response: Response<Bytes>) -> io::Result<()> {
        let head_only = self.request.method() == Method::HEAD;
        self.handshake.refuse(&response, head_only).await
    }

    fn switch(self, answer: Acceptance) -> impl Future<Output = Result<Unbuilt<S>, AcceptError>> {
        self.handshake.switch(answer, self.peer)
    }
}

/// Without headers and query, which may hold credentials.
impl<S> fmt::Debug for Incoming<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("path", &self.request.uri().path())
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
