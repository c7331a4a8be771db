//! The connection to a broker: kept, tried again, and what is subscribed over it.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tautline::reconnect::Backoff;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::subscriptions::{Change, Subscriptions};
use super::{BrokerError, BrokerEvent, BrokerSink};
use crate::sync::lock;
use crate::topic::Filter;

/// The highest time to the next attempt at first, and after many.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const MAX_DELAY: Duration = Duration::from_secs(10);
/// How long a connection must have lasted for the next delay to be a first one again.
const HEALTHY: Duration = Duration::from_secs(5);

/// One connection to a broker, as [`Link::run`] keeps it.
pub(super) trait Connection: Send {
    /// What publishes and reads over it.
    type Session: Clone + Send + Sync + 'static;

    fn session(&self) -> Self::Session;

    /// Changes subscriptions. Returns when the broker has confirmed it, or when a step of it took longer
    /// than the deadline.
    fn change(
        &mut self,
        filters: &[Filter],
        subscribe: bool,
    ) -> impl Future<Output = Result<(), BrokerError>> + Send;

    /// Returns when the connection is lost: why. May be dropped and called again.
    fn lost(&mut self) -> impl Future<Output = BrokerError> + Send;
}

/// Whether the broker can be reached.
#[derive(Clone, Debug)]
enum State<S> {
    /// There was no attempt yet.
    New,
    Up(S),
    Down(BrokerError),
}

/// What the methods of a broker share with the future that keeps its connection.
#[derive(Debug)]
pub(super) struct Link<S> {
    state: watch::Sender<State<S>>,
    subscriptions: Mutex<Subscriptions>,
    /// There is a change of subscriptions to carry out.
    changed: Notify,
    running: AtomicBool,
    deadline: Duration,
}

impl<S: Clone + Send + Sync + 'static> Link<S> {
    /// A link whose operations have this long.
    pub(super) fn new(deadline: Duration) -> Self {
        Self {
            state: watch::Sender::new(State::New),
            subscriptions: Mutex::default(),
            changed: Notify::new(),
            running: AtomicBool::new(false),
            deadline,
        }
    }

    /// What to publish and read with. Waits only for the first attempt to connect.
    pub(super) async fn session(&self) -> Result<S, BrokerError> {
        let mut state = self.state.subscribe();
        let known = state.wait_for(|state| !matches!(state, State::New));
        match timeout(self.deadline, known).await {
            Ok(Ok(state)) => match &*state {
                State::Up(session) => Ok(session.clone()),
                State::Down(error) => Err(error.clone()),
                State::New => Err(BrokerError::unavailable("not connected yet")),
            },
            // The sender is a part of `self`, so it is the time that is over.
            Ok(Err(_)) | Err(_) => Err(BrokerError::unavailable("not connected yet")),
        }
    }

    /// Runs an operation with the session, for at most the deadline.
    pub(super) async fn within<T, F>(&self, operation: F) -> Result<T, BrokerError>
    where
        F: Future<Output = Result<T, BrokerError>>,
    {
        timeout(self.deadline, operation)
            .await
            .unwrap_or_else(|_| Err(BrokerError::unavailable("no answer within the deadline")))
    }

    /// Subscribes or unsubscribes: now if connected, and when connected again.
    pub(super) async fn change(
        &self,
        filters: Vec<Filter>,
        subscribe: bool,
    ) -> Result<(), BrokerError> {
        if filters.is_empty() {
            return Ok(());
        }
        let confirmed = self.subscriptions().change(filters, subscribe);
        self.changed.notify_one();
        match confirmed {
            Some(confirmed) => {
                let confirmed = async {
                    let ended = |_| Err(BrokerError::unavailable("the broker was shut down"));
                    confirmed.await.unwrap_or_else(ended)
                };
                self.within(confirmed).await
            }
            None if subscribe => self.session().await.map(drop),
            None => Ok(()),
        }
    }

    /// Keeps the connection until it is dropped: connects, subscribes to all that is wanted, tells what
    /// happens, and tries again. A second call while the first runs returns at once.
    pub(super) async fn run<C, F>(&self, sink: BrokerSink, mut connect: impl FnMut() -> F)
    where
        C: Connection<Session = S>,
        F: Future<Output = Result<C, BrokerError>>,
    {
        if self.running.swap(true, Ordering::AcqRel) {
            tracing::error!("this broker runs already, for another hub");
            return;
        }
        let _stop = Stop(self);
        let mut backoff = Backoff::new().first(FIRST_DELAY).max(MAX_DELAY).healthy_after(HEALTHY);
        loop {
            let lost = match connect().await {
                Ok(mut connection) => {
                    let start = Instant::now();
                    let lost = self.keep(&mut connection, &sink).await;
                    backoff.note_lasted(start.elapsed());
                    lost
                }
                Err(error) => error,
            };
            self.down(lost, &sink);
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    /// Subscribes, and carries out changes until the connection is lost.
    async fn keep<C>(&self, connection: &mut C, sink: &BrokerSink) -> BrokerError
    where
        C: Connection<Session = S>,
    {
        // From here on changes wait in line, behind these.
        let wanted = self.subscriptions().begin();
        if let Err(error) = connection.change(&wanted, true).await {
            return error;
        }
        self.state.send_replace(State::Up(connection.session()));
        sink.tell(BrokerEvent::Connected);
        loop {
            // A statement of its own, so that the lock is given back.
            let next = self.subscriptions().take();
            let Some(change) = next else {
                tokio::select! {
                    error = connection.lost() => return error,
                    () = self.changed.notified() => continue,
                }
            };
            if let Err(error) = self.carry_out(change, connection).await {
                return error;
            }
        }
    }

    /// Tells the broker of a change, and those who asked for it. An error ends the connection: what the
    /// broker then has is not known, and all is subscribed anew.
    async fn carry_out<C>(&self, change: Change, connection: &mut C) -> Result<(), BrokerError>
    where
        C: Connection<Session = S>,
    {
        let subscribe = change.subscribe;
        let result = connection.change(&change.filters(), subscribe).await;
        if !matches!(result, Err(BrokerError::Refused(_))) {
            change.confirm(&result);
            return result;
        }
        // One of them is not allowed: the others are not to suffer from it.
        for (filters, confirm) in change.parts {
            let result = connection.change(&filters, subscribe).await;
            if let Err(BrokerError::Refused(_)) = result {
                self.subscriptions().refuse(&filters);
            }
            // Whoever asked may have stopped to wait.
            let _ = confirm.send(result.clone());
            match result {
                Ok(()) | Err(BrokerError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn down(&self, error: BrokerError, sink: &BrokerSink) {
        self.subscriptions().end(&error);
        let before = self.state.send_replace(State::Down(error.clone()));
        // Not for each failed attempt, but if it is another kind of error now.
        let told = matches!(&before, State::Down(before) if before.same_kind(&error));
        if told {
            tracing::debug!(?error, "the broker cannot be reached yet");
        } else {
            sink.tell(BrokerEvent::Lost(error));
        }
    }

    fn subscriptions(&self) -> MutexGuard<'_, Subscriptions> {
        lock(&self.subscriptions)
    }
}

/// Says that nobody keeps the connection any more, when the future that did is dropped.
struct Stop<'a, S: Clone + Send + Sync + 'static>(&'a Link<S>);

impl<S: Clone + Send + Sync + 'static> Drop for Stop<'_, S> {
    fn drop(&mut self) {
        let error = BrokerError::unavailable("the broker was shut down");
        self.0.subscriptions().end(&error);
        self.0.state.send_replace(State::Down(error));
        self.0.running.store(false, Ordering::Release);
    }
}
