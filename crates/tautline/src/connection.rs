//! Drives a [`Protocol`] over a transport: the only place where bytes, time and wakers meet.

mod ending;
mod transfer;
mod waiting;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};
use std::{fmt, io};

use bytes::BytesMut;
use tautline_frame::{CloseFrame, Compress, Config, Message, Protocol, Role};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::shutdown::ShutdownSignal;
use crate::timer::{Timer, now};
use crate::{Error, pool};

/// How many reads replies wait for at most, while there is always something to read. Well below the runtime's budget for a task
/// (128 operations in tokio), at whose end a write would not be let through either.
const MAX_READS: u8 = 16;

/// How many bytes of messages are inflated, and one message more, before others of the thread have their turn: a read of 65 KiB may
/// stand for 50 MiB.
const MAX_INFLATED: usize = 1 << 20;

/// How much may arrive while a ping waits, in bytes; one message more than that is kept.
const INBOX_LIMIT: usize = 1 << 20;

/// What a kept message counts beside its payload.
const MESSAGE_OVERHEAD: usize = size_of::<Message>();

/// Whom to wake: whoever reads, and whoever waits for the write side or the time. The same one before `split`.
#[derive(Clone, Copy)]
pub(crate) struct Wakers<'a> {
    pub(crate) read: &'a Waker,
    pub(crate) write: &'a Waker,
}

impl<'a> Wakers<'a> {
    pub(crate) fn one(cx: &Context<'a>) -> Self {
        Self { read: cx.waker(), write: cx.waker() }
    }
}

/// What is known of a connection beside its messages.
#[derive(Debug, Default)]
pub(crate) struct Info {
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) subprotocol: Option<Box<str>>,
}

/// Differs when something happened that another task may be waiting for.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Progress {
    writes: u64,
    ponged: bool,
    /// A compressor is held, which is to be given back after a while.
    pub(crate) compressing: bool,
    pub(crate) open: bool,
    pub(crate) done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Running,
    /// The protocol is over; the transport is being ended.
    Ending,
    Done,
}

#[derive(Debug, Default)]
struct Inbox {
    messages: VecDeque<Message>,
    /// Of all of them, each with [`MESSAGE_OVERHEAD`].
    size: usize,
}

pub(crate) struct Connection<S> {
    io: S,
    protocol: Protocol,
    phase: Phase,
    /// The transport gave its end.
    eof: bool,
    /// The write side was shut down.
    shut: bool,
    /// Something was written that the transport may still hold back.
    unflushed: bool,
    /// The transport was asked for that, and had to wait.
    held_back: bool,
    /// Reads since replies were last written.
    reads: u8,
    /// The length of the messages that went the general way since it last waited, where they may be compressed.
    inflated: usize,
    /// What was read; none while the connection waits without a part of a frame.
    read: Option<Box<BytesMut>>,
    /// The most that has stood in it.
    largest: usize,
    /// Whether something in it has not been looked at: the user takes one message at a time.
    unread: bool,
    /// When the newest bytes arrived.
    read_at: Instant,
    timer: Timer,
    /// Messages that arrived while a ping waited, for `next`; none at nearly all times.
    inbox: Option<Box<Inbox>>,
    /// What a read found that was not made to read.
    read_error: Option<io::Error>,
    /// Why the connection ended, if not in order.
    error: Option<Error>,
    /// `next` has told the end.
    told: bool,
    /// Counts writes, also those that found the transport broken.
    progress: u64,
    /// The newest ping that a user waits for.
    pinged: u64,
    /// A ping of ours may not have been written yet.
    pinging: bool,
    info: Info,
    shutdown: Option<ShutdownSignal>,
}

impl<S> Connection<S> {
    /// `read` has what arrived behind the handshake.
    pub(crate) fn new(io: S, role: Role, config: Arc<Config>, read: BytesMut, info: Info) -> Self {
        let now = now();
        Self {
            io,
            protocol: Protocol::new(role, config, now),
            phase: Phase::Running,
            eof: false,
            shut: false,
            unflushed: false,
            held_back: false,
            reads: 0,
            inflated: 0,
            unread: !read.is_empty(),
            largest: read.len(),
            read: (!read.is_empty()).then(|| Box::new(read)),
            read_at: now,
            timer: Timer::default(),
            inbox: None,
            read_error: None,
            error: None,
            told: false,
            progress: 0,
            pinged: 0,
            pinging: false,
            info,
            shutdown: None,
        }
    }

