//! HTTP/2 connections, whose streams become WebSockets (RFC 8441).

use std::future::Future;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
#[cfg(feature = "service")]
use bytes::BytesMut;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version, response};
#[cfg(feature = "service")]
use http_body::Body;
#[cfg(feature = "service")]
use http_body_util::BodyExt;
use tautline_handshake::{ConnectProtocol, HeadError, is_connect_request};
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::time::{Instant, interval_at, timeout_at};

use super::front::Front;
use super::opening::{Opener, Shared, out_of_grace};
use super::proxied::Proxied;
use super::received::{Received, Responder};
#[cfg(feature = "service")]
use super::service::{OnUpgrade, RequestBody, ResponseBody, Service, Upgraded};
use crate::accept::{AcceptError, Acceptor, Asked, too_many, turn_away};
use crate::builder::WebSocketBuilder;
use crate::handler::HandlerResult;
use crate::handshake_io::linger;
use crate::http2::{Data, Http2Stream, error};
use crate::limits::Key;
use crate::transport::gathered::Gathered;
use crate::transport::patient::Patient;
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

impl<T, F, Fut> Front<T, F>
where
    T: Send + 'static,
    F: Fn(WebSocket, T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: HandlerResult> + Send + 'static,
{
    /// Serves a connection until its end: it carries the bytes of all its streams meanwhile.
    pub(super) async fn serve_http2(self: Arc<Self>, accepted: Shared) {
        let Shared { io, peer, client, deadline, mut signal } = accepted;
        let source = Source { peer, client };
        let Some(config) = &self.opener.http2 else { return };
        let acceptor = &self.opener.acceptor;
        let max_head = u32::try_from(acceptor.limits().get_max_bytes()).unwrap_or(u32::MAX);
        let (owner, owned) = oneshot::channel();
        let io = Patient::new(io.with_owner(owner), acceptor.patience());
        let (io, mut gatherer) = Gathered::new(io, !source.peer.is_secure());
        let starting = config.server(max_head).handshake::<_, Data>(io);
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
                accepted = poll_fn(|cx| gatherer.poll(cx, |cx| connection.poll_accept(cx))) => match accepted {
                    Some(Ok((request, respond))) => self.take(request, respond, &source, &streams),
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
        drop((connection, gatherer));
        // What the client sends until it has read GOAWAY must not be answered with a reset.
        if let Ok(mut stream) = owned.await {
            linger(&mut stream).await;
        }
    }

    /// Takes a request, which is answered in a task of its own.
    fn take(
        &self,
        request: Request<RecvStream>,
        mut respond: SendResponse<Data>,
        source: &Source,
        streams: &Streams,
    ) {
        let stream = streams.take().filter(|_| !self.is_full());
        let Some(stream) = stream else {
            return respond.send_reset(Reason::REFUSED_STREAM);
        };
        let Opener { acceptor, proxied, .. } = &*self.opener;
        let asked = Received::on_stream(request, respond, source.peer.clone(), acceptor, proxied);
        if let Err(error) = asked.check_limits() {
            let refusing = async move { drop(turn_away(asked, error.into()).await) };
            return self.spawn(None, refusing, stream);
        }
        let Some(client) = self.admit(&asked, source) else {
            let refusing = async move { drop(asked.answer(too_many()).await) };
            return self.spawn(None, refusing, stream);
        };
        #[cfg(feature = "service")]
        if let Some(service) = &self.opener.service
            && (self.opener.service_only || !asked.is_for_websocket())
            && !asked.is_tunnel()
        {
            let (service, opener) = (service.clone(), self.opener.clone());
            let serving = async move { asked.serve(service, &opener, client).await };
            return self.spawn(client, serving, stream);
        }
        let sender = asked.peer.clone();
        self.open(
            (&sender, client),
            |opener, signal, place| async move { opener.decide(asked, signal, place).await },
            stream,
        );
    }

    /// For whom a request counts as a connection, if it is let in.
    fn admit(&self, asked: &Received<StreamResponder>, source: &Source) -> Option<Option<Key>> {
        // Other requests end soon, and the connection that carries them counts.
        if !StreamResponder::is_for_websocket(&asked.request) {
            return Some(None);
        }
        if asked.peer != source.peer {
            // The connection is that of a proxy.
            return self.places.admit(&asked.peer);
        }
        self.places.admit_another(source.client, &source.peer).then_some(source.client)
    }
}

/// Where the requests of a connection come from.
struct Source {
    peer: Peer,
    /// For whom the connection counts.
    client: Option<Key>,
}

/// Answers a request on its stream.
struct StreamResponder {
    incoming: RecvStream,
    respond: SendResponse<Data>,
}

impl Received<StreamResponder> {
    fn on_stream(
        request: Request<RecvStream>,
        respond: SendResponse<Data>,
        connection: Peer,
        acceptor: &Acceptor,
        proxied: &Proxied,
    ) -> Self {
        let (mut parts, incoming) = request.into_parts();
        if let Some(protocol) = parts.extensions.remove::<h2::ext::Protocol>() {
            parts.extensions.insert(ConnectProtocol::new(protocol.as_str().to_owned()));
        }
        let mut request = Request::from_parts(parts, ());
        let peer = proxied.sender_of(&mut request, connection);
        Self::new(acceptor, request, peer, StreamResponder { incoming, respond })
    }

    /// The limits of a head that HTTP/2 itself has no settings for.
    fn check_limits(&self) -> Result<(), HeadError> {
        let limits = self.acceptor.limits();
        let target = self.request.uri().path_and_query().map_or(0, |path| path.as_str().len());
        if target > limits.get_max_line_bytes() {
            return Err(HeadError::LineTooLong(limits.get_max_line_bytes()));
        }
        if self.request.headers().len() > limits.get_max_headers() {
            return Err(HeadError::TooManyHeaders(limits.get_max_headers()));
        }
        Ok(())
    }
}

impl Responder for StreamResponder {
    fn is_for_websocket(request: &Request<()>) -> bool {
        is_connect_request(request)
    }

    async fn respond(
        mut self,
        request: &Request<()>,
        response: Response<Bytes>,
        patience: Duration,
    ) -> io::Result<()> {
        let (head, body) = response.into_parts();
        let mut head = without_connection(head);
        // RFC 9110 section 8.6.
        let bodiless = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if !bodiless && !head.headers.contains_key(CONTENT_LENGTH) {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        let no_body = bodiless || body.is_empty() || request.method() == Method::HEAD;
        let sent = self.respond.send_response(Response::from_parts(head, ()), no_body);
        // Cut off by a deadline, it is reset when it is dropped.
        let mut stream = Http2Stream::new(sent.map_err(error::io)?, self.incoming);
        if no_body {
            drop(stream.shut());
            return Ok(());
        }
        send(&mut stream, &body, patience).await?;
        stream.shutdown().await
    }

    async fn switch(
        mut self,
        response: Response<()>,
        builder: WebSocketBuilder,
    ) -> Result<WebSocket, AcceptError> {
        let outgoing = self.respond.send_response(response, false).map_err(error::io)?;
        let stream = Transport::http2(Http2Stream::new(outgoing, self.incoming));
        Ok(builder.http_version(Version::HTTP_2).build_on(stream))
    }
}

/// RFC 9113 section 8.2.2: these fields have no meaning here.
fn without_connection(mut head: response::Parts) -> response::Parts {
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        head.headers.remove(HeaderName::from_static(name));
    }
    head.version = Version::HTTP_2;
    head
}

/// Writes a part of a body. A client that takes none of it for this long is given up.
async fn send(stream: &mut Http2Stream, data: &[u8], patience: Duration) -> io::Result<()> {
    for piece in data.chunks(PIECE) {
        tokio::time::timeout(patience, stream.write_all(piece)).await??;
    }
    Ok(())
}

#[cfg(feature = "service")]
impl Received<StreamResponder> {
    /// Whether it asks for a tunnel (RFC 9113 section 8.5), which is nothing for a service.
    fn is_tunnel(&self) -> bool {
        let extended = self.request.extensions().get::<ConnectProtocol>().is_some();
        self.request.method() == Method::CONNECT && !extended
    }

    /// Has the application answer.
    async fn serve<T: Send>(self, service: Service, opener: &Opener<T>, client: Option<Key>) {
        let Self { acceptor, request, peer, responder, .. } = self;
        let StreamResponder { incoming, mut respond } = responder;
        let mut request = Arc::unwrap_or_clone(request);
        let head_only = request.method() == Method::HEAD;
        let connecting = request.method() == Method::CONNECT;
        opener.tell_service(request.extensions_mut(), peer, client);
        let (switching, body) = if connecting {
            let (sender, handle) = OnUpgrade::new();
            request.extensions_mut().insert(handle);
            (Some((sender, incoming)), RequestBody::empty())
        } else {
            (None, RequestBody::http2(incoming))
        };
        let response = tokio::select! {
            response = service.answer(request.map(|()| body)) => response,
            // The client does not want it any more.
            _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
        };
        let patience = acceptor.patience();
        if let Err(error) = send_response(respond, response, switching, head_only, patience).await {
            tracing::debug!(%error, "a response did not reach its client");
        }
    }
}

/// Sends the application's response: its body as it comes, or, if it switches protocols, the stream
/// to whoever waits for it.
#[cfg(feature = "service")]
async fn send_response(
    mut respond: SendResponse<Data>,
    response: Response<ResponseBody>,
    switching: Option<(oneshot::Sender<Upgraded>, RecvStream)>,
    head_only: bool,
    patience: Duration,
) -> io::Result<()> {
    let (head, mut body) = response.into_parts();
    let head = Response::from_parts(without_connection(head), ());
    if let Some((sender, incoming)) = switching
        && head.status().is_success()
    {
        let outgoing = respond.send_response(head, false).map_err(error::io)?;
        let stream = Transport::http2(Http2Stream::new(outgoing, incoming));
        // Nobody waits for it if the service does not care; then it is reset.
        let _ = sender.send((stream, BytesMut::new()));
        return Ok(());
    }
    let no_body = head_only || body.is_end_stream();
    let outgoing = respond.send_response(head, no_body).map_err(error::io)?;
    if no_body {
        return Ok(());
    }
    let mut stream = Http2Stream::sending(outgoing);
    loop {
        // A body may wait for ever for something that the client does not want any more.
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = poll_fn(|cx| stream.poll_reset(cx)) => return Ok(()),
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(io::Error::other)?;
        match frame.into_data() {
            Ok(data) => send(&mut stream, &data, patience).await?,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return stream.finish(trailers);
                }
            }
        }
    }
    stream.shutdown().await
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
