//! A connection in two halves, for different tasks.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;
use tautline_frame::session::{Error, Listener, Progress, Session};
use tautline_frame::{CloseCode, CloseFrame, Compress, Compression, Message, Protocol, Role};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::Connection;
use crate::error::TryFeedError;
use crate::futures::{
    self, Feed, FeedWith, Next, Receive, Send, SendWith, Transmit, impl_sink, queue,
};
use crate::sync::{Arc, Mutex, lock};
use crate::timer::now;
use crate::transport::{Peer, Transport};
use crate::wakers::{Driven, SharedWakers, Task, Waiters};

#[derive(Debug)]
struct Shared<S> {
    inner: Mutex<Inner<S>>,
    wakers: SharedWakers,
}

#[derive(Debug)]
struct Inner<S> {
    connection: Connection<S>,
    reader_alive: bool,
}

impl<S> Inner<S> {
    /// Who takes the messages that arrive while a writer waits. The writer reads by itself, since
    /// the reader may be busy or in the same task.
    const fn listener(&self) -> Listener {
        if self.reader_alive { Listener::Other } else { Listener::Nobody }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Shared<S> {
    /// Drives the connection until the writer has what it waits for, or is registered to be woken
    /// for it.
    fn poll_session<T>(
        &self,
        key: usize,
        cx: &Context<'_>,
        mut wanted: impl FnMut(&mut Session, Listener) -> Progress<T>,
    ) -> Poll<T> {
        let drive = || self.drive(Task::Writer(key), &mut wanted);
        self.wakers.poll_as(Task::Writer(key), cx.waker(), drive)
    }

    #[inline(always)]
    fn drive<T>(
        &self,
        task: Task,
        mut wanted: impl FnMut(&mut Session, Listener) -> Progress<T>,
    ) -> Driven<T> {
        let mut inner = lock(&self.inner);
        let listener = inner.listener();
        let wanted = |session: &mut Session| wanted(session, listener);
        let (driven, changes) = inner.connection.drive_shared(&self.wakers, task, wanted);
        drop(inner);
        changes.tell();
        driven
    }
}

impl<S> Shared<S> {
    /// A command by the writer with this key. Other tasks that wait for what it changed are woken
    /// after the lock is released.
    fn change<T>(&self, key: usize, change: impl FnOnce(&mut Session) -> T) -> T {
        let mut inner = lock(&self.inner);
        let before = inner.connection.session().snapshot();
        let result = change(inner.connection.session_mut());
        let after = inner.connection.session().snapshot();
        let changes = self.wakers.changes(Task::Writer(key), before, after);
        drop(inner);
        changes.tell();
        result
    }

    fn ask<T>(&self, ask: impl FnOnce(&Protocol) -> T) -> T {
        ask(lock(&self.inner).connection.session().protocol())
    }

    fn waiters(&self) -> &Waiters {
        &self.wakers.waiters
    }
}

pub(crate) fn split<S>(connection: Connection<S>) -> (Reader<S>, Writer<S>) {
    let shared = Arc::new(Shared {
        inner: Mutex::new(Inner { connection, reader_alive: true }),
        wakers: SharedWakers::default(),
    });
    let key = shared.waiters().add_writer();
    (Reader { shared: shared.clone() }, Writer { shared, key })
}

/// Takes the connection out of its two halves, if they are the only ones.
pub(crate) fn join<S>(
    reader: Reader<S>,
    writer: Writer<S>,
) -> Result<Connection<S>, ReuniteError<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Both are owned here, so that no further writer can be made meanwhile.
    if !Arc::ptr_eq(&reader.shared, &writer.shared) || Arc::strong_count(&reader.shared) > 2 {
        return Err(ReuniteError { reader, writer });
    }
    let connection = lock(&reader.shared.inner).connection.take();
    Ok(connection)
}

/// The halves that [`Reader::reunite`] could not join: they belong to different connections, or
/// clones of the writer exist.
#[non_exhaustive]
pub struct ReuniteError<S> {
    /// The reader, unchanged.
    pub reader: Reader<S>,
    /// The writer, unchanged.
    pub writer: Writer<S>,
}

impl<S> fmt::Debug for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReuniteError").finish_non_exhaustive()
    }
}

impl<S> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves belong to different connections, or clones of the writer exist")
    }
}

impl<S> std::error::Error for ReuniteError<S> {}

