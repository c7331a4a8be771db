//! A connection to a NATS server, and what is subscribed over it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::stream::{Config, Info, Stream};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions, Event, Message, RequestErrorKind, Subscriber};
use futures_util::StreamExt;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::settings::{Login, unfit};
use super::subjects::Subjects;
use super::{Settings, error};
use crate::broker::link::Connection;
use crate::broker::times::Times;
use crate::broker::{BrokerError, BrokerEvent, BrokerSink};
use crate::position::Epoch;
use crate::topic::Filter;

/// How many may wait for the server to confirm that it has what they sent.
const CONFIRMATIONS: usize = 4_096;
/// How often it is told at most that publications were dropped.
const UNSURE_PAUSE: Duration = Duration::from_secs(1);
/// How many publications the client sends before it has the stream's answers.
const UNANSWERED: usize = 10_000;

/// What publishes and reads.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) kept: Option<Arc<Kept>>,
    confirm: mpsc::Sender<oneshot::Sender<Result<(), BrokerError>>>,
}

/// The stream of the histories.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) context: Context,
    pub(super) stream: Stream<()>,
    config: Config,
    epoch: AtomicU64,
}

impl Kept {
    /// The stream, which is made if there is none.
    async fn open(context: Context, config: &Config) -> Result<Self, BrokerError> {
        let info = find_or_make(&context, config).await?;
        let stream = context.get_stream_no_info(&config.name).await;
        let stream = stream.map_err(BrokerError::unavailable)?;
        let epoch = AtomicU64::new(epoch_of(&info).as_u64());
        Ok(Self { context, stream, config: config.clone(), epoch })
    }

    /// Makes it again: somebody has deleted it.
    pub(super) async fn reopen(&self) -> Result<(), BrokerError> {
        let info = find_or_make(&self.context, &self.config).await?;
        self.note(&info);
        Ok(())
    }

    /// The epoch of the stream, as far as is known.
    pub(super) fn epoch(&self) -> Epoch {
        Epoch::from_u64(self.epoch.load(Ordering::Relaxed))
    }

    /// Takes the epoch from what the server says now.
    pub(super) fn note(&self, info: &Info) -> Epoch {
        let epoch = epoch_of(info);
        self.epoch.store(epoch.as_u64(), Ordering::Relaxed);
        epoch
    }
}

/// A stream that is deleted and made again counts from one.
fn epoch_of(info: &Info) -> Epoch {
    let created = SystemTime::from(info.created).duration_since(SystemTime::UNIX_EPOCH);
    Epoch::from_u64(u64::try_from(created.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX))
}

async fn find_or_make(context: &Context, config: &Config) -> Result<Info, BrokerError> {
    match context.get_stream(&config.name).await {
        Ok(stream) => {
            let info = stream.cached_info().clone();
            unfit(&info.config, config).map_or(Ok(info), |why| Err(BrokerError::refused(why)))
        }
        Err(error) if error::is_missing(&error.kind()) => {
            let made = context.create_stream(config.clone()).await.map_err(error::of_creating)?;
            Ok(made.cached_info().clone())
        }
        Err(error) => Err(error::of_finding(error)),
    }
}

impl Session {
    /// Returns when the server has read all that was sent before.
    pub(super) async fn confirmed(&self) -> Result<(), BrokerError> {
        let ended = |_| BrokerError::unavailable("the connection was closed");
        let (confirm, confirmed) = oneshot::channel();
        let asked = self.confirm.send(confirm).await;
        asked.map_err(|_| BrokerError::unavailable("the connection was closed"))?;
        confirmed.await.map_err(ended)?
    }
}

/// What becomes of a message of this subscription.
pub(super) type Take = Arc<dyn Fn(&Source, Message, Option<Epoch>) + Send + Sync>;

/// What a message arrives because of.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Filter(Filter),
    Signal,
}

/// A connection, while it stands.
pub(super) struct Connected {
    session: Session,
    subjects: Subjects,
    deadline: Duration,
    take: Take,
    sink: BrokerSink,
    readers: HashMap<Filter, Reader>,
    _signals: Reader,
    /// What ends when the connection is lost, with the reason.
    tasks: JoinSet<BrokerError>,
}

