//! Bytes in and out: buffers that are there only while they are needed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use tautline_frame::Protocol;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::{poll_read_buf, poll_write_buf};

use super::{Connection, MAX_READS, Phase, Wakers};
use crate::timer::now;
use crate::{Error, pool};

/// Below this much room for a read, the buffer is made anew: a read of a few bytes costs as much as one of many.
const MIN_READ: usize = pool::BUFFER_SIZE / 8;

/// A part of a frame of up to this size is moved into a buffer of its own when a connection goes to wait with it, so that a
/// peer that stalls in the middle of a frame does not hold a whole read buffer.
const SMALL_REST: usize = MIN_READ / 2;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Reads into the buffer; 0 at the end of the stream.
    pub(super) fn poll_fill(&mut self, wakers: Wakers<'_>) -> Poll<io::Result<usize>> {
        if self.eof {
            return Poll::Ready(Ok(0));
        }
        if let Some(error) = self.read_error.take() {
            return Poll::Ready(Err(error));
        }
        let read = with_room(&mut self.read, &self.protocol, self.largest);
        let room = read.capacity() - read.len();
        let mut cx = Context::from_waker(wakers.read);
        let count = ready!(poll_read_buf(Pin::new(&mut self.io), &mut cx, read))?;
        if count > 0 {
            self.reads = if count == room { MAX_READS } else { self.reads.saturating_add(1) };
            self.unread = true;
            self.largest = self.largest.max(read.len());
            self.read_at = now();
            self.protocol.handle_received(self.read_at);
        }
        Poll::Ready(Ok(count))
    }

    /// Writes until nothing is queued. A write side that fails is remembered; what the peer sent before is still read.
    pub(super) fn poll_write_out(&mut self, wakers: Wakers<'_>) -> Poll<Result<(), Error>> {
        self.reads = 0;
        match self.poll_write_io(wakers) {
            Poll::Ready(Err(error)) => {
                let error = Error::Io(error);
                self.protocol.handle_broken(now());
                self.shut = true;
                self.unflushed = false;
                self.progress += 1;
                if self.phase == Phase::Running {
                    self.error.get_or_insert(error.duplicate());
                }
                Poll::Ready(Err(error))
            }
            Poll::Ready(Ok(())) => {
                if let Some(buffer) = self.protocol.queue().reclaim_buffer() {
                    pool::give(buffer);
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    pub(super) fn poll_write_io(&mut self, wakers: Wakers<'_>) -> Poll<io::Result<()>> {
        let mut cx = Context::from_waker(wakers.write);
        while self.protocol.poll_transmit() {
            match self.poll_write_some(&mut cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(_)) => {
                    self.unflushed = true;
                    self.progress += 1;
                    let now = self.time_of_write();
                    self.protocol.handle_written(now);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.protocol.handle_blocked(now());
                    return Poll::Pending;
                }
            }
        }
        if self.unflushed {
            match Pin::new(&mut self.io).poll_flush(&mut cx) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    // A transport with a buffer of its own, such as TLS, takes what no peer reads.
                    self.held_back = true;
                    self.protocol.handle_blocked(now());
                    return Poll::Pending;
                }
            }
            self.unflushed = false;
            if std::mem::take(&mut self.held_back) {
                self.progress += 1;
                let now = self.time_of_write();
                self.protocol.handle_written(now);
            }
        }
        self.pinging = false;
        Poll::Ready(Ok(()))
    }

    /// One write. What stands in one piece, as small messages do, needs no list of pieces.
    fn poll_write_some(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let queue = self.protocol.queue();
        let io = Pin::new(&mut self.io);
        if queue.chunk().len() < queue.remaining() {
            return poll_write_buf(io, cx, queue);
        }
        let count = ready!(io.poll_write(cx, queue.chunk()))?;
        queue.advance(count);
        Poll::Ready(Ok(count))
    }

    /// The protocol notes when a ping or a Close was written, and nothing else: for all other writes, any time will do, and
    /// the clock, which costs as much as a small message, is not read.
    fn time_of_write(&self) -> Instant {
        if self.pinging || !self.protocol.is_open() { now() } else { self.read_at }
    }

    /// A connection that goes to wait holds no buffer, unless it has a part of a frame: then one of that size, or, from
    /// [`SMALL_REST`] on, the one in which the frame grows.
    pub(super) fn rest(&mut self) {
        self.inflated = 0;
        let Some(read) = self.read.take() else { return };
        if read.is_empty() {
            pool::give(read);
        } else if read.len() <= SMALL_REST && read.capacity() >= pool::BUFFER_SIZE {
            self.read = Some(Box::new(BytesMut::from(&read[..])));
            pool::give(read);
        } else {
            self.read = Some(read);
        }
    }
}

/// The buffer for a read, with room for it.
fn with_room<'a>(
    slot: &'a mut Option<Box<BytesMut>>,
    protocol: &Protocol,
    largest: usize,
) -> &'a mut BytesMut {
    let mut read = match slot.take() {
        Some(read) if read.capacity() >= MIN_READ || read.len() >= MIN_READ => read,
        rest => {
            // Nothing, or the small rest that the connection waited with.
            let mut read = pool::take();
            read.extend_from_slice(rest.as_deref().map_or(&[], |rest| rest));
            read
        }
    };
    let missing = protocol.missing(read.len());
    let room = read.capacity() - read.len();
    if room < if missing > 0 { missing } else { MIN_READ } {
        read = with_more_room(read, missing, largest);
    }
    slot.insert(read)
}

fn with_more_room(mut read: Box<BytesMut>, missing: usize, largest: usize) -> Box<BytesMut> {
    // At most as much again as has arrived, now or for an earlier frame: a length that the peer declared is paid for by what
    // it sends. Who sends long messages all the time does not have each of them moved again and again while it grows.
    let affordable = read.len().max(largest).max(pool::BUFFER_SIZE);
    let wanted = missing.saturating_add(MIN_READ).clamp(pool::BUFFER_SIZE, affordable);
    if !read.try_reclaim(wanted) {
        // No more than is wanted, where `reserve` would double it, and the buffer that was too small stays in use.
        let mut larger = BytesMut::with_capacity(read.len() + wanted);
        larger.extend_from_slice(&read);
        pool::give(std::mem::replace(&mut read, Box::new(larger)));
    }
    read
}
