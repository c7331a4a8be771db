//! Nodes and the server are killed at random while a numbered stream is published: where the history keeps enough,
//! every subscriber ends with the whole sequence in order; where it keeps little, each is told of a gap wherever
//! something is missing.
//!
//! A node has a runtime of its own, which a kill ends without a word: connections to it break at any moment, also in
//! the middle of a subscription or of what it recovers. Their subscribers go on at another node. The publisher is
//! on a node that lives, since only that knows what it has published.
//!
//! `CHAOS_SECONDS` sets how long (4), `CHAOS_SUBSCRIBERS` how many (50), `CHAOS_SEED` what is drawn. The publisher and
//! each subscriber draw for themselves, by what they have published or seen and not by the clock. So a seed repeats
//! behind which number what is killed, and, where nothing is missing, behind which numbers a subscriber leaves its
//! node. It does not repeat what the machine decides: how many are published until the time is up, how far
//! subscribers, nodes and the server have come when something is killed, and so what breaks, who is on which node, and
//! what is missing where little is kept. A failure may need several runs of its seed.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tautline::{CloseFrame, Message, Prepared, Role, WebSocket, Writer};
use tautline_hub::broker::Broker;
use tautline_hub::{
    Attach, Ended, Hub, HubBuilder, Keep, Outgoing, Outlet, Position, Start, Subscribe,
    SubscribeError, TopicOptions,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::node::topic;
use crate::process::{Peer, Process, Wire};
use crate::server::{DEADLINE, Kind, Server};
use crate::xorshift::Xorshift;

const NODES: usize = 2;
/// How far the publisher may be ahead of the last of the subscribers.
const MOST_AHEAD: u64 = 1_000;
/// A subscriber leaves its node behind at most two to this power of numbers.
const MOST_READ: u64 = 11;
/// Where little is kept, a subscriber that left stays away for at most so many publications.
const MOST_AWAY: u64 = 100;
/// Longer than this goes on.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);
/// What the subscribers may need for the rest when the time is up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Who has lost its node tries again after this, as clients do.
const PAUSE: Duration = Duration::from_millis(20);

/// What there is of the history.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// More than is published.
    All,
    /// Less than a subscriber misses that is away for long.
    Few,
}

impl Kept {
    fn keep(self) -> Keep {
        match self {
            Self::All => Keep::last(1_000_000).bytes(1 << 30).age(LONG),
            Self::Few => Keep::last(20),
        }
    }

    fn broker(self, server: &Server) -> Arc<dyn Broker> {
        match server.kind {
            #[cfg(feature = "redis")]
            Kind::Redis => server.broker_with(DEADLINE),
            #[cfg(feature = "nats")]
            Kind::Nats => {
                // It keeps so many bytes of all topics, not so many publications of each.
                let history = tautline_hub::broker::nats::NatsHistory::new().max_age(LONG);
                let history = if self == Self::Few { history.max_bytes(4_000) } else { history };
                let settings = crate::nats::settings(&server.url()).history(history);
                Arc::new(settings.deadline(DEADLINE).build().unwrap())
            }
        }
    }

    fn hub(self, server: &Server) -> HubBuilder {
        Hub::builder()
            .topics(move |_| TopicOptions::new().history(self.keep()))
            .shared_broker(self.broker(server))
            .keep_while_away(64 << 20)
    }
}

/// Numbers of an actor of its own: other ones than those of the other actors with this seed.
fn random(seed: u64, actor: u64) -> Xorshift {
    let mut random = Xorshift((seed ^ (actor + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)).max(1));
    // The first ones of similar seeds are similar.
    for _ in 0..16 {
        random.below(2);
    }
    random
}

/// How many a subscriber reads until it leaves: often few, and sometimes so many that it catches up.
fn how_many(random: &mut Xorshift) -> u64 {
    let below = 2 << random.below(MOST_READ);
    1 + random.below(below)
}

/// A node's half of a connection, which sends one line for everything, with its position.
struct Lines(Writer<Wire>);

