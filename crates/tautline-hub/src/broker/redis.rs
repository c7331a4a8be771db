//! A broker on Redis.

mod error;
mod gate;
mod keys;
mod session;
mod settings;
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, PushInfo, PushKind, Value};

use self::error::odd;
use self::keys::Keys;
use self::session::{Session, Take};
use self::settings::Server;
use super::link::Link;
use super::times::Times;
use super::{
    Arrival, BoxFuture, Broker, BrokerError, BrokerEvent, BrokerSink, History, Keep, MAX_PART,
    Range,
};
use crate::position::Position;
use crate::sync::{read, write};
use crate::topic::{Filter, Pattern, Topic};

pub use self::settings::RedisBuilder;

/// How long a topic's epoch and offset are kept beyond its history.
const LINGER: Duration = Duration::from_secs(60 * 60);
/// The longest age that is kept.
const MAX_AGE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// The most publications that are kept of a topic.
const MAX_MESSAGES: usize = u32::MAX as usize;
/// How many topics one call asks about.
const TOPICS_PER_CALL: usize = 256;

/// A broker on Redis 6.2 or later, or Valkey: one server, or a primary with replicas.
///
/// ```no_run
/// use tautline_hub::broker::redis::RedisBroker;
///
/// # fn main() -> Result<(), tautline_hub::broker::BrokerError> {
/// let broker = RedisBroker::builder("redis://127.0.0.1/")
///     .credentials("chat", std::env::var("REDIS_PASSWORD").unwrap_or_default())
///     .prefix("chat")
///     .build()?;
/// # let _ = broker;
/// # Ok(())
/// # }
/// ```
///
/// # What it promises
///
/// * **Order.** Publications of a topic arrive in the order of their offsets at all nodes. Two that one
///   node makes at the same time may be made in either order; for an order, await the first.
/// * **Publishing** is one script: the offset, the entry of the history, and what subscribers get, all or
///   nothing. Calls that are made at the same time share a connection and do not wait for each other.
///   While the server is away they fail at once; one that does not answer, within the
///   [deadline](RedisBuilder::deadline).
/// * **Loss.** What subscribers get is not stored: a connection that is lost, or that the server ends
///   because it is too slow (`client-output-buffer-limit pubsub`, by default 32 MiB, or 8 MiB for a
///   minute), loses what is published meanwhile. The node is told of each loss, and finds what it missed
///   in the history; topics without history have lost it.
/// * **Restarts and failovers.** What the server had not stored, or not yet replicated, is gone, though it
///   was published; what survives is decided by its settings (`appendfsync`, `WAIT`). A history goes on
///   with its epoch, and its offsets with the next thousand million, so that what was lost is not mistaken
///   for what is published then. If everything is gone, topics begin new epochs. A primary that was cut
///   off still takes publications until its nodes connect to the other one; these are lost.
///
/// # History
///
/// All three bounds of [`Keep`] hold for each topic, also when it is read. A publication counts with 64
/// bytes beside its own. A topic's position is kept for an hour longer than its history, and as long as
/// a node asks for it (the hub does, while there are subscribers). If the server has a `maxmemory-policy`
/// that evicts, topics that are evicted begin new epochs.
///
/// Ids of publications are remembered for [five minutes](RedisBuilder::remember_ids), also those of
/// topics without history.
///
/// # Patterns
///
/// Redis compares each publication with each pattern that any node is subscribed to, so a few hundred
/// patterns are many. Its patterns do not know tokens: what matches too much is dropped on arrival.
///
/// # Names on the server
///
/// | name | what |
/// |---|---|
/// | `PREFIX:meta:{TOPIC}` | hash: offset, epoch, bytes, age, and which server |
/// | `PREFIX:log:{TOPIC}` | stream: an entry for each publication, its offset is the id |
/// | `PREFIX:id:{TOPIC}:ID` | string: where the publication with this id is |
/// | `PREFIX:live:TOPIC` | channel of a topic, of all databases |
/// | `PREFIX:signal` | channel of the hubs |
///
/// In keys, `{`, `}` and `%` of a topic are `%7B`, `%7D` and `%25`. A user with access lists needs
/// `~PREFIX:*`, `&PREFIX:*` and `+@scripting +@stream +@hash +@string +@keyspace +@pubsub +info +ping
/// +hello +time`; patterns also need `&*`, since Redis compares those of channels as they are written.
///
/// Redis Cluster is not supported: topics are on one primary. Its memory is what bounds the histories.
pub struct RedisBroker {
    link: Link<Session>,
    servers: Vec<Server>,
    keys: Arc<Keys>,
    times: Times,
    remember: Duration,
    patterns: Arc<RwLock<HashMap<Vec<u8>, Pattern>>>,
    strange: Arc<AtomicU64>,
}

