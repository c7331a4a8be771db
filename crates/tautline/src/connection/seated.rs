//! Looks at a connection, by one task with its own wakers or by several tasks with shared ones.

use std::task::{Context, Poll};

use tautline_frame::session::{Listener, Progress, Session};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::seats::Side;
use crate::wakers::{Changes, SharedWakers, Wakers};

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A look by the writer with this key, or by the reader, with shared wakers. The second value
    /// is whether it waits for something that only reading brings. The third is to be told once no
    /// lock is held: it wakes whoever waits for what the look changed.
    #[inline(always)]
    pub(crate) fn look<'w, T>(
        &mut self,
        shared: &'w SharedWakers,
        who: Option<usize>,
        wanted: impl FnMut(&mut Session) -> Progress<T>,
    ) -> (Poll<T>, bool, Changes<'w>) {
        let before = self.session.snapshot();
        let given = self.drive(shared.wakers(), wanted);
        let needs_reading = given.is_pending() && self.session.waits_for_reading();
        (given, needs_reading, shared.changes(who, before, self.session.snapshot()))
    }

    /// A look with the task's own wakers while it is alone, otherwise with shared ones. A
    /// connection that is not split by [`WebSocket::split`](crate::WebSocket::split) usually has
    /// one task, but two after the `split` of `futures`.
    #[inline]
    pub(crate) fn seated<T>(
        &mut self,
        side: Side,
        cx: &Context<'_>,
        wanted: impl FnMut(&mut Session) -> Progress<T>,
    ) -> Poll<T> {
        if !self.seats.is_other_free(side)
            && let Some(shared) = self.seats.enter(side, cx.waker())
        {
            return self.seated_among_others(shared, side, cx, wanted);
        }
        let given = self.drive(Wakers::one(cx), wanted);
        self.seats.leave(side, cx.waker(), given.is_pending());
        given
    }

    #[inline(never)]
    fn seated_among_others<T>(
        &mut self,
        shared: Box<SharedWakers>,
        side: Side,
        cx: &Context<'_>,
        mut wanted: impl FnMut(&mut Session) -> Progress<T>,
    ) -> Poll<T> {
        let given = shared.look(side.key(), cx.waker(), || {
            let (given, needs_reading, changes) = self.look(&shared, side.key(), &mut wanted);
            changes.tell();
            (given, needs_reading)
        });
        self.seats.give_back(shared);
        given
    }

    /// Who takes what arrives while this task waits for something else: another task that reads, if
    /// there is one.
    pub(crate) fn listener(&self, cx: &Context<'_>) -> Listener {
        if self.seats.has_other_reader(cx.waker()) { Listener::Other } else { Listener::Same }
    }
}