fn line(outgoing: &Outgoing<'_>) -> String {
    let text = |position: &Option<Position>| position.map_or("-".into(), |it| it.to_string());
    match outgoing {
        Outgoing::Delivery(delivery) => {
            let number = delivery.publication().message().as_text().unwrap();
            format!("{number} {}", text(&delivery.position()))
        }
        Outgoing::Started { start: Start::Live { position }, .. } => {
            format!("live {}", text(position))
        }
        Outgoing::Started { start: Start::Recovered { .. }, .. } => "recovered -".into(),
        Outgoing::Started { start: Start::Gap { position, reason }, .. } => {
            format!("gap {} {reason:?}", text(position))
        }
        Outgoing::Gap(_, reason) => format!("gap - {reason:?}"),
        other => format!("unexpected {other:?}"),
    }
}

impl Outlet for Lines {
    fn poll_feed(
        &mut self,
        outgoing: &Outgoing<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Ended>> {
        let message = match outgoing {
            Outgoing::Message(message) => (*message).clone(),
            other => Prepared::new(Message::from(line(other))),
        };
        pin!(self.0.feed_prepared(&message)).poll(cx).map_err(|_| Ended)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        pin!(self.0.flush()).poll(cx).map_err(|_| Ended)
    }

    fn poll_close(&mut self, frame: &CloseFrame, cx: &mut Context<'_>) -> Poll<()> {
        pin!(self.0.close_with(frame.clone())).poll(cx).map(|_| ())
    }
}

/// The node's half: the first message is the position since which a subscriber wants everything, if it has one.
async fn serve(hub: Hub, wire: Wire) {
    let (mut reader, writer) = WebSocket::builder(Role::Server).build(wire).split();
    let member = hub.attach_outlet(Lines(writer), Attach::new());
    let Some(Ok(since)) = reader.next().await else { return };
    let how = match since.as_text().unwrap().parse() {
        Ok(position) => Subscribe::new().since(position),
        Err(_) => Subscribe::new(),
    };
    match member.subscribe(topic("a"), how).await {
        Ok(_) | Err(SubscribeError::Ended) => {}
        // As a node does that cannot serve now.
        Err(error) if error.is_retryable() => return,
        // Which fails the test, since it is no line that a subscriber knows.
        Err(error) => member.send(Message::from(format!("unexpected {error:?}"))),
    }
    while reader.next().await.is_some() {}
}

/// How far a subscriber is, for whoever waits for it.
#[derive(Default)]
struct Told {
    last: AtomicU64,
    doing: Mutex<String>,
}

impl Told {
    fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    fn does(&self, what: &str) {
        *self.doing.lock().unwrap() = format!("{what} since {:?}", Instant::now());
    }
}

/// What a subscriber has seen.
struct Seen {
    last: u64,
    position: Option<Position>,
    /// Between the last number and the next one, some may be missing: so it was told.
    may_miss: bool,
    gaps: u64,
    /// Gaps in which something was missing.
    holes: u64,
}

impl Seen {
    /// The first number may be any.
    const fn new() -> Self {
        Self { last: 0, position: None, may_miss: true, gaps: 0, holes: 0 }
    }