/// A task that hands on what arrives for one subscription, until it is told to stop or dropped.
struct Reader {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.stop.is_some() {
            self.task.abort();
        }
    }
}

/// Connects, and finds or makes the stream.
pub(super) async fn connect(
    settings: &Settings,
    take: Take,
    sink: BrokerSink,
) -> Result<Connected, BrokerError> {
    let opening = open(settings, take, sink);
    timeout(settings.times.deadline, opening)
        .await
        .unwrap_or_else(|_| Err(BrokerError::unavailable("no connection within the deadline")))
}

async fn open(settings: &Settings, take: Take, sink: BrokerSink) -> Result<Connected, BrokerError> {
    let events = Arc::new(Events::default());
    let options = options(settings, events.clone()).await?;
    let client = options.connect(&settings.servers[..]).await.map_err(error::of_connecting)?;
    let mut tasks = JoinSet::new();
    tasks.spawn(watch(events, sink.clone()));
    let (confirm, waiting) = mpsc::channel(CONFIRMATIONS);
    tasks.spawn(confirm_all(client.clone(), settings.subjects.nobody(), waiting));
    let kept = match &settings.stream {
        None => None,
        Some(config) => {
            let context = ContextBuilder::new()
                .timeout(settings.times.deadline)
                .ack_timeout(settings.times.deadline)
                .max_ack_inflight(UNANSWERED)
                .build(client.clone());
            Some(Arc::new(Kept::open(context, config).await?))
        }
    };
    let session = Session { client, kept, confirm };
    let signals = session.client.subscribe(settings.subjects.signal()).await;
    let signals = signals.map_err(BrokerError::unavailable)?;
    let signals = reader(signals, Source::Signal, take.clone(), sink.clone(), None);
    session.confirmed().await?;
    tasks.spawn(beat(session.clone(), settings.times));
    Ok(Connected {
        session,
        subjects: settings.subjects.clone(),
        deadline: settings.times.deadline,
        take,
        sink,
        readers: HashMap::new(),
        _signals: signals,
        tasks,
    })
}

/// What the client tells of its connection.
#[derive(Debug, Default)]
struct Events {
    lost: Notify,
    dropped: Notify,
}

async fn options(settings: &Settings, events: Arc<Events>) -> Result<ConnectOptions, BrokerError> {
    // Always ours: without, the client would make some when a server asks for TLS, and panic if there
    // is more than one crypto provider.
    let tls = settings.tls.to_config().await.map_err(BrokerError::refused)?;
    let options = ConnectOptions::new()
        .name("tautline-hub")
        .tls_client_config(Arc::unwrap_or_clone(tls))
        .connection_timeout(settings.times.deadline)
        .request_timeout(Some(settings.times.deadline))
        .ping_interval(settings.times.heartbeat)
        .subscription_capacity(settings.backlog)
        // A connection that is lost is replaced by a new client, so that nothing that it still has to
        // send is sent then. One attempt is the fewest that it makes.
        .max_reconnects(1)
        .event_callback(move |event| {
            note(&events, event);
            std::future::ready(())
        });
    match settings.login.clone() {
        Login::Nobody => Ok(options),
        Login::Password { user, password } => Ok(options.user_and_password(user, password)),
        Login::Token(token) => Ok(options.token(token)),
        Login::Nkey(seed) => Ok(options.nkey(seed)),
        Login::Credentials(text) => options.credentials(&text).map_err(BrokerError::refused),
    }
}

fn note(events: &Events, event: Event) {
    match event {
        Event::Disconnected | Event::Closed => events.lost.notify_one(),
        Event::SlowConsumer(_) => events.dropped.notify_one(),
        // Such as a subject that the user has no permission for.
        Event::ServerError(error) => tracing::warn!(%error, "the NATS server reports an error"),
        Event::ClientError(error) => tracing::debug!(%error, "the NATS client reports an error"),
        Event::LameDuckMode => tracing::info!("the NATS server is about to shut down"),
        Event::Connected | Event::Draining => {}
    }
}

async fn watch(events: Arc<Events>, sink: BrokerSink) -> BrokerError {
    let dropped = async {
        loop {
            events.dropped.notified().await;
            tracing::warn!("publications were dropped: this node has more to do than it can");
            sink.tell(BrokerEvent::Unsure(Vec::new()));
            tokio::time::sleep(UNSURE_PAUSE).await;
        }
    };
    tokio::select! {
        () = events.lost.notified() => BrokerError::unavailable("the connection was closed"),
        never = dropped => never,
    }
}

