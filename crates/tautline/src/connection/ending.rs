//! How a connection ends: what the peer must still hear, and what the user is told.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tautline_frame::{Ending, Timeout};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Connection, Phase, Wakers};
use crate::timer::Timer;
use crate::{Error, pool};

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Moves on when both Closes are exchanged, or ours is all that is left to send.
    #[inline]
    pub(super) fn is_ending(&mut self) -> bool {
        if self.phase == Phase::Running && self.protocol.is_open() {
            return false;
        }
        if self.phase == Phase::Running {
            self.protocol.poll_transmit();
            if self.protocol.poll_ending().is_some() {
                self.phase = Phase::Ending;
            }
        }
        self.phase != Phase::Running
    }

    pub(super) fn end_with(&mut self, error: Option<Error>) {
        self.phase = Phase::Ending;
        self.error = error;
    }

    pub(super) fn end_of_stream(&mut self) {
        self.eof = true;
        if !self.protocol.handle_eof() {
            self.error.get_or_insert(Error::ConnectionLost);
        }
        // Lost or not: the peer may have ended its half only, and what is queued for it is still written.
        self.phase = Phase::Ending;
    }

    pub(super) fn read_failed(&mut self, error: io::Error) {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            // TLS without its own end: WebSocket's Close tells whether something is missing.
            return self.end_of_stream();
        }
        if !self.protocol.handle_eof() {
            self.error.get_or_insert(error.into());
        }
        self.finish();
    }

    pub(super) fn timed_out(&mut self, timeout: Timeout, wakers: Wakers<'_>) {
        // With the Closes exchanged, or a cause known, a peer that does not end the stream is not news.
        if self.phase == Phase::Running && self.error.is_none() {
            self.error = Some(timeout.into());
        }
        // The peer is told why, if its side takes it at once; nobody waits for it any more.
        let _ = self.poll_write_out(wakers);
        self.finish();
    }

    /// Who began the closing handshake.
    fn closed_by(&self) -> Option<&'static str> {
        if self.protocol.closed_first() {
            Some("us")
        } else {
            self.protocol.peer_close().map(|_| "the peer")
        }
    }

    /// The end, told to the log once.
    pub(super) fn finish(&mut self) {
        if self.phase == Phase::Done {
            return;
        }
        self.phase = Phase::Done;
        if !self.shut {
            // The user may hold what is over for long, as in a table of writers: the peer is not to wait for that.
            let mut cx = Context::from_waker(Waker::noop());
            let _ = Pin::new(&mut self.io).poll_shutdown(&mut cx);
            self.shut = true;
        }
        if let Some(read) = self.read.take() {
            pool::give(read);
        }
        self.protocol.drop_queue();
        self.shutdown = None;
        self.timer = Timer::default();
        if self.protocol.peer_close().is_some() {
            // The peer said its last word: that the transport broke behind it is no news.
            self.error = None;
        }
        tracing::debug!(
            peer = self.info.peer.map(tracing::field::display),
            received = self.protocol.peer_close().map(tracing::field::display),
            sent = self.protocol.sent_close().map(tracing::field::display),
            by = self.closed_by(),
            error = self.error.as_ref().map(tracing::field::display),
            "connection closed"
        );
    }

    /// Ends the transport as the protocol says (RFC 6455 section 7.1.1), so that what was sent arrives; ready when that is
    /// done, has failed, or took too long.
    pub(super) fn poll_end(&mut self, wakers: Wakers<'_>) -> Poll<()> {
        match self.poll_end_io(wakers) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => self.poll_timer(wakers).map(|_| ()),
        }
    }

    pub(super) fn poll_end_io(&mut self, wakers: Wakers<'_>) -> Poll<Result<(), Error>> {
        ready!(self.poll_write_out(wakers))?;
        match self.protocol.poll_ending() {
            Some(Ending::Shutdown) => self.poll_shutdown(wakers),
            Some(Ending::AwaitEof) => {
                ready!(self.poll_discard(wakers))?;
                self.poll_shutdown(wakers)
            }
            Some(Ending::Drain) | None => {
                ready!(self.poll_shutdown(wakers))?;
                self.poll_discard(wakers)
            }
        }
    }

    pub(super) fn poll_shutdown(&mut self, wakers: Wakers<'_>) -> Poll<Result<(), Error>> {
        if !self.shut {
            ready!(Pin::new(&mut self.io).poll_shutdown(&mut Context::from_waker(wakers.write)))?;
            self.shut = true;
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_discard(&mut self, wakers: Wakers<'_>) -> Poll<Result<(), Error>> {
        while !self.eof {
            if let Some(read) = &mut self.read {
                read.clear();
            }
            self.eof = ready!(self.poll_fill(wakers))? == 0;
        }
        Poll::Ready(Ok(()))
    }
}
