//! A connection that is dropped before its end.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Waker};

use bytes::BytesMut;
use http::Version;
use tautline_frame::CloseCode;
use tautline_frame::session::{Listener, Session};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::unconstrained;

use super::{Connection, Info};
use crate::tasks::Place;
use crate::timer::now;
use crate::transport::Peer;
use crate::wakers::Wakers;

/// What a connection does when it is dropped before its end. A function pointer, because `Drop`
/// does not know the bounds of the stream's type.
pub(crate) type OnDrop<S> = fn(&mut Connection<S>);

/// Writes what is queued and a Close, as far as the stream takes them without waiting. The code is
/// 1001, as browsers send when they leave a page, or 1011 during a panic.
pub(crate) fn close_on_drop<S: AsyncRead + AsyncWrite + Unpin>(connection: &mut Connection<S>) {
    let failed = std::thread::panicking();
    let code = if failed { CloseCode::INTERNAL_ERROR } else { CloseCode::GOING_AWAY };
    connection.close_at_once(code);
}

impl<S> Connection<S> {
    /// Holds a place of a server until the end. `on_drop` is called if the connection is dropped
    /// before.
    pub(crate) fn keep_place(&mut self, place: Place, on_drop: OnDrop<S>) {
        self.place = Some(place);
        self.on_drop = on_drop;
    }

    pub(crate) const fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    pub(crate) fn take_place(&mut self) -> Option<Place> {
        self.place.take()
    }
}

impl<S> Connection<S> {
    /// Takes the stream and what was read from it, if no byte is lost by that.
    pub(crate) fn take_stream(&mut self) -> Option<(S, BytesMut)> {
        self.io.as_ref()?;
        let rest = self.session.leave()?;
        self.end_observing();
        self.io.take().map(|io| (io, rest))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Moves the connection out, and leaves one that is over in its place.
    pub(crate) fn take(&mut self) -> Self {
        let ended = Session::ended(self.session.protocol().role(), now());
        std::mem::replace(
            self,
            Self::new(None, ended, Info::new(Peer::default(), Version::default(), None)),
        )
    }

    /// Writes what is queued and a Close with this code, unless a Close was sent, as far as the
    /// transport takes them without waiting, and ends the connection.
    pub(crate) fn close_at_once(&mut self, code: CloseCode) {
        let closing = || {
            self.session.close_at_once(code.into(), now());
            let wakers = Wakers { read: Waker::noop(), write: Waker::noop() };
            let over = |session: &mut Session| session.poll_over(Listener::Nobody, now);
            // Not limited by the task's budget of the runtime: without any left, nothing would be
            // sent.
            let ending = pin!(unconstrained(async { self.drive(wakers, over) }));
            ending.poll(&mut Context::from_waker(Waker::noop()))
        };
        // The panic may have come from the stream. Another one must not abort the process.
        let _ = catch_unwind(AssertUnwindSafe(closing));
    }
}
