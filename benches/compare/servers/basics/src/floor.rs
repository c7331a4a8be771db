//! The floor: the least that an echo of WebSocket messages on Tokio can do. No limits, no UTF-8, no
//! fragments, no control frames; a message that is longer than the buffer goes back piece by piece.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use kit::{Handler, Outcome, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};

use wire::{Turn, unmask};

use crate::BUFFER;

thread_local! {
    /// One for all connections: none of them keeps anything in it while it waits.
    static SHARED: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// Reads once and writes once. Gives what could not be written yet; `None` at the end.
fn poll_step<S: Transport>(
    state: &mut Turn,
    cx: &mut Context<'_>,
    stream: &mut S,
) -> Poll<Outcome<Option<Vec<u8>>>> {
    SHARED.with_borrow_mut(|buffer| {
        let carried = state.resume(buffer);
        let mut into = ReadBuf::new(&mut buffer[carried..]);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut into))?;
        let count = into.filled().len();
        if count == 0 {
            return Poll::Ready(Ok(None));
        }
        let (mut replies, _) = state.turn(buffer, carried + count);
        while !replies.is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, &buffer[replies.clone()]) {
                Poll::Ready(written) => replies.start += written?,
                Poll::Pending => return Poll::Ready(Ok(Some(buffer[replies].to_vec()))),
            }
        }
        Poll::Ready(Ok(Some(Vec::new())))
    })
}

#[derive(Clone)]
pub(crate) struct Floor;

impl Handler for Floor {
    async fn handle<S: Transport>(self, mut stream: S) -> Outcome {
        Box::pin(kit::answer_upgrade(&mut stream)).await?;
        let mut state = Turn::default();
        while let Some(rest) = poll_fn(|cx| poll_step(&mut state, cx, &mut stream)).await? {
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
    let mut state = Turn::default();
    let mut buffer = vec![0; BUFFER];
    loop {
        let carried = state.resume(&mut buffer);
        let count = stream.read(&mut buffer[carried..]).await?;
        if count == 0 {
            return Ok(());
        }
        out.clear();
        let filled = carried + count;
        let mut at = 0;
        while at < filled {
            if state.remaining() == 0 {
                let Some(header) = state.header(&buffer[at..filled]) else { break };
                state.set_key(fresh_key());
                put_header(&mut out, buffer[at], header.payload, state.key());
                at += header.length;
            }
            let taken = state.take(filled - at);
            let from = out.len();
            out.extend_from_slice(&buffer[at..at + taken]);
            unmask(&mut out[from..], state.key());
            state.advance(taken);
            at += taken;
        }
        stream.write_all(&out).await?;
    }
}
