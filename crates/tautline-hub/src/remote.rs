//! A hub with a broker: what goes to other nodes, and what comes from them.

mod recovery;
mod relay;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use self::recovery::Turns;
use self::relay::{JOINS_AT_ONCE, Join};
use crate::attendance::Attendance;
use crate::broker::{
    Arrival, BoxFuture, Broker, BrokerError, BrokerEvent, BrokerSink, History, Keep, Range,
};
use crate::clock::now;
use crate::delivery::Delivery;
use crate::id::NodeId;
use crate::inbox::target::{Relay, Retire, State, Target};
use crate::inbox::{Entry, Inbox};
use crate::line::Step;
use crate::outbox::{Full, Outbox, Parcel};
use crate::position::Position;
use crate::publication::Publication;
use crate::subscribe::PublishError;
use crate::sync::lock;
use crate::table::Table;
use crate::topic::{Filter, Topic};

/// How long a broker has for each thing that it is asked for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The answer of a broker, if it comes in time.
async fn within<T>(answer: BoxFuture<'_, Result<T, BrokerError>>) -> Result<T, BrokerError> {
    let late = |_| Err(BrokerError::unavailable("it has not answered in time"));
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(late)
}

/// How a hub is connected to its broker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BrokerState {
    /// Not yet.
    Connecting,
    /// It is.
    Connected,
    /// It was, or could not be: with the reason. It is tried again.
    Lost(String),
}

/// What a node has of its broker.
pub(crate) struct Remote {
    broker: Arc<dyn Broker>,
    table: Arc<Table>,
    node: NodeId,
    joins: mpsc::Sender<Join>,
    /// Targets that nobody is subscribed to any more.
    left: Mutex<VecDeque<Arc<Target>>>,
    /// Topics of which something is missing.
    missing: Mutex<VecDeque<Arc<Target>>>,
    outbox: Mutex<Outbox>,
    turns: Turns,
    state: watch::Sender<BrokerState>,
    /// There is something in the first list.
    changed: Notify,
    /// There is something in the second one.
    missed: Notify,
    /// The broker is back, or unsure.
    returned: Notify,
    /// A worker that has enough to do.
    crowded: Mutex<Option<Arc<Inbox>>>,
    attendance: Option<Arc<Attendance>>,
    numbers: AtomicU64,
    garbage: AtomicU64,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Remote {
    /// Begins to work. In a Tokio runtime.
    pub(crate) fn start(
        broker: Arc<dyn Broker>,
        table: Arc<Table>,
        node: NodeId,
        kept_while_away: usize,
        attendance: Option<Arc<Attendance>>,
    ) -> Arc<Self> {
        let (joins, joining) = mpsc::channel(JOINS_AT_ONCE);
        let remote = Arc::new(Self {
            broker: broker.clone(),
            table,
            node,
            joins,
            left: Mutex::default(),
            missing: Mutex::default(),
            outbox: Mutex::new(Outbox::new(kept_while_away)),
            turns: Turns::new(),
            state: watch::Sender::new(BrokerState::Connecting),
            changed: Notify::new(),
            missed: Notify::new(),
            returned: Notify::new(),
            crowded: Mutex::default(),
            attendance,
            numbers: AtomicU64::new(0),
            garbage: AtomicU64::new(0),
            tasks: Mutex::default(),
        });
        let here = remote.clone();
        let there = remote.clone();
        let room = move || -> BoxFuture<'static, ()> {
            let there = there.clone();
            Box::pin(async move { there.room().await })
        };
        let sink = BrokerSink::bounded(move |event| here.handle(event), room);
        let tasks = [
            tokio::spawn(broker.run(sink)).abort_handle(),
            tokio::spawn(relay::join_and_leave(remote.clone(), joining)).abort_handle(),
            tokio::spawn(relay::fetch(remote.clone())).abort_handle(),
            tokio::spawn(relay::check(remote.clone())).abort_handle(),
            tokio::spawn(relay::send_kept(remote.clone())).abort_handle(),
        ];
        *lock(&remote.tasks) = tasks.into();
        remote
    }

