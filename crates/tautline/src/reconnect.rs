//! Staying connected: a stream of messages and a sender that outlive connections.
//!
//! [`Client::reconnecting`](crate::Client::reconnecting) returns a [`Reconnecting`], a `Stream` of
//! [`Event`]s. It connects, returns what is received, and connects again when the connection ends,
//! after the delays of a [`Backoff`], unless that would not help ([`Cause::verdict`] has the
//! defaults, [`Reconnecting::decide`] changes them). [`Sender`]s send through whichever connection
//! is open.
//!
//! Nothing is sent twice by itself, and messages that a lost connection carried are gone. To lose
//! nothing and receive nothing twice, number the messages, and let the hook
//! [`on_connect`](Reconnecting::on_connect) ask for those after the last one that was received. The
//! guide's page [Staying connected](crate::guide::reconnecting) has an example.
//!
//! Everything is done by whoever polls the stream: no task is started, and dropping the stream ends
//! the connection. So keep a task in [`next`](Reconnecting::next), as for a
//! [`WebSocket`]: only then is a dead connection noticed, within
//! [`ping_interval`](crate::Config::ping_interval) and
//! [`ping_timeout`](crate::Config::ping_timeout), and replaced.

mod backoff;
mod cause;
mod client;
mod event;
mod open;
mod outbox;
mod poll;
mod retry_after;
mod sender;
mod shared;
mod verdict;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

pub use self::backoff::Backoff;
pub use self::cause::Cause;
use self::event::Why;
pub use self::event::{Attempt, Connected, Disconnected, Event, SendError, State, Stopped};
use self::open::{Connector, OnConnect};
pub use self::outbox::WhileAway;
use self::poll::Phase;
pub use self::sender::{Handover, Sender};
use self::shared::Shared;
pub use self::verdict::Verdict;
use crate::client::ConnectError;
use crate::error::BoxError;
use crate::transport::Transport;
use crate::websocket::WebSocket;

/// A connection that is opened again whenever it ends: see the [module](self).
///
/// It is a `Stream` of [`Event`]s. It ends with one error, [`Stopped`], when connecting again would
/// not help, and without one after [`Sender::close`]. Nothing is done before it is polled first.
/// Settings apply from the next attempt on.
///
/// If it is dropped, the connection is sent a Close with 1001, and senders return
/// [`SendError::Stopped`].
#[must_use = "it does nothing unless it is polled"]
pub struct Reconnecting<S = Transport> {
    connector: Connector<S>,
    on_connect: Option<OnConnect<S>>,
    on_connect_timeout: Duration,
    decide: Box<dyn FnMut(&Cause) -> Verdict + Send>,
    backoff: Backoff,
    /// Of the attempt of now, or the last one.
    attempt: Attempt,
    phase: Phase<S>,
    closing: bool,
    shared: Arc<Shared<S>>,
}

impl<S> Reconnecting<S> {
    /// Thirty seconds for the hook [`on_connect`](Self::on_connect): as long as for connecting.
    pub const DEFAULT_ON_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

    fn new(connector: Connector<S>) -> Self {
        Self {
            connector,
            on_connect: None,
            on_connect_timeout: Self::DEFAULT_ON_CONNECT_TIMEOUT,
            decide: Box::new(Cause::verdict),
            backoff: Backoff::new(),
            attempt: Attempt { failures: 0, last: None },
            phase: Phase::Start,
            closing: false,
            shared: Arc::new(Shared::new()),
        }
    }

    /// Connects by a function of your own, over any stream: a tunnel, a Unix socket, in tests one
    /// end of a [`duplex`](tokio::io::duplex). Each attempt lasts as long as its future, so bound
    /// it, as [`Client`](crate::Client) does.
    ///
    /// Time is that of the runtime: with tokio's paused clock, a test need not wait.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tautline::Client;
    /// use tautline::reconnect::{Event, Reconnecting};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // Each connection sends one message, and is lost.
    /// let mut feed = Reconnecting::by(|_attempt| async {
    ///     let (near, far) = tokio::io::duplex(1024);
    ///     tokio::spawn(async move { tautline::accept(far).await.unwrap().send("tick").await });
    ///     Client::new().connect_over("ws://localhost/", near).await
    /// });
    /// let start = tokio::time::Instant::now();
    /// let mut ticks = 0;
    /// while ticks < 10 {
    ///     if let Some(Event::Message(_)) = feed.next().await.transpose()? {
    ///         ticks += 1;
    ///     }
    /// }
    /// assert!(start.elapsed() > Duration::from_secs(10), "and the test takes milliseconds");
    /// # Ok(())
    /// # }
    /// ```
    pub fn by<C, F>(connect: C) -> Self
    where
        C: FnMut(Attempt) -> F + Send + 'static,
        F: Future<Output = Result<WebSocket<S>, ConnectError>> + Send + 'static,
        S: 'static,
    {
        Self::new(open::connector(connect))
    }

