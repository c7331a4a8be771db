//! A connection in two halves, for different tasks.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;
use tautline_frame::session::{Error, Listener, Progress, Session};
use tautline_frame::{CloseCode, CloseFrame, Compress, Message};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::Connection;
use crate::sync::{Arc, Mutex, lock};
use crate::timer::now;
use crate::transport::{Peer, Transport};
use crate::wakers::{SharedWakers, Waiters};

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
    /// Who takes what arrives while a writer waits. That one reads by itself: the reader may have something else to do, or be in
    /// the same task.
    const fn listener(&self) -> Listener {
        if self.reader_alive { Listener::Other } else { Listener::Nobody }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Shared<S> {
    /// One look at the connection, by the writer with this key or by the reader. Whoever else waits for what it changed is
    /// woken, outside the lock. The second is whether a writer that waits needs the reader's side too.
    fn look<T>(
        &self,
        who: Option<usize>,
        mut wanted: impl FnMut(&mut Session, Listener) -> Progress<T>,
    ) -> (Poll<T>, bool) {
        let mut inner = lock(&self.inner);
        let listener = inner.listener();
        let wanted = |session: &mut Session| wanted(session, listener);
        let (given, changes) = self.wakers.look(who, &mut inner.connection, wanted);
        let needs_reading =
            given.is_pending() && inner.connection.session_ref().waits_for_reading();
        drop(inner);
        changes.tell();
        (given, needs_reading)
    }
}

impl<S> Shared<S> {
    /// A command, by the writer with this key. Whoever waits for what it changed is woken, outside the lock.
    fn change<T>(&self, who: usize, change: impl FnOnce(&mut Session) -> T) -> T {
        let mut inner = lock(&self.inner);
        let (result, changes) = self.wakers.change(Some(who), &mut inner.connection, change);
        drop(inner);
        changes.tell();
        result
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

/// The half of a split connection that reads: a [`Stream`] of messages.
///
/// It also does what the connection does by itself: it answers pings and Closes, pings a silent peer, and notices the end, as
/// long as [`next`](Self::next) is awaited. If it is dropped, writers can go on; nothing is read any more but by a writer that
/// waits for a pong or the end, which discards messages.
#[derive(Debug)]
pub struct Reader<S = Transport> {
    shared: Arc<Shared<S>>,
}

impl<S> Reader<S> {
    /// Who is at the other end: as [`WebSocket::peer`](crate::WebSocket::peer).
    #[must_use]
    pub fn peer(&self) -> Peer {
        lock(&self.shared.inner).connection.info().peer.clone()
    }

    /// The peer's address, if it is known.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer().addr()
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
        if let Some(message) = lock(&self.shared.inner).connection.session().take_short() {
            return Poll::Ready(Some(Ok(message)));
        }
        let mut given = Poll::Pending;
        self.poll_registered(cx, &mut given);
        given
    }

    #[inline(never)]
    fn poll_registered(&self, cx: &Context<'_>, given: &mut Poll<Option<Result<Message, Error>>>) {
        self.shared.waiters().register_reader(cx.waker());
        (*given, _) = self.shared.look(None, |session, _| session.poll_message(now));
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
        lock(&self.shared.inner).connection.session_ref().is_exhausted()
    }
}

impl<S> Drop for Reader<S> {
    fn drop(&mut self) {
        let kept = {
            let mut inner = lock(&self.shared.inner);
            inner.reader_alive = false;
            inner.connection.session().take_inbox()
        };
        // Outside the lock: it may be a MiB and more of messages.
        drop(kept);
        self.shared.waiters().remove_reader();
        // A writer that waits for the end is not to wait for the reader to take what was kept.
        self.shared.waiters().wake_writers(None);
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
        Self { shared: self.shared.clone(), key: self.shared.waiters().add_writer() }
    }
}

impl<S> Drop for Writer<S> {
    fn drop(&mut self) {
        self.shared.waiters().remove_writer(self.key);
        // It may wait already, and knows nothing of what was only queued.
        self.shared.waiters().wake_reader();
    }
}

impl<S> Writer<S> {
    /// Who is at the other end: as [`WebSocket::peer`](crate::WebSocket::peer).
    #[must_use]
    pub fn peer(&self) -> Peer {
        lock(&self.shared.inner).connection.info().peer.clone()
    }

    /// The peer's address, if it is known.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer().addr()
    }

    /// Whether messages can be sent: neither end has sent a Close, and nothing failed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        lock(&self.shared.inner).connection.protocol().is_open()
    }

    fn start_send(&self, message: Message) -> Result<(), Error> {
        self.shared.change(self.key, |session| session.send(message, Compress::Auto))
    }

    fn start_close(&self, frame: CloseFrame) -> Result<(), Error> {
        self.shared.change(self.key, |session| session.close(frame, now()))
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
            if inner.connection.session_ref().has_room() && !inner.connection.compresses() {
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
        // Under one lock, or other writers could fill the room in between.
        self.look(cx, |session, listener| match session.poll_room(listener, now) {
            Progress::Done(Ok(())) => Progress::Done(match message.take() {
                Some(message) => session.send(message, wish),
                None => Ok(()),
            }),
            other => other,
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
    /// meanwhile go to the [`Reader`]; if that was dropped, they are discarded. It does not matter whether the reader is in
    /// [`next`](Reader::next), unless more than 1 MiB of messages wait for it: then the peer's Close, which stands behind
    /// them, is not read, and [`Config::close_timeout`](crate::Config::close_timeout) ends the connection. Cancel safe.
    ///
    /// # Errors
    /// [`Error::CloseCode`] when the code is not this role's to send; otherwise how the end went wrong.
    pub async fn close_with(&mut self, frame: impl Into<CloseFrame>) -> Result<(), Error> {
        self.start_close(frame.into())?;
        poll_fn(|cx| self.poll_over(cx)).await
    }

    /// Pings the peer and returns the round-trip time. Messages that come meanwhile go to the [`Reader`]; if that was dropped,
    /// they are discarded. It does not matter whether the reader is in [`next`](Reader::next), unless more than 1 MiB of
    /// messages wait for it. Cancel safe.
    ///
    /// # Errors
    /// [`Error::Timeout`] when the pong does not come, or is not read, within
    /// [`Config::ping_timeout`](crate::Config::ping_timeout) after the ping was written; the connection goes on if anything else
    /// was received since. Otherwise why the connection ended.
    pub async fn ping(&mut self) -> Result<Duration, Error> {
        let id = self.shared.change(self.key, Session::ping)?;
        let poll = |cx: &mut Context<'_>| {
            self.look(cx, |session, listener| session.poll_pong(id, listener, now))
        };
        poll_fn(poll).await
    }

    fn poll_flush_shared(&self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        self.look(cx, |session, _| match session.poll_flush() {
            Progress::Done(()) => Progress::Done(session.flushed()),
            Progress::Needs(interest) => Progress::Needs(interest),
        })
    }

    fn poll_over(&self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        self.look(cx, |session, listener| match session.poll_over(listener, now) {
            Progress::Done(()) => Progress::Done(session.failure().cloned().map_or(Ok(()), Err)),
            Progress::Needs(interest) => Progress::Needs(interest),
        })
    }

    /// A look that may have to wait.
    fn look<T>(
        &self,
        cx: &Context<'_>,
        mut wanted: impl FnMut(&mut Session, Listener) -> Progress<T>,
    ) -> Poll<T> {
        let (waiters, key) = (self.shared.waiters(), self.key);
        let mut reads = false;
        loop {
            waiters.register_writer(key, cx.waker(), reads);
            let (given, needs_reading) = self.shared.look(Some(key), &mut wanted);
            if given.is_ready() {
                waiters.forget_writer(key);
                return given;
            }
            if reads || !needs_reading {
                return given;
            }
            // It waits for what only reading brings, and is to be woken for that from the next look on.
            reads = true;
        }
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
        self.look(cx, |session, listener| session.poll_room(listener, now))
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
        self.poll_over(cx)
    }
}
