//! A request that was read and is not answered, with the stream that it came on.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use tautline_handshake::{Agreed, BuildError, HandshakeError, ServerRequest};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{AcceptError, PendingUpgrade, Upgrade};
use crate::transport::Peer;
use crate::websocket::WebSocket;

/// A client's request to open a WebSocket, checked and not answered yet, with the stream that it came on: what
/// [`Acceptor::read`](crate::Acceptor::read) returns.
///
/// [Accept](Self::accept) or [refuse](Self::refuse) it. Dropped, it ends the stream without an answer.
#[must_use = "the client waits for an answer"]
pub struct Incoming<S> {
    pending: PendingUpgrade<S>,
    request: Arc<Request<()>>,
    peer: Peer,
}

impl<S> Incoming<S> {
    /// The request: what is asked for, and the headers with cookies, credentials, origin and offers.
    #[must_use]
    pub fn request(&self) -> &Request<()> {
        &self.request
    }

    pub(crate) const fn shared_request(&self) -> &Arc<Request<()>> {
        &self.request
    }

    /// Who asks, as far as [`with_peer`](Self::with_peer) says.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Says who is at the other end of the stream: what [`WebSocket::peer`] tells of the connection.
    pub fn with_peer(mut self, peer: impl Into<Peer>) -> Self {
        self.peer = peer.into();
        self
    }

    /// The stream, for inspection. Do not read from it or write to it.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.pending.stream
    }

    /// When the handshake is to be over.
    pub(crate) const fn deadline(&self) -> Instant {
        self.pending.deadline
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

    /// Opens the connection. The answer has what the client offered and the [`Acceptor`](crate::Acceptor) takes, and what
    /// [`Upgrade`] adds.
    ///
    /// # Errors
    /// [`AcceptError::Response`] when the answer cannot be built from what `upgrade` says; the client hears 500 then.
    /// [`AcceptError::Timeout`] and [`AcceptError::Io`] when it does not take the answer.
    pub fn accept(
        self,
        upgrade: Upgrade,
    ) -> impl Future<Output = Result<WebSocket<S>, AcceptError>> {
        // Boxed: the state of a handshake is large, and gone when the connection is there.
        Box::pin(async move { Ok(self.open_checked(upgrade).await?.0) })
    }

    /// Answers with a refusal, and ends the stream when the client has it. Returns the status that was sent: that of the response,
    /// or 500 in place of a 1xx, which would promise something else.
    ///
    /// # Errors
    /// [`AcceptError::Timeout`] and [`AcceptError::Io`] when the client does not take the answer.
    pub fn refuse<B: Into<Bytes>>(
        self,
        response: Response<B>,
    ) -> impl Future<Output = Result<StatusCode, AcceptError>> {
        let (head_only, response) = (self.is_head(), response.map(Into::into));
        Box::pin(self.pending.answer(response, head_only))
    }

    /// As [`refuse`](Self::refuse), within the future of a server's handshake.
    pub(crate) async fn answer(self, response: Response<Bytes>) -> Result<StatusCode, AcceptError> {
        let head_only = self.is_head();
        self.pending.answer(response, head_only).await
    }

    fn check(&self) -> Result<ServerRequest<'_>, HandshakeError> {
        self.pending.acceptor.check((&*self.request).into())
    }

    /// Whether it is an opening handshake that may be accepted; one that may not is answered.
    pub(crate) async fn checked(mut self) -> Result<Self, AcceptError> {
        match self.check() {
            Ok(_) => Ok(self),
            Err(error) => {
                let head_only = self.is_head();
                Err(self.pending.turn_away(error, head_only).await)
            }
        }
    }

    /// Checks the request, answers it, and gives what was decided about it along.
    pub(crate) async fn open<T>(
        self,
        upgrade: Upgrade<T>,
    ) -> Result<(WebSocket<S>, T), AcceptError> {
        let answer = self.check().map(|request| self.pending.acceptor.answer(&request, upgrade));
        self.answer_with(answer).await
    }

    /// The same for one that was [checked](Self::checked): its origin is not asked about again.
    pub(crate) async fn open_checked<T>(
        self,
        upgrade: Upgrade<T>,
    ) -> Result<(WebSocket<S>, T), AcceptError> {
        let answer = ServerRequest::check(&*self.request)
            .map(|request| self.pending.acceptor.answer(&request, upgrade));
        self.answer_with(answer).await
    }

    async fn answer_with<T>(
        mut self,
        answer: Result<Result<(Answer, T), BuildError>, HandshakeError>,
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

/// The response, and what is agreed on with it.
type Answer = (Response<()>, Agreed);

/// Without the headers and the query: credentials are among them.
impl<S> fmt::Debug for Incoming<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("path", &self.request.uri().path())
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
