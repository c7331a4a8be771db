//! The accept loop, the tasks of connections, and the shutdown.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use tracing::Instrument;

use super::files::{Promise, Wanted};
use super::front::Front;
use super::handle::Serving;
use super::listen::{Listeners, Stream};
use super::opening::{Arrived, Opened, Opener, outcome, start};
use super::span;
use super::task::serve_one;
use super::turns::{EndOfTurns, SHORT, Turns};
use super::{Server, Settings};
use crate::accept::AcceptError;
use crate::handler::HandlerResult;
use crate::limits::{Gate, Opening};
use crate::tasks::Place;
#[cfg(all(feature = "tls", feature = "http2"))]
use crate::transport::ServerTls;
use crate::websocket::WebSocket;

/// Serves until the shutdown is complete.
pub(super) async fn run<T, F, Fut>(server: Server<T>, handler: F)
where
    T: Send + 'static,
    F: Fn(WebSocket, T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: HandlerResult> + Send + 'static,
{
    let Server { settings, decision } = server;
    let files = promise_of_files(&settings);
    let max_connections = files.as_ref().map_or(settings.max_connections, Promise::connections);
    let shared = settings.shared;
    let connections = shared.connections().with_observers(settings.observers);
    let opener = Arc::new(Opener {
        acceptor: settings.acceptor.within(settings.memory_budget),
        #[cfg(all(feature = "tls", not(feature = "http2")))]
        tls: settings.tls,
        #[cfg(all(feature = "tls", feature = "http2"))]
        tls: match settings.http2 {
            Some(_) => settings.tls.map(ServerTls::with_http2),
            None => settings.tls,
        },
        decision,
        fallback: settings.fallback,
        proxied: settings.proxied,
        shutdown: connections.shutdown().clone(),
        observers: connections.observers().clone(),
        #[cfg(feature = "http2")]
        http2: settings.http2,
        #[cfg(feature = "service")]
        service: settings.service,
        #[cfg(feature = "service")]
        service_only: settings.service_only,
        #[cfg(feature = "service")]
        connections: connections.clone(),
    });
    let front = Front {
        opener,
        handler: Arc::new(handler),
        places: connections.tasks().clone(),
        max_connections,
    };
    let turns = Arc::new(Turns::new(settings.handshake_steps));
    let accepting = accept(settings.listeners, Arc::new(front), shared.gate(), &turns);
    let serving = Serving::begin(&shared);
    let stopped = async {
        // This also drops the listeners. What is in their queues is accepted first, or the system
        // would reset it.
        tokio::select! {
            biased;
            () = accepting => {}
            () = serving.until_closing(settings.stop, settings.drain.get_notice()) => {}
        }
        tracing::info!(connections = connections.count(), "shutting down");
        connections.shut_down(&settings.drain).await;
    };
    // Whether this completes or is dropped: handshakes that are running do not depend on it.
    let _turns = EndOfTurns(&turns);
    let _files = files;
    tokio::select! {
        () = stopped => {}
        () = turns.hand_out() => {}
    }
}

/// Accepts connections for as long as it is polled, each in a task of its own.
async fn accept<T, F, Fut>(
    mut listeners: Listeners,
    front: Arc<Front<T, F>>,
    gate: &Arc<Gate>,
    turns: &Arc<Turns>,
) where
    T: Send + 'static,
    F: Fn(WebSocket, T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: HandlerResult> + Send + 'static,
{
    loop {
        if front.places.count() >= front.max_connections {
            front.opener.observers.full();
        }
        front.places.fewer_than(front.max_connections).await;
        gate.room_for_handshake().await;
        turns.take(SHORT).await;
        let (stream, peer) = listeners.accept().await;
        // A proxy's connection counts for the client that it is from, once that is known.
        let from_proxy = front.opener.proxied.is_proxy(&peer);
        let admitted = if from_proxy { Some(gate.admit_proxy()) } else { gate.admit(&peer) };
        let Some(client) = admitted else {
            stream.reset();
            continue;
        };
        let under_way = Opening::new(gate.clone(), client);
        let span = span::of(&peer);
        front.places.spawn(client, |place| {
            let arrived = Arrived { peer, client, under_way };
            // Boxed: the state of a handshake is large, and dropped when the handler starts.
            let opening =
                Box::pin(open(front.clone(), turns.clone(), stream, arrived, place.share()));
            serve_one(opening, place, ()).instrument(span)
        });
    }
}

/// Opens a connection. Returns the handler's future, if it became a WebSocket.
async fn open<T, F, Fut>(
    front: Arc<Front<T, F>>,
    turns: Arc<Turns>,
    stream: Stream,
    arrived: Arrived,
    held: Place,
) -> Result<Option<Fut>, AcceptError>
where
    T: Send + 'static,
    F: Fn(WebSocket, T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: HandlerResult> + Send + 'static,
{
    let opener = front.opener.clone();
    let begun = opener.observers.begin();
    let step = opener.weight_of_step();
    let opened = turns.of(step, pin!(opener.open(stream, arrived, held))).await;
    front.opener.observers.opened(begun, outcome(&opened));
    match opened? {
        Opened::WebSocket(ws, data) => return Ok(start(&*front.handler, ws, data)),
        #[cfg(feature = "http2")]
        Opened::Http2(shared) => Box::pin(front.serve_http2(*shared)).await,
        #[cfg(feature = "service")]
        Opened::Http1(shared) => Box::pin(front.serve_http1(*shared)).await,
        Opened::Nothing => {}
    }
    Ok(None)
}

/// The files for the connections of this server, unless it is to leave the limit alone.
fn promise_of_files(settings: &Settings) -> Option<Promise> {
    settings.fit_open_files.then(|| {
        Promise::of(Wanted {
            connections: settings.max_connections,
            servers: settings.servers,
            #[cfg(feature = "http2")]
            streams: settings.http2.is_some(),
            #[cfg(not(feature = "http2"))]
            streams: false,
        })
    })
}
