//! A request that was read and is not answered yet, over any stream and any version of HTTP.

use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use tautline_handshake::text_response;
use tautline_handshake::{BuildError, HandshakeError, ServerRequest};
use tokio::time::Instant;

use super::handshake::{Acceptance, internal_error, told};
use super::{AcceptError, Acceptor, Upgrade};
use crate::transport::Peer;

/// How its request is answered is up to each version; which answers there are is here.
///
/// The futures are `Send` if the stream is.
pub(crate) trait Asked: Sized {
    /// The WebSocket, or what it is built of.
    type Opened;

    fn acceptor(&self) -> &Acceptor;

    fn request(&self) -> &Arc<Request<()>>;

    fn peer(&self) -> &Peer;

    /// When the application must have decided.
    fn deadline(&self) -> Instant;

    /// Whether it asks for a WebSocket.
    fn is_for_websocket(&self) -> bool;

    /// Sends a whole response.
    async fn respond(self, response: Response<Bytes>) -> io::Result<()>;

    /// Sends the response that opens the WebSocket, and opens it.
    async fn switch(self, answer: Acceptance) -> Result<Self::Opened, AcceptError>;

    /// Checks and answers it. Returns the data of the `Upgrade` too.
    fn open<D>(
        self,
        upgrade: Upgrade<D>,
    ) -> impl Future<Output = Result<(Self::Opened, D), AcceptError>> {
        let checked = self.acceptor().check((&**self.request()).into());
        let answer = checked.map(|request| self.acceptor().accept_with(&request, upgrade));
        answer_with(self, answer)
    }

    /// Returns this if it may be accepted, and answers it otherwise.
    fn checked(self) -> impl Future<Output = Result<Self, AcceptError>> {
        let checked = self.acceptor().check((&**self.request()).into()).map(|_| ());
        async move {
            match checked {
                Ok(()) => Ok(self),
                Err(error) => Err(turn_away(self, error).await),
            }
        }
    }

    /// Accepts one that was [checked](Self::checked): its origin is not compared again.
    fn open_checked<D>(
        self,
        upgrade: Upgrade<D>,
    ) -> impl Future<Output = Result<(Self::Opened, D), AcceptError>> {
        let checked = ServerRequest::check(&**self.request());
        let answer = checked.map(|request| self.acceptor().accept_with(&request, upgrade));
        answer_with(self, answer)
    }

    /// Answers without opening a WebSocket, and returns the status that was sent.
    fn answer(
        self,
        mut response: Response<Bytes>,
    ) -> impl Future<Output = Result<StatusCode, AcceptError>> {
        let accepts = self.request().method() == Method::CONNECT && response.status().is_success();
        if accepts || response.status().is_informational() {
            // 101, and any 2xx to a CONNECT, would promise frames, and another interim status an
            // answer that never comes (RFC 9110 sections 9.3.6 and 15.2).
            response = internal_error();
        }
        let status = response.status();
        async move {
            self.respond(response).await.map_err(AcceptError::of_answer)?;
            Ok(status)
        }
    }
}

type Answer<D> = Result<Result<(Acceptance, D), BuildError>, HandshakeError>;

/// It has one way to a refusal, and no functions in between: each that takes the request by value
/// has room for it in its own future, and all of that is part of every handshake.
async fn answer_with<A: Asked, D>(
    asked: A,
    answer: Answer<D>,
) -> Result<(A::Opened, D), AcceptError> {
    let (response, error) = match answer {
        Ok(Ok((answer, data))) => return Ok((asked.switch(answer).await?, data)),
        Ok(Err(error)) => (internal_error(), error.into()),
        Err(error) => (error.to_response(), error.into()),
    };
    told(asked.respond(response).await);
    Err(error)
}

/// Answers a request that is not valid or not allowed.
pub(crate) async fn turn_away(asked: impl Asked, error: HandshakeError) -> AcceptError {
    told(asked.respond(error.to_response()).await);
    error.into()
}

/// What a client is told that has as many connections as it may have. Another is possible as soon as
/// one ends.
pub(crate) fn too_many() -> Response<Bytes> {
    let why = "there are too many connections from this address\n";
    let mut response = text_response(StatusCode::TOO_MANY_REQUESTS, why);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("10"));
    response
}
