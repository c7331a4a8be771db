//! What carries publications from node to node: the trait that brokers implement.

mod error;
#[cfg(any(feature = "redis", feature = "nats"))]
mod link;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(any(feature = "redis", feature = "nats"))]
mod subscriptions;
#[cfg(any(feature = "redis", feature = "nats"))]
mod times;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use self::error::BrokerError;
use crate::position::Position;
use crate::publication::Publication;
use crate::topic::{Filter, Pattern, Topic};

/// What the methods of a [`Broker`] return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How much of a topic is kept, so that subscribers get what they have missed. All three bounds hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keep {
    /// The last so many publications.
    pub messages: usize,
    /// The last ones that take so many bytes together, their payloads and what they take beside them.
    /// A broker that cannot bound bytes by topic says so.
    pub bytes: usize,
    /// None that is older. A topic in which nothing was published for so long, and which nobody is
    /// subscribed to, is forgotten; it then begins a new epoch.
    pub age: Duration,
}

impl Keep {
    /// The last so many publications, of at most 1 MiB together, for five minutes.
    #[must_use]
    pub const fn last(messages: usize) -> Self {
        Self { messages, bytes: 1 << 20, age: Duration::from_secs(300) }
    }

    /// At most so many bytes.
    #[must_use]
    pub const fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// None that is older.
    #[must_use]
    pub const fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }
}

/// A part of a topic's history that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "from the front, or from the back")]
pub enum Range {
    /// What follows this offset, oldest first.
    After(u64),
    /// The latest ones, newest first.
    Latest,
}

/// A part of a topic's history.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "brokers make it")]
pub struct History {
    /// With their offsets, in the order that was asked for.
    pub publications: Vec<(u64, Publication)>,
    /// The position of the newest one that the topic has or had, whether or not it is among these. A broker
    /// that does not know, since all of them are gone, says one that is not behind it, up to which all is
    /// among these or gone; if nothing is gone after the offset that was asked for, it says that offset.
    pub top: Position,
    /// For [`Range::After`]: the first of these is the first one after that offset. If not, some of
    /// what came after it is gone, or the offset is beyond `top`.
    pub complete: bool,
    /// For [`Range::After`]: up to which offset this is all. That of the last one that was read, although it
    /// may be missing here, since it could not be decoded; the offset that was asked for if none was read. For
    /// [`Range::Latest`]: the offset of the newest one that was read, likewise; 0 if none was.
    pub read_to: u64,
}

/// A publication that arrives from a broker.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "brokers make it")]
pub struct Arrival {
    /// What it was published to.
    pub topic: Topic,
    /// Because of which subscription it arrives: this pattern's, or that of the topic itself.
    pub pattern: Option<Pattern>,
    /// Where it is in the history, if the topic has one, and the offset of the one before it in the history
    /// of now, which is 0 for the first. There is a hole ahead of it if that is greater than what one has; if
    /// it is less, the broker has no longer what was between them, and one has missed nothing; if it
    /// [is consecutive](Broker::is_consecutive), it has lost what one has.
    pub place: Option<(Position, u64)>,
    /// The [encoded](Publication::encode) publication.
    pub encoded: Bytes,
}

/// What a broker tells its node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BrokerEvent {
    /// A publication. Those of one topic come in their order, for one subscription.
    Arrived(Arrival),
    /// The broker can be reached, at first or again, and all that was [subscribed](Broker::subscribe)
    /// is subscribed. What was published in between may have been lost: the node checks positions.
    Connected,
    /// It cannot be reached. The broker tries again by itself.
    Lost(BrokerError),
    /// Something may have been lost for some topics, or for all if there are none named here, although
    /// the connection stands.
    Unsure(Vec<Topic>),
    /// What some node [signalled](Broker::signal), this one included.
    Signal(Bytes),
}

/// Where a broker's events go.
#[derive(Clone)]
pub struct BrokerSink(Arc<dyn Sink>);

trait Sink: Send + Sync {
    fn tell(&self, event: BrokerEvent);
    fn ready(&self) -> BoxFuture<'_, ()>;
}

