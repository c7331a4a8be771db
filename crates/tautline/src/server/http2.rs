//! HTTP/2 connections, whose streams become WebSockets (RFC 8441).

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use tautline_handshake::{
    Agreed, BuildError, ConnectProtocol, HandshakeError, HeadError, ServerRequest,
    is_connect_request,
};
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::time::{Instant, interval_at, timeout_at};
use tracing::Instrument;

use super::opening::{Asked, Http2Accepted, Opened, Opener, out_of_grace, start};
use super::task::serve_one;
use crate::accept::{AcceptError, Upgrade, internal_error};
use crate::error::BoxError;
use crate::handshake_io::linger;
use crate::http2::{Http2Stream, error};
use crate::tasks::Tasks;
use crate::transport::{Peer, Transport};
use crate::websocket::WebSocket;

/// How often it is looked whether a connection has streams. One that has had none for two times is
/// asked to end, and cut off if it has not by the next.
const IDLE_CHECK: Duration = Duration::from_secs(30);

/// The same while the server shuts down, when all have been asked to end. It does not wait longer
/// for a client that is silent.
const LEAVING_CHECK: Duration = Duration::from_millis(500);

/// How much of an answer is written at a time, in bytes. A client that reads this much before the
/// deadline makes progress.
const PIECE: usize = 16 << 10;

/// What is to be done about a connection.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Stay,
    AskToEnd,
    CutOff,
}

/// How often in a row a connection was found without streams.
#[derive(Default)]
struct Idleness(u32);

impl Idleness {
    fn check(&mut self, has_streams: bool) -> Verdict {
        self.0 = if has_streams { 0 } else { self.0 + 1 };
        match self.0 {
            0 | 1 => Verdict::Stay,
            2 => Verdict::AskToEnd,
            _ => Verdict::CutOff,
        }
    }
}

/// Where the streams of connections find their places.
pub(super) struct Front {
    places: Tasks,
    max_connections: usize,
}

impl Front {
    pub(super) const fn new(places: Tasks, max_connections: usize) -> Self {
        Self { places, max_connections }
    }

    /// Serves a connection until its end: it carries the bytes of all its streams meanwhile.
    pub(super) async fn serve<T, F, Fut>(
        self,
        accepted: Http2Accepted,
        opener: Arc<Opener<T>>,
        handler: Arc<F>,
    ) where
        T: Send + 'static,
        F: Fn(WebSocket, T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let Http2Accepted { io, peer, deadline, mut signal } = accepted;
        let Some(config) = &opener.http2 else { return };
        let max_head = u32::try_from(opener.acceptor.limits().get_max_bytes()).unwrap_or(u32::MAX);
        let (owner, owned) = oneshot::channel();
        let starting = config.server(max_head).handshake::<_, Bytes>(io.with_owner(owner));
        let started = tokio::select! {
            started = timeout_at(deadline, starting) => started,
            () = out_of_grace(&mut signal) => return,
        };
        let mut connection = match started {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return tracing::debug!(%error, "HTTP/2 was not started"),
            Err(_) => return tracing::debug!("HTTP/2 was not started in time"),
        };
        let streams = Streams { held: Arc::default(), limit: config.get_max_streams() };
        let mut leaving = false;
        let mut idleness = Idleness::default();
        let mut checks = interval_at(deadline, IDLE_CHECK);
        loop {
            tokio::select! {
                accepted = connection.accept() => match accepted {
                    Some(Ok((request, respond))) => {
                        self.open((request, respond), &peer, &streams, &opener, &handler);
                    }
                    Some(Err(error)) => {
                        break tracing::debug!(%error, "HTTP/2 connection failed");
                    }
                    None => break tracing::debug!("HTTP/2 connection closed"),
                },
                () = signal.fired(), if !leaving => {
                    leaving = true;
                    // Streams that are open close with 1001.
                    connection.graceful_shutdown();
                    idleness = Idleness::default();
                    checks = interval_at(Instant::now() + LEAVING_CHECK, LEAVING_CHECK);
                }
                _ = checks.tick() => match idleness.check(connection.has_streams()) {
                    Verdict::Stay => {}
                    Verdict::AskToEnd if !leaving => connection.graceful_shutdown(),
                    Verdict::AskToEnd | Verdict::CutOff => {
                        return tracing::debug!("HTTP/2 connection did not end");
                    }
                },
            }
        }
        drop(connection);
        // What the client sends until it has read GOAWAY must not be answered with a reset.
        if let Ok(mut stream) = owned.await {
            linger(&mut stream).await;
        }
    }