impl RedisBroker {
    /// Settings of a broker on the server with this URL:
    /// `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, `rediss:` for TLS, or
    /// `unix:///PATH[?db=DATABASE&user=USER&pass=PASSWORD]`. What is wrong with it, is said by
    /// [`build`](RedisBuilder::build).
    #[must_use]
    pub fn builder(url: &str) -> RedisBuilder {
        RedisBuilder::new(url)
    }

    /// How many messages came over the broker's channels that are not of a hub: somebody else uses
    /// the same [prefix](RedisBuilder::prefix). They are dropped.
    #[must_use]
    pub fn strange_messages(&self) -> u64 {
        self.strange.load(Ordering::Relaxed)
    }

    fn new(servers: Vec<Server>, keys: Keys, settings: &RedisBuilder) -> Self {
        Self {
            link: Link::new(settings.times.deadline),
            servers,
            keys: Arc::new(keys),
            times: settings.times,
            remember: settings.remember,
            patterns: Arc::default(),
            strange: Arc::default(),
        }
    }

    /// What the server pushes, as events.
    fn taker(&self, sink: BrokerSink) -> Take {
        let (keys, patterns, strange) =
            (self.keys.clone(), self.patterns.clone(), self.strange.clone());
        let signal = keys.signal().into_bytes();
        Arc::new(move |info| {
            if !matches!(info.kind, PushKind::Message | PushKind::PMessage) {
                return;
            }
            match event(info, &keys, &signal, &patterns) {
                Some(Pushed::Event(event)) => sink.tell(event),
                Some(Pushed::NoMatch) => {}
                None => {
                    strange.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!("a message that is not of a hub, on a channel of one");
                }
            }
        })
    }

    /// Remembers the patterns behind the globs that messages arrive with.
    fn note_patterns(&self, filters: &[Filter]) {
        let mut patterns = write(&self.patterns);
        for filter in filters {
            if let Filter::Pattern(pattern) = filter {
                patterns.insert(self.keys.glob(pattern).into_bytes(), pattern.clone());
            }
        }
    }

    fn forget_patterns(&self, filters: &[Filter]) {
        let mut patterns = write(&self.patterns);
        for filter in filters {
            if let Filter::Pattern(pattern) = filter {
                patterns.remove(self.keys.glob(pattern).as_bytes());
            }
        }
    }

    async fn publish_kept(
        &self,
        session: &Session,
        topic: &Topic,
        encoded: &[u8],
        keep: Keep,
        id: Option<&Bytes>,
    ) -> Result<Option<Position>, BrokerError> {
        let age = keep.age.clamp(Duration::from_millis(1), MAX_AGE);
        let mut command = redis::cmd("EVALSHA");
        command.arg(&session.scripts.publish).arg(2 + usize::from(id.is_some()));
        command.arg(self.keys.meta(topic)).arg(self.keys.log(topic));
        if let Some(id) = id {
            command.arg(self.keys.id(topic, id));
        }
        command.arg(self.keys.channel(topic)).arg(encoded).arg(&*session.server);
        // What Redis takes for a length.
        command.arg(keep.messages.min(MAX_MESSAGES)).arg(keep.bytes).arg(millis(age));
        command.arg(millis(LINGER)).arg(millis(self.remember));
        match session.run(&command).await? {
            Value::BulkString(place) => {
                wire::position(&place).map(Some).ok_or_else(|| odd("the script for publishing"))
            }
            _ => Err(odd("the script for publishing")),
        }
    }

