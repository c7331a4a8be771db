//! A connection in two halves, for different tasks.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;
use tautline_frame::{CloseCode, CloseFrame, Compress, Message};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::{Connection, Wakers};
use crate::sync::{Arc, Mutex, lock};
use crate::wakers::{ReadReady, Waiters, WriteReady};
use crate::{Error, Transport};

#[derive(Debug)]
struct Shared<S> {
    inner: Mutex<Inner<S>>,
    waiters: Arc<Waiters>,
    read_ready: Waker,
    write_ready: Waker,
}

#[derive(Debug)]
struct Inner<S> {
    connection: Connection<S>,
    reader_alive: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Inner<S> {
    /// Ready when a message may be queued. The end is the reader's work, unless there is none.
    fn poll_open(&mut self, wakers: Wakers<'_>) -> Poll<Result<(), Error>> {
        if self.reader_alive {
            self.connection.poll_ready(wakers)
        } else {
            // This task reads now, so it is this one that the transport has to wake.
            self.connection.poll_open(Wakers { read: wakers.write, ..wakers })
        }
    }
}

impl<S> Shared<S> {
    /// One look at the connection, by the writer with this key or by the reader. Whoever else waits for what it changed is
    /// woken, outside the lock.
    fn with<R>(&self, who: Option<usize>, look: impl FnOnce(&mut Inner<S>, Wakers<'_>) -> R) -> R {
        let wakers = Wakers { read: &self.read_ready, write: &self.write_ready };
        let mut inner = lock(&self.inner);
        let before = inner.connection.progress();
        let result = look(&mut inner, wakers);
        let after = inner.connection.progress();
        drop(inner);
        if before != after {
            self.waiters.wake_writers(who);
        }
        // A compressor comes with a deadline, which may be earlier than the one that the reader waits for.
        let new_deadline = after.compressing && !before.compressing;
        if (before.open, before.done) != (after.open, after.done) || new_deadline {
            self.waiters.wake_reader();
        }
        result
    }
}

pub(crate) fn split<S>(connection: Connection<S>) -> (Reader<S>, Writer<S>) {
    let waiters = Arc::new(Waiters::default());
    let shared = Arc::new(Shared {
        inner: Mutex::new(Inner { connection, reader_alive: true }),
        read_ready: Waker::from(std::sync::Arc::new(ReadReady(waiters.clone()))),
        write_ready: Waker::from(std::sync::Arc::new(WriteReady(waiters.clone()))),
        waiters,
    });
    let key = shared.waiters.add_writer();
    (Reader { shared: shared.clone() }, Writer { shared, key })
}

/// The half of a split connection that reads: a [`Stream`] of messages.
///
/// It also does what the connection does by itself: it answers pings and Closes, pings a silent peer, and notices the end, as
/// long as [`next`](Self::next) is awaited. If it is dropped, writers can go on, but nothing is read any more.
#[derive(Debug)]
pub struct Reader<S = Transport> {
    shared: Arc<Shared<S>>,
}

impl<S> Reader<S> {
    /// The peer's address, as [`WebSocket::peer_addr`](crate::WebSocket::peer_addr).
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        lock(&self.shared.inner).connection.info().peer
    }

    /// The Close that the peer sent, once it came.
    #[must_use]
    pub fn close_frame(&self) -> Option<CloseFrame> {
        lock(&self.shared.inner).connection.protocol().peer_close().cloned()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Reader<S> {
    /// The next message: as [`WebSocket::next`](crate::WebSocket::next). What writers queued is written before it waits.
    /// Cancel safe.
    #[expect(
        clippy::should_implement_trait,
        reason = "it is that of `StreamExt`, not of `Iterator`"
    )]
    pub fn next(&mut self) -> impl Future<Output = Option<Result<Message, Error>>> {
        ReaderNext { reader: self }
    }

    /// One lock and nothing else for one of many messages that came together: taking it changes nothing that others wait for.
    #[inline(always)]
    fn poll(&self, cx: &Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        if let Some(message) = lock(&self.shared.inner).connection.take_short() {
            return Poll::Ready(Some(Ok(message)));
        }
        let mut given = Poll::Pending;
        self.poll_registered(cx, &mut given);
        given
    }