    /// Opens a stream, in a task of its own.
    fn open<T, F, Fut>(
        &self,
        (request, mut respond): (Request<RecvStream>, SendResponse<Bytes>),
        peer: &Peer,
        streams: &Streams,
        opener: &Arc<Opener<T>>,
        handler: &Arc<F>,
    ) where
        T: Send + 'static,
        F: Fn(WebSocket, T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let stream = streams.take().filter(|_| self.places.count() < self.max_connections);
        let Some(stream) = stream else {
            return respond.send_reset(Reason::REFUSED_STREAM);
        };
        let (opener, handler) = (opener.clone(), handler.clone());
        let asked = StreamRequest::new(request, respond, peer.clone(), &opener);
        let signal = opener.shutdown.signal();
        self.places.spawn(|place| {
            let held = place.share();
            // Boxed: the state of a handshake is large, and dropped when the handler starts.
            let opening = Box::pin(async move {
                let asked = asked.within_limits().await?;
                match opener.decide(asked, signal, held).await? {
                    Opened::WebSocket(ws, data) => Ok(start(&*handler, ws, data)),
                    Opened::Http2(_) | Opened::Nothing => Ok(None),
                }
            });
            let serving = serve_one(opening, place).in_current_span();
            async move {
                serving.await;
                drop(stream);
            }
        });
    }
}

/// The streams of a connection, as long as there is anything of them here. HTTP/2's own count
/// forgets those that are reset, but not so what they started (CVE-2023-44487).
struct Streams {
    held: Arc<()>,
    limit: u32,
}

impl Streams {
    /// Counts one more, until what this returns is dropped; `None` if there are too many.
    fn take(&self) -> Option<Arc<()>> {
        let taken = Arc::strong_count(&self.held) - 1;
        (taken < self.limit as usize).then(|| self.held.clone())
    }
}

/// A request on a stream, which is not answered yet.
struct StreamRequest<T> {
    opener: Arc<Opener<T>>,
    request: Arc<Request<()>>,
    incoming: RecvStream,
    respond: SendResponse<Bytes>,
    peer: Peer,
    deadline: Instant,
}

impl<T: Send> StreamRequest<T> {
    fn new(
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        peer: Peer,
        opener: &Arc<Opener<T>>,
    ) -> Self {
        let (mut parts, incoming) = request.into_parts();
        if let Some(protocol) = parts.extensions.remove::<h2::ext::Protocol>() {
            parts.extensions.insert(ConnectProtocol::new(protocol.as_str().to_owned()));
        }
        let request = Arc::new(Request::from_parts(parts, ()));
        let deadline = opener.acceptor.deadline();
        Self { opener: opener.clone(), request, incoming, respond, peer, deadline }
    }

    /// The limits of a head that HTTP/2 itself has no settings for.
    async fn within_limits(self) -> Result<Self, AcceptError> {
        let limits = self.opener.acceptor.limits();
        let target = self.request.uri().path_and_query().map_or(0, |path| path.as_str().len());
        let error = if target > limits.get_max_line_bytes() {
            HeadError::LineTooLong(limits.get_max_line_bytes())
        } else if self.request.headers().len() > limits.get_max_headers() {
            HeadError::TooManyHeaders(limits.get_max_headers())
        } else {
            return Ok(self);
        };
        Err(self.turn_away(error.into()).await)
    }

    /// Answers a request that is not valid or not allowed. The reason stays the same if the client
    /// did not wait for it.
    async fn turn_away(self, error: HandshakeError) -> AcceptError {
        self.tell(error.to_response()).await;
        error.into()
    }

