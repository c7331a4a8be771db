//! A connection that is dropped before its end.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tautline_frame::CloseCode;
use tautline_frame::session::{Listener, Progress, Session};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::unconstrained;

use super::{Connection, Info, Wakers};
use crate::parting::Leave;
use crate::tasks::Place;
use crate::timer::now;
use crate::transport::Transport;

/// How much is read of what the peer still sent, in reads of a buffer each.
const LAST_READS: usize = 16;

impl<S> Connection<S> {
    /// Holds a place of a server until the end; this is done if it is dropped before.
    pub(crate) fn keep_place(&mut self, place: Place, leave: Leave<S>) {
        self.place = Some(place);
        self.leave = leave;
    }

    pub(crate) const fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    pub(crate) fn take_place(&mut self) -> Option<Place> {
        self.place.take()
    }
}

impl Connection<Transport> {
    /// Moves out of what is being dropped.
    pub(crate) fn take_all(&mut self) -> Self {
        let ended = Session::ended(self.protocol().role(), now());
        std::mem::replace(self, Self::over(None, ended, Info::default()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Writes what is queued and this Close, unless there was one, if the transport takes it without waiting.
    pub(crate) fn say_at_once(&mut self, code: CloseCode) {
        let _ = self.session.close(code.into(), now());
        // Not for the task's share of the runtime: with none left, nothing would be said.
        let saying = pin!(unconstrained(poll_fn(|_| {
            self.say();
            Poll::Ready(())
        })));
        let _ = saying.poll(&mut Context::from_waker(Waker::noop()));
    }

    fn say(&mut self) {
        let wakers = Wakers { read: Waker::noop(), write: Waker::noop() };
        if self.drive(wakers, Session::poll_flush).is_pending() || self.session.flushed().is_err() {
            return;
        }
        self.shut_down(wakers);
        // What is unread when a socket is closed becomes a reset, which may overtake what was said.
        let mut reads = 0;
        let _ = self.drive(wakers, |session| {
            reads += 1;
            if reads > LAST_READS {
                Progress::Done(())
            } else {
                session.poll_over(Listener::Nobody, now)
            }
        });
    }
}
