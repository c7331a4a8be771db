//! One connection of the generator: what it owes the server, and what came back.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;

use super::wire::{Wire, would_block};
use crate::frames::{Counter, Pool, parse_header};

/// The request up to its last header; the key is the one of RFC 6455 section 1.3, so the answer is
/// known.
pub(crate) const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const EMPTY_PING: [u8; 2] = [0x89, 0];

/// Where and how to connect.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// The offer of permessage-deflate.
    pub(crate) offer: Option<&'static str>,
    /// The server sends back the bytes as they are.
    pub(crate) raw: bool,
}

/// How replies are counted.
enum Replies {
    /// All have this length.
    Alike { length: usize, partial: usize, bytes: u64 },
    /// By their headers.
    Counted(Counter),
}

/// A connection that has asked for the upgrade.
pub(crate) struct Begun {
    wire: Wire,
    target: Target,
}

impl Begun {
    /// Reads the answer.
    pub(crate) fn finish(self) -> io::Result<Link> {
        let Self { mut wire, target } = self;
        let end =
            |bytes: &[u8]| bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        let (head, rest) = wire.read_until(end)?;
        let head = String::from_utf8_lossy(&head);
        if !head.starts_with("HTTP/1.1 101") || !head.contains(ACCEPT) || !rest.is_empty() {
            return Err(io::Error::other(format!("no upgrade: {head}")));
        }
        let negotiated = head.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("sec-websocket-extensions").then(|| value.trim().to_owned())
        });
        let replies = match target.offer {
            Some(_) => Replies::Counted(Counter::default()),
            None => Replies::Alike { length: 0, partial: 0, bytes: 0 },
        };
        Ok(Link { wire, at: 0, owed: 0, next: 0, replies, raw: target.raw, negotiated })
    }
}

pub(crate) struct Link {
    wire: Wire,
    /// The next byte of the pool's round.
    at: usize,
    /// Bytes that are to be written.
    owed: usize,
    /// The next frame to owe.
    next: usize,
    replies: Replies,
    raw: bool,
    negotiated: Option<String>,
}

impl Link {
    /// Connects and upgrades.
    pub(crate) fn open(target: &Target) -> io::Result<Self> {
        Self::begin(target)?.finish()
    }

    /// Connects and asks for the upgrade.
    pub(crate) fn begin(target: &Target) -> io::Result<Begun> {
        let mut wire = Wire::open(target.address, target.tls.as_ref())?;
        let mut request = HANDSHAKE.to_owned();
        if let Some(offer) = target.offer {
            request.push_str(&format!("Sec-WebSocket-Extensions: {offer}\r\n"));
        }
        request.push_str("\r\n");
        wire.write_all(request.as_bytes())?;
        Ok(Begun { wire, target: target.clone() })
    }

    pub(crate) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// The answer to the offer.
    pub(crate) fn negotiated(&self) -> Option<&str> {
        self.negotiated.as_deref()
    }

    pub(crate) fn wire_bytes(&self) -> u64 {
        match &self.replies {
            Replies::Alike { bytes, .. } => *bytes,
            Replies::Counted(counter) => counter.wire_bytes,
        }
    }

    /// Sends the next frame.
    pub(crate) fn ask(&mut self, pool: &Pool) -> io::Result<()> {
        self.wire.write_all(pool.frame(self.next))?;
        self.at += pool.length(self.next);
        self.next += 1;
        Ok(())
    }

    /// Waits for the reply to the first frame, which must be right. Compressed replies are looked
    /// at by the deflate scenario itself.
    pub(crate) fn verify(&mut self, pool: &Pool) -> io::Result<()> {
        let reply = self.reply()?;
        let Replies::Alike { length, .. } = &mut self.replies else { return Ok(()) };
        let expected = if self.raw { pool.frame(0) } else { pool.reply(0) };
        if reply != expected {
            let (head, wanted) =
                (&reply[..reply.len().min(16)], &expected[..expected.len().min(16)]);
            return Err(io::Error::other(format!("wrong echo: {head:x?}, not {wanted:x?}")));
        }
        *length = reply.len();
        Ok(())
    }