    async fn tell(self, response: Response<Bytes>) {
        match self.send(response).await {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "a refusal did not reach its peer"),
        }
    }

    /// Sends a whole response.
    async fn send(mut self, response: Response<Bytes>) -> io::Result<()> {
        let (mut head, body) = response.into_parts();
        head.version = Version::HTTP_2;
        // RFC 9113 section 8.2.2: they have no meaning here.
        for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"]
        {
            head.headers.remove(HeaderName::from_static(name));
        }
        if !head.headers.contains_key(CONTENT_LENGTH) {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        let no_body = body.is_empty() || self.request.method() == Method::HEAD;
        let sent = self.respond.send_response(Response::from_parts(head, ()), no_body);
        let stream = Http2Stream::new(sent.map_err(error::io)?, self.incoming);
        if no_body {
            drop(stream.shut());
            return Ok(());
        }
        // Cut off by a deadline, it is reset when it is dropped.
        let mut stream = stream;
        let patience = self.opener.acceptor.patience();
        for piece in body.chunks(PIECE) {
            tokio::time::timeout(patience, stream.write_all(piece)).await??;
        }
        stream.shutdown().await
    }

    async fn accept<D>(
        mut self,
        answer: Result<((Response<()>, Agreed), D), BuildError>,
    ) -> Result<(WebSocket, D), AcceptError> {
        let ((response, agreed), data) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.tell(internal_error()).await;
                return Err(error.into());
            }
        };
        let sent = self.respond.send_response(response, false);
        let outgoing = sent.map_err(|error| AcceptError::Io(error::io(error)))?;
        let stream = Transport::http2(Http2Stream::new(outgoing, self.incoming));
        let connection = self.opener.acceptor.connection(agreed);
        Ok((connection.peer(self.peer).http_version(Version::HTTP_2).build(stream), data))
    }
}

impl<T: Send> Asked for StreamRequest<T> {
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
        is_connect_request(&*self.request)
    }

    async fn open<D: Send>(self, upgrade: Upgrade<D>) -> Result<(WebSocket, D), AcceptError> {
        let request = self.request.clone();
        match self.opener.acceptor.check((&*request).into()) {
            Ok(request) => {
                let answer = self.opener.acceptor.accept_with(&request, upgrade);
                self.accept(answer).await
            }
            Err(error) => Err(self.turn_away(error).await),
        }
    }

    async fn checked(self) -> Result<Self, AcceptError> {
        let checked = self.opener.acceptor.check((&*self.request).into()).map(|_| ());
        match checked {
            Ok(()) => Ok(self),
            Err(error) => Err(self.turn_away(error).await),
        }
    }

    async fn open_checked<D: Send>(
        self,
        upgrade: Upgrade<D>,
    ) -> Result<(WebSocket, D), AcceptError> {
        let request = self.request.clone();
        match ServerRequest::check(&*request) {
            Ok(request) => {
                let answer = self.opener.acceptor.accept_with(&request, upgrade);
                self.accept(answer).await
            }
            Err(error) => Err(self.turn_away(error).await),
        }
    }

    async fn answer(self, mut response: Response<Bytes>) -> Result<StatusCode, AcceptError> {
        if response.status().is_informational() {
            // An interim status promises an answer that never comes (RFC 9110 section 15.2).
            response = internal_error();
        }
        let status = response.status();
        self.send(response).await.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => AcceptError::Timeout,
            _ => AcceptError::Io(error),
        })?;
        Ok(status)
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    // A connection whose last stream has ended is kept for the next one, but not for ever.
    #[test]
    fn only_a_connection_that_stays_without_streams_is_ended() {
        let mut idleness = Idleness::default();
        for has_streams in [false, true, false, true, true] {
            assert_eq!(idleness.check(has_streams), Verdict::Stay);
        }
        let verdicts = [(); 3].map(|()| idleness.check(false));
        assert_eq!(verdicts, [Verdict::Stay, Verdict::AskToEnd, Verdict::CutOff]);
        // It was asked to end, and a stream came that was on its way.
        assert_eq!(idleness.check(true), Verdict::Stay);
    }

    #[test]
    fn streams_count_until_nothing_is_left_of_them() {
        let streams = Streams { held: Arc::default(), limit: 2 };
        let one = streams.take().expect("room");
        let _other = streams.take().expect("room");
        assert!(streams.take().is_none());
        drop(one);
        assert!(streams.take().is_some());
    }
}
