//! One connection, both directions at full speed, by two tasks:
//! `cargo run --release -p tautline-bench --bin duplex -- [--seconds N] [--rounds N] [--only NAME]`
//!
//! A client sends messages in a loop in one task and reads their echoes in another, on the
//! multi-thread runtime, through each way to split a connection. Printed is the CPU time of the
//! whole process, server included, for each message there and back, and what it is relative to the
//! crate's own `split` in the same round. A way that makes no progress for five seconds has
//! stalled: that is reported, and its run ends.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt, stream};
use tautline::{Error, Message, OriginPolicy, Server, WebSocket};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use support::{Result, cpu_time, option};

/// How long nothing may happen.
const STALL: Duration = Duration::from_secs(5);
const SIZES: &[(&str, usize)] = &[("16 B", 16), ("5,000 B", 5_000), ("1 MiB", 1 << 20)];

/// A way to use one connection from two tasks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `WebSocket::split` and `send`.
    Own,
    /// `StreamExt::split` and `send`.
    Futures,
    /// `sink_map_err`, `StreamExt::split` and `send`.
    Adapted,
    /// `WebSocket::split`, to whose half a stream is forwarded: no flush for each message.
    OwnForward,
    /// `StreamExt::split`, to whose half a stream is forwarded.
    Forward,
}

impl Way {
    const ALL: [Self; 5] =
        [Self::Own, Self::Futures, Self::Adapted, Self::OwnForward, Self::Forward];

    fn name(self) -> &'static str {
        match self {
            Self::Own => "split, send",
            Self::Futures => "StreamExt::split, send",
            Self::Adapted => "sink_map_err().split(), send",
            Self::OwnForward => "split, forward",
            Self::Forward => "StreamExt::split, forward",
        }
    }

    /// What it is compared with: the crate's own `split`, used alike.
    fn base(self) -> Self {
        match self {
            Self::Own | Self::Futures | Self::Adapted => Self::Own,
            Self::OwnForward | Self::Forward => Self::OwnForward,
        }
    }
}

/// Messages that were sent, and those that came back.
#[derive(Clone, Default)]
struct Progress(Arc<(AtomicU64, AtomicU64)>);

impl Progress {
    fn seen(&self) -> (u64, u64) {
        (self.0.0.load(Ordering::Relaxed), self.0.1.load(Ordering::Relaxed))
    }

    fn sent(&self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }

