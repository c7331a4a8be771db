//! The HTTP/2 connections of a client: each carries as many WebSockets as its server allows.

use std::collections::HashMap;
use std::fmt;
use std::future::{Future as _, poll_fn};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use h2::client::SendRequest;
use h2::{Ping, Reason};
use http::{Request, Response};
use tautline_handshake::ConnectProtocol;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::endpoint::Endpoint;
use crate::http2::{Carrier, Data, Http2Config, Http2Stream, Written, error};
use crate::sync::{Mutex, lock};
use crate::transport::Peer;
use crate::transport::gathered::Gathered;
use crate::transport::patient::Patient;

/// How long it is remembered that a server has no WebSocket over HTTP/2: its operators may change
/// that, and asking costs a connection.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// One HTTP/2 connection. It ends with the last of its streams.
pub(crate) struct Link {
    requests: SendRequest<Data>,
    peer: Peer,
    /// The connection has ended, or the server opens no more streams on it.
    over: AtomicBool,
    written: Written,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// What became of a new connection.
pub(crate) enum Opened {
    Link(Arc<Link>),
    /// The server does not allow WebSockets over HTTP/2.
    NoConnect,
}

/// Why a stream was not opened.
pub(crate) enum StreamError {
    /// The server did nothing with the request: it can be sent again on another connection (RFC
    /// 9113 sections 6.8 and 8.7).
    Unprocessed(io::Error),
    /// The server wants HTTP/1.1 for this (RFC 9113 section 7).
    Http11(io::Error),
    Failed(io::Error),
}

impl Link {
    /// Starts HTTP/2 on this transport, and waits for the server's SETTINGS. A server that takes
    /// nothing of what is sent for as long as `patience` is given up.
    pub(crate) async fn open<S>(
        transport: S,
        peer: Peer,
        config: &Http2Config,
        (max_head, patience): (u32, Duration),
    ) -> io::Result<Opened>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let written = Written::default();
        let transport = written.watch(Patient::new(transport, patience));
        let (transport, mut gatherer) = Gathered::new(transport, !peer.is_secure());
        let starting = config.client(max_head).handshake::<_, Data>(transport);
        let (requests, mut connection) = starting.await.map_err(error::io)?;
        // Before the first SETTINGS of the server, no stream may be opened; afterwards, as many as
        // it says, or any number.
        poll_fn(|cx| {
            let polled = Pin::new(&mut connection).poll(cx);
            if requests.current_max_send_streams() > 0 {
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Err(ended(ready!(polled))))
        })
        .await?;
        if !requests.is_extended_connect_protocol_enabled() {
            // Some servers allow it in a second frame of SETTINGS, right after the first.
            if let Some(mut pings) = connection.ping_pong() {
                let _ = pings.send_ping(Ping::opaque());
                poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
                    Poll::Ready(result) => Poll::Ready(Err(ended(result))),
                    Poll::Pending => pings.poll_pong(cx).map(|pong| pong.map_err(error::io)),
                })
                .await?;
            }
            if !requests.is_extended_connect_protocol_enabled() {
                return Ok(Opened::NoConnect);
            }
        }
        let over = AtomicBool::new(false);
        let link = Arc::new(Self { requests, peer, over, written: written.clone() });
        let served = Arc::downgrade(&link);
        tokio::spawn(async move {
            let last = Last(written);
            let mut gathered =
                |cx: &mut Context<'_>| gatherer.poll(cx, |cx| Pin::new(&mut connection).poll(cx));
            let result = poll_fn(|cx| last.0.poll(cx, &mut gathered)).await;
            if let Some(link) = served.upgrade() {
                link.over.store(true, Ordering::Relaxed);
            }
            match result {
                Ok(()) => tracing::debug!("HTTP/2 connection closed"),
                Err(error) => tracing::debug!(%error, "HTTP/2 connection failed"),
            }
        });
        Ok(Opened::Link(link))
    }

    /// Whether one more stream may be opened. Each stream holds the link, and so does the caller.
    fn has_room(self: &Arc<Self>) -> bool {
        !self.over.load(Ordering::Relaxed)
            && Arc::strong_count(self) <= self.requests.current_max_send_streams()
    }

    pub(crate) const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Sends a request, an extended CONNECT, and returns the response with the stream.
    pub(crate) async fn connect(
        self: Arc<Self>,
        mut request: Request<()>,
    ) -> Result<(Response<()>, Http2Stream), StreamError> {
        let extensions = request.extensions_mut();
        if let Some(protocol) = extensions.remove::<ConnectProtocol>() {
            extensions.insert(h2::ext::Protocol::from(protocol.as_str()));
        }
        let sent = self.requests.clone().send_request(request, false);
        let (response, outgoing) = sent.map_err(|error| self.unsent(error))?;
        // If nobody waits for the answer any more, it may be that nobody is there to give one: the
        // next attempt has a connection of its own.
        let unanswered = Unanswered(&self);
        let answered = response.await;
        std::mem::forget(unanswered);
        let (head, incoming) = answered.map_err(|error| self.failed(error))?.into_parts();
        let stream = Http2Stream::new(outgoing, incoming).with_link(self);
        Ok((Response::from_parts(head, ()), stream))
    }

    fn unsent(&self, error: h2::Error) -> StreamError {
        self.over.store(true, Ordering::Relaxed);
        StreamError::Unprocessed(error::io(error))
    }

    fn failed(&self, error: h2::Error) -> StreamError {
        if error.reason() == Some(Reason::HTTP_1_1_REQUIRED) {
            return StreamError::Http11(error::io(error));
        }
        let going = error.is_go_away();
        let refused = error.reason() == Some(Reason::REFUSED_STREAM);
        let gone = going && error.is_remote() && error.reason() == Some(Reason::NO_ERROR);
        if going || error.is_io() || !error.is_remote() {
            self.over.store(true, Ordering::Relaxed);
        }
        let error = error::io(error);
        if refused || gone { StreamError::Unprocessed(error) } else { StreamError::Failed(error) }
    }
}