/// Asks the server now and then whether it is there.
async fn beat(session: Session, times: Times) -> BrokerError {
    let mut ticks = interval(times.heartbeat);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match timeout(times.deadline, session.confirmed()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error,
            Err(_) => return BrokerError::unavailable("the server does not answer"),
        }
    }
}

/// Confirms to all who wait that the server has what they sent, with one request for as many as there
/// are: its answer, that nobody listens to it, comes after all that was sent before.
async fn confirm_all(
    client: Client,
    nobody: String,
    mut waiting: mpsc::Receiver<oneshot::Sender<Result<(), BrokerError>>>,
) -> BrokerError {
    let mut all = Vec::new();
    while waiting.recv_many(&mut all, CONFIRMATIONS).await > 0 {
        let answer = client.request(nobody.clone(), Vec::new().into()).await;
        let result = match answer {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
            Err(error) => Err(BrokerError::unavailable(error)),
        };
        for confirm in all.drain(..) {
            // Whoever asked may have stopped to wait.
            let _ = confirm.send(result.clone());
        }
    }
    BrokerError::unavailable("the connection was closed")
}

fn reader(
    mut subscriber: Subscriber,
    source: Source,
    take: Take,
    sink: BrokerSink,
    kept: Option<Arc<Kept>>,
) -> Reader {
    let (stop, mut stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        loop {
            tokio::select! {
                message = subscriber.next() => {
                    let Some(message) = message else { return };
                    take(&source, message, kept.as_ref().map(|kept| kept.epoch()));
                    sink.ready().await;
                }
                _ = &mut stopped => {
                    // The connection may be gone, and the subscription with it.
                    let _ = subscriber.unsubscribe().await;
                    return;
                }
            }
        }
    });
    Reader { stop: Some(stop), task }
}

impl Connected {
    async fn add(&mut self, filters: &[Filter]) -> Result<(), BrokerError> {
        for filter in filters {
            if self.readers.contains_key(filter) {
                continue;
            }
            let subscriber = self.session.client.subscribe(self.subjects.live_of(filter)).await;
            let subscriber = subscriber.map_err(BrokerError::unavailable)?;
            let source = Source::Filter(filter.clone());
            let (take, sink) = (self.take.clone(), self.sink.clone());
            let reader = reader(subscriber, source, take, sink, self.session.kept.clone());
            self.readers.insert(filter.clone(), reader);
        }
        self.session.confirmed().await
    }

    async fn remove(&mut self, filters: &[Filter]) -> Result<(), BrokerError> {
        for filter in filters {
            let Some(mut reader) = self.readers.remove(filter) else { continue };
            if let Some(stop) = reader.stop.take() {
                // It may have ended by itself.
                let _ = stop.send(());
                let _ = (&mut reader.task).await;
            }
        }
        self.session.confirmed().await
    }
}

impl Connection for Connected {
    type Session = Session;

    fn session(&self) -> Session {
        self.session.clone()
    }

    async fn change(&mut self, filters: &[Filter], subscribe: bool) -> Result<(), BrokerError> {
        // The client takes them at once; what may take time is the server's answer.
        let deadline = self.deadline.saturating_mul(2);
        let changing =
            async { if subscribe { self.add(filters).await } else { self.remove(filters).await } };
        let changed = timeout(deadline, changing).await;
        changed.unwrap_or_else(|_| Err(BrokerError::unavailable("the server does not answer")))
    }

    async fn lost(&mut self) -> BrokerError {
        match self.tasks.join_next().await {
            Some(Ok(error)) => error,
            Some(Err(error)) => BrokerError::unavailable(error),
            None => BrokerError::unavailable("the connection is closed"),
        }
    }
}

/// The payload to publish, with an id if it has one.
pub(super) fn with_id(
    encoded: bytes::Bytes,
    id: Option<String>,
) -> jetstream::message::PublishMessage {
    let message = jetstream::message::PublishMessage::build().payload(encoded);
    match id {
        Some(id) => message.message_id(id),
        None => message,
    }
}