/// The getters of both halves. They return copies, as the connection is behind a lock.
macro_rules! impl_getters {
    ($half:ident) => {
        impl<S> $half<S> {
            /// The subprotocol that was agreed on (RFC 6455 section 1.9).
            #[must_use]
            pub fn subprotocol(&self) -> Option<String> {
                let inner = lock(&self.shared.inner);
                inner.connection.info.subprotocol.as_deref().map(str::to_owned)
            }

            /// Who is at the other end: see [`WebSocket::peer`](crate::WebSocket::peer).
            #[must_use]
            pub fn peer(&self) -> Peer {
                lock(&self.shared.inner).connection.info.peer.clone()
            }

            /// The peer's address, if it is known.
            #[must_use]
            pub fn peer_addr(&self) -> Option<SocketAddr> {
                self.peer().addr()
            }

            /// How messages are compressed, if that was agreed on (RFC 7692).
            #[must_use]
            pub fn compression(&self) -> Option<Compression> {
                self.shared.ask(|protocol| protocol.compression().copied())
            }

            /// Whether this is the client's or the server's end.
            #[must_use]
            pub fn role(&self) -> Role {
                self.shared.ask(Protocol::role)
            }

            /// Whether messages can be sent: neither end has sent a Close, and nothing failed.
            #[must_use]
            pub fn is_open(&self) -> bool {
                self.shared.ask(Protocol::is_open)
            }

            /// The peer's Close frame, once received: see
            /// [`WebSocket::close_frame`](crate::WebSocket::close_frame).
            #[must_use]
            pub fn close_frame(&self) -> Option<CloseFrame> {
                self.shared.ask(|protocol| protocol.peer_close().cloned())
            }
        }
    };
}

impl_getters!(Reader);
impl_getters!(Writer);