    fn received(&self) {
        self.0.1.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a run came to.
#[derive(Clone, Copy)]
enum Outcome {
    /// CPU time for each message, in microseconds, and messages in a second.
    Ran(f64, f64),
    /// After so many messages were sent and so many came back.
    Stalled(u64, u64),
}

fn main() -> Result {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let seconds = option(&words, "--seconds", 3.0)?;
    let rounds = option(&words, "--rounds", 1_usize)?;
    let only = option(&words, "--only", String::new())?;
    let mut stalls = 0;
    println!(
        "{seconds} s each, {rounds} rounds; CPU time of both ends for each message there and back"
    );
    for (size, bytes) in SIZES {
        let mut all: Vec<(Way, Vec<Outcome>)> = Vec::new();
        for round in 0..rounds {
            let mut ways = Way::ALL.to_vec();
            ways.retain(|way| way.name().contains(&only));
            let count = ways.len().max(1);
            ways.rotate_left(round % count);
            for way in ways {
                let outcome = run(way, *bytes, Duration::from_secs_f64(seconds))?;
                if let Outcome::Stalled(sent, received) = outcome {
                    stalls += 1;
                    println!("! STALL: {size}, {}: {sent} sent, {received} received", way.name());
                }
                match all.iter_mut().find(|(found, _)| *found == way) {
                    Some((_, outcomes)) => outcomes.push(outcome),
                    None => all.push((way, vec![outcome])),
                }
            }
        }
        report(size, &all);
    }
    if stalls == 0 { Ok(()) } else { Err(format!("{stalls} runs stalled").into()) }
}

fn report(size: &str, all: &[(Way, Vec<Outcome>)]) {
    let outcomes = |way: Way| all.iter().find(|(found, _)| *found == way);
    for way in Way::ALL {
        let Some((_, mine)) = outcomes(way) else { continue };
        let ran = |outcome: &Outcome| match *outcome {
            Outcome::Ran(cost, rate) => Some((cost, rate)),
            Outcome::Stalled(..) => None,
        };
        let stalled = mine.iter().filter(|outcome| ran(outcome).is_none()).count();
        let cost = median(mine.iter().filter_map(|outcome| ran(outcome).map(|(cost, _)| cost)));
        let rate = median(mine.iter().filter_map(|outcome| ran(outcome).map(|(_, rate)| rate)));
        let ratio = outcomes(way.base()).and_then(|(_, base)| {
            let pairs = mine.iter().zip(base);
            median(pairs.filter_map(|(mine, base)| Some(ran(mine)?.0 / ran(base)?.0)))
        });
        let text = |value: Option<f64>, digits: usize| {
            value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
        };
        println!(
            "{size:<8} {:<30} {:>10} us  {:>10}/s  {:>6} of own split  {stalled} stalls",
            way.name(),
            text(cost, 3),
            text(rate, 0),
            text(ratio, 3)
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// One connection to an echo server of the same process.
fn run(way: Way, bytes: usize, time: Duration) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = measure(&runtime, way, bytes, time);
    runtime.shutdown_background();
    outcome
}

fn measure(runtime: &Runtime, way: Way, bytes: usize, time: Duration) -> Result<Outcome> {
    let progress = Progress::default();
    let address = runtime.block_on(async {
        let server = Server::bind("127.0.0.1:0").await?.origins(OriginPolicy::Any);
        let address = server.local_addr()?;
        tokio::spawn(server.serve(|mut ws| async move {
            while let Some(message) = ws.next().await {
                ws.feed(message?).await?;
            }
            Ok(())
        }));
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(address)
    })?;
    let ws = runtime.block_on(tautline::connect(format!("ws://{address}/")))?;
    let message = Message::from(Bytes::from(vec![7; bytes]));
    let mut tasks = runtime.block_on(async { start(way, ws, message, &progress) });
    let failure = |tasks: &mut JoinSet<Result>| match tasks.try_join_next() {
        None => Ok(()),
        Some(Ok(Err(error))) => Err(error),
        Some(_) => Err("a task ended".into()),
    };

    // Until both directions flow.
    std::thread::sleep(Duration::from_millis(200));
    let pid = std::process::id();
    let (start, cpu, before) = (Instant::now(), cpu_time(pid)?, progress.seen());
    let (mut last, mut since) = (before, start);
    while start.elapsed() < time {
        std::thread::sleep(Duration::from_millis(50).min(time));
        failure(&mut tasks)?;
        let seen = progress.seen();
        // One direction that stands still is enough: neither may go on without the other.
        if seen.0 != last.0 && seen.1 != last.1 {
            (last, since) = (seen, Instant::now());
        } else if since.elapsed() > STALL {
            return Ok(Outcome::Stalled(seen.0, seen.1));
        }
    }
    // A stall that began shortly before the end.
    while since.elapsed() > STALL / 5 {
        std::thread::sleep(Duration::from_millis(50));
        failure(&mut tasks)?;
        let seen = progress.seen();
        if seen.0 != last.0 && seen.1 != last.1 {
            break;
        } else if since.elapsed() > STALL {
            return Ok(Outcome::Stalled(seen.0, seen.1));
        }
    }
    let (wall, cpu) = (start.elapsed(), cpu_time(pid)? - cpu);
    let messages = (progress.seen().1 - before.1) as f64;
    Ok(Outcome::Ran(cpu.as_secs_f64() * 1e6 / messages, messages / wall.as_secs_f64()))
}

fn start(way: Way, ws: WebSocket, message: Message, progress: &Progress) -> JoinSet<Result> {
    let mut tasks = JoinSet::new();
    match way {
        Way::Own | Way::OwnForward => {
            let (reader, writer) = ws.split();
            both(way, &mut tasks, reader, writer, message, progress);
        }
        Way::Futures | Way::Forward => {
            let (writer, reader) = StreamExt::split(ws);
            both(way, &mut tasks, reader, writer, message, progress);
        }
        Way::Adapted => {
            let (writer, reader) = ws.sink_map_err(|error| error).split();
            both(way, &mut tasks, reader, writer, message, progress);
        }
    }
    tasks
}

fn both<R, W>(
    way: Way,
    tasks: &mut JoinSet<Result>,
    mut reader: R,
    mut writer: W,
    message: Message,
    progress: &Progress,
) where
    R: Stream<Item = std::result::Result<Message, Error>> + Send + Unpin + 'static,
    W: Sink<Message, Error = Error> + Send + Unpin + 'static,
{
    let (sent, received) = (progress.clone(), progress.clone());
    tasks.spawn(async move {
        while let Some(message) = reader.next().await {
            drop(message?);
            received.received();
        }
        Err("the connection ended".into())
    });
    tasks.spawn(async move {
        if way == Way::OwnForward || way == Way::Forward {
            let messages = stream::repeat(message).map(|message| {
                sent.sent();
                Ok(message)
            });
            return Ok(messages.forward(writer).await?);
        }
        loop {
            writer.send(message.clone()).await?;
            sent.sent();
        }
    });
}
