//! The load generator: connections that each keep a number of messages in flight, driven by one
//! thread that never waits, so that a server pays for its own work and never for waking the
//! generator.

mod host;
mod link;
mod peer;
mod wire;

use std::io;
use std::time::{Duration, Instant};

use crate::frames::Pool;
use crate::sys::{self, Poller};

pub(crate) use host::{Host, Visits};
pub(crate) use link::{HANDSHAKE, Link, Target};
pub(crate) use peer::Peer;
pub(crate) use wire::{Wire, tls_client, tls_server, would_block};

/// Up to here all connections are read in turn; beyond, epoll says which.
const POLLED_IN_TURN: usize = 64;
/// How many connections are opened at the same time.
const OPENED_TOGETHER: usize = 64;
const BUFFER: usize = 256 * 1024;
/// A measurement with fewer messages lasts longer, but not more than [`LONGEST`] times as long: one
/// message more or less at either end is not to be seen in the figure.
const FEWEST: u64 = 250;
const LONGEST: u32 = 4;

/// What was seen in a window of time.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Window {
    pub(crate) messages: u64,
    pub(crate) wall: Duration,
    /// The server's CPU time.
    pub(crate) cpu: Duration,
    /// The part of `wall` in which the generator had something to do.
    pub(crate) busy: Duration,
    /// Bytes of the server's frames.
    pub(crate) wire_bytes: u64,
}

impl Window {
    /// CPU time of the server for each message, in microseconds.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.messages.max(1) as f64
    }

    pub(crate) fn server_utilisation(&self) -> f64 {
        self.cpu.as_secs_f64() / self.wall.as_secs_f64()
    }

    pub(crate) fn generator_utilisation(&self) -> f64 {
        self.busy.as_secs_f64() / self.wall.as_secs_f64()
    }
}

/// Connections under load. The first `active` of them send; the others are just there.
pub(crate) struct Load<'a> {
    links: Vec<Link>,
    active: usize,
    pool: &'a Pool,
    poller: Option<Poller>,
    buffer: Vec<u8>,
    /// The server has this core too.
    gives_way: bool,
}

impl<'a> Load<'a> {
    /// Opens connections and has one message echoed on each, whose reply must be right to the byte.
    pub(crate) fn open(target: &Target, connections: usize, pool: &'a Pool) -> io::Result<Self> {
        let mut links = Vec::with_capacity(connections);
        while links.len() < connections {
            // Some at a time, so that a server is not woken for each.
            let count = OPENED_TOGETHER.min(connections - links.len());
            let begun = (0..count).map(|_| Link::begin(target)).collect::<io::Result<Vec<_>>>()?;
            let mut opened = Vec::with_capacity(count);
            for link in begun {
                let mut link = link.finish()?;
                link.ask(pool)?;
                opened.push(link);
            }
            for link in &mut opened {
                link.verify(pool)?;
            }
            links.append(&mut opened);
        }
        let buffer = vec![0; BUFFER];
        Ok(Self { links, active: 0, pool, poller: None, buffer, gives_way: false })
    }

    /// For a server that runs on the generator's core too: whenever nothing has come, others run
    /// first. Still nobody pays for waking the generator, since it never sleeps.
    pub(crate) fn give_way(mut self) -> io::Result<Self> {
        self.gives_way = true;
        // Looking at each connection in turn would keep the core from the server for longer.
        self.poller = Some(Poller::new()?);
        Ok(self)
    }

    /// Puts messages on the way on all connections.
    pub(crate) fn start(&mut self, in_flight: usize) -> io::Result<()> {
        self.start_some(self.links.len(), in_flight)
    }

    /// Puts messages on the way on the first so many connections, as far as they have none yet.
    pub(crate) fn start_some(&mut self, active: usize, in_flight: usize) -> io::Result<()> {
        let mut added = self.active;
        if self.poller.is_none() && active > POLLED_IN_TURN {
            self.poller = Some(Poller::new()?);
            added = 0;
        }
        if let Some(poller) = &self.poller {
            for (number, link) in self.links[..active].iter().enumerate().skip(added) {
                poller.add(link.wire(), number)?;
            }
        }
        for link in &mut self.links[self.active..active] {
            link.owe(self.pool, in_flight);
            link.write(self.pool)?;
        }
        self.active = active;
        Ok(())
    }

    /// Sends a message for each reply, for this long, before anything is measured.
    pub(crate) fn warm_up(&mut self, pids: &[u32], time: Duration) -> io::Result<()> {
        self.run(pids, time, 0).map(drop)
    }

    /// Sends a message for each reply, for this long or until there were enough; `pids` are the
    /// server's processes, whose CPU time is read.
    pub(crate) fn measure(&mut self, pids: &[u32], time: Duration) -> io::Result<Window> {
        self.run(pids, time, FEWEST)
    }

    fn run(&mut self, pids: &[u32], time: Duration, fewest: u64) -> io::Result<Window> {
        let mut window = Window::default();
        let wire_before = self.wire_bytes();
        let cpu_time = || pids.iter().map(|pid| sys::cpu_time(*pid)).sum::<io::Result<Duration>>();
        let cpu = cpu_time()?;
        let start = Instant::now();
        let mut now = start;
        let mut limit = time;
        while now.duration_since(start) < limit {
            let messages = self.pass()?;
            let then = std::mem::replace(&mut now, Instant::now());
            if let Some(messages) = messages {
                window.messages += messages;
                window.busy += now.duration_since(then);
            } else if self.gives_way {
                std::thread::yield_now();
            }
            limit = if window.messages < fewest { time * LONGEST } else { time };
        }
        window.cpu = cpu_time()? - cpu;
        window.wall = now.duration_since(start);
        window.wire_bytes = self.wire_bytes() - wire_before;
        Ok(window)
    }

    fn wire_bytes(&self) -> u64 {
        self.links.iter().map(Link::wire_bytes).sum()
    }

    /// Looks at every connection once: the number of replies, or `None` where nothing was there.
    fn pass(&mut self) -> io::Result<Option<u64>> {
        let mut found = None;
        let mut step = |link: &mut Link| {
            if let Some(messages) = link.pump(self.pool, &mut self.buffer)? {
                *found.get_or_insert(0) += messages as u64;
            }
            Ok::<_, io::Error>(())
        };
        match &mut self.poller {
            None => self.links[..self.active].iter_mut().try_for_each(step)?,
            Some(poller) => {
                for number in poller.ready()? {
                    step(&mut self.links[number])?;
                }
            }
        }
        Ok(found)
    }
}
