//! The other side, for measuring clients: an echo server of one connection that never waits. It
//! turns frames in place as they come, and always goes on reading while it cannot write, so that no
//! client can block against it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use base64::Engine;
use sha1::{Digest, Sha1};
use wire::Turn;

use super::wire::would_block;
use super::{BUFFER, Window};
use crate::sys;

const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Peer {
    listener: TcpListener,
}

/// A client that is connected and sends.
pub(crate) struct Guest {
    stream: TcpStream,
    turn: Turn,
    buffer: Vec<u8>,
    /// What could not be written yet.
    rest: Vec<u8>,
}

impl Peer {
    pub(crate) fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits for the client, and answers its request.
    pub(crate) fn accept(&self) -> io::Result<Guest> {
        let deadline = Instant::now() + PATIENCE;
        let mut stream = loop {
            match would_block(self.listener.accept())? {
                Some((stream, _)) => break stream,
                None if Instant::now() > deadline => return Err(ErrorKind::TimedOut.into()),
                None => {}
            }
        };
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
        while !head.ends_with(b"\r\n\r\n") {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            head.extend_from_slice(&buffer[..count]);
        }
        stream.write_all(upgrade(&head)?.as_bytes())?;
        stream.set_nonblocking(true)?;
        Ok(Guest { stream, turn: Turn::default(), buffer: vec![0; BUFFER], rest: Vec::new() })
    }
}

/// The answer to this request (RFC 6455 section 4.2.2).
pub(super) fn upgrade(head: &[u8]) -> io::Result<String> {
    let head = String::from_utf8_lossy(head);
    let key = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    });
    let key = key.ok_or_else(|| io::Error::other("a request without a key"))?;
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
}

impl Guest {
    /// Echoes for this long; `pid` is the client.
    pub(crate) fn run(&mut self, pid: u32, time: Duration) -> io::Result<Window> {
        let mut window = Window::default();
        let cpu = sys::cpu_time(pid)?;
        let start = Instant::now();
        let mut now = start;
        while now.duration_since(start) < time {
            let found = self.pass(&mut window.messages)?;
            let then = std::mem::replace(&mut now, Instant::now());
            if found {
                window.busy += now.duration_since(then);
            }
        }
        window.cpu = sys::cpu_time(pid)? - cpu;
        window.wall = now.duration_since(start);
        Ok(window)
    }

    /// Reads once, writes what can be written. Whether there was anything to do.
    fn pass(&mut self, messages: &mut u64) -> io::Result<bool> {
        let mut found = false;
        if !self.rest.is_empty()
            && let Some(count) = would_block(self.stream.write(&self.rest))?
        {
            self.rest.drain(..count);
            found = true;
        }
        let carried = self.turn.resume(&mut self.buffer);
        let Some(count) = would_block(self.stream.read(&mut self.buffer[carried..]))? else {
            return Ok(found);
        };
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let (mut replies, frames) = self.turn.turn(&mut self.buffer, carried + count);
        *messages += frames as u64;
        while self.rest.is_empty() && !replies.is_empty() {
            match would_block(self.stream.write(&self.buffer[replies.clone()]))? {
                Some(count) => replies.start += count,
                None => break,
            }
        }
        self.rest.extend_from_slice(&self.buffer[replies]);
        Ok(true)
    }
}