    /// Ends its tasks, which have parts of it.
    pub(crate) fn stop(&self) {
        lock(&self.tasks).iter().for_each(AbortHandle::abort);
    }

    pub(crate) fn state(&self) -> watch::Receiver<BrokerState> {
        self.state.subscribe()
    }

    fn is_connected(&self) -> bool {
        *self.state.borrow() == BrokerState::Connected
    }

    fn handle(&self, event: BrokerEvent) {
        match event {
            BrokerEvent::Arrived(arrival) => self.arrive(arrival),
            BrokerEvent::Connected => {
                tracing::info!(node = %self.node, "connected to the broker");
                self.state.send_replace(BrokerState::Connected);
                self.returned.notify_one();
                if let Some(attendance) = &self.attendance {
                    attendance.connected();
                }
            }
            BrokerEvent::Lost(error) => {
                let error = error.chain();
                tracing::warn!(node = %self.node, error, "the broker is away");
                self.state.send_replace(BrokerState::Lost(error));
                if let Some(attendance) = &self.attendance {
                    attendance.lost();
                }
            }
            BrokerEvent::Unsure(topics) if topics.is_empty() => self.returned.notify_one(),
            BrokerEvent::Unsure(topics) => {
                for target in topics.iter().filter_map(|topic| self.table.get(topic)) {
                    let mut state = target.lock();
                    if let Some(line) = &mut state.line {
                        line.unsure();
                    }
                    self.look_for_missing(&target, &mut state);
                }
            }
            BrokerEvent::Signal(signal) => {
                if let Some(attendance) = &self.attendance {
                    attendance.signal(&signal);
                }
            }
        }
    }

    fn arrive(&self, arrival: Arrival) {
        let Arrival { topic, pattern, place, encoded } = arrival;
        let publication = match Publication::decode(encoded) {
            Ok(publication) => publication,
            Err(error) => {
                let count = self.garbage.fetch_add(1, Ordering::Relaxed) + 1;
                tracing::debug!(%topic, %error, count, "something arrived that no hub has sent");
                if let (None, Some((position, previous))) = (pattern, place)
                    && let Some(target) = self.table.get(&topic)
                    && let Some(line) = &mut target.lock().line
                {
                    line.passed(position, previous);
                }
                return;
            }
        };
        if publication.is_from(self.node) {
            // Its subscribers here had it when it was published.
            return;
        }
        let is_exact = pattern.is_none();
        let filter = pattern.map_or_else(|| Filter::from(&topic), Filter::Pattern);
        let Some(target) = self.table.find(&filter) else { return };
        let delivery = Delivery::new(topic, publication, place);
        let mut state = target.lock();
        match &mut state.line {
            Some(line) if is_exact && place.is_some() => {
                let steps = line.arrived(delivery, now());
                self.crowd(take(&target, &state, steps));
                self.look_for_missing(&target, &mut state);
            }
            _ => {
                let entry = || Entry::Publish { target: target.id, delivery: delivery.clone() };
                self.crowd(state.tell(entry));
            }
        }
    }

    /// This worker has enough to do.
    fn crowd(&self, inbox: Option<Arc<Inbox>>) {
        if inbox.is_some() {
            *lock(&self.crowded) = inbox;
        }
    }

    /// Waits until no worker has too much to do.
    async fn room(&self) {
        loop {
            let Some(inbox) = lock(&self.crowded).take() else { return };
            inbox.room().await;
        }
    }

    /// Has what a topic lacks fetched, if it lacks something.
    pub(crate) fn look_for_missing(&self, target: &Arc<Target>, state: &mut State) {
        let is_missing = state.line.as_ref().is_some_and(|line| line.asks().is_some());
        if is_missing && state.is_wanted() && !state.listed && !state.fetching {
            state.listed = true;
            lock(&self.missing).push_back(target.clone());
            self.missed.notify_one();
        }
    }