/// A request that waits for its answer. Dropped meanwhile, it is the last on its link.
struct Unanswered<'a>(&'a Link);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// The connection has ended when this is dropped, with its runtime if not before.
struct Last(Written);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.finish();
    }
}

impl Carrier for Link {
    fn written(&self) -> &Written {
        &self.written
    }

    fn end(&self) -> Option<h2::Error> {
        match self.requests.clone().poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(error)) if error.is_go_away() => Some(error),
            _ => None,
        }
    }
}

/// A connection that ended before anything was asked of it.
fn ended(result: Result<(), h2::Error>) -> io::Error {
    match result {
        Ok(()) => io::ErrorKind::UnexpectedEof.into(),
        Err(error) => error::io(error),
    }
}

/// How many servers are kept at least before any is forgotten.
const SWEEP: usize = 64;

/// The links of a client, by server. Clones are the same pool.
#[derive(Clone, Default)]
pub(crate) struct Pool(Arc<Mutex<Slots>>);

#[derive(Default)]
struct Slots {
    by_server: HashMap<Server, Arc<Slot>>,
    /// With how many servers to look which of them are worth keeping.
    sweep_at: usize,
}

/// What tells servers apart. How else they are reached, such as through a proxy, follows from this
/// and from settings that a pool belongs to: a client that gets others gets another pool.
#[derive(PartialEq, Eq, Hash)]
struct Server {
    host: String,
    zone: Option<String>,
    port: u16,
    secure: bool,
    socket: Option<PathBuf>,
}

/// What is known of one server. While it is locked, its holder is connecting, and others wait for
/// the result instead of connecting as well.
pub(crate) type Slot = tokio::sync::Mutex<Known>;

#[derive(Default)]
pub(crate) struct Known {
    links: Vec<Weak<Link>>,
    /// Until when not to ask again for WebSockets over HTTP/2.
    without: Option<Instant>,
}

impl Pool {
    pub(super) fn slot(&self, endpoint: &Endpoint) -> Arc<Slot> {
        let uri = &endpoint.uri;
        let server = Server {
            host: uri.host().to_owned(),
            zone: uri.zone().map(str::to_owned),
            port: uri.port(),
            secure: uri.is_secure(),
            socket: endpoint.socket().map(Into::into),
        };
        let mut slots = lock(&self.0);
        if slots.by_server.len() >= slots.sweep_at {
            // Who holds one is about to use it.
            slots.by_server.retain(|_, slot| {
                Arc::strong_count(slot) > 1
                    || slot.try_lock().is_ok_and(|known| known.is_worth_keeping())
            });
            slots.sweep_at = SWEEP.max(2 * slots.by_server.len());
        }
        slots.by_server.entry(server).or_default().clone()
    }
}

impl Known {
    fn is_worth_keeping(&self) -> bool {
        self.lacks_http2() || self.links.iter().any(|link| link.strong_count() > 0)
    }

    /// A link on which one more stream can be opened.
    pub(crate) fn link(&mut self) -> Option<Arc<Link>> {
        self.links.retain(|link| link.strong_count() > 0);
        self.links.iter().filter_map(Weak::upgrade).find(Link::has_room)
    }

    pub(crate) fn add(&mut self, link: &Arc<Link>) {
        self.links.push(Arc::downgrade(link));
    }

    /// Whether the server was found to have no WebSocket over HTTP/2.
    pub(crate) fn lacks_http2(&self) -> bool {
        self.without.is_some_and(|until| Instant::now() < until)
    }

    pub(crate) fn note_lack(&mut self) {
        self.without = Some(Instant::now() + REMEMBERED);
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    // Two that asked at once, before either had locked what it got, were to connect twice.
    #[tokio::test]
    async fn who_asks_for_the_same_server_gets_the_same_slot() {
        let pool = Pool::default();
        let slot = |uri: &str| pool.slot(&Endpoint::parse(uri).expect("a URI"));
        let one = slot("ws://a.test/");
        assert!(Arc::ptr_eq(&one, &slot("ws://a.test:80/other")));
        let mut others =
            vec!["ws://a.test:81/", "wss://a.test:80/", "ws://b.test/", "ws://[fe80::1]/"];
        others.push("ws://[fe80::1%251]/");
        #[cfg(unix)]
        others.extend(["ws+unix:/a", "ws+unix:/b", "ws://localhost/"]);
        let slots: Vec<_> = others.iter().map(|other| slot(other)).collect();
        for (n, other) in slots.iter().enumerate() {
            assert!(slots[..n].iter().all(|before| !Arc::ptr_eq(before, other)), "{}", others[n]);
        }
        for other in others {
            assert!(!Arc::ptr_eq(&one, &slot(other)), "{other}");
        }
        // What is known of a server is kept as long as it is worth something.
        drop(one);
        slot("ws://b.test/").lock().await.note_lack();
        for number in 0..1000 {
            slot(&format!("ws://{number}.test/"));
        }
        assert!(slot("ws://b.test/").lock().await.lacks_http2());
        assert!(lock(&pool.0).by_server.len() <= SWEEP);
    }
}