    fn take(&mut self, line: &str) {
        let (what, position) = line.split_once(' ').unwrap();
        let position = position.split(' ').next().and_then(|it| it.parse().ok());
        match what {
            "recovered" => assert!(self.position.is_some(), "{line}"),
            "live" => {
                assert_eq!(self.position, None, "{line}: not asked for");
                self.position = position;
            }
            "gap" => {
                (self.gaps, self.may_miss) = (self.gaps + 1, true);
                self.position = position.or(self.position);
            }
            number => {
                let number: u64 = number.parse().unwrap_or_else(|_| panic!("{line}"));
                let Self { last, may_miss, .. } = *self;
                assert!(number > last, "{line} behind {last} at {:?}", self.position);
                let is_next = number == last + 1;
                assert!(is_next || may_miss, "{line} behind {last} at {:?}", self.position);
                self.holes += u64::from(!is_next && last > 0);
                (self.last, self.position, self.may_miss) = (number, position, false);
            }
        }
    }
}

/// One that follows the stream on one node after the other.
struct Subscriber {
    seen: Seen,
    told: Arc<Told>,
    random: Xorshift,
    /// Behind so many numbers it leaves its node.
    left: u64,
    /// How often its node went away, or could not serve it.
    broken: u64,
    kept: Kept,
    published: watch::Receiver<u64>,
    /// The number that it has to see at least, when that is known.
    end: watch::Receiver<u64>,
}

impl Subscriber {
    async fn follow(mut self, nodes: Arc<[Mutex<Process>; NODES]>) -> Self {
        let mut node = self.random.index(NODES);
        while self.seen.last < *self.end.borrow() {
            self.told.does(&format!("is on {node} behind {:?}", self.seen.position));
            let peer = nodes[node].lock().unwrap().connect(serve);
            if self.read(peer).await.is_some() {
                self.stay_away().await;
                self.left = how_many(&mut self.random);
            } else {
                self.broken += 1;
                self.told.does("has lost its node");
                tokio::time::sleep(PAUSE).await;
            }
            node = (node + 1) % NODES;
        }
        self
    }

    /// Reads what is left to read until it leaves. `None` if the connection breaks before.
    async fn read(&mut self, mut peer: Peer) -> Option<()> {
        let since = self.seen.position.map_or_else(String::new, |it| it.to_string());
        peer.send(since).await.ok()?;
        while self.left > 0 {
            let last = self.seen.last;
            let message = tokio::select! {
                message = peer.next() => message?.ok()?,
                _ = self.end.wait_for(|end| last >= *end) => break,
            };
            let line = message.as_text().unwrap();
            self.seen.take(line);
            let is_whole = self.seen.gaps == 0;
            assert!(is_whole || self.kept == Kept::Few, "{line} behind {last}, which is kept");
            self.left -= u64::from(self.seen.last > last);
            self.told.last.store(self.seen.last, Ordering::Relaxed);
        }
        Some(())
    }

    async fn stay_away(&mut self) {
        if self.kept == Kept::Few {
            let back = self.seen.last + self.random.below(MOST_AWAY);
            self.told.does(&format!("is away until {back}"));
            self.published.wait_for(|published| *published >= back).await.unwrap();
        }
    }
}

/// Who publishes and kills.
struct Chaos {
    server: Server,
    kept: Kept,
    nodes: Arc<[Mutex<Process>; NODES]>,
    publisher: Hub,
    published: watch::Sender<u64>,
    random: Xorshift,
    kills: [u64; 2],
}

impl Chaos {
    fn number(&self) -> u64 {
        *self.published.borrow()
    }

    async fn publish(&self) {
        let number = self.number() + 1;
        self.publisher.publish(&topic("a"), number.to_string()).await.unwrap();
        self.published.send_replace(number);
    }

    /// Behind which number.
    fn next_kill(&mut self) -> u64 {
        self.number() + 40 + self.random.below(160)
    }

    /// What is between two publications.
    async fn pause(&mut self) {
        tokio::time::sleep(Duration::from_millis(self.random.below(3))).await;
    }

    async fn kill(&mut self) {
        let which = self.random.index(2);
        self.kills[which] += 1;
        if which == 0 {
            println!("behind {} the server is killed", self.number());
            self.server.kill();
            // Some are published meanwhile, and kept.
            for _ in 0..self.random.below(200) {
                self.publish().await;
            }
            self.server.begin();
        } else {
            let node = self.random.index(NODES);
            println!("behind {} node {node} is killed", self.number());
            let another = Process::begin(self.kept.hub(&self.server));
            // Without a word to anybody.
            *self.nodes[node].lock().unwrap() = another;
        }
    }

