//! What the connections of a server share, and where the requests of one go that carries several:
//! each WebSocket finds a place and a task of its own.

use std::sync::Arc;

use super::opening::Opener;
use crate::tasks::Tasks;
#[cfg(feature = "http2")]
use {
    super::opening::{Opened, outcome, start},
    super::task::serve_one,
    crate::accept::AcceptError,
    crate::handler::HandlerResult,
    crate::limits::Key,
    crate::shutdown::ShutdownSignal,
    crate::tasks::Place,
    crate::transport::Peer,
    crate::websocket::WebSocket,
    std::future::Future,
    tracing::Instrument,
};

/// What the connections of a server share.
pub(super) struct Front<T, F> {
    pub(super) opener: Arc<Opener<T>>,
    pub(super) handler: Arc<F>,
    pub(super) places: Tasks,
    pub(super) max_connections: usize,
}

#[cfg(feature = "http2")]
impl<T, F, Fut> Front<T, F>
where
    T: Send + 'static,
    F: Fn(WebSocket, T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: HandlerResult> + Send + 'static,
{
    /// Whether there is no place for another WebSocket.
    pub(super) fn is_full(&self) -> bool {
        self.places.count() >= self.max_connections
    }

    /// Runs this in a place of its own, for as long as the server runs. `held` is kept as long.
    pub(super) fn spawn(
        &self,
        client: Option<Key>,
        task: impl Future<Output = ()> + Send + 'static,
        held: impl Send + 'static,
    ) {
        self.places.spawn(client, |place| {
            async move {
                task.await;
                drop((place, held));
            }
            .in_current_span()
        });
    }

    /// Answers a request of this sender in a task of its own, and runs the handler if it becomes a
    /// WebSocket. `decide` is [`Opener::decide`] with that request: for a type that is known, the
    /// compiler sees that its future is `Send`. `kept` is kept until the handler has ended.
    pub(super) fn open<D>(
        &self,
        (sender, client): (&Peer, Option<Key>),
        decide: impl FnOnce(Arc<Opener<T>>, ShutdownSignal, Place) -> D + Send + 'static,
        kept: impl Send + 'static,
    ) where
        D: Future<Output = Result<Opened<T>, AcceptError>> + Send + 'static,
    {
        let (opener, handler) = (self.opener.clone(), self.handler.clone());
        let span = opener.proxied.span(sender);
        self.places.spawn(client, |place| {
            let held = place.share();
            let signal = opener.shutdown.signal();
            // Boxed: the state of a handshake is large, and dropped when the handler starts.
            let opening = Box::pin(async move {
                let begun = opener.observers.begin();
                let opened = decide(opener.clone(), signal, held).await;
                opener.observers.opened(begun, outcome(&opened));
                match opened? {
                    Opened::WebSocket(ws, data) => Ok(start(&*handler, ws, data)),
                    _ => Ok(None),
                }
            });
            serve_one(opening, place, kept).instrument(span)
        });
    }
}
