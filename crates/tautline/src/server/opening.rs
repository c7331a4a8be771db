//! From an accepted stream to the future of a handler: TLS, the request, the application's
//! decision, the answer.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
#[cfg(feature = "service")]
use tautline_handshake::is_upgrade_request;
use tautline_handshake::{RequestHead, text_response};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::listen::Stream;
use super::proxied::tell_events;
use super::span;
use super::turns::SHORT;
#[cfg(feature = "tls")]
use super::turns::tls_weight;
#[cfg(feature = "service")]
use crate::accept::turn_away;
use crate::accept::{
    AcceptError, Acceptor, Asked, Incoming, ServerHandshake, Upgrade, UpgradeRequest,
    internal_error, too_many, until,
};
#[cfg(feature = "service")]
use crate::connections::Connections;
use crate::limits::{Key, Opening};
use crate::observe::Observers;
use crate::outcome::Outcome;
use crate::parting::hand_to_server;
use crate::shutdown::{Shutdown, ShutdownSignal};
use crate::tasks::Place;
#[cfg(feature = "http2")]
use crate::transport::rewound::Rewound;
use crate::transport::{Peer, Transport, socket};
use crate::websocket::WebSocket;

/// How long a handshake has when the server shuts down: enough for a request that is on its way,
/// and for a decision about it. The server does not wait longer for a connection that is silent,
/// such as one that a browser opened in advance.
const OPENING_GRACE: Duration = Duration::from_secs(1);

pub(super) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
pub(super) type Authorize<T> =
    Box<dyn Fn(UpgradeRequest) -> BoxFuture<Result<Upgrade<T>, Response<Bytes>>> + Send + Sync>;
pub(super) type Fallback =
    Box<dyn Fn(Request<()>, Peer) -> BoxFuture<Response<Bytes>> + Send + Sync>;

/// How valid requests are decided about.
pub(super) enum Decision<T> {
    /// All are accepted; this makes the data for their handlers.
    Accept(fn() -> T),
    Ask(Authorize<T>),
}

/// Opens connections.
pub(super) struct Opener<T> {
    pub(super) acceptor: Acceptor,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<crate::transport::ServerTls>,
    pub(super) decision: Decision<T>,
    pub(super) fallback: Option<Fallback>,
    pub(super) proxied: super::proxied::Proxied,
    pub(super) shutdown: Shutdown,
    pub(super) observers: Observers,
    #[cfg(feature = "http2")]
    pub(super) http2: Option<crate::http2::Http2Config>,
    #[cfg(feature = "service")]
    pub(super) service: Option<super::service::Service>,
    /// There is no handler: WebSockets are the service's too.
    #[cfg(feature = "service")]
    pub(super) service_only: bool,
    #[cfg(feature = "service")]
    pub(super) connections: Connections,
}

/// A connection that was accepted and let in.
pub(super) struct Arrived {
    pub(super) peer: Peer,
    /// For whom it counts.
    pub(super) client: Option<Key>,
    /// Its handshake, until its request is read: from then on it is the application's.
    pub(super) under_way: Opening,
}

/// What an accepted stream turned out to be.
pub(super) enum Opened<T> {
    WebSocket(WebSocket, T),
    /// An HTTP/2 connection, on whose streams there will be requests.
    #[cfg(feature = "http2")]
    Http2(Box<Shared>),
    /// A connection of HTTP/1.1 whose requests are the application's.
    #[cfg(feature = "service")]
    Http1(Box<Shared>),
    /// It was answered otherwise (it was not for a WebSocket, or the application refused or did
    /// not decide), or nothing arrived before the server shut down.
    Nothing,
}

/// A connection that carries several requests, with what was read of it.
#[cfg(feature = "http2")]
pub(super) struct Shared {
    pub(super) io: Rewound<Transport>,
    pub(super) peer: Peer,
    pub(super) client: Option<Key>,
    pub(super) deadline: Instant,
    pub(super) signal: ShutdownSignal,
}

#[cfg(feature = "http2")]
impl Shared {
    fn new(
        pending: ServerHandshake<Transport>,
        (peer, client): (Peer, Option<Key>),
        signal: ShutdownSignal,
    ) -> Self {
        let transport = pending.get_ref();
        let peer = transport.shared(transport.secured(peer));
        let deadline = pending.deadline();
        let (stream, read) = pending.into_parts();
        Self { io: Rewound::new(stream, read), peer, client, deadline, signal }
    }
}

