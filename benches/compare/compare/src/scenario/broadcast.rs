//! One message to a thousand connections.

use std::io;
use std::time::{Duration, Instant};

use super::{Run, Scenario, rotated};
use crate::Outcome;
use crate::frames::Pool;
use crate::load::{Link, Target, Window};
use crate::servers::{Extra, Participant};
use crate::sys::{self, Poller};

pub(crate) const BROADCAST: Scenario = Scenario {
    name: "broadcast",
    title: "one message of 128 bytes or 1 KiB to 1,000 connections",
    unit: "us",
    about: "Server CPU time for each delivery, in microseconds; one message at a time, and 16 at once, of 128 bytes where the \
            cell does not say 1Ki. A queue for each connection, all that is in it fed and then flushed; Tautline's are prepared \
            messages. Bun has a broadcast of its own.",
    digits: 3,
    larger_is_better: false,
    run,
};

const CONNECTIONS: usize = 1_000;
const CELLS: [(usize, [&str; 2]); 2] =
    [(128, ["one at a time", "bursts of 16"]), (1024, ["1Ki, one at a time", "1Ki, bursts of 16"])];
/// Longer than any turn takes: then something was lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// The connections; the first one sends.
struct Audience<'a> {
    links: Vec<Link>,
    pool: &'a Pool,
    poller: Poller,
    buffer: Vec<u8>,
}

impl<'a> Audience<'a> {
    fn open(target: &Target, pool: &'a Pool) -> Outcome<Self> {
        let mut links = Vec::with_capacity(CONNECTIONS);
        let poller = Poller::new()?;
        for number in 0..CONNECTIONS {
            let mut link = Link::open(target)?;
            link.expect(pool.reply(0).len());
            poller.add(link.wire(), number)?;
            links.push(link);
        }
        // Until the server has told all of its parts about the last of them.
        std::thread::sleep(Duration::from_millis(50));
        Ok(Self { links, pool, poller, buffer: vec![0; 1 << 16] })
    }

    /// Sends so many messages, and waits until all have them all.
    fn turn(&mut self, messages: usize, busy: &mut Duration) -> io::Result<u64> {
        self.links[0].owe(self.pool, messages);
        self.links[0].write(self.pool)?;
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
        for participant in rotated(&participants, round * 4) {
            for (payload, cells) in CELLS {
                if !cells.iter().any(|cell| run.options.wants_cell(cell)) {
                    continue;
                }
                match one(run, participant, &Pool::binary(payload, 16), cells) {
                    Ok(windows) => {
                        for (cell, window) in windows {
                            run.record_window(cell, participant.name, round, &window);
                        }
                    }
                    Err(error) => run.fail(format!("{} broadcast: {error}", participant.name)),
                }
            }
        }
    }
    Ok(())
}

fn one(
    run: &Run<'_>,
    participant: &Participant,
    pool: &Pool,
    cells: [&'static str; 2],
) -> Outcome<Vec<(&'static str, Window)>> {
    let server = run.start(participant, &["broadcast"], Extra::default())?;
    let mut audience = Audience::open(&run.target(&server, false, false)?, pool)?;
    let (warm, long) = (run.options.warm_up(participant.kind), run.options.long());
    let mut windows = Vec::new();
    for (cell, messages) in cells.into_iter().zip([1, 16]) {
        if run.options.wants_cell(cell) {
            audience.run(server.pid(), messages, warm)?;
            windows.push((cell, audience.run(server.pid(), messages, long)?));
        }
    }
    Ok(windows)
}