    /// How long to wait before attempts. Default: [`Backoff::new`].
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Decides whether to connect again. Default: [`Cause::verdict`].
    ///
    /// ```
    /// use tautline::Client;
    /// use tautline::http::StatusCode;
    /// use tautline::reconnect::Verdict;
    ///
    /// let feed = Client::new()
    ///     .reconnecting("wss://example.com/feed")
    ///     .decide(|cause| match cause.status() {
    ///         // A server that is being deployed.
    ///         Some(StatusCode::NOT_FOUND) => Verdict::Retry,
    ///         _ => cause.verdict(),
    ///     });
    /// ```
    pub fn decide(mut self, decide: impl FnMut(&Cause) -> Verdict + Send + 'static) -> Self {
        self.decide = Box::new(decide);
        self
    }

    /// A hook for each connection that was opened, to subscribe, and to resume after the last
    /// message that was received. It may send and receive; what it sends goes before everything
    /// else, and nobody else has the connection until it ends. If it fails or does not return the
    /// connection in time, the attempt has failed.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use tautline::Client;
    ///
    /// let received = Arc::new(AtomicU64::new(0)); // set by whoever handles messages
    /// let position = received.clone();
    /// let feed = Client::new().reconnecting("wss://example.com/feed").on_connect(move |mut ws| {
    ///     let last = position.load(Ordering::Relaxed);
    ///     async move {
    ///         ws.send(format!("resume after {last}")).await?;
    ///         Ok(ws)
    ///     }
    /// });
    /// ```
    pub fn on_connect<H, F>(mut self, hook: H) -> Self
    where
        H: FnMut(WebSocket<S>) -> F + Send + 'static,
        F: Future<Output = Result<WebSocket<S>, BoxError>> + Send + 'static,
        S: 'static,
    {
        self.on_connect = Some(open::on_connect(hook));
        self
    }

    /// How long the hook [`on_connect`](Self::on_connect) may take. Default:
    /// [`DEFAULT_ON_CONNECT_TIMEOUT`](Self::DEFAULT_ON_CONNECT_TIMEOUT).
    pub const fn on_connect_timeout(mut self, timeout: Duration) -> Self {
        self.on_connect_timeout = timeout;
        self
    }

    /// What becomes of messages that are sent while there is no connection. Default:
    /// [`WhileAway::Fail`].
    pub fn while_away(self, what: WhileAway) -> Self {
        self.shared.set_while_away(what);
        self
    }

    /// A sender, which can be cloned. It works from any task.
    #[must_use]
    pub fn sender(&self) -> Sender<S> {
        Sender { shared: self.shared.clone() }
    }

    /// The state, to look at and to wait for.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Reconnecting<S> {
    /// The next event. Cancel safe: no message is lost, and an attempt to connect goes on with the
    /// next call.
    ///
    /// # Errors
    /// [`Stopped`], once, if no other attempt will be made; `None` follows.
    #[expect(
        clippy::should_implement_trait,
        reason = "it is that of `StreamExt`, not of `Iterator`"
    )]
    pub fn next(&mut self) -> impl Future<Output = Option<Result<Event, Stopped>>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx))
    }

    /// Closes the connection in order, with 1000, and discards what is received until then. To
    /// receive it, call [`Sender::close`] and go on with [`next`](Self::next).
    pub async fn close(mut self) {
        self.sender().close();
        while self.next().await.is_some() {}
    }
}

impl<S> Drop for Reconnecting<S> {
    fn drop(&mut self) {
        if !matches!(self.phase, Phase::Ended) {
            self.shared.stop(&Stopped::by(Why::Dropped, None));
        }
    }
}

impl<S> fmt::Debug for Reconnecting<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnecting")
            .field("state", &*self.shared.state.borrow())
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}
