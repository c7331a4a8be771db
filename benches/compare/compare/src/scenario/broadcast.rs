//! One message to a thousand connections, as it is and compressed.

use std::io;
use std::time::{Duration, Instant};

use flate2::Decompress;

use super::deflate::{self, Setting};
use super::{Run, Scenario, json, more, rotated};
use crate::Outcome;
use crate::frames::{Kind, Pool};
use crate::load::{Link, Target, Window};
use crate::servers::{Extra, Participant, Running};
use crate::sys::{self, Poller};

pub(crate) const BROADCAST: Scenario = Scenario {
    name: "broadcast",
    title: "one message of 128 bytes or 1 KiB to 1,000 connections",
    unit: "us",
    about: "Server CPU time for each delivery, in microseconds; one message at a time, and 16 at once, of 128 bytes where the \
            cell does not say 1Ki. A queue for each connection, all that is in it fed and then flushed; Tautline's are prepared \
            messages. Bun has a broadcast of its own. Compressed: JSON text that the server receives as it is and sends compressed; \
            by those who have compression, Tautline and Bun with their defaults, the others with a fast setting.",
    digits: 3,
    larger_is_better: false,
    run,
};

/// How the name of a cell ends that differs from another one in that its messages are compressed.
pub(crate) const COMPRESSED: &str = ", compressed";

const CONNECTIONS: usize = 1_000;
/// Messages at a time.
const BURSTS: [usize; 2] = [1, 16];
/// Bytes of a message, and what its cells are called.
const CELLS: [(usize, [&str; 2]); 2] =
    [(128, ["one at a time", "bursts of 16"]), (1024, ["1Ki, one at a time", "1Ki, bursts of 16"])];
/// Bytes of different messages that go round when they are compressed: more than a window holds, so
/// that none is found in it again.
const DIFFERENT: usize = 64 << 10;
/// Who compresses, with which setting.
const SETTINGS: [(&str, &str); 4] =
    [("tautline", "default"), ("yawc-b", "pool"), ("sockudo-ws-b", "fast"), ("bun", "default")];
/// Longer than any turn takes: then something was lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// The connections; the first one sends.
struct Audience {
    links: Vec<Link>,
    pool: Pool,
    poller: Poller,
    buffer: Vec<u8>,
}

impl Audience {
    /// Opens the connections, and sends all of them a message, which must be right to the byte.
    /// Gives what was agreed on, too.
    fn open(target: &Target, length: usize) -> Outcome<(Self, String)> {
        let mut links = Vec::with_capacity(CONNECTIONS);
        let poller = Poller::new()?;
        for number in 0..CONNECTIONS {
            let link = Link::open(target)?;
            poller.add(link.wire(), number)?;
            links.push(link);
        }
        // Until the server has told all of its parts about the last of them.
        std::thread::sleep(Duration::from_millis(50));
        let (agreed, pool) = if target.offer.is_some() {
            let agreed = links[0].negotiated().ok_or("compression was not agreed on")?.to_owned();
            let plain = json::messages(DIFFERENT / length, length);
            // Not compressed: this is about sending. Reading compressed messages is what `deflate`
            // measures; here it would cut a burst in two, where it is more than a turn's work.
            let pool = Pool::new(Kind::Text, &plain, false);
            links[0].ask(&pool)?;
            for link in &mut links {
                let frame = link.reply()?;
                if !deflate::is_compressed(&frame) {
                    return Err("it did not compress the message".into());
                }
                if deflate::message(&mut Decompress::new(false), &frame)? != plain[0] {
                    return Err("a wrong message".into());
                }
            }
            (agreed, pool)
        } else {
            let pool = Pool::binary(length, BURSTS[1]);
            links[0].ask(&pool)?;
            links.iter_mut().try_for_each(|link| link.verify(&pool))?;
            (String::new(), pool)
        };
        Ok((Self { links, pool, poller, buffer: vec![0; 1 << 16] }, agreed))
    }