/// The reading half of a split connection: a [`Stream`] of messages.
///
/// While [`next`](Self::next) is awaited, it also does the automatic work of the connection: it
/// answers pings and a Close, pings a silent peer, and notices the end. If it is dropped, writers
/// can go on, but nothing is read except by a writer that waits for a pong or for the end; that
/// writer discards messages.
#[derive(Debug)]
pub struct Reader<S = Transport> {
    shared: Arc<Shared<S>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Reader<S> {
    /// Receives the next message: see [`WebSocket::next`](crate::WebSocket::next). What writers
    /// queued is written before it waits. Cancel safe.
    #[expect(
        clippy::should_implement_trait,
        reason = "it is that of `StreamExt`, not of `Iterator`"
    )]
    #[inline(always)]
    pub fn next(&mut self) -> Next<'_, Self> {
        Next { from: self }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Receive for Reader<S> {
    /// For one of many messages that arrived together, this takes one lock and does nothing else:
    /// no other task waits for that.
    #[inline(always)]
    fn poll_message(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        if let Some(message) = lock(&self.shared.inner).connection.session_mut().take_short() {
            return Poll::Ready(Some(Ok(message)));
        }
        let mut given = Poll::Pending;
        self.poll_any_message(cx, &mut given);
        given
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Reader<S> {
    #[inline(never)]
    fn poll_any_message(&self, cx: &Context<'_>, given: &mut Poll<Option<Result<Message, Error>>>) {
        self.shared.waiters().register_reader(cx.waker());
        let message = |session: &mut Session, _| session.poll_message(now);
        *given = self.shared.drive(Task::Reader, message).polled;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for Reader<S> {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FusedStream for Reader<S> {
    fn is_terminated(&self) -> bool {
        lock(&self.shared.inner).connection.session().is_exhausted()
    }
}

impl<S> Drop for Reader<S> {
    fn drop(&mut self) {
        let kept = {
            let mut inner = lock(&self.shared.inner);
            inner.reader_alive = false;
            inner.connection.session_mut().take_inbox()
        };
        // After the lock is released: it may be more than a MiB of messages.
        drop(kept);
        self.shared.waiters().remove_reader();
        // A writer that waits for the end must not wait for the reader to take what was kept.
        self.shared.waiters().wake_writers();
    }
}

/// The writing half of a split connection: a [`Sink`] for messages.
///
/// Clones write to the same connection, and each message stays whole on the wire. Dropping writers
/// does not close the connection; what they queued is written by the reader or by the next `flush`
/// of another writer.
#[derive(Debug)]
pub struct Writer<S = Transport> {
    shared: Arc<Shared<S>>,
    /// Where the waker of this clone is registered.
    key: usize,
}

impl<S> Clone for Writer<S> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), key: self.shared.waiters().add_writer() }
    }
}

impl<S> Drop for Writer<S> {
    fn drop(&mut self) {
        self.shared.waiters().remove_writer(self.key);
        // It may be waiting, and does not know of what was only queued.
        self.shared.waiters().wake_reader();
    }
}

impl<S> Writer<S> {
    /// How many bytes all writers together have queued: see
    /// [`WebSocket::queued`](crate::WebSocket::queued).
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.ask(Protocol::queued)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Writer<S> {
    /// Sends a message: see [`WebSocket::send`](crate::WebSocket::send). Cancel safe.
    ///
    /// # Errors
    /// [`Error::Closed`] if the connection is closing, otherwise why it failed.
    #[inline(always)]
    pub fn send(&mut self, message: impl Into<Message>) -> Send<'_, Self> {
        Send { to: self, message: Some(message.into()) }
    }

    /// Like [`send`](Self::send), choosing whether to compress this message: see
    /// [`WebSocket::send_with`](crate::WebSocket::send_with). Cancel safe.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_with(
        &mut self,
        message: impl Into<Message>,
        compress: Compress,
    ) -> SendWith<'_, Self> {
        SendWith { send: self.send(message), compress }
    }

    /// Queues a message: see [`WebSocket::feed`](crate::WebSocket::feed). It is written by the next
    /// [`flush`](Self::flush) of any writer, or the next time that the reader starts to wait.
    /// Cancel safe.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[inline(always)]
    pub fn feed(&mut self, message: impl Into<Message>) -> Feed<'_, Self> {
        Feed { to: self, message: Some(message.into()) }
    }

    /// Like [`feed`](Self::feed), choosing whether to compress this message. Cancel safe.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn feed_with(
        &mut self,
        message: impl Into<Message>,
        compress: Compress,
    ) -> FeedWith<'_, Self> {
        FeedWith { feed: self.feed(message), compress }
    }

    /// Queues a message without waiting: see [`WebSocket::try_feed`](crate::WebSocket::try_feed).
    /// You need not flush it: if the [`Reader`] waits in [`next`](Reader::next), it is woken to
    /// write the message.
    ///
    /// # Errors
    /// [`TryFeedError::Full`], with the message, if
    /// [`Config::write_mark`](crate::Config::write_mark) bytes are queued or a long message is
    /// still being fragmented. [`TryFeedError::Failed`] if the connection is closing or has failed.
    pub fn try_feed(&mut self, message: impl Into<Message>) -> Result<(), TryFeedError> {
        self.try_queue(message.into())?;
        // A caller that cannot wait for room cannot wait for a flush either.
        self.shared.waiters().wake_reader();
        Ok(())
    }

    /// Writes everything that is queued, by any writer. Cancel safe.
    ///
    /// # Errors
    /// Why the connection failed.
    pub async fn flush(&mut self) -> Result<(), Error> {
        futures::flush(self).await
    }

    /// Closes in order, with 1000: see [`WebSocket::close`](crate::WebSocket::close).
    ///
    /// # Errors
    /// As [`close_with`](Self::close_with).
    pub async fn close(&mut self) -> Result<(), Error> {
        self.close_with(CloseCode::NORMAL).await
    }

    /// Closes in order and waits for the end: see
    /// [`WebSocket::close_with`](crate::WebSocket::close_with). Messages that arrive meanwhile go
    /// to the [`Reader`], or are discarded if it was dropped. Cancel safe.
    ///
    /// The reader need not be in [`next`](Reader::next). But while more than 1 MiB of messages wait
    /// for it, nothing more is read: the peer's Close, which comes after them, is not seen, and
    /// [`Config::close_timeout`](crate::Config::close_timeout) ends the connection.
    ///
    /// # Errors
    /// [`Error::CloseCode`] if this role must not send the code, otherwise why the connection did
    /// not end in order.
    pub async fn close_with(&mut self, frame: impl Into<CloseFrame>) -> Result<(), Error> {
        futures::close(self, frame.into()).await
    }

    /// Pings the peer and returns the round-trip time: see
    /// [`WebSocket::ping`](crate::WebSocket::ping). Messages that arrive meanwhile go to the
    /// [`Reader`], or are discarded if it was dropped. The reader need not be in
    /// [`next`](Reader::next), unless more than 1 MiB of messages wait for it. Cancel safe.
    ///
    /// # Errors
    /// [`Error::Timeout`] if the pong does not arrive, or is not read, within
    /// [`Config::ping_timeout`](crate::Config::ping_timeout) after the ping was written. The
    /// connection stays open if anything else was received since. Otherwise why the connection
    /// ended.
    pub async fn ping(&mut self) -> Result<Duration, Error> {
        futures::ping(self).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transmit for Writer<S> {
    const SHARED: bool = true;

    fn poll_session<T>(
        &mut self,
        _: Option<Listener>,
        cx: &Context<'_>,
        wanted: impl FnMut(&mut Session, Listener) -> Progress<T>,
    ) -> Poll<T> {
        self.shared.poll_session(self.key, cx, wanted)
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut Session) -> T) -> T {
        self.shared.change(self.key, change)
    }

    #[inline(always)]
    fn poll_queue(
        &mut self,
        message: &mut Option<Message>,
        compress: Compress,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Error>> {
        {
            // Where there is room, this takes one lock and does nothing else: queueing changes
            // nothing that others wait for, except for the deadline of a compressor.
            let mut inner = lock(&self.shared.inner);
            if inner.connection.session().has_room() && !inner.connection.compresses() {
                return Poll::Ready(queue(inner.connection.session_mut(), message, compress));
            }
        }
        self.poll_queue_registered(message, compress, cx)
    }

    fn poll_written(&mut self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        self.shared.poll_session(self.key, cx, |session, _| match session.poll_flush() {
            Progress::Done(()) => Progress::Done(session.flushed()),
            Progress::Needs(interest) => Progress::Needs(interest),
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Writer<S> {
    #[inline(never)]
    fn poll_queue_registered(
        &self,
        message: &mut Option<Message>,
        compress: Compress,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Error>> {
        if message.is_none() {
            return Poll::Ready(Ok(()));
        }
        // Under one lock, or other writers could fill the queue in between.
        self.shared.poll_session(self.key, cx, |session, listener| {
            match session.poll_room(listener, now) {
                Progress::Done(Ok(())) => Progress::Done(queue(session, message, compress)),
                other => other,
            }
        })
    }
}

impl_sink! {
    /// Closing the sink does what [`close`](Writer::close) does.
    Writer
}
