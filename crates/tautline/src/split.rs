//! A connection in two halves, for different tasks.

#[cfg(not(tautline_loom))]
mod prefetch;
mod writer;

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::{FusedStream, Stream};
use tautline_frame::session::{Error, Listener, Progress, Session};
use tautline_frame::{CloseFrame, Compression, Message, Prepared, Protocol, Role};
use tokio::io::{AsyncRead, AsyncWrite};

#[cfg(not(tautline_loom))]
pub use self::prefetch::Prefetch;
pub use self::writer::Writer;
use crate::connection::Connection;
use crate::futures::{Next, Receive};
use crate::message_reader::MessageReader;
use crate::stats::ConnectionStats;
use crate::sync::{Arc, Mutex, lock};
use crate::timer::now;
use crate::transport::{Peer, Transport};
use crate::wakers::{Driven, SharedWakers, Task, Waiters};

/// The lock comes first: see [`Prefetch`].
#[derive(Debug)]
#[repr(C)]
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

    /// Queues as many of these as there is room for, and writes what the transport takes at once. Under
    /// one lock, and no task is registered: this is called for each of many connections.
    fn try_send_prepared<'a>(
        &self,
        key: usize,
        messages: impl IntoIterator<Item = &'a Prepared>,
    ) -> Result<TrySent, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut inner = lock(&self.inner);
        let connection = &mut inner.connection;
        let before = connection.session().snapshot();
        // Then no other task waits for what is done here.
        let was_idle = connection.session_mut().poll_flush() == Progress::Done(());
        let queued = queue_all(connection.session_mut(), messages);
        let flushed = connection.try_flush(self.wakers.wakers());
        let session = connection.session();
        let sent = session.flushed().and_then(|()| Ok(TrySent { queued: queued?, flushed }));
        if was_idle && flushed && sent.is_ok() {
            return sent;
        }
        let changes = self.wakers.changes(Task::Writer(key), before, session.snapshot());
        drop(inner);
        changes.tell();
        if !flushed {
            // It writes the rest.
            self.waiters().wake_reader();
        }
        sent
    }

    fn ask<T>(&self, ask: impl FnOnce(&Protocol) -> T) -> T {
        ask(lock(&self.inner).connection.session().protocol())
    }

    fn waiters(&self) -> &Waiters {
        &self.wakers.waiters
    }
}

/// Queues as many of these as there is room for: how many those were.
#[inline]
fn queue_all<'a>(
    session: &mut Session,
    messages: impl IntoIterator<Item = &'a Prepared>,
) -> Result<usize, Error> {
    let mut queued = 0;
    for message in messages {
        if !session.has_room() {
            if !session.protocol().is_open() {
                return Err(session.failure().cloned().unwrap_or(Error::Closed));
            }
            break;
        }
        session.send_prepared(message)?;
        queued += 1;
    }
    Ok(queued)
}

/// What became of messages that were sent without waiting: see [`Writer::try_send_prepared`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrySent {
    /// How many of them are written or queued: the first ones. For the others there is no room now.
    pub queued: usize,
    /// Whether everything that was queued is written.
    pub flushed: bool,
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
                inner.connection.info.subprotocol().map(str::to_owned)
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

            /// What has passed through the connection so far: see
            /// [`WebSocket::stats`](crate::WebSocket::stats).
            #[must_use]
            pub fn stats(&self) -> ConnectionStats {
                self.shared.ask(ConnectionStats::of)
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

    /// Receives the next message in pieces: see
    /// [`WebSocket::next_message`](crate::WebSocket::next_message). Cancel safe.
    ///
    /// # Errors
    /// Why the connection ended, if not in order: once, as [`next`](Self::next) does.
    pub async fn next_message(&mut self) -> Result<Option<MessageReader<'_, Self>>, Error> {
        MessageReader::start(self).await
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

    fn poll_reading<T>(
        &mut self,
        cx: &Context<'_>,
        mut wanted: impl FnMut(&mut Session) -> Progress<T>,
    ) -> Poll<T> {
        self.shared.waiters().register_reader(cx.waker());
        self.shared.drive(Task::Reader, |session, _| wanted(session)).polled
    }

    fn skip_message(&mut self) {
        lock(&self.shared.inner).connection.session_mut().skip_message();
        // A writer may be waiting for room in the inbox.
        self.shared.waiters().wake_writers();
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