/// What is read first from a stream.
enum First {
    Request(Incoming<Transport>),
    #[cfg(feature = "http2")]
    Http2(ServerHandshake<Transport>),
}

impl<T> Opener<T> {
    /// How much a step of an opening handshake weighs among turns.
    #[cfg(feature = "tls")]
    pub(super) fn weight_of_step(&self) -> u32 {
        match &self.tls {
            Some(_) => tls_weight(tokio::runtime::Handle::current().metrics().num_workers()),
            None => SHORT,
        }
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, reason = "it depends on TLS, where there is any")]
    pub(super) const fn weight_of_step(&self) -> u32 {
        SHORT
    }
}

impl<T: Send> Opener<T> {
    pub(super) async fn open(
        self: Arc<Self>,
        stream: Stream,
        arrived: Arrived,
        place: Place,
    ) -> Result<Opened<T>, AcceptError> {
        let Arrived { peer, client, mut under_way } = arrived;
        let deadline = self.acceptor.deadline();
        // The connection keeps it: since nearly every handshake waits for its request, it is
        // registered by then.
        let mut signal = self.shutdown.signal();
        let read = {
            let at = (&place, &mut under_way);
            let reading = pin!(self.read_from(stream, (peer, client), at, deadline));
            let going_down = pin!(out_of_grace(&mut signal));
            tokio::select! {
                // A request that has arrived is taken, without registering in the list.
                biased;
                read = reading => Some(read),
                () = going_down => None,
            }
        };
        drop(under_way);
        let Some(read) = read else {
            return Ok(Opened::Nothing);
        };
        #[cfg_attr(
            not(feature = "http2"),
            expect(unused_variables, reason = "one connection has one request")
        )]
        let Some((first, peer, client)) = read? else {
            return Ok(Opened::Nothing);
        };
        match first {
            First::Request(incoming) => {
                #[cfg(feature = "service")]
                if self.is_for_service(&incoming) {
                    if let Err(error) = RequestHead::from(incoming.request()).authority() {
                        return Err(turn_away(incoming, error).await);
                    }
                    let (pending, request) = incoming.into_parts();
                    let pending = pending.with_head(&request);
                    return Ok(Opened::Http1(Box::new(Shared::new(
                        pending,
                        (peer, client),
                        signal,
                    ))));
                }
                let peer = incoming.get_ref().secured(peer);
                let incoming = self.with_sender(incoming, &peer);
                if *incoming.peer() != peer && place.admit(incoming.peer(), None).is_none() {
                    incoming.answer(too_many()).await?;
                    return Ok(Opened::Nothing);
                }
                self.decide(incoming, signal, place).await
            }
            #[cfg(feature = "http2")]
            First::Http2(pending) => {
                Ok(Opened::Http2(Box::new(Shared::new(pending, (peer, client), signal))))
            }
        }
    }

    /// What a service learns of the server with each request: who asks, and, where it opens
    /// WebSockets, how, and whose they are.
    #[cfg(feature = "service")]
    pub(super) fn tell_service(
        &self,
        extensions: &mut http::Extensions,
        peer: Peer,
        client: Option<Key>,
    ) {
        extensions.insert(peer);
        if self.service_only {
            extensions.insert(self.acceptor.clone());
            extensions.insert(self.connections.of_client(client));
        }
    }

    /// Whether the connection is the application's. A tunnel (CONNECT) is not: hyper would offer
    /// it to a service that does not expect one.
    #[cfg(feature = "service")]
    fn is_for_service(&self, incoming: &Incoming<Transport>) -> bool {
        self.service.is_some()
            && (self.service_only || !is_upgrade_request(incoming.request()))
            && incoming.request().method() != http::Method::CONNECT
    }

    /// Lets the application decide about a request, and answers it.
    pub(super) async fn decide<A: Asked<Opened: Into<WebSocket>>>(
        &self,
        asked: A,
        mut signal: ShutdownSignal,
        place: Place,
    ) -> Result<Opened<T>, AcceptError> {
        span::record_request(asked.request());
        if let Some(fallback) = &self.fallback
            && !asked.is_for_websocket()
        {
            fall_back(fallback, asked, &mut signal).await?;
            return Ok(Opened::Nothing);
        }
        let (opened, data) = match &self.decision {
            Decision::Accept(data) => asked.open(Upgrade::new(data())).await?,
            Decision::Ask(authorize) => {
                let asked = asked.checked().await?;
                let request = UpgradeRequest::new(asked.request().clone(), asked.peer().clone());
                match decided(authorize(request), asked.deadline(), &mut signal).await {
                    Ok(Ok(upgrade)) => asked.open_checked(upgrade).await?,
                    Ok(Err(response)) => {
                        let status = asked.answer(response).await?;
                        span::record_answer(status);
                        tracing::debug!(%status, "the application refused the connection");
                        return Ok(Opened::Nothing);
                    }
                    Err(undecided) => {
                        return undecided.answer(asked).await.map(|()| Opened::Nothing);
                    }
                }
            }
        };
        let mut ws: WebSocket = opened.into();
        span::record_opened(ws.http_version());
        ws.watch(signal);
        ws.observe(&self.observers);
        ws.keep_place(place, hand_to_server);
        tracing::debug!(subprotocol = ws.subprotocol(), "connection opened");
        Ok(Opened::WebSocket(ws, data))
    }

    /// Reads the first request. If a proxy names its client ahead of that, the connection and its
    /// handshake are from there on that client's, and end if the client is not let in.
    async fn read_from(
        &self,
        mut stream: Stream,
        (peer, client): (Peer, Option<Key>),
        (place, under_way): (&Place, &mut Opening),
        deadline: Instant,
    ) -> Result<Option<(First, Peer, Option<Key>)>, AcceptError> {
        let named = match &mut stream {
            Stream::Tcp(stream) => self.proxied.client_of(stream, &peer, deadline).await?,
            #[cfg(unix)]
            Stream::Unix(_) => None,
        };
        let (peer, client) = match named {
            Some(named) => match place.admit(&named, Some(under_way)) {
                Some(client) => (named, client),
                None => return Ok(None),
            },
            None => (peer, client),
        };
        Ok(Some((self.read(stream, deadline).await?, peer, client)))
    }

    /// The request with who sent it, by this connection.
    fn with_sender(&self, incoming: Incoming<Transport>, connection: &Peer) -> Incoming<Transport> {
        incoming.with_sender(|request| {
            let sender = self.proxied.sender_of(request, connection.clone());
            if sender != *connection {
                tell_events(&sender);
            }
            sender
        })
    }

    async fn read(&self, stream: Stream, deadline: Instant) -> Result<First, AcceptError> {
        let transport = match stream {
            Stream::Tcp(stream) => self.secure(stream, deadline).await?,
            #[cfg(unix)]
            Stream::Unix(stream) => Transport::boxed(stream),
        };
        let acceptor = self.acceptor.clone();
        let pending = ServerHandshake::new(transport, acceptor, deadline, Transport::reset_at_end);
        #[cfg(feature = "http2")]
        if self.http2.is_some() {
            return Box::pin(read_either(pending)).await;
        }
        Ok(First::Request(Incoming::read(pending).await?))
    }

    /// TLS, where that is wanted, up to this deadline.
    async fn secure(&self, stream: TcpStream, by: Instant) -> Result<Transport, AcceptError> {
        socket::prepare(&stream)?;
        #[cfg(not(feature = "tls"))]
        let _ = by;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            // Boxed: it would be most of the state of every handshake.
            let mut securing = Box::pin(tls.accept(stream));
            return until(by, securing.as_mut()).await?.map_err(AcceptError::Tls);
        }
        Ok(Transport::plain(stream))
    }
}

