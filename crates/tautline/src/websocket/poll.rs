//! A connection as a `Stream` and a `Sink`, and how its methods drive it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;
use tautline_frame::session::{Error, Listener, Progress, Session};
use tautline_frame::{CloseCode, Compress, Message, Prepared};
use tokio::io::{AsyncRead, AsyncWrite};

use super::WebSocket;
use crate::connection::Connection;
use crate::futures::{Receive, Transmit, impl_sink, queue};
use crate::seats::Side;
use crate::timer::now;

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for WebSocket<S> {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FusedStream for WebSocket<S> {
    fn is_terminated(&self) -> bool {
        self.connection.session().is_exhausted()
    }
}

impl_sink! {
    /// Closing the sink does what [`close`](WebSocket::close) does, but keeps what arrives
    /// meanwhile for the stream, up to 1 MiB. If more arrives and no other task has waited on the
    /// stream, the stream ends with [`Error::Backlog`].
    ///
    /// Stream and sink may be polled by two tasks, as after `futures_util::StreamExt::split`: each
    /// task is woken for its side, and deadlines hold whichever task is polled.
    /// [`split`](WebSocket::split) does the same with its own lock, and its writers can be cloned.
    WebSocket
}

impl<S: AsyncRead + AsyncWrite + Unpin> Receive for WebSocket<S> {
    #[inline(always)]
    fn poll_message(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        let connection = &mut *self.connection;
        loop {
            if let Some(message) = connection.session_mut().take_short() {
                return Poll::Ready(Some(Ok(message)));
            }
            if !connection.session().awaits_arrival() {
                break;
            }
            ready!(poll_arrival(connection, cx));
        }
        // Into a variable of its own: one that is shared with the fast path would keep that path's
        // message in memory too.
        let mut given = Poll::Pending;
        poll_any_message(connection, cx, &mut given);
        given
    }

    fn poll_reading<T>(
        &mut self,
        cx: &Context<'_>,
        wanted: impl FnMut(&mut Session) -> Progress<T>,
    ) -> Poll<T> {
        self.connection.drive_seated(Side::Read, cx, wanted)
    }

    fn skip_message(&mut self) {
        self.connection.session_mut().skip_message();
    }
}

#[inline(never)]
fn poll_arrival<S>(connection: &mut Connection<S>, cx: &Context<'_>) -> Poll<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    connection.drive_seated(Side::Read, cx, Session::poll_arrival)
}

#[inline(never)]
fn poll_any_message<S>(
    connection: &mut Connection<S>,
    cx: &Context<'_>,
    given: &mut Poll<Option<Result<Message, Error>>>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    *given = connection.drive_seated(Side::Read, cx, |session| session.poll_any_message(now));
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transmit for WebSocket<S> {
    const SHARED: bool = false;

    #[inline]
    fn poll_session<T>(
        &mut self,
        listener: Option<Listener>,
        cx: &Context<'_>,
        mut wanted: impl FnMut(&mut Session, Listener) -> Progress<T>,
    ) -> Poll<T> {
        let listener = listener.unwrap_or_else(|| self.connection.listener(cx));
        self.connection.drive_seated(Side::Write, cx, |session| wanted(session, listener))
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut Session) -> T) -> T {
        let result = change(self.connection.session_mut());
        if self.connection.compresses() {
            // A compressor has a deadline, which may be earlier than the one that the reader waits
            // for.
            self.connection.seats.tell_of_deadline();
        }
        result
    }

    #[inline(always)]
    fn poll_queue(
        &mut self,
        message: &mut Option<Message>,
        compress: Compress,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Error>> {
        // No other function is shown the message, which would move it into memory.
        if !self.connection.session().has_room() && message.is_some() {
            ready!(self.poll_room(cx))?;
        }
        Poll::Ready(queue(self.connection.session_mut(), message, compress))
    }

    fn poll_prepared(&mut self, prepared: &Prepared, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        if !self.connection.session().has_room() {
            ready!(self.poll_room(cx))?;
        }
        Poll::Ready(self.connection.session_mut().send_prepared(prepared))
    }

    fn poll_written(&mut self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.connection.drive_seated(Side::Write, cx, Session::poll_flush));
        Poll::Ready(self.connection.session().flushed())
    }
}