    /// Closes with 1001 when the server shuts down.
    pub(crate) fn watch(&mut self, shutdown: ShutdownSignal) {
        self.shutdown = Some(shutdown);
    }

    /// Compresses as was agreed on.
    #[cfg(feature = "deflate")]
    pub(crate) fn set_compression(&mut self, settings: tautline_frame::Compression) {
        self.protocol.set_compression(settings);
    }

    pub(crate) fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    pub(crate) const fn info(&self) -> &Info {
        &self.info
    }

    pub(crate) fn get_ref(&self) -> &S {
        &self.io
    }

    pub(crate) fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// Whether `next` has given everything, the end included.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.is_done() && self.told && self.inbox.is_none()
    }

    /// What other tasks may be waiting for.
    pub(crate) fn progress(&self) -> Progress {
        Progress {
            writes: self.progress,
            ponged: self.protocol.pong(self.pinged).is_some(),
            compressing: self.protocol.holds_compressor(),
            open: self.protocol.is_open(),
            done: self.is_done(),
        }
    }

    /// The error with which the connection ended.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.error.as_ref().map(Error::duplicate)
    }

    pub(crate) fn start_close(&mut self, frame: CloseFrame) -> Result<(), Error> {
        Ok(self.protocol.close(frame, now())?)
    }

    pub(crate) fn start_ping(&mut self) -> Result<u64, Error> {
        self.pinged = self.protocol.ping()?;
        self.pinging = true;
        Ok(self.pinged)
    }

    pub(crate) fn pong(&self, id: u64) -> Option<Duration> {
        self.protocol.pong(id)
    }

    /// Whether a message may be queued as things stand.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.protocol.is_open() && self.protocol.ready()
    }

    /// Whether messages may be compressed.
    #[inline]
    pub(crate) fn compresses(&self) -> bool {
        self.protocol.compression().is_some()
    }

    #[inline(always)]
    pub(crate) fn start_send(&mut self, message: Message, wish: Compress) -> Result<(), Error> {
        if !self.protocol.queue().has_buffer() {
            self.lend_buffer();
        }
        Ok(self.protocol.send_with(message, wish)?)
    }

    /// As [`start_send`](Self::start_send), for a future that may have done it already.
    #[inline(always)]
    pub(crate) fn start_feed(
        &mut self,
        message: &mut Option<Message>,
        wish: Compress,
    ) -> Result<(), Error> {
        match message.take() {
            Some(message) => self.start_send(message, wish),
            None => Ok(()),
        }
    }

    #[inline(never)]
    fn lend_buffer(&mut self) {
        self.protocol.queue().lend_buffer(pool::take());
    }

    /// Keeps a message for `next`.
    pub(crate) fn keep(&mut self, message: Message) {
        let inbox = self.inbox.get_or_insert_default();
        inbox.size += message.len() + MESSAGE_OVERHEAD;
        inbox.messages.push_back(message);
    }

    /// Whether no further message should be kept.
    pub(crate) fn is_inbox_full(&self) -> bool {
        self.inbox.as_ref().is_some_and(|inbox| inbox.size > INBOX_LIMIT)
    }
}