/// Whether the client speaks HTTP/2 is agreed on inside TLS; without it, the client knows (RFC 9113
/// section 3.3).
#[cfg(feature = "http2")]
async fn read_either(mut pending: ServerHandshake<Transport>) -> Result<First, AcceptError> {
    let http2 = match pending.get_ref().alpn() {
        Some(protocol) => protocol == b"h2",
        None if pending.get_ref().is_tls() => false,
        None => pending.begins_http2().await?,
    };
    Ok(if http2 { First::Http2(pending) } else { First::Request(Incoming::read(pending).await?) })
}

/// Answers a request that is not for a WebSocket.
async fn fall_back(
    fallback: &Fallback,
    asked: impl Asked,
    signal: &mut ShutdownSignal,
) -> Result<(), AcceptError> {
    if asked.request().version() < Version::HTTP_2
        && let Err(error) = RequestHead::from(&**asked.request()).authority()
    {
        asked.answer(error.to_response()).await?;
        return Err(error.into());
    }
    // It takes ownership.
    let (request, peer) = ((**asked.request()).clone(), asked.peer().clone());
    match decided(fallback(request, peer), asked.deadline(), signal).await {
        Ok(response) => asked.answer(response).await.map(|_| ()),
        Err(undecided) => undecided.answer(asked).await,
    }
}