    /// Sends so many messages, and waits until all have them all.
    fn turn(&mut self, messages: usize, busy: &mut Duration) -> io::Result<u64> {
        self.links[0].owe(&self.pool, messages);
        self.links[0].write(&self.pool)?;
        let (mut missing, begin) = (messages * self.links.len(), Instant::now());
        let mut now = begin;
        while missing > 0 {
            let mut found = false;
            for number in self.poller.ready()? {
                missing =
                    missing.saturating_sub(self.links[number].read(&mut self.buffer)?.unwrap_or(0));
                found = true;
            }
            let then = std::mem::replace(&mut now, Instant::now());
            if found {
                *busy += now.duration_since(then);
            } else if now.duration_since(begin) > PATIENCE {
                return Err(io::Error::other(format!("{missing} deliveries are missing")));
            }
        }
        Ok((messages * self.links.len()) as u64)
    }

    fn run(&mut self, pid: u32, messages: usize, time: Duration) -> io::Result<Window> {
        let mut window = Window::default();
        let wire_before = self.wire_bytes();
        let cpu = sys::cpu_time(pid)?;
        let start = Instant::now();
        while start.elapsed() < time {
            window.messages += self.turn(messages, &mut window.busy)?;
        }
        window.cpu = sys::cpu_time(pid)? - cpu;
        window.wall = start.elapsed();
        window.wire_bytes = self.wire_bytes() - wire_before;
        Ok(window)
    }

    fn wire_bytes(&self) -> u64 {
        self.links.iter().map(Link::wire_bytes).sum()
    }
}

fn run(run: &mut Run<'_>) -> Outcome {
    let wanted = |participant: &Participant| {
        // One way to use each is enough here: the loop is not the library's.
        let other = matches!(
            participant.name,
            "raw" | "yawc" | "yawc-tuned" | "sockudo-ws" | "sockudo-ws-raw" | "wtx"
        );
        !other && !participant.is_variant() && participant.package != "ws"
    };
    let participants = run.participants(wanted);
    for round in 0..run.options.rounds {
        for (length, cells) in CELLS {
            for participant in rotated(&participants, round * 4) {
                let named = SETTINGS.iter().find(|(name, _)| *name == participant.name);
                let setting = named.and_then(|(name, setting)| Setting::of(name, setting));
                // What is compared stands side by side.
                one(run, participant, None, length, round, &cells.map(str::to_owned));
                if setting.is_some() {
                    let cells = cells.map(|cell| format!("{cell}{COMPRESSED}"));
                    one(run, participant, setting, length, round, &cells);
                }
            }
        }
    }
    Ok(())
}

/// The cells that differ in the number of messages at a time alone.
fn one(
    run: &mut Run<'_>,
    participant: &Participant,
    setting: Option<&Setting>,
    length: usize,
    round: usize,
    cells: &[String; 2],
) {
    if !cells.iter().any(|cell| run.options.wants_cell(cell)) {
        return;
    }
    let started = match setting {
        Some(setting) => setting.start(run, participant, "broadcast"),
        None => plain(run, participant),
    };
    match started.and_then(|started| measure(run, participant, &started, length, cells)) {
        Ok((windows, agreed)) => {
            for (cell, window) in windows {
                let mut more = more(&window);
                more.push(("wire_bytes", window.wire_bytes as f64 / window.messages as f64));
                let name = participant.name;
                run.record(cell, name, round, window.cpu_us(), more, agreed.clone());
            }
        }
        Err(error) => run.fail(format!("{} broadcast, {}: {error}", participant.name, cells[0])),
    }
}

fn plain(run: &Run<'_>, participant: &Participant) -> Outcome<(Running, Target)> {
    let server = run.start(participant, &["broadcast"], Extra::default())?;
    let target = run.target(&server, false, false)?;
    Ok((server, target))
}

/// The cells that are wanted, and what was agreed on.
fn measure<'a>(
    run: &Run<'_>,
    participant: &Participant,
    (server, target): &(Running, Target),
    length: usize,
    cells: &'a [String; 2],
) -> Outcome<(Vec<(&'a str, Window)>, String)> {
    let (mut audience, agreed) = Audience::open(target, length)?;
    let (warm, long) = (run.options.warm_up(participant.kind), run.options.long());
    let mut windows = Vec::new();
    for (cell, messages) in cells.iter().zip(BURSTS) {
        if run.options.wants_cell(cell) {
            audience.run(server.pid(), messages, warm)?;
            windows.push((&cell[..], audience.run(server.pid(), messages, long)?));
        }
    }
    Ok((windows, agreed))
}
