//! Nodes and the server are killed at random while a numbered stream is published: every subscriber ends with the
//! whole sequence in order, or was told of a gap.
//!
//! `CHAOS_SECONDS` sets how long (4), `CHAOS_SUBSCRIBERS` how many (50), `CHAOS_SEED` replays what is decided.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tautline::CloseFrame;
use tautline_hub::{
    Attach, Ended, GapReason, Hub, Keep, Outgoing, Outlet, Position, Start, Subscribe, TopicOptions,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::node::topic;
use crate::server::{DEADLINE, Kind, Server};
use crate::xorshift::Xorshift;

const NODES: usize = 2;
/// How far the publisher may be ahead of the last of the subscribers.
const MOST_AHEAD: u64 = 5_000;
/// More than are published: whatever was acknowledged is there.
const KEPT: usize = 1_000_000;

/// What a subscriber sees.
#[derive(Clone, Copy)]
enum Seen {
    Number(u64, Position),
    Gap(GapReason),
}

/// Hands everything to its subscriber.
struct Channel(UnboundedSender<Seen>);

impl Outlet for Channel {
    fn poll_feed(
        &mut self,
        outgoing: &Outgoing<'_>,
        _: &mut Context<'_>,
    ) -> Poll<Result<(), Ended>> {
        let seen = match outgoing {
            Outgoing::Delivery(delivery) => {
                let text = delivery.publication().message().as_text().unwrap();
                Seen::Number(text.parse().unwrap(), delivery.position().unwrap())
            }
            Outgoing::Gap(_, reason) => Seen::Gap(*reason),
            _ => return Poll::Ready(Ok(())),
        };
        Poll::Ready(self.0.send(seen).map_err(|_| Ended))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &CloseFrame, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

fn hub(server: &Server) -> Hub {
    Hub::builder()
        .topics(|_| TopicOptions::new().history(Keep::last(KEPT).bytes(1 << 30)))
        .shared_broker(server.broker_with(DEADLINE))
        .keep_while_away(64 << 20)
        .build()
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

/// What a subscriber has.
#[derive(Default)]
struct Progress {
    last: u64,
    told: Arc<Told>,
    position: Option<Position>,
    gaps: u64,
}

impl Progress {
    fn take(&mut self, seen: Seen, seed: u64) {
        match seen {
            Seen::Number(number, position) => {
                let next = self.last + 1;
                assert!(
                    number == next || self.position.is_none(),
                    "{number} at {position:?} and not {next} behind {:?}, seed {seed}",
                    self.position
                );
                (self.last, self.position) = (number, Some(position));
                self.told.last.store(number, Ordering::Relaxed);
            }
            Seen::Gap(reason) => {
                println!("{reason:?} behind {} at {:?}", self.last, self.position);
                self.gaps += 1;
                self.position = None;
            }
        }
    }

    /// Follows the stream on one node after the other until its end, which is 0 until it is known.
    async fn follow(
        &mut self,
        nodes: &[Mutex<Hub>],
        end: &Mutex<u64>,
        mut random: Xorshift,
        seed: u64,
    ) {
        while *end.lock().unwrap() == 0 || self.last < *end.lock().unwrap() {
            let node = random.index(NODES);
            let hub = nodes[node].lock().unwrap().clone();
            let (sender, mut seen) = unbounded_channel();
            let member = hub.attach_outlet(Channel(sender), Attach::new());
            let how = match self.position {
                Some(position) => Subscribe::new().since(position),
                None => Subscribe::new(),
            };
            self.told.does(&format!("subscribes on {node} behind {:?}", self.position));
            match member.subscribe(topic("a"), how).await {
                Ok(Start::Gap { reason, .. }) => self.take(Seen::Gap(reason), seed),
                Ok(_) => {}
                Err(error) => {
                    assert!(error.is_retryable(), "{error:?}, seed {seed}");
                    self.told.does(&format!("waits after {error:?}"));
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            }
            drop(hub);
            self.told.does("reads");
            let until = Duration::from_millis(200 + random.below(1500));
            let _ = tokio::time::timeout(until, self.read(&mut seen, seed)).await;
            drop(member);
        }
    }

    async fn read(&mut self, seen: &mut UnboundedReceiver<Seen>, seed: u64) -> Option<Infallible> {
        loop {
            let next = seen.recv().await?;
            self.take(next, seed);
        }
    }
}

async fn chaos(kind: Kind) {
    let Some(mut server) = kind.start() else { return };
    let setting = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = setting("CHAOS_SEED").unwrap_or_else(|| u64::from(std::process::id()) * 7919 + 1);
    let long = Duration::from_secs(setting("CHAOS_SECONDS").unwrap_or(4));
    let subscribers = setting("CHAOS_SUBSCRIBERS").unwrap_or(50);
    println!("seed {seed}");
    let mut random = Xorshift(seed);
    let publisher = hub(&server);
    let nodes: Arc<[_; NODES]> = Arc::new(std::array::from_fn(|_| Mutex::new(hub(&server))));
    let end = Arc::new(Mutex::new(0));
    let following: Vec<_> = (0..subscribers)
        .map(|_| {
            let (nodes, end, random) =
                (nodes.clone(), end.clone(), Xorshift(random.below(1 << 40) + 1));
            let mut progress = Progress::default();
            let told = progress.told.clone();
            let following = tokio::spawn(async move {
                progress.follow(&nodes[..], &end, random, seed).await;
                progress
            });
            (told, following)
        })
        .collect();
    let (begun, mut number) = (Instant::now(), 0);
    let mut next_kill = Duration::from_millis(500);
    let least = || following.iter().map(|(told, _)| told.last()).min();
    while begun.elapsed() < long {
        // No more than can be caught up with, however long this goes on.
        if least().is_none_or(|least| number < least + MOST_AHEAD) {
            number += 1;
            publisher.publish(&topic("a"), number.to_string()).await.unwrap();
        }
        if begun.elapsed() >= next_kill {
            if random.below(2) == 0 {
                server.kill();
                // Some are published meanwhile, and kept.
                for _ in 0..random.below(200) {
                    number += 1;
                    publisher.publish(&topic("a"), number.to_string()).await.unwrap();
                }
                server.begin();
            } else {
                let node = random.index(NODES);
                // Without a word to anybody.
                *nodes[node].lock().unwrap() = hub(&server);
            }
            next_kill = begun.elapsed() + Duration::from_millis(300 + random.below(1200));
        }
        tokio::time::sleep(Duration::from_millis(random.below(3))).await;
    }
    *end.lock().unwrap() = number;
    let (mut gaps, mut late) = (0, Vec::new());
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    for (told, subscriber) in following {
        let Ok(done) = tokio::time::timeout_at(until, subscriber).await else {
            late.push(format!("{}: {}", told.last(), told.doing.lock().unwrap()));
            continue;
        };
        let progress = done.unwrap();
        assert_eq!(progress.last, number, "seed {seed}");
        gaps += progress.gaps;
    }
    println!("{number} published, {gaps} gaps");
    assert!(late.is_empty(), "at {:?}, seed {seed}, late are\n{}", Instant::now(), late.join("\n"));
    assert_eq!(gaps, 0, "the server keeps what it has acknowledged, seed {seed}");
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_over_redis() {
    chaos(Kind::Redis).await;
}

#[cfg(feature = "nats")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_over_nats() {
    chaos(Kind::Nats).await;
}