/// Why the application did not decide about a request.
#[derive(Clone, Copy)]
enum Undecided {
    Late,
    GoingDown,
    Panicked,
}

impl Undecided {
    /// Answers the client, whose fault it is not.
    async fn answer(self, asked: impl Asked) -> Result<(), AcceptError> {
        let response = match self {
            Self::Late => unavailable("the server took too long\n"),
            Self::GoingDown => unavailable("the server is shutting down\n"),
            Self::Panicked => internal_error(),
        };
        asked.answer(response).await?;
        match self {
            Self::Late => return Err(AcceptError::Timeout),
            Self::GoingDown => tracing::debug!("the server shut down before the decision"),
            Self::Panicked => tracing::error!("`authorize` or `fallback` panicked"),
        }
        Ok(())
    }
}

fn unavailable(why: &'static str) -> Response<Bytes> {
    text_response(StatusCode::SERVICE_UNAVAILABLE, why)
}

/// What `authorize` or `fallback` returns, before the deadline and before the grace period of a
/// shutdown is over.
async fn decided<R>(
    mut deciding: BoxFuture<R>,
    deadline: Instant,
    signal: &mut ShutdownSignal,
) -> Result<R, Undecided> {
    let deciding = pin!(poll_fn(|cx| {
        let polling = AssertUnwindSafe(|| deciding.as_mut().poll(cx));
        match catch_unwind(polling) {
            Ok(polled) => polled.map(Some),
            Err(_) => Poll::Ready(None),
        }
    }));
    tokio::select! {
        biased;
        decision = until(deadline, deciding) => match decision {
            Ok(Some(decision)) => Ok(decision),
            Ok(None) => Err(Undecided::Panicked),
            Err(_) => Err(Undecided::Late),
        },
        () = out_of_grace(signal) => Err(Undecided::GoingDown),
    }
}

/// Completes when the server has begun to shut down, and the grace period for handshakes is over.
pub(super) async fn out_of_grace(signal: &mut ShutdownSignal) {
    signal.fired().await;
    tokio::time::sleep(OPENING_GRACE).await;
}

/// How an opening handshake ended, for observers; `None` if it has not: what follows is on the
/// requests of a connection that carries several.
pub(super) fn outcome<T>(opened: &Result<Opened<T>, AcceptError>) -> Option<Outcome> {
    Some(match opened {
        Ok(Opened::WebSocket(..)) => Outcome::Opened,
        #[cfg(feature = "http2")]
        Ok(Opened::Http2(_)) => return None,
        #[cfg(feature = "service")]
        Ok(Opened::Http1(_)) => return None,
        Ok(Opened::Nothing) => Outcome::Answered,
        Err(AcceptError::Handshake(_)) => Outcome::Invalid,
        Err(AcceptError::ProxyHeader(_)) => Outcome::Proxy,
        Err(AcceptError::Timeout) => Outcome::Timeout,
        Err(AcceptError::Tls(_)) => Outcome::Tls,
        Err(AcceptError::Io(_)) => Outcome::Io,
        Err(AcceptError::Response(_) | AcceptError::Runtime(_)) => Outcome::Internal,
    })
}

/// Calls the handler, which may do work before it returns its future.
pub(super) fn start<T, F, Fut>(handler: &F, ws: WebSocket, data: T) -> Option<Fut>
where
    F: Fn(WebSocket, T) -> Fut,
{
    let started = catch_unwind(AssertUnwindSafe(|| handler(ws, data)));
    if started.is_err() {
        tracing::error!("handler panicked");
    }
    started.ok()
}
