//! The accept loop, the tasks of connections, and the shutdown.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tracing::Instrument;

use super::opening::{Opener, start};
use super::turns::{EndOfTurns, Turns};
use super::{Server, listen};
use crate::accept::AcceptError;
use crate::error::{BoxError, Chain};
use crate::parting::{Ended, poll_handler};
use crate::shutdown::Shutdown;
use crate::tasks::{Place, Tasks};
use crate::transport::Peer;
use crate::websocket::WebSocket;

/// How long tasks have to end after they were aborted: enough for all that await something.
const ABORT_GRACE: Duration = Duration::from_millis(200);

/// Serves until the shutdown is complete.
pub(super) async fn run<T, F, Fut>(server: Server<T>, handler: F)
where
    T: Send + 'static,
    F: Fn(WebSocket, T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let Server { settings, decision } = server;
    let shutdown = Shutdown::default();
    let turns = Arc::new(Turns::new(settings.handshake_steps));
    let opener = Arc::new(Opener {
        acceptor: settings.acceptor,
        #[cfg(feature = "tls")]
        tls: settings.tls,
        decision,
        fallback: settings.fallback,
        shutdown: shutdown.clone(),
    });
    let handler = Arc::new(handler);
    let tasks = Tasks::new(Handle::current());
    let (places, accept_turns) = (tasks.clone(), turns.clone());
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
                connection(opening, place).instrument(span)
            });
        }
    };
    let stopped = async {
        // This also drops the listener.
        tokio::select! {
            () = accepting => {}
            () = settings.stop => {}
        }
        tracing::info!(connections = tasks.count(), "shutting down");
        shutdown.fire();
        drain(&tasks, settings.drain_timeout).await;
    };
    // Whether this completes or is dropped: handshakes that are running do not depend on it.
    let _turns = EndOfTurns(&turns);
    tokio::select! {
        () = stopped => {}
        () = turns.hand_out() => {}
    }
}

/// Waits for the tasks of a server that shuts down, and aborts those that are late.
async fn drain(tasks: &Tasks, timeout: Duration) {
    if tokio::time::timeout(timeout, tasks.fewer_than(1)).await.is_ok() {
        return;
    }
    tracing::warn!(connections = tasks.count(), "ending handlers that did not finish");
    tasks.abort_all();
    if tokio::time::timeout(ABORT_GRACE, tasks.fewer_than(1)).await.is_err() {
        tracing::warn!(
            connections = tasks.count(),
            "leaving behind handlers that block their thread, or connections that others hold"
        );
    }
}

/// The task of a connection: the handshake, which returns the handler's future, and then that
/// future. Whatever it holds while the handler runs adds to the size of every idle connection.
async fn connection<O, Fut>(opening: Pin<Box<O>>, place: Place)
where
    O: Future<Output = Result<Option<Fut>, AcceptError>>,
    Fut: Future<Output = Result<(), BoxError>>,
{
    let handling = match opening.await {
        Ok(Some(handling)) => handling,
        Ok(None) => return,
        Err(error) => return tracing::debug!(error = %Chain(&error), "connection not accepted"),
    };
    let mut place = Some(place);
    let mut handling = pin!(Some(handling));
    match poll_fn(|cx| poll_handler(&mut place, handling.as_mut(), cx)).await {
        // The end of the connection has been logged already.
        Ended::With(error) if error.is::<tautline_frame::session::Error>() => {
            tracing::debug!(error = %Chain(&*error), "handler ended with the connection");
        }
        Ended::With(error) => {
            tracing::warn!(error = %Chain(&*error), "handler ended with an error");
        }
        Ended::Panicked => tracing::error!("handler panicked"),
        Ended::Well => {}
    }
    if let Some(place) = place {
        place.end_handler();
    }
}
