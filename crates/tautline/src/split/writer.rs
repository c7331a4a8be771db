//! The writing half of a connection.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_sink::Sink;
use tautline_frame::session::{Error, Listener, Progress, Session};
use tautline_frame::{CloseCode, CloseFrame, Compress, Kind, Message, Prepared, Protocol};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Shared, TrySent};
use crate::error::TryFeedError;
use crate::futures::{
    self, Feed, FeedWith, Send, SendWith, Transmit, impl_sink, queue, queue_prepared,
};
use crate::message_writer::MessageWriter;
use crate::sync::{Arc, lock};
use crate::timer::now;
use crate::transport::Transport;

/// The writing half of a split connection: a [`Sink`] for messages.
///
/// Clones write to the same connection, and each message stays whole on the wire. Dropping writers
/// does not close the connection; what they queued is written by the reader or by the next `flush`
/// of another writer.
#[derive(Debug)]
pub struct Writer<S = Transport> {
    pub(super) shared: Arc<Shared<S>>,
    /// Where the waker of this clone is registered.
    pub(super) key: usize,
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

    /// How many messages all writers together have queued: see
    /// [`WebSocket::queued_messages`](crate::WebSocket::queued_messages). What waits in a
    /// [`DroppingSender`](crate::DroppingSender) or [`LatestSender`](crate::LatestSender) is in its
    /// [`counts`](crate::DroppingSender::counts).
    #[must_use]
    pub fn queued_messages(&self) -> usize {
        self.shared.ask(Protocol::queued_messages)
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

    /// Sends a message in pieces: see [`MessageWriter`]. Other writers wait until it is finished.
    pub fn message_writer(&mut self, kind: Kind) -> MessageWriter<'_, Self> {
        MessageWriter::new(self, kind)
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
    /// You need not flush it: if the [`Reader`](crate::Reader) waits in
    /// [`next`](crate::Reader::next), it is woken to write the message.
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

    /// Queues a message that is shared with other connections, and writes everything that is
    /// queued: see [`Prepared`]. Cancel safe.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_prepared(&mut self, message: &Prepared) -> Result<(), Error> {
        futures::feed_prepared(self, message).await?;
        futures::flush(self).await
    }

    /// Queues a message that is shared with other connections: see [`Prepared`]. Otherwise as
    /// [`feed`](Self::feed). Cancel safe.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn feed_prepared(&mut self, message: &Prepared) -> Result<(), Error> {
        futures::feed_prepared(self, message).await
    }

    /// Queues a message that is shared with other connections, without waiting: see [`Prepared`].
    /// Otherwise as [`try_feed`](Self::try_feed).
    ///
    /// # Errors
    /// As [`try_feed`](Self::try_feed).
    pub fn try_feed_prepared(&mut self, message: &Prepared) -> Result<(), TryFeedError> {
        self.try_prepared(message)?;
        // A caller that cannot wait for room cannot wait for a flush either.
        self.shared.waiters().wake_reader();
        Ok(())
    }

    /// Queues as many of these messages as there is room for, in order, and writes at once what the
    /// transport takes, without waiting for the rest: see [`Prepared`]. For a task that sends to many
    /// connections: it takes one lock for all of it, where [`feed_prepared`](Self::feed_prepared) takes
    /// one for each message and [`flush`](Self::flush) several.
    ///
    /// What is queued and not written is written by the [`Reader`](crate::Reader) when it waits in
    /// [`next`](crate::Reader::next), for which it is woken, or by the next [`flush`](Self::flush). When
    /// there is room again, [`ready`](Self::ready) tells. The iterator runs under the connection's lock: it
    /// must not use the connection.
    ///
    /// ```
    /// use tautline::{Prepared, Role, WebSocket};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (near, far) = tokio::io::duplex(1024);
    /// # let ws = WebSocket::builder(Role::Server).build(near);
    /// # let mut peer = WebSocket::builder(Role::Client).build(far);
    /// let (_reader, mut writer) = ws.split();
    /// let prices = [Prepared::new("TAUT 101.25"), Prepared::new("LINE 17.5")];
    /// let sent = writer.try_send_prepared(&prices)?;
    /// assert_eq!((sent.queued, sent.flushed), (2, true));
    /// # assert_eq!(peer.next().await.unwrap()?.as_text(), Some("TAUT 101.25"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`] if the connection is closing, otherwise why it failed. Some of the messages may
    /// have been written.
    pub fn try_send_prepared<'a>(
        &mut self,
        messages: impl IntoIterator<Item = &'a Prepared>,
    ) -> Result<TrySent, Error> {
        self.shared.try_send_prepared(self.key, messages)
    }

    /// For a task that writes to many connections: what it needs of one that was not used for long is not in the
    /// processor's cache, and to wait for that costs as much as all else that is done before the system's `send`.
    /// If several are [fetched](super::Prefetch::fetch) before the first one is written to, the waiting is for
    /// all of them at once. It does not keep the connection.
    ///
    /// ```
    /// use tautline::{Error, Prefetch, Prepared, Writer};
    ///
    /// /// Sends to all of these, as far as they have room.
    /// fn send_all(members: &mut [(Prefetch, Writer)], message: &Prepared) -> Result<(), Error> {
    ///     for some in members.chunks_mut(32) {
    ///         some.iter().for_each(|(ahead, _)| ahead.fetch());
    ///         for (_, writer) in some {
    ///             writer.try_send_prepared([message])?;
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    #[cfg(not(tautline_loom))]
    #[must_use]
    pub fn prefetch(&self) -> super::Prefetch
    where
        S: std::marker::Send + 'static,
    {
        let shared: Arc<dyn std::marker::Send + Sync> = self.shared.clone();
        super::Prefetch(Arc::downgrade(&shared))
    }

    /// Waits until there is room for a message, so that the next [`try_feed`](Self::try_feed)
    /// succeeds unless another task takes the room first. Cancel safe.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn ready(&mut self) -> Result<(), Error> {
        futures::ready(self).await
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
    /// to the [`Reader`](crate::Reader), or are discarded if it was dropped. Cancel safe.
    ///
    /// The reader need not be in [`next`](crate::Reader::next). But while more than 1 MiB of
    /// messages wait for it, nothing more is read: the peer's Close, which comes after them, is not
    /// seen, and [`Config::close_timeout`](crate::Config::close_timeout) ends the connection.
    ///
    /// # Errors
    /// [`Error::CloseCode`] if this role must not send the code, otherwise why the connection did
    /// not end in order.
    pub async fn close_with(&mut self, frame: impl Into<CloseFrame>) -> Result<(), Error> {
        futures::close(self, frame.into()).await
    }

    /// Pings the peer and returns the round-trip time: see
    /// [`WebSocket::ping`](crate::WebSocket::ping). Messages that arrive meanwhile go to the
    /// [`Reader`](crate::Reader), or are discarded if it was dropped. The reader need not be in
    /// [`next`](crate::Reader::next), unless more than 1 MiB of messages wait for it. Cancel safe.
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

    fn poll_prepared(&mut self, prepared: &Prepared, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        {
            // As in `poll_queue`. A shared message leaves no compressor behind.
            let mut inner = lock(&self.shared.inner);
            if inner.connection.session().has_room() {
                return Poll::Ready(inner.connection.session_mut().send_prepared(prepared));
            }
        }
        self.shared.poll_session(self.key, cx, |session, listener| {
            queue_prepared(session, listener, prepared)
        })
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
