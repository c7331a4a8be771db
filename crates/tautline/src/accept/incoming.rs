//! A request that was read and is not answered yet, with its stream.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tautline_handshake::{Agreed, HandshakeError, ServerRequest};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{AcceptError, PendingUpgrade, Upgrade};
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

    /// The stream, for inspection. Do not read from it or write to it.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.pending.stream
    }

    /// The deadline of the handshake.
    pub(crate) const fn deadline(&self) -> Instant {
        self.pending.deadline
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
        Box::pin(self.answer(response.map(Into::into)))
    }

    /// Like [`refuse`](Self::refuse), as part of the future of a server's handshake.
    pub(crate) async fn answer(self, response: Response<Bytes>) -> Result<StatusCode, AcceptError> {
        self.pending.answer(response).await
    }

    /// Answers with what is wrong with the request, and returns it.
    pub(crate) async fn fail(mut self, error: HandshakeError) -> AcceptError {
        self.pending.fail(error.into()).await
    }

    fn check(&self) -> Result<ServerRequest<'_>, HandshakeError> {
        self.pending.acceptor.check((&*self.request).into())
    }

    /// Returns this if it may be accepted, and answers it otherwise.
    pub(crate) async fn checked(self) -> Result<Self, AcceptError> {
        match self.check() {
            Ok(_) => Ok(self),
            Err(error) => Err(self.fail(error).await),
        }
    }

    /// Checks and answers the request. Returns the data of the `Upgrade` too.
    pub(crate) async fn open<T>(
        self,
        upgrade: Upgrade<T>,
    ) -> Result<(WebSocket<S>, T), AcceptError> {
        let answer = self.check().map_err(AcceptError::from);
        let answer =
            answer.and_then(|request| self.pending.acceptor.accept_with(&request, upgrade));
        self.answer_with(answer).await
    }

    /// The same for one that was [checked](Self::checked) before: its origin is not compared again.
    pub(crate) async fn open_checked<T>(
        self,
        upgrade: Upgrade<T>,
    ) -> Result<(WebSocket<S>, T), AcceptError> {
        let answer = ServerRequest::check(&*self.request).map_err(AcceptError::from);
        let answer =
            answer.and_then(|request| self.pending.acceptor.accept_with(&request, upgrade));
        self.answer_with(answer).await
    }

    async fn answer_with<T>(
        mut self,
        answer: Result<((Response<()>, Agreed), T), AcceptError>,
    ) -> Result<(WebSocket<S>, T), AcceptError> {
        match answer {
            Ok((answer, data)) => Ok((self.pending.switch(answer, self.peer).await?, data)),
            Err(error) => Err(self.pending.fail(error).await),
        }
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