    #[inline(never)]
    fn poll_registered(&self, cx: &Context<'_>, given: &mut Poll<Option<Result<Message, Error>>>) {
        self.shared.waiters.register_reader(cx.waker());
        *given = self.shared.with(None, |inner, wakers| inner.connection.poll_next(wakers));
    }
}

/// Receives a message. Written out for the same reason as those in `hot.rs`.
struct ReaderNext<'a, S> {
    reader: &'a Reader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for ReaderNext<'_, S> {
    type Output = Option<Result<Message, Error>>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.reader.poll(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for Reader<S> {
    type Item = Result<Message, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FusedStream for Reader<S> {
    fn is_terminated(&self) -> bool {
        lock(&self.shared.inner).connection.is_exhausted()
    }
}

impl<S> Drop for Reader<S> {
    fn drop(&mut self) {
        lock(&self.shared.inner).reader_alive = false;
        self.shared.waiters.remove_reader();
        // A writer that waits for the end has to read from now on.
        self.shared.waiters.wake_writers(None);
    }
}

/// The half of a split connection that writes: a [`Sink`] for messages.
///
/// Clones write to the same connection; each message stays whole on the wire, whoever sends. Dropping writers does nothing to
/// the connection, and what they queued is still written by the reader or by any other writer's `flush`.
#[derive(Debug)]
pub struct Writer<S = Transport> {
    shared: Arc<Shared<S>>,
    /// The place of this clone's waker.
    key: usize,
}

impl<S> Clone for Writer<S> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), key: self.shared.waiters.add_writer() }
    }
}

impl<S> Drop for Writer<S> {
    fn drop(&mut self) {
        self.shared.waiters.remove_writer(self.key);
        // It may wait already, and knows nothing of what was only queued.
        self.shared.waiters.wake_reader();
    }
}