    /// Publishes for so long, and kills behind so many publications as are drawn.
    async fn go_on(&mut self, long: Duration, following: &[(Arc<Told>, JoinHandle<Subscriber>)]) {
        let begun = Instant::now();
        let mut next_kill = self.next_kill();
        while begun.elapsed() < long {
            let least = following.iter().map(|(told, _)| told.last()).min();
            if least.is_some_and(|least| self.number() >= least + MOST_AHEAD) {
                // No more than can be caught up with, however long this goes on.
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            self.publish().await;
            if self.number() >= next_kill {
                self.kill().await;
                next_kill = self.next_kill();
            }
            self.pause().await;
        }
    }
}

/// Returns how often subscribers were told of a gap, and in how many of those something was missing.
async fn chaos(kind: Kind, kept: Kept) -> Option<(u64, u64)> {
    let server = kind.start()?;
    let setting = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = setting("CHAOS_SEED").unwrap_or_else(|| u64::from(std::process::id()) * 7919 + 1);
    let long = Duration::from_secs(setting("CHAOS_SECONDS").unwrap_or(4));
    let subscribers = setting("CHAOS_SUBSCRIBERS").unwrap_or(50);
    println!("CHAOS_SEED={seed}");
    let node = |_| Mutex::new(Process::begin(kept.hub(&server)));
    let nodes: Arc<[_; NODES]> = Arc::new(std::array::from_fn(node));
    let (published, end) = (watch::Sender::new(0), watch::Sender::new(u64::MAX));
    let following: Vec<_> = (1..=subscribers)
        .map(|actor| {
            let (told, mut random) = (Arc::<Told>::default(), random(seed, actor));
            let subscriber = Subscriber {
                seen: Seen::new(),
                told: told.clone(),
                left: how_many(&mut random),
                random,
                broken: 0,
                kept,
                published: published.subscribe(),
                end: end.subscribe(),
            };
            (told, tokio::spawn(subscriber.follow(nodes.clone())))
        })
        .collect();
    let publisher = kept.hub(&server).build();
    let random = random(seed, 0);
    let mut chaos = Chaos { server, kept, nodes, publisher, published, random, kills: [0; 2] };
    chaos.go_on(long, &following).await;
    let number = chaos.number();
    end.send_replace(number);
    let until = Instant::now() + PATIENCE;
    while following.iter().any(|(_, it)| !it.is_finished()) {
        assert!(Instant::now() < until, "seed {seed}, late are\n{}", late(&following));
        if kept == Kept::Few {
            // Who was told of a gap at the end sees nothing until there is more.
            chaos.publish().await;
        }
        chaos.pause().await;
    }
    let (mut gaps, mut holes, mut broken) = (0, 0, 0);
    for (_, subscriber) in following {
        let Subscriber { seen, broken: times, .. } = subscriber.await.unwrap();
        assert!(seen.last >= number, "seed {seed}");
        (gaps, holes, broken) = (gaps + seen.gaps, holes + seen.holes, broken + times);
    }
    let [servers, nodes] = chaos.kills;
    println!(
        "{number} published, killed {servers} times the server and {nodes} times a node, \
         {broken} connections broke or were refused, {gaps} gaps, {holes} with something in them"
    );
    Some((gaps, holes))
}

fn late(following: &[(Arc<Told>, JoinHandle<Subscriber>)]) -> String {
    let late = following.iter().filter(|(_, it)| !it.is_finished());
    let line = |told: &Told| format!("{}: {}", told.last(), told.doing.lock().unwrap());
    late.map(|(told, _)| line(told)).collect::<Vec<_>>().join("\n")
}

async fn nothing_is_lost(kind: Kind) {
    if let Some((gaps, _)) = chaos(kind, Kept::All).await {
        assert_eq!(gaps, 0, "the server keeps what it has acknowledged");
    }
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_over_redis() {
    nothing_is_lost(Kind::Redis).await;
}

#[cfg(feature = "nats")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_over_nats() {
    nothing_is_lost(Kind::Nats).await;
}

async fn what_is_lost_is_told(kind: Kind) {
    if let Some((_, holes)) = chaos(kind, Kept::Few).await {
        assert!(holes > 0, "those who were away for long have missed something");
    }
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_over_redis_is_told() {
    what_is_lost_is_told(Kind::Redis).await;
}

#[cfg(feature = "nats")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_over_nats_is_told() {
    what_is_lost_is_told(Kind::Nats).await;
}
