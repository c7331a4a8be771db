//! The connections of a server, whoever accepts them: their handlers, and how they end together.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::Instrument;

use crate::drain::{Drain, Due, Schedule};
use crate::error::Chain;
use crate::handler::HandlerResult;
use crate::limits::{Gate, Key};
use crate::observe::Observers;
use crate::parting::{Ended, hand_to_server, poll_handler};
use crate::registry::Registry;
use crate::shutdown::Shutdown;
use crate::tasks::{Place, Tasks};
use crate::websocket::WebSocket;

/// How long tasks have to end after they were aborted: enough for all that await something.
const ABORT_GRACE: Duration = Duration::from_millis(200);

/// The connections of a server that is not a [`Server`](crate::Server), such as that of an HTTP
/// framework: runs their handlers, counts them, and closes them together. Clones are the same set.
///
/// What a [`Server`](crate::Server) does for its connections holds for these: a handler may drop
/// its connection at any time, and it is closed in order, with 1000 if the handler returns `Ok`,
/// with 1011 after an error or a panic, and with 1001 when the server shuts down.
///
/// ```
/// use std::time::Duration;
/// use tautline::{Connections, Role, WebSocket};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (near, far) = tokio::io::duplex(4096);
/// # let mut client = WebSocket::builder(Role::Client).build(far);
/// # let upgraded = tautline::Transport::boxed(near);
/// let connections = Connections::new();
/// // For each connection, once its handshake is done:
/// let ws: WebSocket = WebSocket::builder(Role::Server).build(upgraded);
/// connections.spawn(async { Some(ws) }, |mut ws: WebSocket| async move {
///     while let Some(message) = ws.next().await {
///         ws.send(message?).await?;
///     }
///     Ok(())
/// });
/// # client.send("hello").await?;
/// # assert_eq!(client.next().await.unwrap()?.as_text(), Some("hello"));
/// # let leaving = tokio::spawn(async move { while client.next().await.is_some() {} client });
/// // When the server shuts down:
/// connections.close();
/// connections.drain(Duration::from_secs(10)).await;
/// # assert_eq!(leaving.await?.close_frame().unwrap().code(), tautline::CloseCode::GOING_AWAY);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Connections {
    tasks: Tasks,
    shutdown: Shutdown,
    /// Whose connections are added: see `of_client`.
    client: Option<Key>,
    observers: Observers,
}

impl Connections {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same connections: what is added by this or its clones is in the registry too.
    #[must_use]
    pub fn with_registry(mut self, registry: Registry) -> Self {
        self.observers.registry = Some(registry);
        self
    }

    /// The same connections: what is added by this or its clones is counted in
    /// [metrics](crate::metrics) too.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn with_metrics(mut self) -> Self {
        self.observers.instruments = Some(Arc::default());
        self
    }

    /// Runs a handler in a task of its own, on the connection that `opening` returns; if it returns
    /// none, the task ends. An error of the handler is logged. After [`drain`](Self::drain) has run
    /// out of time, nothing is run any more.
    ///
    /// # Panics
    /// Outside a runtime, as `tokio::spawn` does.
    pub fn spawn<O, H, Fut>(&self, opening: O, handler: H)
    where
        O: Future<Output = Option<WebSocket>> + Send + 'static,
        H: FnOnce(WebSocket) -> Fut + Send + 'static,
        Fut: Future<Output: HandlerResult> + Send + 'static,
    {
        let signal = self.shutdown.signal();
        let observers = self.observers.clone();
        // Boxed: it is dropped when the handler starts.
        let opening = Box::pin(opening);
        self.tasks.take_over(self.client);
        self.tasks.spawn(self.client, |place| {
            let task = async move {
                let Some(mut ws) = opening.await else { return };
                ws.watch(signal);
                ws.observe(&observers);
                drop(observers);
                ws.keep_place(place.share(), hand_to_server);
                let started = catch_unwind(AssertUnwindSafe(|| handler(ws)));
                match started {
                    Ok(handling) => {
                        let mut handling = pin!(Some(handling));
                        let polling =
                            |cx: &mut Context<'_>| poll_handler(&place, handling.as_mut(), cx);
                        report(poll_fn(polling).await, &place);
                    }
                    Err(_) => tracing::error!("handler panicked"),
                }
            };
            task.in_current_span()
        });
    }

    /// How many there are: each counts until both its handler and the connection have ended.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tasks.count()
    }

    /// Closes every connection with 1001 as soon as its handler awaits it, and those that are added
    /// later at once. It does not wait: see [`drain`](Self::drain).
    pub fn close(&self) {
        self.shutdown.fire();
    }

    /// Waits until all have ended, at most for this long. Then handlers are dropped at their next
    /// await, with a last attempt to send a Close. A handler that never awaits cannot be dropped,
    /// and neither can a connection that was passed to another task; this returns anyway, at most
    /// 200 ms later, and logs it at WARN.
    pub async fn drain(&self, timeout: Duration) {
        let tasks = &self.tasks;
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

    /// The connections of a server with these limits.
    pub(crate) fn with_gate(gate: Arc<Gate>) -> Self {
        Self { tasks: Tasks::with_gate(gate), ..Self::default() }
    }

    /// The same set, for connections of this client, who holds one already: they take it over.
    #[cfg(feature = "service")]
    pub(crate) fn of_client(&self, client: Option<Key>) -> Self {
        Self { client, ..self.clone() }
    }

    /// Closes all as these settings say, from the third stage of a [`Drain`] on: one after the other
    /// within its window, and then waits as [`drain`](Self::drain) does. Those that are added later
    /// are closed at once.
    pub async fn shut_down(&self, drain: &Drain) {
        self.shutdown.set_code(drain.get_code());
        tokio::select! {
            biased;
            () = self.tell(drain.get_spread()) => {}
            () = self.tasks.fewer_than(1) => {}
        }
        self.close();
        self.drain(drain.get_timeout()).await;
    }

    async fn tell(&self, spread: Duration) {
        let schedule = Schedule::new(spread, self.shutdown.count());
        let begun = Instant::now();
        while let Due::First(told, next) = schedule.at(begun.elapsed()) {
            self.shutdown.tell(told);
            // Past the end of time it is not woken: then all are told already.
            match begun.checked_add(next) {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        }
    }

    pub(crate) const fn observers(&self) -> &Observers {
        &self.observers
    }

    pub(crate) fn with_observers(&self, observers: Observers) -> Self {
        Self { observers, ..self.clone() }
    }

    pub(crate) const fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    pub(crate) const fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }
}

/// How a handler ended is logged, and its task need not be kept for its connection.
pub(crate) fn report(ended: Ended, place: &Place) {
    match ended {
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
    place.end_handler();
}
