//! A request that was read and is not answered yet, over any version of HTTP.

use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
#[cfg(feature = "http2")]
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
#[cfg(feature = "http2")]
use tautline_handshake::text_response;
use tautline_handshake::{Agreed, BuildError, HandshakeError, ServerRequest};
use tokio::time::Instant;

use crate::accept::{AcceptError, Acceptor, Upgrade, internal_error};
use crate::transport::Peer;
use crate::websocket::WebSocket;

/// How its request is answered is up to each version; which answers there are is here.
pub(super) trait Asked: Sized + Send {
    fn acceptor(&self) -> &Acceptor;

    fn request(&self) -> &Arc<Request<()>>;

    fn peer(&self) -> &Peer;

    /// When the application must have decided.
    fn deadline(&self) -> Instant;

    /// Whether it asks for a WebSocket.
    fn is_for_websocket(&self) -> bool;

    /// Sends a whole response.
    fn respond(self, response: Response<Bytes>) -> impl Future<Output = io::Result<()>> + Send;

    /// Sends the response that opens the WebSocket, and opens it.
    fn switch(
        self,
        answer: (Response<()>, Agreed),
    ) -> impl Future<Output = Result<WebSocket, AcceptError>> + Send;

    /// Checks and answers it. Returns the data of the `Upgrade` too.
    fn open<D: Send>(
        self,
        upgrade: Upgrade<D>,
    ) -> impl Future<Output = Result<(WebSocket, D), AcceptError>> + Send {
        let request = self.request().clone();
        let checked = self.acceptor().check((&*request).into());
        let answer = checked.map(|request| self.acceptor().accept_with(&request, upgrade));
        answer_with(self, answer)
    }

    /// Returns this if it may be accepted, and answers it otherwise.
    fn checked(self) -> impl Future<Output = Result<Self, AcceptError>> + Send {
        let checked = self.acceptor().check((&**self.request()).into()).map(|_| ());
        async move {
            match checked {
                Ok(()) => Ok(self),
                Err(error) => Err(turn_away(self, error).await),
            }
        }
    }

    /// Accepts one that was [checked](Self::checked): its origin is not compared again.
    fn open_checked<D: Send>(
        self,
        upgrade: Upgrade<D>,
    ) -> impl Future<Output = Result<(WebSocket, D), AcceptError>> + Send {
        let request = self.request().clone();
        let checked = ServerRequest::check(&*request);
        let answer = checked.map(|request| self.acceptor().accept_with(&request, upgrade));
        answer_with(self, answer)
    }

    /// Answers without opening a WebSocket, and returns the status that was sent.
    fn answer(
        self,
        mut response: Response<Bytes>,
    ) -> impl Future<Output = Result<StatusCode, AcceptError>> + Send {
        let accepts = self.request().method() == Method::CONNECT && response.status().is_success();
        if accepts || response.status().is_informational() {
            // 101, and any 2xx to a CONNECT, would promise frames, and another interim status an
            // answer that never comes (RFC 9110 sections 9.3.6 and 15.2).
            response = internal_error();
        }
        let status = response.status();
        async move {
            match self.respond(response).await {
                Ok(()) => Ok(status),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(AcceptError::Timeout),
                Err(error) => Err(error.into()),
            }
        }
    }
}

type Answer<D> = Result<Result<((Response<()>, Agreed), D), BuildError>, HandshakeError>;

async fn answer_with<D>(
    asked: impl Asked,
    answer: Answer<D>,
) -> Result<(WebSocket, D), AcceptError> {
    match answer {
        Ok(Ok((answer, data))) => Ok((asked.switch(answer).await?, data)),
        Ok(Err(error)) => {
            tell(asked, internal_error()).await;
            Err(error.into())
        }
        Err(error) => Err(turn_away(asked, error).await),
    }
}

/// Answers a request that is not valid or not allowed.
pub(super) async fn turn_away(asked: impl Asked, error: HandshakeError) -> AcceptError {
    tell(asked, error.to_response()).await;
    error.into()
}

/// What a client is told that has as many connections as it may have. Another is possible as soon as
/// one ends.
#[cfg(feature = "http2")]
pub(super) fn too_many() -> Response<Bytes> {
    let why = "there are too many connections from this address\n";
    let mut response = text_response(StatusCode::TOO_MANY_REQUESTS, why);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("10"));
    response
}

/// Answers with the reason of a refusal. The reason stays the same if the peer did not wait for it.
async fn tell(asked: impl Asked, response: Response<Bytes>) {
    match asked.respond(response).await {
        Ok(()) => {}
        Err(error) => tracing::debug!(%error, "a refusal did not reach its peer"),
    }
}
