//! The floor: the least that an echo of WebSocket messages on Tokio can do. No limits, no UTF-8, no fragments, no control
//! frames; a message that is longer than the buffer goes back piece by piece.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use kit::{Handler, Outcome, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};

use crate::BUFFER;

/// The longest header: two bytes, a length of eight, a key of four.
const MAX_HEADER: usize = 14;

thread_local! {
    /// One for all connections: none of them keeps anything in it while it waits.
    static SHARED: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// Where a connection stands between two reads.
#[derive(Default)]
pub(crate) struct State {
    /// Bytes of the payload that are still to come.
    remaining: u64,
    /// The key, turned to the next byte of the payload.
    key: [u8; 4],
    /// The beginning of a header that was cut.
    carry: [u8; MAX_HEADER],
    carried: usize,
}

/// A header: its length, the length of the payload, and where the key begins (if there is one).
pub(crate) struct Header {
    pub(crate) length: usize,
    pub(crate) payload: u64,
    pub(crate) masked: bool,
}

/// `None` when it is not complete.
pub(crate) fn parse(bytes: &[u8]) -> Option<Header> {
    let [_, second, rest @ ..] = bytes else { return None };
    let masked = second & 0x80 != 0;
    let (payload, length) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(rest.get(..8)?.try_into().ok()?), 10),
        short => (u64::from(short), 2),
    };
    let length = length + if masked { 4 } else { 0 };
    (bytes.len() >= length).then_some(Header { length, payload, masked })
}

pub(crate) fn unmask(data: &mut [u8], key: [u8; 4]) {
    let word = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let (words, rest) = data.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

impl State {
    /// Turns the frames of a client into those of a server, in place: `buffer[..filled]` holds what was read. Gives where the
    /// replies are.
    pub(crate) fn turn(&mut self, buffer: &mut [u8], filled: usize) -> std::ops::Range<usize> {
        let (mut at, mut end) = (0, 0);
        let mut start = None;
        while at < filled {
            if self.remaining == 0 {
                let Some(header) = parse(&buffer[at..filled]) else {
                    self.carried = filled - at;
                    self.carry[..self.carried].copy_from_slice(&buffer[at..filled]);
                    break;
                };
                let payload_at = at + header.length;
                self.key.copy_from_slice(&buffer[payload_at - 4..payload_at]);
                self.remaining = header.payload;
                let short = header.length - 4;
                // The first one stays where it is, its header right before its payload; the others move up to it.
                let to = if start.is_none() { payload_at - short } else { end };
                start.get_or_insert(to);
                buffer.copy_within(at..at + short, to);
                buffer[to + 1] &= 0x7f;
                (at, end) = (payload_at, to + short);
            }
            let count = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(filled - at);
            if start.is_none() {
                (start, end) = (Some(at), at);
            }
            unmask(&mut buffer[at..at + count], self.key);
            if end != at {
                buffer.copy_within(at..at + count, end);
            }
            self.key.rotate_left(count % 4);
            self.remaining -= count as u64;
            (at, end) = (at + count, end + count);
        }
        start.unwrap_or(end)..end
    }

    /// Reads once and writes once. Gives what could not be written yet; `None` at the end.
    fn poll_step<S: Transport>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<Outcome<Option<Vec<u8>>>> {
        SHARED.with_borrow_mut(|buffer| {
            buffer[..self.carried].copy_from_slice(&self.carry[..self.carried]);
            let mut into = ReadBuf::new(&mut buffer[self.carried..]);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut into))?;
            let count = into.filled().len();
            if count == 0 {
                return Poll::Ready(Ok(None));
            }
            let filled = std::mem::take(&mut self.carried) + count;
            let mut replies = self.turn(buffer, filled);
            while !replies.is_empty() {
                match Pin::new(&mut *stream).poll_write(cx, &buffer[replies.clone()]) {
                    Poll::Ready(written) => replies.start += written?,
                    Poll::Pending => return Poll::Ready(Ok(Some(buffer[replies].to_vec()))),
                }
            }
            Poll::Ready(Ok(Some(Vec::new())))
        })
    }
}

#[derive(Clone)]
pub(crate) struct Floor;

impl Handler for Floor {
    async fn handle<S: Transport>(self, mut stream: S) -> Outcome {
        Box::pin(kit::answer_upgrade(&mut stream)).await?;
        let mut state = State::default();
        while let Some(rest) = poll_fn(|cx| state.poll_step(cx, &mut stream)).await? {
            stream.write_all(&rest).await?;
            stream.flush().await?;
        }
        Ok(())
    }
}

/// Appends the header of a client's frame.
fn put_header(out: &mut Vec<u8>, first: u8, payload: u64, key: [u8; 4]) {
    out.push(first);
    if payload < 126 {
        out.push(0x80 | u8::try_from(payload).unwrap_or(0));
    } else if let Ok(short) = u16::try_from(payload) {
        out.push(0x80 | 126);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(0x80 | 127);
        out.extend_from_slice(&payload.to_be_bytes());
    }
    out.extend_from_slice(&key);
}

/// A client that sends back what it receives: one read, one write.
pub(crate) async fn client(address: SocketAddr, in_flight: usize, payload: usize) -> Outcome {
    let mut stream = kit::dial(address).await?;
    kit::ask_upgrade(&mut stream).await?;
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut fresh_key = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed as u32).to_ne_bytes()
    };
    let mut out = Vec::new();
    for _ in 0..in_flight {
        put_header(&mut out, 0x82, payload as u64, fresh_key());
        out.resize(out.len() + payload, 0);
    }
    stream.write_all(&out).await?;
    let mut state = State::default();
    let mut buffer = vec![0; BUFFER];
    loop {
        buffer[..state.carried].copy_from_slice(&state.carry[..state.carried]);
        let count = stream.read(&mut buffer[state.carried..]).await?;
        if count == 0 {
            return Ok(());
        }
        let filled = std::mem::take(&mut state.carried) + count;
        out.clear();
        let mut at = 0;
        while at < filled {
            if state.remaining == 0 {
                let Some(header) = parse(&buffer[at..filled]) else {
                    state.carried = filled - at;
                    state.carry[..state.carried].copy_from_slice(&buffer[at..filled]);
                    break;
                };
                state.key = fresh_key();
                put_header(&mut out, buffer[at], header.payload, state.key);
                state.remaining = header.payload;
                at += header.length;
            }
            let count = usize::try_from(state.remaining).unwrap_or(usize::MAX).min(filled - at);
            let from = out.len();
            out.extend_from_slice(&buffer[at..at + count]);
            unmask(&mut out[from..], state.key);
            state.key.rotate_left(count % 4);
            state.remaining -= count as u64;
            at += count;
        }
        stream.write_all(&out).await?;
    }
}
