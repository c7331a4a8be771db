//! A stream whose request is not answered yet: reads the request, and writes the answer.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use tautline_handshake::{
    Agreed, HandshakeError, RequestHeadReader, encode_response, text_response,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{AcceptError, Acceptor};
use crate::builder::WebSocketBuilder;
#[cfg(feature = "service")]
use tautline_handshake::encode_request;

#[cfg(feature = "http2")]
use crate::handshake_io::begins_http2;
use crate::handshake_io::{Answer, NEVER, ReadHeadError, read_request};
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

/// The response that opens the connection, and what it agrees on.
pub(crate) type Acceptance = (Response<()>, Agreed);

/// A stream whose request is not answered yet.
pub(crate) struct ServerHandshake<S> {
    stream: S,
    pub(super) acceptor: Acceptor,
    /// Part of the request; later, what came after it: frames.
    buffer: BytesMut,
    deadline: Instant,
    /// Turns the end of the stream into a reset, if the stream can do that.
    reset: fn(&S),
}

impl<S> ServerHandshake<S> {
    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) const fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ServerHandshake<S> {
    pub(crate) fn new(stream: S, acceptor: Acceptor, deadline: Instant, reset: fn(&S)) -> Self {
        Self { stream, acceptor, buffer: BytesMut::new(), deadline, reset }
    }

    /// Whether the client speaks HTTP/2 without having asked for it inside TLS.
    #[cfg(feature = "http2")]
    pub(crate) async fn begins_http2(&mut self) -> Result<bool, AcceptError> {
        let reading = pin!(begins_http2(&mut self.stream, &mut self.buffer));
        Ok(until(self.deadline, reading).await??)
    }

    /// This from the start of its request on, for somebody else to read. The head is written anew
    /// from what was read, so that they see nothing of it that was understood otherwise here.
    #[cfg(feature = "service")]
    pub(crate) fn with_head(mut self, request: &Request<()>) -> Self {
        let mut wire = BytesMut::new();
        encode_request(request, &mut wire);
        wire.extend_from_slice(&self.buffer);
        self.buffer = wire;
        self
    }

    /// The stream, and what was read from it.
    #[cfg(feature = "http2")]
    pub(crate) fn into_parts(self) -> (S, BytesMut) {
        (self.stream, self.buffer)
    }

    /// How long the client may read nothing of an answer.
    fn patience(&self) -> Duration {
        self.acceptor.settings.answer_timeout.min(NEVER)
    }

    /// Reads the request. A client that has sent only part of it by the deadline is answered.
    pub(super) async fn read(&mut self) -> Result<Request<()>, AcceptError> {
        let reader = RequestHeadReader::new(self.acceptor.settings.limits);
        let read = {
            let reading = pin!(read_request(&mut self.stream, reader, &mut self.buffer));
            until(self.deadline, reading).await
        };
        match read {
            Ok(Ok(request)) => Ok(request),
            Ok(Err(ReadHeadError::Io(error))) => Err(error.into()),
            Ok(Err(ReadHeadError::Head(error, _))) => {
                let error = HandshakeError::from(error);
                told(self.refuse(&error.to_response(), false).await);
                Err(error.into())
            }
            Err(late) => {
                if !self.buffer.is_empty() {
                    let response = HandshakeError::TimedOut.to_response();
                    told(self.refuse(&response, false).await);
                }
                Err(late)
            }
        }
    }

    pub(super) async fn refuse(
        &mut self,
        response: &Response<Bytes>,
        head_only: bool,
    ) -> io::Result<()> {
        let patience = self.patience();
        let answer = Answer::new(&mut self.stream, self.reset, response.status());
        // Boxed: this is rare, and would make the state of every handshake much larger.
        Box::pin(answer.refuse(response, head_only, patience)).await
    }

    /// Answers with 101.
    pub(crate) fn switch(
        mut self,
        (response, agreed): Acceptance,
        peer: Peer,
    ) -> impl Future<Output = Result<Unbuilt<S>, AcceptError>> {
        let mut wire = BytesMut::with_capacity(RESPONSE_SIZE);
        encode_response(&response.map(|()| ""), &mut wire);
        // Not an `async fn`, which has room for its arguments twice.
        async move {
            let patience = self.patience();
            let answer = Answer::new(&mut self.stream, self.reset, StatusCode::SWITCHING_PROTOCOLS);
            answer.switch(&wire, patience).await.map_err(AcceptError::of_answer)?;
            let builder = self.acceptor.connection(agreed).peer(peer);
            Ok(Unbuilt { builder: builder.leftover(self.buffer), stream: self.stream })
        }
    }
}

/// A WebSocket whose handshake is done.
pub(crate) struct Unbuilt<S> {
    builder: WebSocketBuilder,
    stream: S,
}

impl<S: AsyncRead + AsyncWrite + Unpin> From<Unbuilt<S>> for WebSocket<S> {
    fn from(Unbuilt { builder, stream }: Unbuilt<S>) -> Self {
        builder.build(stream)
    }
}

/// A handshake in a box: its state is large. It is dropped before the connection is built, which
/// then takes its place in memory: what came behind it would leave a hole there, for each connection.
pub(crate) struct Opening<F>(Option<Pin<Box<F>>>);

impl<F> Opening<F> {
    pub(crate) fn new(handshake: F) -> Self {
        Self(Some(Box::pin(handshake)))
    }
}

impl<F, S> Future for Opening<F>
where
    F: Future<Output = Result<Unbuilt<S>, AcceptError>>,
    S: AsyncRead + AsyncWrite + Unpin,
{
    type Output = Result<WebSocket<S>, AcceptError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(handshake) = &mut self.0 else {
            // Polled again after it was ready.
            return Poll::Pending;
        };
        let done = ready!(handshake.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(done.map(Into::into))
    }
}

/// The reason of a refusal stays the same if the peer did not wait for it.
pub(super) fn told(result: io::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a refusal did not reach its peer");
    }
}

/// What a client is told about a mistake of the application.
pub(crate) fn internal_error() -> Response<Bytes> {
    text_response(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
}
