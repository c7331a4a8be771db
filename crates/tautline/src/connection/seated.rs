//! Drives a connection for one task with its own wakers, or for several tasks with shared ones.

use std::task::{Context, Poll};

use tautline_frame::session::{Listener, Progress, Session};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::seats::Side;
use crate::wakers::{Changes, Driven, SharedWakers, Task, Wakers};

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Drives the connection for one of several tasks, with shared wakers. The changes are to be
    /// told once no lock is held.
    #[inline(always)]
    pub(crate) fn drive_shared<'w, T>(
        &mut self,
        shared: &'w SharedWakers,
        task: Task,
        wanted: impl FnMut(&mut Session) -> Progress<T>,
    ) -> (Driven<T>, Changes<'w>) {
        let before = self.session.snapshot();
        let polled = self.drive(shared.wakers(), wanted);
        let needs_reading = polled.is_pending() && self.session.waits_for_reading();
        let changes = shared.changes(task, before, self.session.snapshot());
        (Driven { polled, needs_reading }, changes)
    }

    /// Drives the connection with the task's own wakers while it is alone, otherwise with shared
    /// ones. A connection that is not split by [`WebSocket::split`](crate::WebSocket::split) usually
    /// has one task, but two after the `split` of `futures`.
    #[inline]
    pub(crate) fn drive_seated<T>(
        &mut self,
        side: Side,
        cx: &Context<'_>,
        wanted: impl FnMut(&mut Session) -> Progress<T>,
    ) -> Poll<T> {
        if !self.seats.is_other_free(side)
            && let Some(shared) = self.seats.enter(side, cx.waker())
        {
            return self.drive_among_others(shared, side, cx, wanted);
        }
        let polled = self.drive(Wakers::one(cx), wanted);
        self.seats.leave(side, cx.waker(), polled.is_pending());
        polled
    }

    #[inline(never)]
    fn drive_among_others<T>(
        &mut self,
        shared: Box<SharedWakers>,
        side: Side,
        cx: &Context<'_>,
        mut wanted: impl FnMut(&mut Session) -> Progress<T>,
    ) -> Poll<T> {
        let task = side.task();
        let polled = shared.poll_as(task, cx.waker(), || {
            let (driven, changes) = self.drive_shared(&shared, task, &mut wanted);
            changes.tell();
            driven
        });
        self.seats.give_back(shared);
        polled
    }

    /// Who takes what arrives while this task waits for something else: another task that reads, if
    /// there is one.
    pub(crate) fn listener(&self, cx: &Context<'_>) -> Listener {
        if self.seats.has_other_reader(cx.waker()) { Listener::Other } else { Listener::Same }
    }
}