/// A function takes everything at once.
impl<F: Fn(BrokerEvent) + Send + Sync> Sink for F {
    fn tell(&self, event: BrokerEvent) {
        self(event);
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A function, and another one that waits until there is room.
struct Bounded<F, R>(F, R);

impl<F, R> Sink for Bounded<F, R>
where
    F: Fn(BrokerEvent) + Send + Sync,
    R: Fn() -> BoxFuture<'static, ()> + Send + Sync,
{
    fn tell(&self, event: BrokerEvent) {
        (self.0)(event);
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        (self.1)()
    }
}

impl BrokerSink {
    /// A sink that calls this function, which does not block: for tests of brokers.
    pub fn new(take: impl Fn(BrokerEvent) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    pub(crate) fn bounded(
        take: impl Fn(BrokerEvent) + Send + Sync + 'static,
        room: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Bounded(take, room)))
    }

    /// Tells an event.
    pub fn tell(&self, event: BrokerEvent) {
        self.0.tell(event);
    }

    /// Waits while more has arrived than the node's workers should have to do. A broker waits for this
    /// before it reads on, so that what is not delivered yet stays with the system that it talks to.
    pub async fn ready(&self) {
        self.0.ready().await;
    }
}

impl fmt::Debug for BrokerSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerSink").finish_non_exhaustive()
    }
}

/// A system that carries publications between nodes, and may keep histories.
///
/// The hub calls [`run`](Self::run) once, and drops what it returned when it shuts down. Everything else
/// may be called at any time, also while the broker cannot be reached: it then fails soon, with
/// [`BrokerError::Unavailable`]. The hub decides what to do about that.
pub trait Broker: fmt::Debug + Send + Sync + 'static {
    /// Keeps the connection, tries again when it is lost, and tells what happens, until it is dropped.
    fn run(self: Arc<Self>, sink: BrokerSink) -> BoxFuture<'static, ()>;

    /// Subscribes. When this has returned, whatever is published to them by any node arrives, until
    /// they are unsubscribed; also those that could not be subscribed now are when the broker is back,
    /// unless they were [refused](BrokerError::Refused).
    fn subscribe(&self, filters: Vec<Filter>) -> BoxFuture<'_, Result<(), BrokerError>>;

    /// Ends subscriptions. What is on its way may still arrive.
    fn unsubscribe(&self, filters: Vec<Filter>) -> BoxFuture<'_, Result<(), BrokerError>>;

    /// Publishes, and keeps it in the history as `keep` says. Returns when the broker has it, with
    /// where it is in the history. With `id`, a second publication to this topic with the same id,
    /// within a time that the broker documents, is not made; the position of the first one is
    /// returned.
    ///
    /// Several of these may be under way. They are carried out in the order in which they were first polled, as
    /// long as the connection stands.
    fn publish(
        &self,
        topic: &Topic,
        encoded: Bytes,
        keep: Option<Keep>,
        id: Option<Bytes>,
    ) -> BoxFuture<'_, Result<Option<Position>, BrokerError>>;

    /// Reads the history of a topic: at most so many of a range. Of [`Range::After`] it may read fewer, but at
    /// least one if there is any: if they are long, so many would not come within the time that a hub waits. It is
    /// asked again from [`History::read_to`] on. A topic without a history has no publications and begins its
    /// history, with offset 0.
    fn history(
        &self,
        topic: &Topic,
        range: Range,
        limit: usize,
    ) -> BoxFuture<'_, Result<History, BrokerError>>;

    /// The newest position of each of these topics, in their order; `None` for one without history, or of
    /// which nothing is left: this says nothing about what was published to it.
    fn tops(&self, topics: Vec<Topic>)
    -> BoxFuture<'_, Result<Vec<Option<Position>>, BrokerError>>;

    /// Whether an arrival's [`place`](Arrival::place) tells which one was ahead of it in the history even if that is
    /// gone. A node that has more than that then knows that the history went back, as after a failover: a gap.
    fn is_consecutive(&self) -> bool {
        false
    }

    /// Tells all nodes, this one included, something of the hub's own. It is small, may be lost, and is
    /// kept nowhere.
    fn signal(&self, bytes: Bytes) -> BoxFuture<'_, Result<(), BrokerError>>;
}

/// For [`Range::After`]: a part that has so many bytes is not made longer.
#[cfg(any(feature = "redis", feature = "nats"))]
const MAX_PART: usize = 4 << 20;

/// [`History::read_to`] of these entries.
#[cfg(any(feature = "redis", feature = "nats"))]
fn read_to(range: Range, entries: &[(u64, Bytes)]) -> u64 {
    let last = entries.iter().map(|(offset, _)| *offset).max();
    match range {
        Range::After(after) => last.unwrap_or(after),
        Range::Latest => last.unwrap_or(0),
    }
}

/// The publications of a history. What cannot be read, as of a later version, is left out, as it is when it
/// arrives.
#[cfg(any(feature = "redis", feature = "nats"))]
fn decoded(encoded: Vec<(u64, Bytes)>) -> Vec<(u64, Publication)> {
    let mut publications = Vec::with_capacity(encoded.len());
    for (offset, encoded) in encoded {
        match Publication::decode(encoded) {
            Ok(publication) => publications.push((offset, publication)),
            Err(error) => tracing::warn!(offset, %error, "an entry of a history cannot be read"),
        }
    }
    publications
}