    async fn publish_plain(
        &self,
        session: &Session,
        topic: &Topic,
        encoded: &[u8],
        id: Option<&Bytes>,
    ) -> Result<(), BrokerError> {
        let (channel, message) = (self.keys.channel(topic), wire::plain(encoded));
        let Some(id) = id else {
            return publish_to(session, channel, &message).await;
        };
        let mut command = redis::cmd("EVALSHA");
        command.arg(&session.scripts.publish_once).arg(1).arg(self.keys.id(topic, id));
        command.arg(channel).arg(message).arg(millis(self.remember));
        session.run(&command).await.map(drop)
    }

    async fn read(
        &self,
        session: &Session,
        topic: &Topic,
        range: Range,
        limit: usize,
    ) -> Result<History, BrokerError> {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&session.scripts.history).arg(2);
        command.arg(self.keys.meta(topic)).arg(self.keys.log(topic));
        command.arg(&*session.server).arg(millis(LINGER));
        match range {
            Range::After(offset) => command.arg(offset.saturating_add(1)),
            Range::Latest => command.arg(""),
        };
        // One, even if none is wanted: it says whether something is gone.
        command.arg(limit.clamp(1, MAX_MESSAGES)).arg(MAX_PART);
        let answer = session.run(&command).await?;
        history(answer, range, limit).ok_or_else(|| odd("the script for histories"))
    }

    async fn read_tops(
        &self,
        session: &Session,
        topics: &[Topic],
    ) -> Result<Vec<Option<Position>>, BrokerError> {
        let mut tops = Vec::with_capacity(topics.len());
        for part in topics.chunks(TOPICS_PER_CALL) {
            let mut command = redis::cmd("EVALSHA");
            command.arg(&session.scripts.tops).arg(part.len());
            for topic in part {
                command.arg(self.keys.meta(topic));
            }
            command.arg(millis(LINGER));
            let Value::Array(found) = session.run(&command).await? else {
                return Err(odd("the script for positions"));
            };
            if found.len() != part.len() {
                return Err(odd("the script for positions"));
            }
            for top in found {
                tops.push(match top {
                    Value::BulkString(none) if none.is_empty() => None,
                    Value::BulkString(top) => {
                        Some(wire::position(&top).ok_or_else(|| odd("the script for positions"))?)
                    }
                    _ => return Err(odd("the script for positions")),
                });
            }
        }
        Ok(tops)
    }
}