/// Without what the peers say to each other: logs are for others to read.
impl<S> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("role", &self.protocol.role())
            .field("peer", &self.info.peer)
            .field("phase", &self.phase)
            .field("open", &self.protocol.is_open())
            .finish_non_exhaustive()
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        if self.phase != Phase::Done {
            let peer = self.info.peer.map(tracing::field::display);
            tracing::debug!(peer, "connection dropped before its end");
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// The next message, or the end, with its error once. This is `drive` for what nearly always happens, and calls it for the
    /// rest.
    #[inline(always)]
    pub(crate) fn poll_next(&mut self, wakers: Wakers<'_>) -> Poll<Option<Result<Message, Error>>> {
        loop {
            if let Some(message) = self.take_short() {
                return Poll::Ready(Some(Ok(message)));
            }
            let all_taken = !self.unread && self.inbox.is_none();
            if self.phase != Phase::Running || !all_taken || !self.protocol.is_open() {
                break;
            }
            ready!(self.poll_arrival(wakers));
        }
        // Into a place of its own: one that the way above shares would be one in memory for both.
        let mut given = Poll::Pending;
        self.poll_kept(wakers, &mut given);
        given
    }

    /// The next message, if it has come already and is short. It is handed on in registers as far as the user's loop.
    #[inline(always)]
    pub(crate) fn take_short(&mut self) -> Option<Message> {
        if !self.unread || self.phase != Phase::Running || self.inbox.is_some() {
            return None;
        }
        let read = self.read.as_mut()?;
        let message = self.protocol.take_short(read, self.read_at)?;
        self.unread = !read.is_empty();
        Some(message)
    }

    /// Ready when there may be something unread, or something else to be done.
    #[inline(never)]
    fn poll_arrival(&mut self, wakers: Wakers<'_>) -> Poll<()> {
        self.heed_shutdown(wakers);
        if self.protocol.is_open() { self.poll_more(wakers) } else { Poll::Ready(()) }
    }

    /// The next message of what has been read.
    fn take_message(&mut self) -> Option<Message> {
        if self.unread && !self.protocol.queue().has_buffer() {
            // For a pong, which is encoded as soon as its ping is read.
            self.lend_buffer();
        }
        if self.unread
            && let Some(read) = &mut self.read
        {
            let was_open = self.protocol.is_open();
            match self.protocol.handle_data(read, self.read_at) {
                Ok(message @ Some(_)) => {
                    self.unread = !read.is_empty();
                    return message;
                }
                Ok(None) => self.unread = false,
                Err(error) => self.end_with(Some(error.into())),
            }
            if was_open && !self.protocol.is_open() {
                // The bytes may have waited here for long: how long our Close may take counts from now.
                self.protocol.restart_close(now());
            }
        }
        None
    }

    /// Gives a message that waits, or the next one off the wire.
    #[inline(never)]
    fn poll_kept(&mut self, wakers: Wakers<'_>, given: &mut Poll<Option<Result<Message, Error>>>) {
        *given = match self.take_kept() {
            Some(message) => Poll::Ready(Some(Ok(message))),
            None => self.poll_message(wakers),
        };
    }

    fn take_kept(&mut self) -> Option<Message> {
        let inbox = self.inbox.as_mut()?;
        let message = inbox.messages.pop_front()?;
        inbox.size -= message.len() + MESSAGE_OVERHEAD;
        if inbox.messages.is_empty() {
            self.inbox = None;
        }
        Some(message)
    }

    /// The next message off the wire, or the end, with its error once.
    #[inline]
    pub(crate) fn poll_message(
        &mut self,
        wakers: Wakers<'_>,
    ) -> Poll<Option<Result<Message, Error>>> {
        match self.drive(wakers) {
            Poll::Ready(None) => Poll::Ready(self.tell_end()),
            given => given,
        }
    }

    /// The heart: gives the next message, or `None` when the connection is over. The order is the point: every frame that
    /// is there before the next read, every read that is there before a write, one write for all replies, and only then
    /// waiting.
    ///
    /// It gives no error; the type is that of `next`, so that a message is not moved once more on its way.
    fn drive(&mut self, wakers: Wakers<'_>) -> Poll<Option<Result<Message, Error>>> {
        loop {
            match self.phase {
                Phase::Running => {}
                Phase::Ending => {
                    ready!(self.poll_end(wakers));
                    self.finish();
                }
                Phase::Done => return Poll::Ready(None),
            }
            self.heed_shutdown(wakers);
            if self.inflated > MAX_INFLATED {
                self.inflated = 0;
                ready!(self.poll_turn_of_others(wakers));
                continue;
            }
            if let Some(message) = self.take_message() {
                if self.compresses() {
                    self.inflated += message.len();
                }
                return Poll::Ready(Some(Ok(message)));
            }
            if !self.is_ending() {
                ready!(self.poll_more(wakers));
            }
        }
    }

    /// What is to be done when all that was read has been looked at: ready when there may be more.
    fn poll_more(&mut self, wakers: Wakers<'_>) -> Poll<()> {
        if self.reads >= MAX_READS {
            // A peer that never lets up gets its pongs all the same.
            let _ = self.poll_write_out(wakers);
        }
        match self.poll_fill(wakers) {
            Poll::Ready(Ok(0)) => self.end_of_stream(),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => self.read_failed(error),
            Poll::Pending => {
                let _ = self.poll_write_out(wakers);
                if self.is_ending() {
                    return Poll::Ready(());
                }
                match self.poll_timer(wakers) {
                    Poll::Ready(timeout) => self.timed_out(timeout, wakers),
                    Poll::Pending => {
                        self.rest();
                        return Poll::Pending;
                    }
                }
            }
        }
        Poll::Ready(())
    }

    /// The error with which the connection ended, once; `None` otherwise.
    fn tell_end(&mut self) -> Option<Result<Message, Error>> {
        let told = std::mem::replace(&mut self.told, true);
        self.failure().filter(|_| !told).map(Err)
    }

    /// Ready when a message may be queued, or at once when none may.
    #[inline]
    pub(crate) fn poll_ready(&mut self, wakers: Wakers<'_>) -> Poll<Result<(), Error>> {
        if self.has_room() { Poll::Ready(Ok(())) } else { self.poll_room(wakers) }
    }

    fn poll_room(&mut self, wakers: Wakers<'_>) -> Poll<Result<(), Error>> {
        self.heed_shutdown(wakers);
        loop {
            if !self.protocol.is_open() {
                return Poll::Ready(Err(self.failure().unwrap_or(Error::Closed)));
            }
            if self.protocol.ready() {
                return Poll::Ready(Ok(()));
            }
            if self.poll_flush(wakers)?.is_pending() && !self.protocol.ready() {
                return Poll::Pending;
            }
        }
    }

    /// Ready when a message may be queued, or when the connection is over. Whoever learns from sending that it is closing is
    /// likely to drop it: by then the peer has heard our Close and has been read out, as far as the deadline lets it. What
    /// it still sent is kept for `next`, within a limit.
    #[inline]
    pub(crate) fn poll_open(&mut self, wakers: Wakers<'_>) -> Poll<Result<(), Error>> {
        match self.poll_ready(wakers) {
            Poll::Ready(Err(error)) => self.poll_over(wakers).map(|()| Err(error)),
            ready => ready,
        }
    }

    /// Queues the message, whole, once there is room.
    #[inline(always)]
    pub(crate) fn poll_feed(
        &mut self,
        message: &mut Option<Message>,
        wish: Compress,
        wakers: Wakers<'_>,
    ) -> Poll<Result<(), Error>> {
        if !self.has_room() && message.is_some() {
            ready!(self.poll_open(wakers))?;
        }
        Poll::Ready(self.start_feed(message, wish))
    }

    /// Ready when the connection is over; messages that still come are kept.
    fn poll_over(&mut self, wakers: Wakers<'_>) -> Poll<()> {
        while let Some(Ok(message)) = ready!(self.drive(wakers)) {
            if !self.is_inbox_full() {
                self.keep(message);
            }
        }
        Poll::Ready(())
    }

    /// Ready when everything that was queued has been written.
    pub(crate) fn poll_flush(&mut self, wakers: Wakers<'_>) -> Poll<Result<(), Error>> {
        if self.is_done() {
            // The transport is not asked again: nobody would wake who waits for it, and no deadline is left.
            return Poll::Ready(self.failure().map_or(Ok(()), Err));
        }
        self.heed_shutdown(wakers);
        match self.poll_write_out(wakers) {
            // What was queued when the write side broke, perhaps in another task, was not written.
            Poll::Ready(Ok(())) => Poll::Ready(self.failure().map_or(Ok(()), Err)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                // The peer may have stopped reading for good while nobody waits for its messages.
                let timeout = ready!(self.poll_timer(wakers));
                self.timed_out(timeout, wakers);
                Poll::Ready(Err(timeout.into()))
            }
        }
    }

    /// Ready when the closing handshake is over and the transport has ended; messages that still come are discarded.
    pub(crate) fn poll_closed(&mut self, wakers: Wakers<'_>) -> Poll<Result<(), Error>> {
        loop {
            match ready!(self.poll_message(wakers)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
    }
}
