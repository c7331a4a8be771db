//! A connection that is dropped before its end.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Waker};

use bytes::BytesMut;
use tautline_frame::CloseCode;
use tautline_frame::session::{Listener, Progress, Session};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::unconstrained;

use super::{Connection, Info};
use crate::tasks::Place;
use crate::timer::now;
use crate::wakers::Wakers;

/// How much is read of what the peer still sent, in reads of a buffer each.
const LAST_READS: usize = 16;

/// What a connection does when it is dropped before its end. A function, because dropping knows nothing of the stream's type.
pub(crate) type Leave<S> = fn(&mut Connection<S>);

/// Writes what is queued, and a Close, as far as the stream takes it at once: 1001, as browsers do when a page is left, or
/// 1011 when a panic is the cause.
pub(crate) fn leave_at_once<S: AsyncRead + AsyncWrite + Unpin>(connection: &mut Connection<S>) {
    let failed = std::thread::panicking();
    connection.leave_with(if failed { CloseCode::INTERNAL_ERROR } else { CloseCode::GOING_AWAY });
}

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

impl<S> Connection<S> {
    /// Takes the stream and what was read of it, if nothing is lost by that.
    pub(crate) fn leave(&mut self) -> Option<(S, BytesMut)> {
        self.io.as_ref()?;
        let rest = self.session.leave()?;
        self.io.take().map(|io| (io, rest))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Moves out, and leaves a connection that is over.
    pub(crate) fn take(&mut self) -> Self {
        let ended = Session::ended(self.session.protocol().role(), now());
        std::mem::replace(self, Self::new(None, ended, Info::default()))
    }

    /// Writes what is queued and this Close, unless there was one, if the transport takes it without waiting.
    pub(crate) fn leave_with(&mut self, code: CloseCode) {
        let leaving = || {
            let _ = self.session.close(code.into(), now());
            // Not for the task's share of the runtime: with none left, nothing would be said.
            let saying = pin!(unconstrained(async { self.say() }));
            saying.poll(&mut Context::from_waker(Waker::noop()))
        };
        // A panic that is the cause may be the stream's: asking it again must not end the process.
        let _ = catch_unwind(AssertUnwindSafe(leaving));
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
