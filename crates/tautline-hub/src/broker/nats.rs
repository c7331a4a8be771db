//! A broker on NATS.

mod error;
mod history;
mod session;
mod settings;
mod subjects;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::stream::Config;
use async_nats::{Message, ServerAddr};
use bytes::Bytes;
use tautline::ClientTls;

use self::session::{Kept, Session, Source, Take};
use self::settings::Login;
use self::subjects::Subjects;
use super::link::Link;
use super::times::Times;
use super::{
    Arrival, BoxFuture, Broker, BrokerError, BrokerEvent, BrokerSink, History, Keep, Range,
};
use crate::position::{Epoch, Position};
use crate::topic::{Filter, Topic};

pub use self::settings::{NatsBuilder, NatsHistory};

/// A broker on NATS 2.9 or later: one server, or a cluster.
///
/// ```no_run
/// use tautline_hub::broker::nats::{NatsBroker, NatsHistory};
///
/// # fn main() -> Result<(), tautline_hub::broker::BrokerError> {
/// let broker = NatsBroker::builder("nats://127.0.0.1")
///     .user("chat", std::env::var("NATS_PASSWORD").unwrap_or_default())
///     .prefix("chat")
///     .history(NatsHistory::new())
///     .build()?;
/// # let _ = broker;
/// # Ok(())
/// # }
/// ```
///
/// # What it promises
///
/// * **Order.** Publications of a topic with history arrive in the order of the stream at all nodes; of
///   one without, in the order in which one node made them, and those of two nodes in any. Two that one
///   node makes at the same time may be made in either order; for an order, await the first.
/// * **Publishing.** With history, it returns when the stream has it (on a majority of its
///   [replicas](NatsHistory::replicas)); without, when the server has it. Calls that are made at the
///   same time share a connection and do not wait for each other. While the server is away they fail
///   at once; one that does not answer, within the [deadline](NatsBuilder::deadline).
/// * **Loss.** What subscribers get is sent once: what is published while a node's connection is lost,
///   or what is beyond its [backlog](NatsBuilder::backlog), it does not get. The node is told, and finds
///   what it missed in the history; topics without history have lost it. A subscription is known to its
///   own server when `subscribe` returns, and to the others of a cluster a moment later.
/// * **Restarts and failovers.** Histories go on with their epoch. What the server had not written to
///   disk is lost if the machine fails (`sync_interval`); more replicas protect from that. A stream in
///   memory, or one that was deleted, is made again, with a new epoch. The part of a cluster that has
///   no majority takes no publications with history, but does take those without.
///
/// # History
///
/// All histories are in one [stream](NatsHistory), whose limits are for all topics together: those of
/// [`Keep`] do not count here, but that there is one. Offsets are sequences of the stream: they grow, with
/// holes that other topics fill. When the oldest publications of the stream are gone, all topics are
/// recovered from the ones after that. Of a topic whose publications are all gone, nothing is known: its
/// [top](Broker::tops) is `None`, and whoever returns from before that is told of a gap, also where
/// there was nothing. Reading the latest ones of a topic that is rare in the stream takes some requests,
/// but the very latest only one.
///
/// Ids of publications with history are remembered for [two minutes](NatsHistory::remember_ids). Those
/// without history cannot have one: [`BrokerError::Unsupported`].
///
/// # Limits
///
/// A publication has at most the server's `max_payload`, which is 1 MiB unless set otherwise; a longer
/// one is refused. Each topic that a node is subscribed to takes some 6 KiB in its process.
///
/// # Names on the server
///
/// | name | what |
/// |---|---|
/// | `PREFIX.live.TOPIC` | subject on which a topic's publications arrive |
/// | `PREFIX.in.TOPIC` | subject of the stream, which passes on to the one above |
/// | `PREFIX.signal` | subject of the hubs |
/// | `PREFIX.nobody` | subject without subscribers, to know what the server has read |
/// | `PREFIX` | the stream |
///
/// A user with permissions needs to publish and subscribe to `PREFIX.>` and `_INBOX.>`, and, with
/// history, to publish to `$JS.API.>`. What is not permitted is seen in the log alone: the server tells
/// it without saying which call it was.
pub struct NatsBroker {
    link: Link<Session>,
    settings: Settings,
    strange: Arc<AtomicU64>,
}

/// What connections are made with.
#[derive(Clone)]
struct Settings {
    servers: Vec<ServerAddr>,
    login: Login,
    tls: ClientTls,
    subjects: Subjects,
    stream: Option<Config>,
    times: Times,
    backlog: usize,
}

impl NatsBroker {
    /// Settings of a broker on the server with this URL: `nats://[USER:PASSWORD@]HOST[:PORT]`, `tls:`
    /// for TLS, which is also used if the server asks for it. What is wrong with it, is said by
    /// [`build`](NatsBuilder::build).
    #[must_use]
    pub fn builder(url: &str) -> NatsBuilder {
        NatsBuilder::new(url)
    }

    /// How many messages came over the broker's subjects that are not of a hub: somebody else uses
    /// the same [prefix](NatsBuilder::prefix). They are dropped. A payload that is not of a hub is
    /// found by the hub.
    #[must_use]
    pub fn strange_messages(&self) -> u64 {
        self.strange.load(Ordering::Relaxed)
    }

