//! Presence of a hub: its tracker, and the task that carries what the tracker says.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::broker::Broker;
use crate::clock::now;
use crate::id::NodeId;
use crate::inbox::Entry;
use crate::presence::{Config, Counts, Event, JoinError, MemberInfo, Presence, Tracker};
use crate::sync::lock;
use crate::table::Table;
use crate::topic::Topic;

/// The first byte of signals of presence, among others that a hub may have.
const PRESENCE: u8 = b'p';
/// How long the broker has for a signal. What is late is repaired by a later one.
const PATIENCE: Duration = Duration::from_millis(500);

/// Who is where.
pub(crate) struct Attendance {
    tracker: Mutex<Tracker>,
    /// There may be something to carry.
    changed: Notify,
    task: Mutex<Option<AbortHandle>>,
}

impl Attendance {
    /// Begins to work. In a Tokio runtime.
    pub(crate) fn start(
        node: NodeId,
        config: Config,
        table: Arc<Table>,
        broker: Option<Arc<dyn Broker>>,
    ) -> Arc<Self> {
        let config = if broker.is_none() { config.alone(true) } else { config };
        let attendance = Arc::new(Self {
            tracker: Mutex::new(Tracker::new(node, config, now())),
            changed: Notify::new(),
            task: Mutex::default(),
        });
        let task = tokio::spawn(carry(attendance.clone(), table, broker));
        *lock(&attendance.task) = Some(task.abort_handle());
        attendance
    }

    /// Ends its task, which has a part of it.
    pub(crate) fn stop(&self) {
        lock(&self.task).iter().for_each(AbortHandle::abort);
    }

    fn tell<T>(&self, tell: impl FnOnce(&mut Tracker) -> T) -> T {
        let told = tell(&mut lock(&self.tracker));
        self.changed.notify_one();
        told
    }

    pub(crate) fn join(
        &self,
        topic: &Topic,
        number: u64,
        info: &MemberInfo,
    ) -> Result<(), JoinError> {
        self.tell(|tracker| tracker.join(now(), topic, number, info))
    }

    pub(crate) fn leave(&self, topic: &Topic, number: u64) {
        self.tell(|tracker| tracker.leave(now(), topic, number));
    }

    pub(crate) fn disconnect(&self, number: u64) {
        self.tell(|tracker| tracker.disconnect(now(), number));
    }

    /// Something that a node signalled.
    pub(crate) fn signal(&self, signal: &[u8]) {
        let Some((&PRESENCE, signal)) = signal.split_first() else { return };
        if let Err(error) = self.tell(|tracker| tracker.handle_signal(now(), signal)) {
            tracing::debug!(%error, "a signal of presence cannot be read");
        }
    }

    pub(crate) fn lost(&self) {
        self.tell(|tracker| tracker.handle_lost(now()));
    }

    pub(crate) fn connected(&self) {
        self.tell(|tracker| tracker.handle_connected(now()));
    }

    /// Others are told that this node ends, if there is still time.
    pub(crate) fn end(&self) {
        self.tell(Tracker::end);
    }

    pub(crate) fn counts(&self, topic: &Topic) -> Counts {
        lock(&self.tracker).counts(topic)
    }

    /// The same, but those without a user are one user, as Centrifugo counts them.
    #[cfg(feature = "centrifuge")]
    pub(crate) fn counts_with_unnamed(&self, topic: &Topic) -> Counts {
        let tracker = lock(&self.tracker);
        let Counts { members, users } = tracker.counts(topic);
        Counts { members, users: users + usize::from(tracker.has_unnamed(topic)) }
    }

    pub(crate) fn presence(&self, topic: &Topic, limit: usize) -> Presence {
        lock(&self.tracker).presence(topic, limit)
    }
}

/// Events to those who want to be told, signals to other nodes, and what is due.
async fn carry(attendance: Arc<Attendance>, table: Arc<Table>, broker: Option<Arc<dyn Broker>>) {
    loop {
        while let Some(event) = next_event(&attendance) {
            announce(&table, event);
        }
        while let Some(signal) = next_signal(&attendance) {
            if let Some(broker) = &broker {
                // Whether it arrived shows later, by what others know.
                let _ = tokio::time::timeout(PATIENCE, broker.signal(signal)).await;
            }
        }
        let deadline = lock(&attendance.tracker).deadline();
        match deadline {
            Some(deadline) => {
                let due = tokio::time::sleep_until(deadline.into());
                tokio::select! {
                    () = due => lock(&attendance.tracker).handle_timeout(now()),
                    () = attendance.changed.notified() => {}
                }
            }
            None => attendance.changed.notified().await,
        }
    }
}

fn next_event(attendance: &Attendance) -> Option<Event> {
    lock(&attendance.tracker).poll_event(now())
}

fn next_signal(attendance: &Attendance) -> Option<Bytes> {
    let signal = lock(&attendance.tracker).poll_signal()?;
    let mut bytes = BytesMut::with_capacity(1 + signal.len());
    bytes.put_u8(PRESENCE);
    bytes.put_slice(&signal);
    Some(bytes.freeze())
}

fn announce(table: &Table, event: Event) {
    let Some(target) = table.get(&event.topic) else { return };
    let event = Arc::new(event);
    let entry = || Entry::Presence { target: target.id, event: event.clone() };
    target.lock().tell(entry);
}

impl fmt::Debug for Attendance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attendance").finish_non_exhaustive()
    }
}
