//! The futures that [`WebSocket`](crate::WebSocket) and its halves return, so that your own types
//! can name them.

// Each operation is written once, for a task that owns the connection and for tasks that share it.
// `Next`, `Feed` and `Send` are written out where `poll_fn` would do, so that they are inlined into
// the user's loop however long the compiler finds them: moving a message through memory costs more
// than everything else that is done with it (see `protocol/fast_path.rs` of
// the frame crate).

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tautline_frame::session::{Error, Interest, Listener, Progress, Session};
use tautline_frame::{CloseFrame, Compress, Message, Prepared};

use crate::error::TryFeedError;
use crate::timer::now;

/// What messages are received from.
pub(crate) trait Receive {
    /// The next message, or the end, with its error once.
    fn poll_message(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Message, Error>>>;

    /// Drives the connection until the task that reads has what is wanted.
    fn poll_reading<T>(
        &mut self,
        cx: &Context<'_>,
        wanted: impl FnMut(&mut Session) -> Progress<T>,
    ) -> Poll<T>;

    /// The rest of the message that is read in pieces is not wanted.
    fn skip_message(&mut self);
}

/// What messages are sent to.
pub(crate) trait Transmit {
    /// Whether other tasks may be waiting for the end too, each of which gets its error.
    const SHARED: bool;

    /// Drives the connection until it has what is wanted. `listener` is who takes what arrives
    /// meanwhile, if the method knows; the closure is passed who it is.
    fn poll_session<T>(
        &mut self,
        listener: Option<Listener>,
        cx: &Context<'_>,
        wanted: impl FnMut(&mut Session, Listener) -> Progress<T>,
    ) -> Poll<T>;

    /// A command. Tasks that wait for what it changes are woken.
    fn change<T>(&mut self, change: impl FnOnce(&mut Session) -> T) -> T;

    /// Queues the message as a whole once there is room. `None` is one that was queued already.
    fn poll_queue(
        &mut self,
        message: &mut Option<Message>,
        compress: Compress,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Error>>;

    /// Queues a shared message once there is room.
    fn poll_prepared(&mut self, prepared: &Prepared, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_session(None, cx, |session, listener| queue_prepared(session, listener, prepared))
    }

    /// Queues the message if there is room.
    fn try_queue(&mut self, message: Message) -> Result<(), TryFeedError> {
        self.change(|session| {
            if session.has_room() {
                session.send(message, Compress::Auto).map_err(TryFeedError::Failed)
            } else {
                Err(no_room(session, message))
            }
        })
    }

    /// Queues the shared message if there is room.
    fn try_prepared(&mut self, prepared: &Prepared) -> Result<(), TryFeedError> {
        self.change(|session| {
            if session.has_room() {
                session.send_prepared(prepared).map_err(TryFeedError::Failed)
            } else {
                Err(no_room(session, prepared.message().clone()))
            }
        })
    }

    /// Waits for room for a message.
    fn poll_room(&mut self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_session(None, cx, |session, listener| session.poll_room(listener, now))
    }

    /// Waits until nothing more can be sent.
    fn poll_closed(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.poll_session(None, cx, |session, _| match session.protocol().is_open() {
            true => Progress::Needs(Interest::Write),
            false => Progress::Done(()),
        })
    }

    /// Writes everything that is queued.
    fn poll_written(&mut self, cx: &Context<'_>) -> Poll<Result<(), Error>>;

    /// Waits for the end of the connection.
    fn poll_end(
        &mut self,
        listener: Option<Listener>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Error>> {
        self.poll_session(listener, cx, |session, listener| {
            match session.poll_over(listener, now) {
                Progress::Done(()) if Self::SHARED || listener == Listener::Other => {
                    Progress::Done(session.failure().cloned().map_or(Ok(()), Err))
                }
                Progress::Done(()) => Progress::Done(session.tell_end().map_or(Ok(()), Err)),
                Progress::Needs(interest) => Progress::Needs(interest),
            }
        })
    }
}

/// Queues a shared message in the same step in which there is room, or other writers could fill the
/// queue in between.
pub(crate) fn queue_prepared(
    session: &mut Session,
    listener: Listener,
    prepared: &Prepared,
) -> Progress<Result<(), Error>> {
    match session.poll_room(listener, now) {
        Progress::Done(Ok(())) => Progress::Done(session.send_prepared(prepared)),
        other => other,
    }
}

/// Why a message was not queued at once.
fn no_room(session: &Session, message: Message) -> TryFeedError {
    match session.protocol().is_open() {
        true => TryFeedError::Full(message),
        false => TryFeedError::Failed(session.failure().cloned().unwrap_or(Error::Closed)),
    }
}

/// Queues the message of a future that may have done so already.
#[inline(always)]
pub(crate) fn queue(
    session: &mut Session,
    message: &mut Option<Message>,
    compress: Compress,
) -> Result<(), Error> {
    match message.take() {
        Some(message) => session.send(message, compress),
        None => Ok(()),
    }
}

pub(crate) async fn flush<C: Transmit>(to: &mut C) -> Result<(), Error> {
    poll_fn(|cx| to.poll_written(cx)).await
}

pub(crate) async fn feed_prepared<C: Transmit>(
    to: &mut C,
    prepared: &Prepared,
) -> Result<(), Error> {
    poll_fn(|cx| to.poll_prepared(prepared, cx)).await
}

pub(crate) async fn ready<C: Transmit>(to: &mut C) -> Result<(), Error> {
    poll_fn(|cx| to.poll_room(cx)).await
}

pub(crate) async fn close<C: Transmit>(to: &mut C, frame: CloseFrame) -> Result<(), Error> {
    to.change(|session| session.close(frame, now()))?;
    poll_fn(|cx| to.poll_end(Some(Listener::Nobody), cx)).await
}

pub(crate) async fn ping<C: Transmit>(to: &mut C) -> Result<Duration, Error> {
    let id = to.change(Session::ping)?;
    let pong = |session: &mut Session, listener| session.poll_pong(id, listener, now);
    poll_fn(|cx| to.poll_session(Some(Listener::Same), cx, pong)).await
}

/// Receives a message: see [`WebSocket::next`](crate::WebSocket::next).
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Next<'a, C> {
    pub(crate) from: &'a mut C,
}

impl<C: Receive> Future for Next<'_, C> {
    type Output = Option<Result<Message, Error>>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().from.poll_message(cx)
    }
}

/// Queues a message: see [`WebSocket::feed`](crate::WebSocket::feed).
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Feed<'a, C> {
    pub(crate) to: &'a mut C,
    pub(crate) message: Option<Message>,
}