async fn publish_to(session: &Session, channel: String, message: &[u8]) -> Result<(), BrokerError> {
    let mut command = Cmd::new();
    command.arg("PUBLISH").arg(channel).arg(message);
    session.query::<u64>(&command).await.map(drop)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What a message comes to.
enum Pushed {
    Event(BrokerEvent),
    /// Its topic matches the glob, and not the pattern.
    NoMatch,
}

/// Reads a message of a channel: `None` if it is not from a hub.
fn event(
    info: PushInfo,
    keys: &Keys,
    signal: &[u8],
    patterns: &RwLock<HashMap<Vec<u8>, Pattern>>,
) -> Option<Pushed> {
    let mut parts = info.data.into_iter().map(|part| match part {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    });
    let glob = if info.kind == PushKind::PMessage { Some(parts.next()??) } else { None };
    let (channel, message) = (parts.next()??, Bytes::from(parts.next()??));
    if glob.is_none() && channel == signal {
        return Some(Pushed::Event(BrokerEvent::Signal(message)));
    }
    let topic = keys.topic(&channel)?;
    let pattern = match glob {
        None => None,
        Some(glob) => {
            let patterns = read(patterns);
            match patterns.get(&glob) {
                Some(pattern) if pattern.matches(&topic) => Some(pattern.clone()),
                _ => return Some(Pushed::NoMatch),
            }
        }
    };
    let (place, encoded) = wire::read(message)?;
    Some(Pushed::Event(BrokerEvent::Arrived(Arrival { topic, pattern, place, encoded })))
}

/// Reads the answer of the script for histories.
fn history(answer: Value, range: Range, limit: usize) -> Option<History> {
    let Value::Array(parts) = answer else { return None };
    let mut parts = parts.into_iter().map(|part| match part {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    });
    let top = wire::position(&parts.next()??)?;
    let mut publications = Vec::with_capacity(parts.len() / 2);
    let mut first_previous = None;
    while let Some(place) = parts.next() {
        let (offset, previous) = wire::pair(&place?)?;
        first_previous.get_or_insert(previous);
        publications.push((offset, Bytes::from(parts.next()??)));
    }
    let complete = match (range, first_previous) {
        (Range::Latest, _) => true,
        // If it is less, the history went back, and has nothing at that offset.
        (Range::After(since), Some(previous)) => previous == since,
        (Range::After(since), None) => since == top.offset,
    };
    publications.truncate(limit);
    let read_to = super::read_to(range, &publications);
    Some(History { publications: super::decoded(publications), top, complete, read_to })
}

impl Broker for RedisBroker {
    fn run(self: Arc<Self>, sink: BrokerSink) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let take = self.taker(sink.clone());
            let connect = || session::connect(&self.servers, &self.keys, self.times, &take, &sink);
            self.link.run(sink.clone(), connect).await;
        })
    }

    fn subscribe(&self, filters: Vec<Filter>) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            self.note_patterns(&filters);
            self.link.change(filters, true).await
        })
    }

    fn unsubscribe(&self, filters: Vec<Filter>) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            self.forget_patterns(&filters);
            self.link.change(filters, false).await
        })
    }

    fn publish(
        &self,
        topic: &Topic,
        encoded: Bytes,
        keep: Option<Keep>,
        id: Option<Bytes>,
    ) -> BoxFuture<'_, Result<Option<Position>, BrokerError>> {
        let topic = topic.clone();
        Box::pin(async move {
            let session = self.link.session().await?;
            self.link
                .within(async {
                    match keep {
                        Some(keep) => {
                            self.publish_kept(&session, &topic, &encoded, keep, id.as_ref()).await
                        }
                        None => {
                            self.publish_plain(&session, &topic, &encoded, id.as_ref()).await?;
                            Ok(None)
                        }
                    }
                })
                .await
        })
    }

    fn history(
        &self,
        topic: &Topic,
        range: Range,
        limit: usize,
    ) -> BoxFuture<'_, Result<History, BrokerError>> {
        let topic = topic.clone();
        Box::pin(async move {
            let session = self.link.session().await?;
            self.link.within(self.read(&session, &topic, range, limit)).await
        })
    }

    fn tops(
        &self,
        topics: Vec<Topic>,
    ) -> BoxFuture<'_, Result<Vec<Option<Position>>, BrokerError>> {
        Box::pin(async move {
            let session = self.link.session().await?;
            self.link.within(self.read_tops(&session, &topics)).await
        })
    }

    fn is_consecutive(&self) -> bool {
        true
    }

    fn signal(&self, bytes: Bytes) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            let session = self.link.session().await?;
            self.link.within(publish_to(&session, self.keys.signal(), &bytes)).await
        })
    }
}

/// Without keys and credentials.
impl fmt::Debug for RedisBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBroker")
            .field(
                "servers",
                &self.servers.iter().map(|server| &server.address).collect::<Vec<_>>(),
            )
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}
