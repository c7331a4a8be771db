//! How tasks look at a connection that [`WebSocket::split`](crate::WebSocket::split) has not split: as a rule one task, but
//! `Stream` and `Sink` are public, and behind the `split` of `futures` there are two.

use std::task::{Context, Poll, ready};

use tautline_frame::session::{Error, Listener, Progress, Session};
use tautline_frame::{Compress, Message};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Connection, Wakers};
use crate::seats::Side;
use crate::timer::now;
use crate::wakers::SharedWakers;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// One look, with the wakers that fit: the task's own while it is alone, else those that wake everybody.
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
        wanted: impl FnMut(&mut Session) -> Progress<T>,
    ) -> Poll<T> {
        let given = self.look_until_settled(&shared, side, cx, wanted);
        self.seats.give_back(shared);
        given
    }

    fn look_until_settled<T>(
        &mut self,
        shared: &SharedWakers,
        side: Side,
        cx: &Context<'_>,
        mut wanted: impl FnMut(&mut Session) -> Progress<T>,
    ) -> Poll<T> {
        let mut reads = side == Side::Read;
        loop {
            shared.register(side, cx.waker(), reads);
            let (given, changes) = shared.look(side.key(), self, &mut wanted);
            changes.tell();
            if given.is_ready() {
                shared.forget(side);
                return given;
            }
            if reads || !self.session.waits_for_reading() {
                return given;
            }
            // As in `Writer`: whoever closes, or waits for a pong, waits for what only reading brings.
            reads = true;
        }
    }

    /// Who takes the messages that come while the sink is closed or finds itself closing.
    fn listener(&self, cx: &Context<'_>) -> Listener {
        if self.seats.has_other_reader(cx.waker()) { Listener::Other } else { Listener::Same }
    }

    /// The next message, or the end, with its error once. The loop is inlined into that of the user.
    #[inline(always)]
    pub(crate) fn poll_next_seated(
        &mut self,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Message, Error>>> {
        loop {
            if let Some(message) = self.session.take_short() {
                return Poll::Ready(Some(Ok(message)));
            }
            if !self.session.awaits_arrival() {
                break;
            }
            ready!(self.poll_arrival_seated(cx));
        }
        // Into a place of its own: one that the way above shares would be one in memory for both.
        let mut given = Poll::Pending;
        self.poll_message_seated(cx, &mut given);
        given
    }

    #[inline(never)]
    fn poll_arrival_seated(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.seated(Side::Read, cx, Session::poll_arrival)
    }

    #[inline(never)]
    fn poll_message_seated(
        &mut self,
        cx: &Context<'_>,
        given: &mut Poll<Option<Result<Message, Error>>>,
    ) {
        *given = self.seated(Side::Read, cx, |session| session.poll_any_message(now));
    }

    /// Queues the message, whole, once there is room.
    #[inline(always)]
    pub(crate) fn poll_feed_seated(
        &mut self,
        message: &mut Option<Message>,
        wish: Compress,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Error>> {
        // The message stays where it is meanwhile: one that others are shown is one in memory.
        if !self.session.has_room() && message.is_some() {
            ready!(self.poll_room_seated(cx))?;
        }
        Poll::Ready(self.start_feed(message, wish))
    }

    #[inline(never)]
    pub(crate) fn start_send_seated(&mut self, message: Message) -> Result<(), Error> {
        let sent = self.session.send(message, Compress::Auto);
        if self.compresses() {
            // A compressor comes with a deadline, which may be earlier than the one that the reader waits for.
            self.seats.tell_of_deadline();
        }
        sent
    }

    pub(crate) fn poll_room_seated(&mut self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        let listener = self.listener(cx);
        self.seated(Side::Write, cx, |session| session.poll_room(listener, now))
    }

    pub(crate) fn poll_flush_seated(&mut self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.seated(Side::Write, cx, Session::poll_flush));
        Poll::Ready(self.session.flushed())
    }

    /// The end of the sink: what still arrives is for the stream.
    pub(crate) fn poll_close_seated(&mut self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        let listener = self.listener(cx);
        self.poll_over_seated(listener, cx)
    }

    /// The end, for this task.
    pub(crate) fn poll_over_seated(
        &mut self,
        listener: Listener,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Error>> {
        ready!(self.seated(Side::Write, cx, |session| session.poll_over(listener, now)));
        let error = match listener {
            Listener::Other => self.session.failure().cloned(),
            Listener::Same | Listener::Nobody => self.session.tell_end(),
        };
        Poll::Ready(error.map_or(Ok(()), Err))
    }
}