impl<C: Transmit> Future for Feed<'_, C> {
    type Output = Result<(), Error>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { to, message } = self.get_mut();
        to.poll_queue(message, Compress::Auto, cx)
    }
}

/// Queues a message and writes everything that is queued: see
/// [`WebSocket::send`](crate::WebSocket::send).
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Send<'a, C> {
    pub(crate) to: &'a mut C,
    pub(crate) message: Option<Message>,
}

impl<C: Transmit> Future for Send<'_, C> {
    type Output = Result<(), Error>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { to, message } = self.get_mut();
        ready!(to.poll_queue(message, Compress::Auto, cx))?;
        to.poll_written(cx)
    }
}

/// Queues a message, compressed or not: see
/// [`WebSocket::feed_with`](crate::WebSocket::feed_with).
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct FeedWith<'a, C> {
    pub(crate) feed: Feed<'a, C>,
    pub(crate) compress: Compress,
}

impl<C: Transmit> Future for FeedWith<'_, C> {
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { feed: Feed { to, message }, compress } = self.get_mut();
        to.poll_queue(message, *compress, cx)
    }
}

/// Queues a message, compressed or not, and writes everything that is queued: see
/// [`WebSocket::send_with`](crate::WebSocket::send_with).
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct SendWith<'a, C> {
    pub(crate) send: Send<'a, C>,
    pub(crate) compress: Compress,
}

impl<C: Transmit> Future for SendWith<'_, C> {
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { send: Send { to, message }, compress } = self.get_mut();
        ready!(to.poll_queue(message, *compress, cx))?;
        to.poll_written(cx)
    }
}

/// Implements `Sink`, which is the same for everything that messages are sent to.
macro_rules! impl_sink {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Message> for $name<S> {
            type Error = Error;

            fn poll_ready(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<Result<(), Error>> {
                self.poll_room(cx)
            }

            fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
                self.change(|session| session.send(message, Compress::Auto))
            }

            fn poll_flush(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<Result<(), Error>> {
                self.poll_written(cx)
            }

            fn poll_close(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<Result<(), Error>> {
                if self.is_open() {
                    self.change(|session| session.close(CloseCode::NORMAL.into(), now()))?;
                }
                self.poll_end(None, cx)
            }
        }
    };
}

pub(crate) use impl_sink;
