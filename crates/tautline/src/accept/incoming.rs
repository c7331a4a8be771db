//! A request that was read and is not answered yet, with its stream.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use tautline_handshake::{Agreed, BuildError, HandshakeError, ServerRequest};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{AcceptError, Acceptor, PendingUpgrade, Upgrade};
use crate::transport::Peer;
use crate::websocket::WebSocket;

/// A valid request to open a WebSocket that has not been answered yet, with its stream: what
/// [`Acceptor::read`](crate::Acceptor::read) returns.
///
/// [Accept](Self::accept) or [refuse](Self::refuse) it. Dropping it closes the stream without an
/// answer.
#[must_use = "the client waits for an answer"]
pub struct Incoming<S> {
    pending: PendingUpgrade<S>,
    request: Arc<Request<()>>,
    peer: Peer,
}

impl<S> Incoming<S> {
    /// The request: its target, and its headers with cookies, credentials, origin and offers.
    #[must_use]
    pub fn request(&self) -> &Request<()> {
        &self.request
    }

    pub(crate) const fn shared_request(&self) -> &Arc<Request<()>> {
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
        self.pending.get_ref()
    }

    /// The deadline of the handshake.
    pub(crate) const fn deadline(&self) -> Instant {
        self.pending.deadline()
    }

    pub(crate) const fn acceptor(&self) -> &Acceptor {
        &self.pending.acceptor
    }

    /// What was read, and the stream with what came after that.
    #[cfg(feature = "service")]
    pub(crate) fn into_parts(self) -> (PendingUpgrade<S>, Arc<Request<()>>) {
        (self.pending, self.request)
    }

    fn is_head(&self) -> bool {
        self.request.method() == Method::HEAD
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Incoming<S> {
    /// Reads the request of this stream; it is not checked.
    pub(crate) async fn read(mut pending: PendingUpgrade<S>) -> Result<Self, AcceptError> {
        let request = Arc::new(pending.read().await?);
        Ok(Self { pending, request, peer: Peer::unknown() })
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
        // Boxed: the state of a handshake is large, and dropped when the connection is open.
        Box::pin(async move { Ok(self.open_checked(upgrade).await?.0) })
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
        let (head_only, response) = (self.is_head(), response.map(Into::into));
        Box::pin(self.pending.answer(response, head_only))
    }

    /// Sends a whole response, as part of the future of a server's handshake.
    pub(crate) async fn respond(mut self, response: Response<Bytes>) -> io::Result<()> {
        let head_only = self.is_head();
        self.pending.refuse(&response, head_only).await
    }

    /// Sends the response that opens the connection, and opens it.
    pub(crate) async fn switch(self, answer: Acceptance) -> Result<WebSocket<S>, AcceptError> {
        self.pending.switch(answer, self.peer).await
    }

    fn check(&self) -> Result<ServerRequest<'_>, HandshakeError> {
        self.pending.acceptor.check((&*self.request).into())
    }

    /// Returns this if it may be accepted, and answers it otherwise.
    pub(crate) async fn checked(mut self) -> Result<Self, AcceptError> {
        match self.check() {
            Ok(_) => Ok(self),
            Err(error) => {
                let head_only = self.is_head();
                Err(self.pending.turn_away(error, head_only).await)
            }
        }
    }

    /// Checks and answers the request. Returns the data of the `Upgrade` too.
    pub(crate) async fn open<T>(
        self,
        upgrade: Upgrade<T>,
    ) -> Result<(WebSocket<S>, T), AcceptError> {
        let answer =
            self.check().map(|request| self.pending.acceptor.accept_with(&request, upgrade));
        self.answer_with(answer).await
    }

    /// The same for one that was [checked](Self::checked) before: its origin is not compared again.
    pub(crate) async fn open_checked<T>(
        self,
        upgrade: Upgrade<T>,
    ) -> Result<(WebSocket<S>, T), AcceptError> {
        let answer = ServerRequest::check(&*self.request)
            .map(|request| self.pending.acceptor.accept_with(&request, upgrade));
        self.answer_with(answer).await
    }

    async fn answer_with<T>(
        mut self,
        answer: Result<Result<(Acceptance, T), BuildError>, HandshakeError>,
    ) -> Result<(WebSocket<S>, T), AcceptError> {
        match answer {
            Ok(Ok((answer, data))) => Ok((self.pending.switch(answer, self.peer).await?, data)),
            Ok(Err(error)) => Err(self.pending.fail(error).await),
            Err(error) => {
                let head_only = self.is_head();
                Err(self.pending.turn_away(error, head_only).await)
            }
        }
    }
}

/// The response that opens the connection, and what it agrees on.
type Acceptance = (Response<()>, Agreed);

/// Without headers and query, which may hold credentials.
impl<S> fmt::Debug for Incoming<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("path", &self.request.uri().path())
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
