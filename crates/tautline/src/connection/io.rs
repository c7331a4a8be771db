//! Single steps on the transport, each reported to the session.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BufMut};
use tautline_frame::session::{Action, Progress, Session};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{unconstrained, yield_now};
use tokio_util::io::{poll_read_buf, poll_write_buf};

use super::Connection;
use crate::timer::now;
use crate::wakers::Wakers;

/// Reads once into the session's buffer, and tells the session.
#[inline]
fn poll_read<S: AsyncRead + Unpin>(
    io: &mut S,
    cx: &mut Context<'_>,
    session: &mut Session,
) -> Poll<io::Result<()>> {
    let (buffer, most) = session.read_buffer();
    let count = if buffer.capacity() - buffer.len() == most {
        ready!(poll_read_buf(Pin::new(io), cx, buffer))?
    } else {
        ready!(poll_read_buf(Pin::new(io), cx, &mut buffer.limit(most)))?
    };
    match count {
        0 => session.handle_eof(now()),
        count => session.handle_read(count, now()),
    }
    Poll::Ready(Ok(()))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Reads once. Returns whether anything came: bytes, or the end.
    #[inline]
    pub(super) fn read(&mut self, wakers: Wakers<'_>) -> bool {
        let Some(io) = &mut self.io else { return true };
        let mut cx = Context::from_waker(wakers.read);
        let read = match self.info.direct() {
            Some(direct) => (direct.take)(io, &mut cx, &mut self.session),
            None => poll_read(io, &mut cx, &mut self.session),
        };
        match read {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => {
                self.session.handle_read_error(error, now());
                self.end_if_done();
            }
            Poll::Pending => {
                self.session.handle_read_blocked();
                return false;
            }
        }
        true
    }

    /// Writes everything that is queued and flushes the transport. What is in one piece, as small
    /// messages are, needs no vectored write.
    pub(super) fn write(&mut self, wakers: Wakers<'_>) {
        let mut cx = Context::from_waker(wakers.write);
        match self.poll_write(&mut cx) {
            Poll::Ready(Ok(())) => self.session.handle_flushed(now),
            Poll::Ready(Err(error)) => self.write_failed(error),
            Poll::Pending => self.session.handle_write_blocked(now()),
        }
    }

    /// Writes what is queued, as far as the transport takes it at once. Returns whether that was all,
    /// or nothing will be written any more.
    #[inline]
    pub(crate) fn try_flush(&mut self, wakers: Wakers<'_>) -> bool {
        self.session.handle_wake();
        while let Progress::Needs(interest) = self.session.poll_flush() {
            match self.session.poll_action(interest) {
                Action::Write | Action::Flush => self.write(wakers),
                _ => return false,
            }
        }
        true
    }

    #[inline]
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Ok(())) };
        loop {
            let queue = self.session.queue();
            if !queue.has_remaining() {
                return match self.info.direct() {
                    Some(_) => Poll::Ready(Ok(())),
                    None => Pin::new(io).poll_flush(cx),
                };
            }
            let count = if let Some(direct) = self.info.direct() {
                ready!((direct.give)(io, cx, queue))?
            } else if queue.chunk().len() < queue.remaining() {
                ready!(poll_write_buf(Pin::new(&mut *io), cx, queue))?
            } else {
                let io = Pin::new(&mut *io);
                let count = ready!(io.poll_write(cx, queue.chunk()))?;
                queue.advance(count);
                count
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.session.handle_written(now);
        }
    }

    #[cold]
    fn write_failed(&mut self, error: io::Error) {
        self.session.handle_write_error(error, now());
        self.end_if_done();
    }

    #[cold]
    pub(super) fn shut_down(&mut self, wakers: Wakers<'_>) {
        let Some(io) = &mut self.io else { return };
        match Pin::new(io).poll_shutdown(&mut Context::from_waker(wakers.write)) {
            Poll::Ready(Ok(())) => self.session.handle_shut(),
            Poll::Ready(Err(error)) => self.write_failed(error),
            Poll::Pending => self.session.handle_write_blocked(now()),
        }
    }

    /// Sends the end of the stream, unless the peer has seen it already.
    pub(super) fn drop_transport(&self, mut io: S) {
        if !self.session.is_shut() {
            let _ = Pin::new(&mut io).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// Wakes the task after the runtime has run all other tasks and polled what arrived for
    /// them. Waking it at once would only put it behind the tasks that are ready already.
    #[cold]
    pub(super) fn poll_turn_of_others(&mut self, wakers: Wakers<'_>) -> Poll<()> {
        self.session.handle_turn(now());
        let _ = pin!(yield_now()).poll(&mut Context::from_waker(wakers.read));
        self.poll_deadline(wakers)
    }

    /// Ready when a deadline has passed, or when something was asked of the connection meanwhile.
    #[inline]
    pub(super) fn poll_deadline(&mut self, wakers: Wakers<'_>) -> Poll<()> {
        if self.observed.is_some() && self.report(wakers) {
            return Poll::Ready(());
        }
        let Some(deadline) = self.session.poll_timeout() else { return Poll::Pending };
        ready!(self.timer.poll(deadline, wakers.write));
        if self.session.should_probe() {
            self.probe(wakers);
        }
        let paused = self.session.protocol().is_paused();
        self.session.handle_timeout(now());
        if paused && !self.session.protocol().is_paused() {
            // The task that reads may be another one, and the transport does not wake it.
            wakers.read.wake_by_ref();
            if self.session.protocol().pauses() == 1 {
                let peer = &self.info.peer;
                tracing::debug!(%peer, "peer was slowed down for the first time");
            }
        }
        self.end_if_done();
        Poll::Ready(())
    }

    /// Bytes that have not been read yet are a sign of life too: the user may be busy sending.
    fn probe(&mut self, wakers: Wakers<'_>) {
        // Not limited by the task's budget of the runtime: without any left, it would not see what
        // is there.
        let read = pin!(unconstrained(poll_fn(|_| Poll::Ready(self.read(wakers)))));
        if read.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(true) {
            // The reading task has not seen this, and the transport will not wake it for it again.
            wakers.read.wake_by_ref();
        }
    }
}