impl<S> Writer<S> {
    /// The peer's address, as [`WebSocket::peer_addr`](crate::WebSocket::peer_addr).
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        lock(&self.shared.inner).connection.info().peer
    }

    /// Whether messages can be sent: neither end has sent a Close, and nothing failed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        lock(&self.shared.inner).connection.protocol().is_open()
    }

    fn start_send(&self, message: Message) -> Result<(), Error> {
        self.shared
            .with(Some(self.key), |inner, _| inner.connection.start_send(message, Compress::Auto))
    }

    fn start_close(&self, frame: CloseFrame) -> Result<(), Error> {
        self.shared.with(Some(self.key), |inner, _| inner.connection.start_close(frame))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Writer<S> {
    /// Sends a message: as [`WebSocket::send`](crate::WebSocket::send). Cancel safe.
    ///
    /// # Errors
    /// [`Error::Closed`] when the connection is closing; otherwise why it failed.
    pub fn send(&mut self, message: impl Into<Message>) -> impl Future<Output = Result<(), Error>> {
        let mut message = Some(message.into());
        poll_fn(move |cx| {
            ready!(self.poll_feed(&mut message, Compress::Auto, cx))?;
            self.poll_flush_shared(cx)
        })
    }

    /// As [`send`](Self::send), with a word on whether to compress this message: as
    /// [`WebSocket::send_with`](crate::WebSocket::send_with). Cancel safe.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_with(
        &mut self,
        message: impl Into<Message>,
        wish: Compress,
    ) -> impl Future<Output = Result<(), Error>> {
        let mut message = Some(message.into());
        poll_fn(move |cx| {
            ready!(self.poll_feed(&mut message, wish, cx))?;
            self.poll_flush_shared(cx)
        })
    }

    /// Queues a message: as [`WebSocket::feed`](crate::WebSocket::feed). It goes out with the next
    /// [`flush`](Self::flush) of any writer, or the next time that the reader goes to wait. Cancel safe.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn feed(&mut self, message: impl Into<Message>) -> impl Future<Output = Result<(), Error>> {
        WriterFeed { writer: self, message: Some(message.into()) }
    }

    /// As [`feed`](Self::feed), with a word on whether to compress this message. Cancel safe.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn feed_with(
        &mut self,
        message: impl Into<Message>,
        wish: Compress,
    ) -> impl Future<Output = Result<(), Error>> {
        let mut message = Some(message.into());
        poll_fn(move |cx| self.poll_feed(&mut message, wish, cx))
    }

    #[inline(always)]
    fn poll_feed(
        &self,
        message: &mut Option<Message>,
        wish: Compress,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Error>> {
        {
            // One lock and nothing else where there is room: what is queued changes nothing that others wait for, but for the
            // deadline of a compressor.
            let mut inner = lock(&self.shared.inner);
            if inner.connection.has_room() && !inner.connection.compresses() {
                return Poll::Ready(inner.connection.start_feed(message, wish));
            }
        }
        self.poll_feed_registered(message, wish, cx)
    }

    #[inline(never)]
    fn poll_feed_registered(
        &self,
        message: &mut Option<Message>,
        wish: Compress,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Error>> {
        if message.is_none() {
            return Poll::Ready(Ok(()));
        }
        self.register(cx);
        self.shared.with(Some(self.key), |inner, wakers| {
            // Under one lock, or other writers could fill the room in between.
            ready!(inner.poll_open(wakers))?;
            Poll::Ready(inner.connection.start_feed(message, wish))
        })
    }

    /// Writes everything that is queued, by whomever. Cancel safe.
    ///
    /// # Errors
    /// Why the connection failed.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.poll_flush_shared(cx)).await
    }

    /// Closes in order with 1000: as [`WebSocket::close`](crate::WebSocket::close).
    ///
    /// # Errors
    /// As [`close_with`](Self::close_with).
    pub async fn close(&mut self) -> Result<(), Error> {
        self.close_with(CloseCode::NORMAL).await
    }

    /// Closes in order, and waits for the end: as [`WebSocket::close_with`](crate::WebSocket::close_with). Messages that come
    /// meanwhile go to the [`Reader`]; if that was dropped, they are discarded. Cancel safe.
    ///
    /// # Errors
    /// [`Error::CloseCode`] when the code is not this role's to send; otherwise how the end went wrong.
    pub async fn close_with(&mut self, frame: impl Into<CloseFrame>) -> Result<(), Error> {
        self.start_close(frame.into())?;
        poll_fn(|cx| self.poll_closed(cx)).await
    }

    /// Pings the peer and gives the round-trip time. The [`Reader`] has to be kept in `next` for it; if that was dropped,
    /// messages that come first are discarded. Cancel safe.
    ///
    /// # Errors
    /// Why the connection ended before the answer came.
    pub async fn ping(&mut self) -> Result<Duration, Error> {
        let id = self.shared.with(Some(self.key), |inner, _| inner.connection.start_ping())?;
        poll_fn(|cx| self.poll_pong(id, cx)).await
    }

    fn register(&self, cx: &Context<'_>) {
        self.shared.waiters.register_writer(self.key, cx.waker());
    }

    fn poll_flush_shared(&self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        self.register(cx);
        self.shared.with(Some(self.key), |inner, wakers| inner.connection.poll_flush(wakers))
    }

    fn poll_closed(&self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        self.register(cx);
        self.shared.with(Some(self.key), |inner, wakers| {
            let connection = &mut inner.connection;
            if !inner.reader_alive {
                // This task reads now, so it is this one that the transport has to wake.
                let wakers = Wakers { read: wakers.write, ..wakers };
                let _ = ready!(connection.poll_closed(wakers));
            } else if !connection.is_done() {
                // The reader sees what the peer answers; the Close and its deadline are looked after here as well.
                let _ = connection.poll_flush(wakers);
                let _ = connection.poll_deadline(wakers);
            }
            if connection.is_done() {
                return Poll::Ready(connection.failure().map_or(Ok(()), Err));
            }
            Poll::Pending
        })
    }

    fn poll_pong(&self, id: u64, cx: &Context<'_>) -> Poll<Result<Duration, Error>> {
        self.register(cx);
        self.shared.with(Some(self.key), |inner, wakers| {
            let connection = &mut inner.connection;
            if !inner.reader_alive {
                // Nobody else reads, and nobody is there for the messages.
                let wakers = Wakers { read: wakers.write, ..wakers };
                while let Poll::Ready(Some(Ok(_))) = connection.poll_message(wakers) {}
            }
            if let Some(time) = connection.pong(id) {
                return Poll::Ready(Ok(time));
            }
            if !connection.protocol().is_open() {
                return Poll::Ready(Err(connection.failure().unwrap_or(Error::Closed)));
            }
            // The ping goes out, and a peer that sends nothing at all is given up, whatever the reader does.
            match connection.poll_flush(wakers) {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            if connection.poll_deadline(wakers).is_ready() {
                return Poll::Ready(Err(connection.failure().unwrap_or(Error::Closed)));
            }
            Poll::Pending
        })
    }
}

/// Queues a message. Written out for the same reason as those in `hot.rs`.
struct WriterFeed<'a, S> {
    writer: &'a Writer<S>,
    message: Option<Message>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for WriterFeed<'_, S> {
    type Output = Result<(), Error>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { writer, message } = self.get_mut();
        writer.poll_feed(message, Compress::Auto, cx)
    }
}

/// Closing the sink is [`close`](Writer::close).
impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Message> for Writer<S> {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.register(cx);
        self.shared.with(Some(self.key), Inner::poll_open)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        Self::start_send(&self, message)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_flush_shared(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.is_open() {
            self.start_close(CloseCode::NORMAL.into())?;
        }
        self.poll_closed(cx)
    }
}
