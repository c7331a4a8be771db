//! From an accepted stream to the future of a handler: TLS, the request, the application's
//! decision, the answer.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tautline_handshake::{RequestHead, is_upgrade_request, text_response};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::accept::{
    AcceptError, Acceptor, Incoming, PendingUpgrade, Upgrade, UpgradeRequest, internal_error, until,
};
use crate::parting::hand_to_server;
use crate::shutdown::{Shutdown, ShutdownSignal};
use crate::tasks::Place;
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
    pub(super) shutdown: Shutdown,
}

type Asked = Incoming<Transport>;

impl<T> Opener<T> {
    /// `None` if the request was answered otherwise (it was not for a WebSocket, or the application
    /// refused or did not decide), or if none arrived before the server shut down.
    pub(super) async fn open(
        self: Arc<Self>,
        stream: TcpStream,
        peer: Peer,
        place: Place,
    ) -> Result<Option<(WebSocket, T)>, AcceptError> {
        let deadline = self.acceptor.deadline();
        socket::prepare(&stream)?;
        // The connection keeps it: since nearly every handshake waits for its request, it is
        // registered by then.
        let mut signal = self.shutdown.signal();
        let read = {
            let reading = pin!(self.read(stream, deadline));
            let going_down = pin!(out_of_grace(&mut signal));
            tokio::select! {
                // A request that has arrived is taken, without registering in the list.
                biased;
                read = reading => Some(read),
                () = going_down => None,
            }
        };
        let Some(read) = read else {
            return Ok(None);
        };
        let incoming = read?;
        let peer = peer.with_secure(incoming.get_ref().is_tls());
        let incoming = incoming.with_peer(peer);
        if let Some(fallback) = &self.fallback
            && !is_upgrade_request(incoming.request())
        {
            fall_back(fallback, incoming, &mut signal).await?;
            return Ok(None);
        }
        let (mut ws, data) = match &self.decision {
            Decision::Accept(data) => incoming.open(Upgrade::new(data())).await?,
            Decision::Ask(authorize) => {
                let incoming = incoming.checked().await?;
                let (request, peer) = (incoming.shared_request().clone(), incoming.peer().clone());
                let asked = UpgradeRequest::new(request, peer);
                match decided(authorize(asked), incoming.deadline(), &mut signal).await {
                    Ok(Ok(upgrade)) => incoming.open_checked(upgrade).await?,
                    Ok(Err(response)) => {
                        let status = incoming.answer(response).await?;
                        tracing::debug!(%status, "the application refused the connection");
                        return Ok(None);
                    }
                    Err(undecided) => return undecided.answer(incoming).await.map(|()| None),
                }
            }
        };
        ws.watch(signal);
        ws.keep_place(place, hand_to_server);
        tracing::debug!(subprotocol = ws.subprotocol(), "connection opened");
        Ok(Some((ws, data)))
    }

    async fn read(&self, stream: TcpStream, deadline: Instant) -> Result<Asked, AcceptError> {
        #[cfg(feature = "tls")]
        let transport = match &self.tls {
            Some(tls) => {
                // Boxed: it would be most of the state of every handshake.
                let mut securing = Box::pin(tls.accept(stream));
                until(deadline, securing.as_mut()).await?.map_err(AcceptError::Tls)?
            }
            None => Transport::plain(stream),
        };
        #[cfg(not(feature = "tls"))]
        let transport = Transport::plain(stream);
        let acceptor = self.acceptor.clone();
        let pending = PendingUpgrade::new(transport, acceptor, deadline, Transport::reset_at_end);
        Incoming::read(pending).await
    }
}

/// Answers a request that is not for a WebSocket.
async fn fall_back(
    fallback: &Fallback,
    asked: Asked,
    signal: &mut ShutdownSignal,
) -> Result<(), AcceptError> {
    if let Err(error) = RequestHead::from(asked.request()).authority() {
        asked.answer(error.to_response()).await?;
        return Err(error.into());
    }
    // It takes ownership.
    let (request, peer) = (asked.request().clone(), asked.peer().clone());
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
    async fn answer(self, asked: Asked) -> Result<(), AcceptError> {
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
async fn out_of_grace(signal: &mut ShutdownSignal) {
    signal.fired().await;
    tokio::time::sleep(OPENING_GRACE).await;
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