    /// Sends the next frame and waits for one frame: its bytes.
    pub(crate) fn exchange(&mut self, pool: &Pool) -> io::Result<Vec<u8>> {
        self.ask(pool)?;
        self.reply()
    }

    /// Waits for one frame: its bytes.
    pub(crate) fn reply(&mut self) -> io::Result<Vec<u8>> {
        let (reply, rest) = self.wire.read_until(|bytes| {
            let (header, payload) = parse_header(bytes)?;
            (bytes.len() >= header + payload).then_some(header + payload)
        })?;
        if rest.is_empty() { Ok(reply) } else { Err(io::Error::other("more than one reply")) }
    }

    /// Waits for one frame that is no ping, and drops what comes ahead of it: a server whose connections take
    /// long to open asks the first of them whether they are still there.
    pub(crate) fn reply_behind_pings(&mut self) -> io::Result<Vec<u8>> {
        let mut start = 0;
        let (reply, rest) = self.wire.read_until(|bytes| {
            while bytes[start..].starts_with(&EMPTY_PING) {
                start += EMPTY_PING.len();
            }
            let (header, payload) = parse_header(&bytes[start..])?;
            (bytes.len() >= start + header + payload).then_some(start + header + payload)
        })?;
        if rest.is_empty() {
            Ok(reply[start..].to_vec())
        } else {
            Err(io::Error::other("more than one reply"))
        }
    }

    /// Has this many more frames to write.
    pub(crate) fn owe(&mut self, pool: &Pool, frames: usize) {
        for _ in 0..frames {
            self.owed += pool.length(self.next);
            self.next += 1;
        }
    }

    /// Writes what is owed, as far as there is room.
    pub(crate) fn write(&mut self, pool: &Pool) -> io::Result<()> {
        if self.owed == 0 && self.wire.wants_write() {
            would_block(self.wire.write(&[]))?;
        }
        while self.owed > 0 {
            let Some(count) = would_block(self.wire.write(pool.slice(self.at, self.owed)))? else {
                return Ok(());
            };
            self.at += count;
            self.owed -= count;
        }
        Ok(())
    }

    /// Writes once, at most so many bytes, of frames that never end: how many that was.
    pub(crate) fn flood(&mut self, pool: &Pool, most: usize) -> io::Result<usize> {
        let count = would_block(self.wire.write(pool.slice(self.at, most)))?.unwrap_or(0);
        self.at += count;
        Ok(count)
    }

    /// From here on frames come from another pool, and begin with its first one.
    pub(crate) fn begin_pool(&mut self) {
        (self.at, self.next) = (0, 0);
    }

    /// Replies are counted by their headers from here on: there may be pings among them.
    pub(crate) fn expect_pings(&mut self) {
        self.replies = Replies::Counted(Counter::default());
    }

    /// All replies will have this length.
    pub(crate) fn expect(&mut self, reply: usize) {
        self.replies = Replies::Alike { length: reply, partial: 0, bytes: 0 };
    }

    /// Reads once: how many replies ended. `None`: nothing was there.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(count) = would_block(self.wire.read(buffer))? else { return Ok(None) };
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(match &mut self.replies {
            Replies::Counted(counter) => counter.count(&buffer[..count]),
            Replies::Alike { length, partial, bytes } => {
                *bytes += count as u64;
                let all = *partial + count;
                *partial = all % *length;
                all / *length
            }
        }))
    }

    /// Reads once, and sends a frame for each reply. `None`: there was nothing to do.
    pub(crate) fn pump(&mut self, pool: &Pool, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let found = self.read(buffer)?;
        self.owe(pool, found.unwrap_or(0));
        if self.owed > 0 || self.wire.wants_write() {
            self.write(pool)?;
        }
        Ok(found)
    }
}
