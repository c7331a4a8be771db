//! A stream whose request is not answered yet: reads the request, and writes the answer.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode};
use tautline_frame::Role;
use tautline_handshake::{Agreed, HandshakeError, RequestHeadReader, encode_response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Acceptor;
use super::answer::Answer;
use super::error::{AcceptError, internal_error};
use crate::handshake_io::{ReadHeadError, read_request};
use crate::transport::Peer;
use crate::websocket::WebSocket;

/// Room for an answer with a subprotocol and compression: 129 bytes without either.
const RESPONSE_SIZE: usize = 256;

/// The output of this future, or [`AcceptError::Timeout`]. It is pinned by the caller: the state of
/// a handshake is large, and each combinator that takes it by value would copy it.
pub(crate) fn until<F: Future + ?Sized>(
    deadline: Instant,
    future: Pin<&mut F>,
) -> impl Future<Output = Result<F::Output, AcceptError>> {
    let timeout = tokio::time::timeout_at(deadline, future);
    async move { timeout.await.map_err(|_| AcceptError::Timeout) }
}

/// A stream whose request is not answered yet.
pub(crate) struct PendingUpgrade<S> {
    pub(super) stream: S,
    pub(super) acceptor: Acceptor,
    /// Part of the request; later, what came after it: frames.
    buffer: BytesMut,
    pub(super) deadline: Instant,
    /// The request was `HEAD`: a refusal has no body (RFC 9110 section 9.3.2).
    head_only: bool,
    /// Turns the end of the stream into a reset, if the stream can do that.
    reset: fn(&S),
}

impl<S: AsyncRead + AsyncWrite + Unpin> PendingUpgrade<S> {
    pub(crate) fn new(stream: S, acceptor: Acceptor, deadline: Instant, reset: fn(&S)) -> Self {
        Self { stream, acceptor, buffer: BytesMut::new(), deadline, head_only: false, reset }
    }

    /// Reads the request. A client that has sent only part of it by the deadline is answered.
    pub(super) async fn read(&mut self) -> Result<Request<()>, AcceptError> {
        let reader = RequestHeadReader::new(self.acceptor.settings.limits);
        let read = {
            let reading = pin!(read_request(&mut self.stream, reader, &mut self.buffer));
            until(self.deadline, reading).await
        };
        let error = match read {
            Ok(Ok(request)) => {
                self.head_only = *request.method() == Method::HEAD;
                return Ok(request);
            }
            Ok(Err(ReadHeadError::Head(error, _))) => HandshakeError::from(error).into(),
            Ok(Err(ReadHeadError::Io(error))) => return Err(error.into()),
            Err(late) if self.buffer.is_empty() => return Err(late),
            Err(late) => late,
        };
        Err(self.fail(error).await)
    }

    /// Answers with what is wrong, and returns it: it stays the same if the client does not wait
    /// for the answer.
    pub(super) async fn fail(&mut self, error: AcceptError) -> AcceptError {
        if let Some(response) = error.to_response()
            && let Err(lost) = self.refuse(&response).await
        {
            tracing::debug!(error = %lost, "a refusal did not reach its peer");
        }
        error
    }

    /// Answers without opening a WebSocket, and returns the status that was sent.
    pub(super) async fn answer(
        mut self,
        mut response: Response<Bytes>,
    ) -> Result<StatusCode, AcceptError> {
        if response.status().is_informational() {
            // 101 would promise frames, and another interim status an answer that never comes (RFC
            // 9110 section 15.2).
            response = internal_error();
        }
        self.refuse(&response).await.map_err(late_or_failed)?;
        Ok(response.status())
    }

    async fn refuse(&mut self, response: &Response<Bytes>) -> io::Result<()> {
        let patience = self.acceptor.settings.answer_timeout;
        let answer = Answer::new(&mut self.stream, self.reset, response.status());
        // Boxed: this is rare, and would make the state of every handshake much larger.
        Box::pin(answer.refuse(response, self.head_only, patience)).await
    }

    /// Answers with 101, and opens the connection.
    pub(super) async fn switch(
        mut self,
        (response, agreed): (Response<()>, Agreed),
        peer: Peer,
    ) -> Result<WebSocket<S>, AcceptError> {
        let mut wire = BytesMut::with_capacity(RESPONSE_SIZE);
        encode_response(&response.map(|()| ""), &mut wire);
        let patience = self.acceptor.settings.answer_timeout;
        let answer = Answer::new(&mut self.stream, self.reset, StatusCode::SWITCHING_PROTOCOLS);
        answer.switch(&wire, patience).await.map_err(late_or_failed)?;
        Ok(WebSocket::builder(Role::Server)
            .config(self.acceptor.settings.config.clone())
            .agreed(agreed)
            .peer(peer)
            .leftover(self.buffer)
            .build(self.stream))
    }
}

/// A client that reads nothing of its answer is late, like one that does not send its request in
/// time.
fn late_or_failed(error: io::Error) -> AcceptError {
    match error.kind() {
        io::ErrorKind::TimedOut => AcceptError::Timeout,
        _ => AcceptError::Io(error),
    }
}
