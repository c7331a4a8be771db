//! The other side, for measuring how clients connect: a server of one visit after the other that
//! never waits, so that no client pays for waking it.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;

use super::peer::upgrade;
use super::wire::{Wire, would_block};
use crate::frames::parse_header;
use crate::sys;

/// How long a client may take to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// A Close with the code 1000.
const CLOSE: &[u8] = &[0x88, 2, 0x03, 0xe8];

pub(crate) struct Host {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
}

/// What was seen in a window of time.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Visits {
    pub(crate) count: u64,
    /// Those that went on with a session of TLS from before.
    pub(crate) resumed: u64,
    pub(crate) wall: Duration,
    /// The client's CPU time.
    pub(crate) cpu: Duration,
}

impl Host {
    pub(crate) fn bind(tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, tls })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves whoever comes for this long; `pid` is the client.
    pub(crate) fn run(&self, pid: u32, time: Duration) -> io::Result<Visits> {
        let mut visits = Visits::default();
        let cpu = sys::cpu_time(pid)?;
        let start = Instant::now();
        while start.elapsed() < time {
            visits.resumed += u64::from(self.visit()?);
            visits.count += 1;
        }
        visits.cpu = sys::cpu_time(pid)? - cpu;
        visits.wall = start.elapsed();
        Ok(visits)
    }

    /// A connection from its begin to its orderly end, which the client asks for. Whether its
    /// session was resumed.
    fn visit(&self) -> io::Result<bool> {
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match would_block(self.listener.accept())? {
                Some((stream, _)) => break stream,
                None if Instant::now() > deadline => return Err(ErrorKind::TimedOut.into()),
                None => {}
            }
        };
        let mut wire = Wire::answer(stream, self.tls.as_ref())?;
        let end =
            |bytes: &[u8]| bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        let (head, rest) = wire.read_until(end)?;
        if !rest.is_empty() {
            return Err(io::Error::other("a frame before the answer"));
        }
        wire.write_all(upgrade(&head)?.as_bytes())?;
        let (frame, _) = wire.read_until(|bytes| {
            let (header, payload) = parse_header(bytes)?;
            (bytes.len() >= header + payload).then_some(header + payload)
        })?;
        if frame.first() != Some(&0x88) {
            return Err(io::Error::other("a frame other than a Close"));
        }
        wire.write_all(CLOSE)?;
        let resumed = wire.is_resumed();
        // A server ends TCP first (RFC 6455 section 7.1.1).
        wire.end()?;
        Ok(resumed)
    }
}
