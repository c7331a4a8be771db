//! What the connections of a server share, and where the requests of one go that carries several:
//! each WebSocket finds a place and a task of its own.

use std::sync::Arc;

use super::opening::Opener;
use crate::tasks::Tasks;
#[cfg(feature = "http2")]
use {
    super::asked::Asked,
    super::opening::{Opened, start},
    super::task::serve_one,
    crate::error::BoxError,
    crate::limits::Key,
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
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
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

    /// Answers a request in a task of its own, and runs the handler if it becomes a WebSocket.
    /// `kept` is kept until the handler has ended.
    pub(super) fn open(
        &self,
        client: Option<Key>,
        asked: impl Asked + 'static,
        kept: impl Send + 'static,
    ) {
        let (opener, handler) = (self.opener.clone(), self.handler.clone());
        self.places.spawn(client, |place| {
            let held = place.share();
            let signal = opener.shutdown.signal();
            // Boxed: the state of a handshake is large, and dropped when the handler starts.
            let opening = Box::pin(async move {
                match opener.decide(asked, signal, held).await? {
                    Opened::WebSocket(ws, data) => Ok(start(&*handler, ws, data)),
                    _ => Ok(None),
                }
            });
            serve_one(opening, place, kept).in_current_span()
        });
    }
}