    fn new(
        servers: Vec<ServerAddr>,
        subjects: Subjects,
        stream: Option<Config>,
        builder: &NatsBuilder,
    ) -> Self {
        let settings = Settings {
            servers,
            login: builder.login.clone(),
            tls: builder.tls.clone(),
            subjects,
            stream,
            times: builder.times,
            backlog: builder.backlog,
        };
        Self { link: Link::new(builder.times.deadline), settings, strange: Arc::default() }
    }

    /// What arrives, as events.
    fn taker(&self, sink: BrokerSink) -> Take {
        let (subjects, strange) = (self.settings.subjects.clone(), self.strange.clone());
        Arc::new(move |source, message, epoch| match event(source, message, epoch, &subjects) {
            Some(event) => sink.tell(event),
            None => {
                strange.fetch_add(1, Ordering::Relaxed);
                tracing::debug!("a message that is not of a hub, on a subject of one");
            }
        })
    }

    async fn publish_kept(
        &self,
        session: &Session,
        topic: &Topic,
        encoded: Bytes,
        id: Option<Bytes>,
    ) -> Result<Option<Position>, BrokerError> {
        let kept = kept(session)?;
        let subject = self.settings.subjects.kept(topic);
        let id = id.map(|id| subjects::message_id(topic, &id));
        let attempt = async || {
            let message = session::with_id(encoded.clone(), id.clone());
            kept.context.send_publish(subject.clone(), message).await?.await
        };
        let acknowledged = match attempt().await {
            Err(error) if error.kind() == PublishErrorKind::StreamNotFound => {
                kept.reopen().await?;
                attempt().await
            }
            other => other,
        };
        let offset = acknowledged.map_err(error::of_publishing)?.sequence;
        Ok(Some(Position { epoch: kept.epoch(), offset }))
    }

    async fn publish_plain(
        &self,
        session: &Session,
        subject: String,
        encoded: Bytes,
    ) -> Result<(), BrokerError> {
        let published = session.client.publish(subject, encoded).await;
        published.map_err(|error| match error.kind() {
            async_nats::client::PublishErrorKind::MaxPayloadExceeded => BrokerError::refused(error),
            _ => BrokerError::unavailable(error),
        })?;
        session.confirmed().await
    }
}

/// The stream, if there is to be one.
fn kept(session: &Session) -> Result<&Kept, BrokerError> {
    session.kept.as_deref().ok_or(BrokerError::Unsupported("history: none is set for NATS"))
}

/// Reads a message: `None` if it is not from a hub.
fn event(
    source: &Source,
    message: Message,
    epoch: Option<Epoch>,
    subjects: &Subjects,
) -> Option<BrokerEvent> {
    let (topic, pattern) = match source {
        Source::Signal => return Some(BrokerEvent::Signal(message.payload)),
        Source::Filter(Filter::Topic(topic)) => (topic.clone(), None),
        Source::Filter(Filter::Pattern(pattern)) => {
            (subjects.topic(&message.subject)?, Some(pattern.clone()))
        }
    };
    let place = subjects::place(message.headers.as_ref())?;
    // Without a stream of its own, a node knows nothing of positions.
    let place = place.zip(epoch);
    let place = place.map(|((offset, previous), epoch)| (Position { epoch, offset }, previous));
    let encoded = message.payload;
    Some(BrokerEvent::Arrived(Arrival { topic, pattern, place, encoded }))
}

impl Broker for NatsBroker {
    fn run(self: Arc<Self>, sink: BrokerSink) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let take = self.taker(sink.clone());
            let connect = || session::connect(&self.settings, take.clone(), sink.clone());
            self.link.run(sink.clone(), connect).await;
        })
    }

    fn subscribe(&self, filters: Vec<Filter>) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(self.link.change(filters, true))
    }

    fn unsubscribe(&self, filters: Vec<Filter>) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(self.link.change(filters, false))
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
            if keep.is_none() && id.is_some() {
                return Err(BrokerError::Unsupported("ids of publications without history"));
            }
            let session = self.link.session().await?;
            self.link
                .within(async {
                    if keep.is_some() {
                        return self.publish_kept(&session, &topic, encoded, id).await;
                    }
                    let subject = self.settings.subjects.live(&topic);
                    self.publish_plain(&session, subject, encoded).await?;
                    Ok(None)
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
        let subject = self.settings.subjects.kept(topic);
        Box::pin(async move {
            let session = self.link.session().await?;
            let kept = kept(&session)?;
            self.link.within(history::read(kept, &subject, range, limit)).await
        })
    }

    fn tops(
        &self,
        topics: Vec<Topic>,
    ) -> BoxFuture<'_, Result<Vec<Option<Position>>, BrokerError>> {
        let subjects = topics.iter().map(|topic| self.settings.subjects.kept(topic)).collect();
        Box::pin(async move {
            let session = self.link.session().await?;
            let kept = kept(&session)?;
            self.link.within(history::tops(kept, subjects)).await
        })
    }

    fn signal(&self, bytes: Bytes) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            let session = self.link.session().await?;
            let subject = self.settings.subjects.signal();
            self.link.within(self.publish_plain(&session, subject, bytes)).await
        })
    }
}

/// Without credentials.
impl fmt::Debug for NatsBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsBroker")
            .field("servers", &self.settings.servers)
            .field("subjects", &self.settings.subjects)
            .finish_non_exhaustive()
    }
}
