//! Noisy neighbours: what quiet connections wait for an echo while others of the same server send
//! as fast as they can.

use std::io;
use std::time::{Duration, Instant};

use super::deflate::{TAKEOVER, compress, window_bits};
use super::{Run, Scenario, json, rotated};
use crate::Outcome;
use crate::frames::{Kind, Pool};
use crate::load::{Link, Target};
use crate::servers::{Extra, Participant};
use crate::sys::Poller;

pub(crate) const FAIRNESS: Scenario = Scenario {
    name: "fairness",
    title: "what quiet connections wait beside a flood",
    unit: "us (p99)",
    about: "Round trip of messages of 16 bytes, one at a time on each quiet connection, in microseconds: p50 / p99 / longest, and in \
            brackets how many messages a second the floods had answered. Cell: quiet connections, what floods, on how many connections. \
            `small`: 16 bytes; `ping`: pings of 16 bytes; `large`: 1 MiB; `tiny`: compressed messages of one byte beside a full window; \
            `bomb`: 1 MiB of zeros, compressed; `busy`: 16 bytes, for each of which the handler works 10 us. All is read that the server \
            sends back. `2 threads`: Tokio's multi-thread runtime, on the same one core.",
    digits: 0,
    larger_is_better: false,
    run,
};

/// What floods.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flood {
    Nothing,
    Small,
    Ping,
    Large,
    Tiny,
    Bomb,
    Busy,
}

struct Cell {
    name: &'static str,
    quiet: usize,
    flood: Flood,
    /// Connections that flood.
    floods: usize,
    /// The server agrees on compression.
    deflate: bool,
}

const fn cell(name: &'static str, quiet: usize, flood: Flood, floods: usize) -> Cell {
    let deflate = matches!(flood, Flood::Tiny | Flood::Bomb);
    Cell { name, quiet, flood, floods, deflate }
}

const CELLS: &[Cell] = &[
    cell("20 alone", 20, Flood::Nothing, 0),
    cell("20, small x1", 20, Flood::Small, 1),
    cell("20, small x8", 20, Flood::Small, 8),
    cell("20, ping x1", 20, Flood::Ping, 1),
    cell("20, ping x8", 20, Flood::Ping, 8),
    cell("20, large x1", 20, Flood::Large, 1),
    cell("20, large x8", 20, Flood::Large, 8),
    cell("20, tiny x1", 20, Flood::Tiny, 1),
    cell("20, tiny x8", 20, Flood::Tiny, 8),
    cell("20, bomb x1", 20, Flood::Bomb, 1),
    cell("20, bomb x8", 20, Flood::Bomb, 8),
    cell("100 alone", 100, Flood::Nothing, 0),
    cell("100, busy x1", 100, Flood::Busy, 1),
];

/// Rounds, each long enough for waits of some hundred milliseconds.
const ROUNDS: usize = 5;
const WARM: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_millis(400);
/// What is slow to answer is looked at for longer.
const BUSY_LONG: Duration = Duration::from_millis(2_000);
/// Bytes that a flood writes, and reads, between two looks at the quiet connections: more would be
/// a wait of the generator's.
const STEP: usize = 32 * 1024;
/// Frames of 16 bytes that go round.
const SMALL: usize = 4_096;
/// Ahead of these everything was measured: nobody who still waits after this long does so for a
/// reason that can be told.
const PATIENCE: Duration = Duration::from_secs(10);

/// A participant with the runtime that it has.
#[derive(Clone, Copy)]
struct Entry {
    participant: &'static Participant,
    threads: Option<&'static str>,
}

impl Entry {
    fn row(self) -> String {
        let name = self.participant.name;
        self.threads.map_or(name.to_owned(), |threads| format!("{name}: {threads} threads"))
    }

    /// The settings for compression of this participant, if it has any.
    fn deflate(self) -> Option<&'static str> {
        match self.participant.name {
            "tautline" => Some("default"),
            "yawc-b" | "sockudo-ws-b" => Some("takeover"),
            _ => None,
        }
    }

    fn takes_part(self, cell: &Cell) -> bool {
        let works = matches!(self.participant.name, "tautline" | "tungstenite");
        (!cell.deflate || self.deflate().is_some()) && (cell.flood != Flood::Busy || works)
    }
}

fn entries(run: &Run<'_>) -> Vec<Entry> {
    let wanted = |participant: &Participant| {
        matches!(
            participant.name,
            "tautline"
                | "fastwebsockets"
                | "tokio-websockets"
                | "yawc-b"
                | "sockudo-ws-b"
                | "tungstenite"
        )
    };
    let mut all = Vec::new();
    for participant in run.participants(wanted) {
        all.push(Entry { participant, threads: None });
        if matches!(participant.name, "tautline" | "tungstenite") {
            all.push(Entry { participant, threads: Some("2") });
        }
    }
    all
}

fn run(run: &mut Run<'_>) -> Outcome {
    let entries = entries(run);
    for round in 0..run.options.rounds.min(if run.options.quick { 1 } else { ROUNDS }) {
        for (number, cell) in CELLS.iter().enumerate() {
            if !run.options.wants_cell(cell.name) {
                continue;
            }
            for entry in rotated(&entries, round * 3 + number) {
                if !entry.takes_part(cell) {
                    continue;
                }
                match one(run, entry, cell) {
                    Ok(seen) => {
                        let more = vec![
                            ("p50_us", seen.p50),
                            ("longest_us", seen.longest),
                            ("flood_per_second", seen.flood_per_second),
                            ("quiet_per_second", seen.quiet_per_second),
                        ];
                        run.record(cell.name, &entry.row(), round, seen.p99, more, String::new());
                    }
                    Err(error) => run.fail(format!("{} {}: {error}", entry.row(), cell.name)),
                }
            }
        }
    }
    Ok(())
}

