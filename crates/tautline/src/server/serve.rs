//! The accept loop, the tasks of connections, and the shutdown.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;

use tracing::Instrument;

use super::opening::{Opener, start};
use super::turns::{EndOfTurns, Turns};
use super::{Server, listen};
use crate::accept::AcceptError;
use crate::connections::{Connections, handle};
use crate::error::{BoxError, Chain};
use crate::tasks::Place;
use crate::transport::Peer;
use crate::websocket::WebSocket;

/// Serves until the shutdown is complete.
pub(super) async fn run<T, F, Fut>(server: Server<T>, handler: F)
where
    T: Send + 'static,
    F: Fn(WebSocket, T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let Server { settings, decision } = server;
    let connections = Connections::new();
    let turns = Arc::new(Turns::new(settings.handshake_steps));
    let opener = Arc::new(Opener {
        acceptor: settings.acceptor,
        #[cfg(feature = "tls")]
        tls: settings.tls,
        decision,
        fallback: settings.fallback,
        shutdown: connections.shutdown().clone(),
    });
    let handler = Arc::new(handler);
    let (places, accept_turns) = (connections.tasks().clone(), turns.clone());
    let accepting = async move {
        loop {
            places.fewer_than(settings.max_connections).await;
            accept_turns.take().await;
            let (stream, addr) = listen::accept(&settings.listener).await;
            let peer = Peer::from(addr);
            let (opener, handler) = (opener.clone(), handler.clone());
            let turns = accept_turns.clone();
            let span = tracing::debug_span!("connection", %peer);
            places.spawn(|place| {
                let held = place.share();
                // Boxed: the state of a handshake is large, and dropped when the handler starts.
                let opening = Box::pin(async move {
                    let opened = turns.of(pin!(opener.open(stream, peer, held))).await?;
                    Ok(opened.and_then(|(ws, data)| start(&*handler, ws, data)))
                });
                serve_one(opening, place).instrument(span)
            });
        }
    };
    let stopped = async {
        // This also drops the listener.
        tokio::select! {
            () = accepting => {}
            () = settings.stop => {}
        }
        tracing::info!(connections = connections.count(), "shutting down");
        connections.close();
        connections.drain(settings.drain_timeout).await;
    };
    // Whether this completes or is dropped: handshakes that are running do not depend on it.
    let _turns = EndOfTurns(&turns);
    tokio::select! {
        () = stopped => {}
        () = turns.hand_out() => {}
    }
}

/// The task of a connection: the handshake, which returns the handler's future, and then that
/// future. Whatever it holds while the handler runs adds to the size of every idle connection.
async fn serve_one<O, Fut>(opening: Pin<Box<O>>, place: Place)
where
    O: Future<Output = Result<Option<Fut>, AcceptError>>,
    Fut: Future<Output = Result<(), BoxError>>,
{
    match opening.await {
        Ok(Some(handling)) => handle(handling, place).await,
        Ok(None) => {}
        Err(error) => tracing::debug!(error = %Chain(&error), "connection not accepted"),
    }
}
