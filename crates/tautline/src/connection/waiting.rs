//! What a connection looks at before it waits: its deadlines, the server's going down, the turn of others.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};

use tautline_frame::{CloseCode, Timeout};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::unconstrained;

use super::{Connection, Phase, Wakers};
use crate::timer::now;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Waits, though there may be more to do, and is woken at once. Deadlines hold here too, or a peer who always has more
    /// would be given up by none. Ready when one has passed.
    pub(super) fn poll_turn_of_others(&mut self, wakers: Wakers<'_>) -> Poll<()> {
        let _ = self.poll_write_out(wakers);
        wakers.read.wake_by_ref();
        self.poll_deadline(wakers)
    }

    /// For who only waits for the end: the deadline holds even when nobody reads.
    pub(crate) fn poll_deadline(&mut self, wakers: Wakers<'_>) -> Poll<()> {
        let timeout = ready!(self.poll_timer(wakers));
        self.timed_out(timeout, wakers);
        Poll::Ready(())
    }

    #[inline]
    pub(super) fn heed_shutdown(&mut self, wakers: Wakers<'_>) {
        if let Some(shutdown) = &mut self.shutdown
            && shutdown.poll(wakers.write)
        {
            self.shutdown = None;
            // A server may send 1001, and a connection that is closing already goes on with that.
            let _ = self.protocol.close(CloseCode::GOING_AWAY.into(), now());
        }
    }

    /// Does what is due; ready with the deadline that ended the connection.
    pub(super) fn poll_timer(&mut self, wakers: Wakers<'_>) -> Poll<Timeout> {
        loop {
            let Some(deadline) = self.protocol.poll_timeout() else { return Poll::Pending };
            ready!(self.timer.poll(deadline, wakers.write));
            // Not for the task's share of the runtime: with none left, what is there would not be seen.
            let look = pin!(unconstrained(poll_fn(|_| {
                self.look_for_life(wakers);
                Poll::Ready(())
            })));
            let _ = look.poll(&mut Context::from_waker(Waker::noop()));
            if let Err(timeout) = self.protocol.handle_timeout(now()) {
                return Poll::Ready(timeout);
            }
            // A keepalive ping may have become due.
            self.pinging = true;
            let _ = self.poll_write_out(wakers);
        }
    }

    /// Bytes that nobody has read yet are a sign of life too: the user may be busy sending.
    fn look_for_life(&mut self, wakers: Wakers<'_>) {
        if self.phase != Phase::Running {
            return;
        }
        if self.unread {
            // The peer sent more than the user took so far: the pong may be in it.
            self.protocol.handle_received(now());
            return;
        }
        match self.poll_fill(wakers) {
            Poll::Ready(Ok(count)) => self.eof = count == 0,
            Poll::Ready(Err(error)) => self.read_error = Some(error),
            Poll::Pending => return,
        }
        // Whoever reads has not seen this, and the transport will not tell again.
        wakers.read.wake_by_ref();
    }
}