    /// Has the broker subscribe this, unless it has.
    pub(crate) async fn join(&self, target: &Arc<Target>) -> Result<(), BrokerError> {
        if target.lock().is_relayed() {
            return Ok(());
        }
        let (done, result) = oneshot::channel();
        let join = Join { target: target.clone(), done };
        let unavailable = || BrokerError::unavailable("the hub has ended");
        self.joins.send(join).await.map_err(|_| unavailable())?;
        result.await.map_err(|_| unavailable())?
    }

    /// See [`Broker::is_consecutive`].
    pub(crate) fn is_consecutive(&self) -> bool {
        self.broker.is_consecutive()
    }

    /// What the broker has becomes a part of the line.
    fn answered(&self, target: &Arc<Target>, after: u64, history: &History) {
        let Some(topic) = target.topic() else { return };
        let mut state = target.lock();
        let Some(line) = &mut state.line else { return };
        let steps = line.answered(topic, after, history, now());
        self.crowd(take(target, &state, steps));
        self.look_for_missing(target, &mut state);
    }

    /// Publishes to all nodes, or keeps it until that is possible.
    pub(crate) async fn publish(
        &self,
        topic: &Topic,
        publication: &Publication,
        keep: Option<Keep>,
    ) -> Result<Option<Position>, PublishError> {
        let parcel = Parcel {
            topic: topic.clone(),
            encoded: publication.encode(),
            keep,
            id: self.next_id(),
        };
        let parcel = match self.keep_if_away(parcel)? {
            Some(parcel) => parcel,
            None => return Ok(None),
        };
        match self.send(&parcel).await {
            Err(error) if error.is_retryable() && lock(&self.outbox).keeps() => {
                // Whether it was published is not known; by its id the broker knows it again.
                lock(&self.outbox)
                    .push(parcel)
                    .map_err(|Full(most)| PublishError::KeptFull(most))?;
                Ok(None)
            }
            result => result.map_err(PublishError::Broker),
        }
    }

    fn keep_if_away(&self, parcel: Parcel) -> Result<Option<Parcel>, PublishError> {
        let mut outbox = lock(&self.outbox);
        if outbox.keeps() && (outbox.is_waiting() || !self.is_connected()) {
            outbox.push(parcel).map_err(|Full(most)| PublishError::KeptFull(most))?;
            return Ok(None);
        }
        Ok(Some(parcel))
    }

    async fn send(&self, parcel: &Parcel) -> Result<Option<Position>, BrokerError> {
        let Parcel { topic, encoded, keep, id } = parcel;
        let id = keep.is_some().then(|| id.clone());
        within(self.broker.publish(topic, encoded.clone(), *keep, id)).await
    }

    /// Node and number.
    fn next_id(&self) -> Bytes {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number:x}", self.node).into()
    }

    pub(crate) async fn history(
        &self,
        topic: &Topic,
        range: Range,
        limit: usize,
    ) -> Result<History, BrokerError> {
        within(self.broker.history(topic, range, limit)).await
    }
}

/// What a line says goes to subscribers. Returns a worker that has enough to do.
fn take(target: &Arc<Target>, state: &State, steps: Vec<Step>) -> Option<Arc<Inbox>> {
    let mut crowded = None;
    for step in steps {
        let told = state.tell(|| match &step {
            Step::Deliver(delivery) => {
                Entry::Publish { target: target.id, delivery: delivery.clone() }
            }
            Step::Gap(reason) => Entry::Gap { target: target.clone(), reason: *reason },
        });
        crowded = told.or(crowded);
    }
    crowded
}

impl Retire for Remote {
    /// The broker ends the subscription, if it has one; then the target is taken out.
    fn retire(&self, target: &Arc<Target>) {
        {
            let mut state = target.lock();
            if !state.is_unused() || state.gone {
                return;
            }
            match state.relay {
                Relay::No => {}
                Relay::Yes => {
                    state.relay = Relay::Leaving;
                    lock(&self.left).push_back(target.clone());
                    self.changed.notify_one();
                    return;
                }
                Relay::Leaving => return,
            }
        }
        self.table.take_out(target);
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("broker", &self.broker).finish_non_exhaustive()
    }
}
