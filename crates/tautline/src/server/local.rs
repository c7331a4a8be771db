//! Handlers that stay on the thread of their server, and need not be `Send`.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;

use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tracing::Instrument;

use super::Server;
use crate::connections::report;
use crate::handler::HandlerResult;
use crate::parting::poll_handler;
use crate::tasks::Place;
use crate::websocket::WebSocket;

impl<T: Send + 'static> Server<T> {
    /// Like [`serve_with`](Self::serve_with), with handlers that run on this thread and need not be
    /// `Send`: they may share an `Rc` or a `RefCell`. Within a [`LocalSet`](tokio::task::LocalSet).
    ///
    /// Handshakes still run as tasks of the runtime. On a runtime of one thread, everything is on
    /// this one; [`per_core`](Server::per_core) starts such a runtime for each core.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    /// use tautline::{Server, WebSocket};
    /// use tokio::task::LocalSet;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let count = Rc::new(Cell::new(0));
    /// let server = Server::bind("127.0.0.1:0").await?;
    /// # let address = server.local_addr()?;
    /// let serving = server.serve_local(move |mut ws: WebSocket, ()| {
    ///     let count = count.clone();
    ///     async move {
    ///         count.set(count.get() + 1);
    ///         ws.send(format!("you are number {}", count.get())).await?;
    ///         Ok(())
    ///     }
    /// });
    /// # let client = async move {
    /// #     let mut ws = tautline::connect(format!("ws://{address}/")).await?;
    /// #     assert_eq!(ws.next().await.unwrap()?.as_text(), Some("you are number 1"));
    /// #     Ok::<_, Box<dyn std::error::Error>>(())
    /// # };
    /// # let serving = async { tokio::select! { served = serving => Ok(served?), done = client => done } };
    /// LocalSet::new().run_until(serving).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`serve`](Server::serve).
    ///
    /// # Panics
    /// Outside a `LocalSet`, when the first connection is open, as `spawn_local` does.
    pub async fn serve_local<F, Fut>(self, handler: F) -> io::Result<()>
    where
        F: Fn(WebSocket, T) -> Fut + 'static,
        Fut: Future<Output: HandlerResult> + 'static,
    {
        // What waits here counts in `max_connections`.
        let (opened, mut connections) = mpsc::unbounded_channel();
        let serving = self.serve_with(move |ws, data| {
            // If nobody receives it, the server is gone, and the connection is closed.
            let _ = opened.send((ws, data));
            async { Ok(()) }
        });
        let handler = Rc::new(handler);
        let starting = async {
            while let Some((ws, data)) = connections.recv().await {
                start(&handler, ws, data);
            }
        };
        let mut serving = pin!(serving);
        tokio::select! {
            served = &mut serving => served,
            // It holds the other end of the channel as long as it lives.
            () = starting => serving.await,
        }
    }
}

/// Runs the handler in a task of this thread, which the server ends if it does not end in time.
fn start<T, F, Fut>(handler: &Rc<F>, ws: WebSocket, data: T)
where
    T: 'static,
    F: Fn(WebSocket, T) -> Fut + 'static,
    Fut: Future<Output: HandlerResult> + 'static,
{
    let Some(place) = ws.place().map(Place::share) else { return };
    let (handler, kept) = (handler.clone(), place.share());
    let task = async move {
        let Ok(handling) = catch_unwind(AssertUnwindSafe(|| handler(ws, data))) else {
            return tracing::error!("handler panicked");
        };
        let mut handling = pin!(Some(handling));
        let ended = poll_fn(|cx| poll_handler(&place, handling.as_mut(), cx)).await;
        report(ended, &place);
    };
    kept.keep_handler(spawn_local(task.in_current_span()).abort_handle());
}
