//! Publishing to topics: one that all have, and many that few have.

use std::io;
use std::time::{Duration, Instant};

use super::{Run, Scenario, rotated};
use crate::Outcome;
use crate::frames::{Kind, Pool};
use crate::load::{Link, Target, Window};
use crate::servers::Kind::JavaScript;
use crate::servers::{self, Extra, Participant};
use crate::sys::{self, Poller};

pub(crate) const HUB: Scenario = Scenario {
    name: "hub",
    title: "messages of 128 bytes to the subscribers of a topic",
    unit: "us",
    about: "Server CPU time for each delivery, in microseconds; one message at a time, and 16 at once. 1 topic: all of 10,000 \
            connections have it. 10,000 topics: each of 1,000 connections has 100 of them, each of them 10 connections; a message \
            is for a random one. `floor`: a queue for each connection, all that is in it written at once. Bun's own `publish`, and \
            Tautline's `Hub`.",
    digits: 3,
    larger_is_better: false,
    run,
};

/// Messages at a time.
const BURSTS: [usize; 2] = [1, 16];
/// Bytes of a message, of which the first four are its topic.
const LENGTH: usize = 128;
/// Messages that go round, of different topics.
const MESSAGES: usize = 4096;
/// Longer than any turn takes: then something was lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// Topics, who has them, and what the cells are called.
struct Crowd {
    connections: usize,
    /// A square: a connection has one of each row.
    topics: usize,
    cells: [&'static str; 2],
}

const CROWDS: [Crowd; 2] = [
    Crowd {
        connections: 10_000,
        topics: 1,
        cells: ["1 topic: one at a time", "1 topic: bursts of 16"],
    },
    Crowd {
        connections: 1_000,
        topics: 10_000,
        cells: ["10,000 topics: one at a time", "10,000 topics: bursts of 16"],
    },
];

impl Crowd {
    /// Topics of a connection.
    const fn side(&self) -> usize {
        self.topics.isqrt()
    }

    /// Subscribers of a topic.
    const fn each(&self) -> usize {
        self.connections * self.side() / self.topics
    }

    /// Frames to publish, for topics in no order.
    fn pool(&self) -> Pool {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed >> 32).unwrap_or(0) % self.topics
        };
        let payloads: Vec<_> = (0..MESSAGES).map(|_| payload(random())).collect();
        Pool::new(Kind::Binary, &payloads, false)
    }
}

/// A message for this topic.
fn payload(topic: usize) -> Vec<u8> {
    let mut payload: Vec<u8> = (0..LENGTH).map(|at| (at * 31) as u8).collect();
    payload[..4].copy_from_slice(&(topic as u32).to_le_bytes());
    payload
}

/// The connections; the first one publishes.
struct Audience<'a> {
    crowd: &'a Crowd,
    links: Vec<Link>,
    pool: Pool,
    poller: Poller,
    buffer: Vec<u8>,
}

impl<'a> Audience<'a> {
    /// Opens the connections, and publishes to each topic of the first row: each connection has one of
    /// these, and must get the message for it, right to the byte, and nothing else.
    fn open(target: &Target, crowd: &'a Crowd) -> Outcome<Self> {
        let mut links = Vec::with_capacity(crowd.connections);
        let poller = Poller::new()?;
        for number in 0..crowd.connections {
            let link = Link::open(target)?;
            poller.add(link.wire(), number)?;
            links.push(link);
        }
        // Until the server has subscribed the last of them.
        std::thread::sleep(Duration::from_millis(50));
        let row: Vec<_> = (0..crowd.side()).map(payload).collect();
        let row = Pool::new(Kind::Binary, &row, false);
        for _ in 0..crowd.side() {
            links[0].ask(&row)?;
        }
        for (number, link) in links.iter_mut().enumerate() {
            let reply = link.reply_behind_pings()?;
            if reply != row.reply(number % crowd.side()) {
                return Err(format!("a wrong message for connection {number}").into());
            }
            link.expect_pings();
        }
        links[0].begin_pool();
        Ok(Self { crowd, links, pool: crowd.pool(), poller, buffer: vec![0; 1 << 16] })
    }

    /// Publishes so many messages, and waits until all subscribers have them.
    fn turn(&mut self, messages: usize, busy: &mut Duration) -> io::Result<u64> {
        self.links[0].owe(&self.pool, messages);
        self.links[0].write(&self.pool)?;
        let deliveries = messages * self.crowd.each();
        let (mut missing, begin) = (deliveries, Instant::now());
        let mut now = begin;
        while missing > 0 {
            let mut found = false;
            for number in self.poller.ready()? {
                let read = self.links[number].read(&mut self.buffer)?.unwrap_or(0);
                missing = missing.checked_sub(read).ok_or_else(too_many)?;
                found = true;
            }
            let then = std::mem::replace(&mut now, Instant::now());
            if found {
                *busy += now.duration_since(then);
            } else if now.duration_since(begin) > PATIENCE {
                return Err(io::Error::other(format!("{missing} deliveries are missing")));
            }
        }
        Ok(deliveries as u64)
    }

    fn run(&mut self, pid: u32, messages: usize, time: Duration) -> io::Result<Window> {
        let mut window = Window::default();
        let cpu = sys::cpu_time(pid)?;
        let start = Instant::now();
        while start.elapsed() < time {
            window.messages += self.turn(messages, &mut window.busy)?;
        }
        window.cpu = sys::cpu_time(pid)? - cpu;
        window.wall = start.elapsed();
        Ok(window)
    }
}

fn too_many() -> io::Error {
    io::Error::other("more deliveries than there should be")
}

fn run(run: &mut Run<'_>) -> Outcome {
    let participants = run.participants(|it| ["floor", servers::HUB, "bun"].contains(&it.name));
    for round in 0..run.options.rounds {
        for crowd in &CROWDS {
            if !crowd.cells.iter().any(|cell| run.options.wants_cell(cell)) {
                continue;
            }
            for participant in rotated(&participants, round) {
                match one(run, participant, crowd) {
                    Ok(windows) => {
                        for (cell, window) in windows {
                            run.record_window(cell, participant.name, round, &window);
                        }
                    }
                    Err(error) => {
                        run.fail(format!("{} hub, {}: {error}", participant.name, crowd.cells[0]));
                    }
                }
            }
        }
    }
    Ok(())
}

/// The cells that are wanted, which differ in the number of messages at a time alone.
fn one(
    run: &Run<'_>,
    participant: &Participant,
    crowd: &Crowd,
) -> Outcome<Vec<(&'static str, Window)>> {
    let topics = crowd.topics.to_string();
    let server = run.start(participant, &["hub", &topics], Extra::default())?;
    let mut audience = Audience::open(&run.target(&server, false, false)?, crowd)?;
    // A message to all takes several milliseconds. The first few to a connection cost the system more than
    // those that follow, so all warm up as long as what compiles itself does.
    let (warm, long) = (run.options.warm_up(JavaScript) * 2, run.options.long() * 3);
    let mut windows = Vec::new();
    for (cell, messages) in crowd.cells.iter().zip(BURSTS) {
        if run.options.wants_cell(cell) {
            audience.run(server.pid(), messages, warm)?;
            windows.push((*cell, audience.run(server.pid(), messages, long)?));
        }
    }
    Ok(windows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_subscribers_as_a_cell_says() {
        assert_eq!(CROWDS.map(|crowd| (crowd.side(), crowd.each())), [(1, 10_000), (100, 10)]);
    }
}