/// Times in microseconds.
struct Seen {
    p50: f64,
    p99: f64,
    longest: f64,
    flood_per_second: f64,
    quiet_per_second: f64,
}

fn one(run: &Run<'_>, entry: Entry, cell: &Cell) -> Outcome<Seen> {
    let extra = Extra {
        deflate: entry.deflate().filter(|_| cell.deflate),
        busy: (cell.flood == Flood::Busy).then_some("10"),
        threads: entry.threads,
        ..Extra::default()
    };
    let server = run.start(entry.participant, &["echo"], extra)?;
    let target = run.target(&server, false, false)?;
    let pool = Pool::binary(16, 1);
    let mut crowd = Crowd::open(&target, cell, &pool)?;
    crowd.run(WARM)?;
    crowd.run(if cell.flood == Flood::Busy { BUSY_LONG } else { LONG })
}

/// A quiet connection, and when it sent what it waits for.
struct Quiet {
    link: Link,
    since: Instant,
}

struct Crowd<'a> {
    quiet: Vec<Quiet>,
    pool: &'a Pool,
    poller: Poller,
    floods: Vec<Link>,
    flood: Pool,
    buffer: Vec<u8>,
    waits: Vec<Duration>,
    /// Messages of the floods that were answered.
    answered: u64,
}

impl<'a> Crowd<'a> {
    fn open(target: &Target, cell: &Cell, pool: &'a Pool) -> Outcome<Self> {
        let poller = Poller::new()?;
        let mut quiet = Vec::with_capacity(cell.quiet);
        for number in 0..cell.quiet {
            let mut link = Link::open(target)?;
            link.ask(pool)?;
            link.verify(pool)?;
            poller.add(link.wire(), number)?;
            quiet.push(Quiet { link, since: Instant::now() });
        }
        let (floods, flood) = flood(target, cell)?;
        for Quiet { link, since } in &mut quiet {
            *since = Instant::now();
            link.owe(pool, 1);
            link.write(pool)?;
        }
        let (buffer, waits) = (vec![0; STEP], Vec::new());
        Ok(Self { quiet, pool, poller, floods, flood, buffer, waits, answered: 0 })
    }

    fn run(&mut self, time: Duration) -> Outcome<Seen> {
        self.waits.clear();
        self.answered = 0;
        let start = Instant::now();
        while start.elapsed() < time || (self.waits.is_empty() && start.elapsed() < PATIENCE) {
            if self.floods.is_empty() {
                self.answer()?;
            }
            for number in 0..self.floods.len() {
                let flood = &mut self.floods[number];
                flood.flood(&self.flood, STEP)?;
                self.answered += flood.read(&mut self.buffer)?.unwrap_or(0) as u64;
                self.answer()?;
            }
        }
        let (now, quiet) = (Instant::now(), self.waits.len());
        // Who still waits has waited that long at least; else a connection that is never served
        // would not be seen at all.
        self.waits.extend(self.quiet.iter().map(|quiet| now.duration_since(quiet.since)));
        self.waits.sort_unstable();
        let at = |part: f64| {
            let rank = (part * self.waits.len() as f64).ceil() as usize;
            let wait = self.waits.get(rank.clamp(1, self.waits.len()) - 1);
            wait.map_or(0.0, |wait| wait.as_secs_f64() * 1e6)
        };
        let seconds = now.duration_since(start).as_secs_f64();
        Ok(Seen {
            p50: at(0.5),
            p99: at(0.99),
            longest: at(1.0),
            flood_per_second: self.answered as f64 / seconds,
            quiet_per_second: quiet as f64 / seconds,
        })
    }

    /// Reads what came for quiet connections, and has each send its next message.
    fn answer(&mut self) -> io::Result<()> {
        let Self { quiet, pool, poller, waits, buffer, .. } = self;
        for number in poller.ready()? {
            let Quiet { link, since } = &mut quiet[number];
            if link.read(buffer)?.unwrap_or(0) > 0 {
                let now = Instant::now();
                waits.push(now.duration_since(*since));
                *since = now;
                link.owe(pool, 1);
                link.write(pool)?;
            }
        }
        Ok(())
    }
}

/// The connections that flood, and what they send round and round.
fn flood(target: &Target, cell: &Cell) -> Outcome<(Vec<Link>, Pool)> {
    let plain = |kind, payload: Vec<u8>, count| Pool::new(kind, &vec![payload; count], false);
    let (mut pool, reply) = match cell.flood {
        Flood::Ping => (plain(Kind::Ping, vec![0xff; 16], SMALL), 18),
        Flood::Large => (Pool::binary(1 << 20, 1), (1 << 20) + 10),
        _ => (plain(Kind::Binary, vec![0xff; 16], SMALL), 18),
    };
    let mut links = Vec::new();
    for _ in 0..cell.floods {
        if !cell.deflate {
            let mut link = Link::open(target)?;
            link.expect(reply);
            links.push(link);
            continue;
        }
        let target = Target { offer: Some(TAKEOVER), ..target.clone() };
        let mut link = Link::open(&target)?;
        let bits = window_bits(link.negotiated().ok_or("compression was not agreed on")?);
        if cell.flood == Flood::Bomb {
            let packed = compress(&vec![0; 1 << 20], bits)?;
            pool = Pool::new(Kind::Binary, &[packed], true);
        } else {
            let fill = compress(&json::messages(1, 1 << bits)[0], bits)?;
            link.exchange(&Pool::new(Kind::Text, &[fill], true))?;
            link.begin_pool();
            pool = Pool::new(Kind::Text, &vec![compress(b"x", bits)?; SMALL], true);
        }
        links.push(link);
    }
    Ok((links, pool))
}
