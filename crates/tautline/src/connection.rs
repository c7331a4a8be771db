//! Drives a [`Protocol`] over a transport: the only place where bytes, time and wakers meet.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tautline_frame::{CloseFrame, Config, Ending, Message, Protocol, Role, Timeout};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::{poll_read_buf, poll_write_buf};

use crate::shutdown::ShutdownSignal;
use crate::timer::{Timer, now};
use crate::{Error, pool};

/// Below this much room for a read, the buffer is made anew: a read of a few bytes costs as much as one of many.
const MIN_READ: usize = pool::BUFFER_SIZE / 8;

/// A part of a frame of up to this size is moved into a buffer of its own when a connection goes to wait with it, so that a
/// peer that stalls in the middle of a frame does not hold a whole read buffer.
const SMALL_REST: usize = pool::BUFFER_SIZE / 4;

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
    pub(crate) subprotocol: Option<String>,
}

/// Differs when something happened that another task may be waiting for.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Progress {
    writes: u64,
    ponged: bool,
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

#[derive(Debug)]
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
    /// The last read took all that fitted: there may be more.
    full_read: bool,
    read: BytesMut,
    /// Whether something in it has not been looked at: the user takes one message at a time.
    unread: bool,
    /// When the newest bytes arrived.
    read_at: Instant,
    timer: Timer,
    /// Messages that arrived while a ping waited, for `next`.
    inbox: VecDeque<Message>,
    /// Their size, each with [`MESSAGE_OVERHEAD`].
    inbox_size: usize,
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
    info: Option<Box<Info>>,
    shutdown: Option<ShutdownSignal>,
}

impl<S> Connection<S> {
    /// `read` has what arrived behind the handshake.
    pub(crate) fn new(
        io: S,
        role: Role,
        config: Arc<Config>,
        read: BytesMut,
        info: Option<Box<Info>>,
    ) -> Self {
        let now = now();
        Self {
            io,
            protocol: Protocol::new(role, config, now),
            phase: Phase::Running,
            eof: false,
            shut: false,
            unflushed: false,
            held_back: false,
            full_read: false,
            unread: !read.is_empty(),
            read,
            read_at: now,
            timer: Timer::default(),
            inbox: VecDeque::new(),
            inbox_size: 0,
            read_error: None,
            error: None,
            told: false,
            progress: 0,
            pinged: 0,
            info,
            shutdown: None,
        }
    }

    /// Closes with 1001 when the server shuts down.
    pub(crate) fn watch(&mut self, shutdown: ShutdownSignal) {
        self.shutdown = Some(shutdown);
    }

    pub(crate) fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    pub(crate) fn info(&self) -> Option<&Info> {
        self.info.as_deref()
    }

    pub(crate) fn get_ref(&self) -> &S {
        &self.io
    }

    pub(crate) fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// Whether `next` has given everything, the end included.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.is_done() && self.told && self.inbox.is_empty()
    }

    /// What other tasks may be waiting for.
    pub(crate) fn progress(&self) -> Progress {
        Progress {
            writes: self.progress,
            ponged: self.protocol.pong(self.pinged).is_some(),
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
        Ok(self.pinged)
    }

    pub(crate) fn pong(&self, id: u64) -> Option<Duration> {
        self.protocol.pong(id)
    }

    pub(crate) fn start_send(&mut self, message: Message) -> Result<(), Error> {
        if !self.protocol.queue().has_buffer() {
            self.protocol.queue().lend_buffer(pool::take());
        }
        Ok(self.protocol.send(message)?)
    }

    /// Keeps a message for `next`.
    pub(crate) fn keep(&mut self, message: Message) {
        self.inbox_size += message.len() + MESSAGE_OVERHEAD;
        self.inbox.push_back(message);
    }

    /// Whether no further message should be kept.
    pub(crate) fn is_inbox_full(&self) -> bool {
        self.inbox_size > INBOX_LIMIT
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) fn poll_next(&mut self, wakers: Wakers<'_>) -> Poll<Option<Result<Message, Error>>> {
        if let Some(message) = self.inbox.pop_front() {
            self.inbox_size -= message.len() + MESSAGE_OVERHEAD;
            return Poll::Ready(Some(Ok(message)));
        }
        self.poll_message(wakers)
    }

    /// The next message off the wire. The order is the point: every frame that is there before the next read, every read
    /// that is there before a write, one write for all replies, and only then waiting.
    pub(crate) fn poll_message(
        &mut self,
        wakers: Wakers<'_>,
    ) -> Poll<Option<Result<Message, Error>>> {
        loop {
            match self.phase {
                Phase::Running => {}
                Phase::Ending => {
                    ready!(self.poll_end(wakers));
                    self.finish();
                }
                Phase::Done => {
                    let told = std::mem::replace(&mut self.told, true);
                    let error = self.failure().filter(|_| !told);
                    return Poll::Ready(error.map(Err));
                }
            }
            self.heed_shutdown(wakers);
            match self.protocol.handle_data(&mut self.read, self.read_at) {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(message))),
                Ok(None) => self.unread = false,
                Err(error) => self.end_with(Some(error.into())),
            }
            if self.is_ending() {
                continue;
            }
            if self.full_read && !self.protocol.is_flushed() {
                // A peer that never lets up gets its pongs all the same.
                self.full_read = false;
                let _ = self.poll_write_out(wakers);
            }
            match self.poll_fill(wakers) {
                Poll::Ready(Ok(0)) => self.end_of_stream(),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => self.read_failed(error),
                Poll::Pending => {
                    let _ = self.poll_write_out(wakers);
                    if self.is_ending() {
                        continue;
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
        }
    }

    /// Ready when a message may be queued.
    pub(crate) fn poll_ready(&mut self, wakers: Wakers<'_>) -> Poll<Result<(), Error>> {
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

    /// Ready when everything that was queued has been written.
    pub(crate) fn poll_flush(&mut self, wakers: Wakers<'_>) -> Poll<Result<(), Error>> {
        if self.is_done() {
            // The transport is not asked again: nobody would wake who waits for it, and no deadline is left.
            return Poll::Ready(self.failure().map_or(Ok(()), Err));
        }
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

    /// For who only waits for the end: the deadline holds even when nobody reads.
    pub(crate) fn poll_deadline(&mut self, wakers: Wakers<'_>) -> Poll<()> {
        let timeout = ready!(self.poll_timer(wakers));
        self.timed_out(timeout, wakers);
        Poll::Ready(())
    }

    fn heed_shutdown(&mut self, wakers: Wakers<'_>) {
        if let Some(shutdown) = &mut self.shutdown
            && shutdown.poll(wakers.read)
        {
            self.shutdown = None;
            // A server may send 1001, and a connection that is closing already goes on with that.
            let _ = self.protocol.close(tautline_frame::CloseCode::GOING_AWAY.into(), now());
        }
    }

    /// Moves on when both Closes are exchanged, or ours is all that is left to send.
    fn is_ending(&mut self) -> bool {
        if self.phase == Phase::Running && !self.protocol.is_open() {
            self.protocol.poll_transmit();
            if self.protocol.poll_ending().is_some() {
                self.phase = Phase::Ending;
            }
        }
        self.phase != Phase::Running
    }

    fn end_with(&mut self, error: Option<Error>) {
        self.phase = Phase::Ending;
        self.error = error;
    }

    fn end_of_stream(&mut self) {
        self.eof = true;
        let in_order = self.protocol.handle_eof();
        if in_order {
            self.phase = Phase::Ending;
        } else {
            self.error.get_or_insert(Error::ConnectionLost);
            self.finish();
        }
    }

    fn read_failed(&mut self, error: io::Error) {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            // TLS without its own end: WebSocket's Close tells whether something is missing.
            return self.end_of_stream();
        }
        if !self.protocol.handle_eof() {
            self.error.get_or_insert(error.into());
        }
        self.finish();
    }

    fn timed_out(&mut self, timeout: Timeout, wakers: Wakers<'_>) {
        // With the Closes exchanged, or a cause known, a peer that does not end the stream is not news.
        if self.phase == Phase::Running && self.error.is_none() {
            self.error = Some(timeout.into());
        }
        // The peer is told why, if its side takes it at once; nobody waits for it any more.
        let _ = self.poll_write_out(wakers);
        self.finish();
    }

    /// The end, told to the log once.
    fn finish(&mut self) {
        if self.phase == Phase::Done {
            return;
        }
        self.phase = Phase::Done;
        if !self.shut {
            // The user may hold what is over for long, as in a table of writers: the peer is not to wait for that.
            let mut cx = Context::from_waker(Waker::noop());
            let _ = Pin::new(&mut self.io).poll_shutdown(&mut cx);
            self.shut = true;
        }
        self.read = BytesMut::new();
        self.shutdown = None;
        self.timer = Timer::default();
        if self.protocol.peer_close().is_some() {
            // The peer said its last word: that the transport broke behind it is no news.
            self.error = None;
        }
        tracing::debug!(
            peer = self.info().and_then(|info| info.peer).map(tracing::field::display),
            received = self.protocol.peer_close().map(tracing::field::display),
            sent = self.protocol.sent_close().map(tracing::field::display),
            error = self.error.as_ref().map(tracing::field::display),
            "connection closed"
        );
    }

    /// Reads into the buffer; 0 at the end of the stream.
    fn poll_fill(&mut self, wakers: Wakers<'_>) -> Poll<io::Result<usize>> {
        if self.eof {
            return Poll::Ready(Ok(0));
        }
        if let Some(error) = self.read_error.take() {
            return Poll::Ready(Err(error));
        }
        self.make_room();
        let room = self.read.capacity() - self.read.len();
        let mut cx = Context::from_waker(wakers.read);
        let count = ready!(poll_read_buf(Pin::new(&mut self.io), &mut cx, &mut self.read))?;
        if count > 0 {
            self.full_read = count == room;
            self.unread = true;
            self.read_at = now();
            self.protocol.handle_received(self.read_at);
        }
        Poll::Ready(Ok(count))
    }

    fn make_room(&mut self) {
        if self.read.capacity() == 0 {
            self.read = pool::take();
        }
        let room = self.read.capacity() - self.read.len();
        let missing = self.protocol.missing(self.read.len());
        if room >= missing && room >= MIN_READ {
            return;
        }
        // At most as much again as has arrived: a length that the peer declared is paid for by what it sends.
        let affordable = self.read.len().max(pool::BUFFER_SIZE);
        self.read.reserve(missing.saturating_add(MIN_READ).clamp(pool::BUFFER_SIZE, affordable));
    }

    /// Writes until nothing is queued. A write side that fails is remembered; what the peer sent before is still read.
    fn poll_write_out(&mut self, wakers: Wakers<'_>) -> Poll<Result<(), Error>> {
        match self.poll_write_io(wakers) {
            Poll::Ready(Err(error)) => {
                let error = Error::Io(error);
                self.protocol.handle_broken(now());
                self.shut = true;
                self.unflushed = false;
                self.progress += 1;
                if self.phase == Phase::Running {
                    self.error.get_or_insert(error.duplicate());
                }
                Poll::Ready(Err(error))
            }
            Poll::Ready(Ok(())) => {
                if let Some(buffer) = self.protocol.queue().reclaim_buffer() {
                    pool::give(buffer);
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_write_io(&mut self, wakers: Wakers<'_>) -> Poll<io::Result<()>> {
        let mut cx = Context::from_waker(wakers.write);
        while self.protocol.poll_transmit() {
            match poll_write_buf(Pin::new(&mut self.io), &mut cx, self.protocol.queue()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(_)) => {
                    self.unflushed = true;
                    self.progress += 1;
                    self.protocol.handle_written(now());
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.protocol.handle_blocked(now());
                    return Poll::Pending;
                }
            }
        }
        if self.unflushed {
            match Pin::new(&mut self.io).poll_flush(&mut cx) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    // A transport with a buffer of its own, such as TLS, takes what no peer reads.
                    self.held_back = true;
                    self.protocol.handle_blocked(now());
                    return Poll::Pending;
                }
            }
            self.unflushed = false;
            if std::mem::take(&mut self.held_back) {
                self.progress += 1;
                self.protocol.handle_written(now());
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Does what is due; ready with the deadline that ended the connection.
    fn poll_timer(&mut self, wakers: Wakers<'_>) -> Poll<Timeout> {
        loop {
            let Some(deadline) = self.protocol.poll_timeout() else { return Poll::Pending };
            ready!(self.timer.poll(deadline, &mut Context::from_waker(wakers.write)));
            self.look_for_life(wakers);
            if let Err(timeout) = self.protocol.handle_timeout(now()) {
                return Poll::Ready(timeout);
            }
            // A keepalive ping may have become due.
            let _ = self.poll_write_out(wakers);
        }
    }

    /// Bytes that nobody has read yet are a sign of life too: the user may be busy sending.
    fn look_for_life(&mut self, wakers: Wakers<'_>) {
        if self.phase != Phase::Running {
            return;
        }
        if self.unread {
            // The peer sent more than the user took so far: the pong may be in it.
            self.protocol.handle_received(now());
            return;
        }
        match self.poll_fill(wakers) {
            Poll::Ready(Ok(count)) => self.eof = count == 0,
            Poll::Ready(Err(error)) => self.read_error = Some(error),
            Poll::Pending => return,
        }
        // Whoever reads has not seen this, and the transport will not tell again.
        wakers.read.wake_by_ref();
    }

    /// Ends the transport as the protocol says (RFC 6455 section 7.1.1), so that what was sent arrives; ready when that is
    /// done, has failed, or took too long.
    fn poll_end(&mut self, wakers: Wakers<'_>) -> Poll<()> {
        match self.poll_end_io(wakers) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => self.poll_timer(wakers).map(|_| ()),
        }
    }

    fn poll_end_io(&mut self, wakers: Wakers<'_>) -> Poll<Result<(), Error>> {
        ready!(self.poll_write_out(wakers))?;
        match self.protocol.poll_ending() {
            Some(Ending::Shutdown) => self.poll_shutdown(wakers),
            Some(Ending::AwaitEof) => {
                ready!(self.poll_discard(wakers))?;
                self.poll_shutdown(wakers)
            }
            Some(Ending::Drain) | None => {
                ready!(self.poll_shutdown(wakers))?;
                self.poll_discard(wakers)
            }
        }
    }

    fn poll_shutdown(&mut self, wakers: Wakers<'_>) -> Poll<Result<(), Error>> {
        if !self.shut {
            ready!(Pin::new(&mut self.io).poll_shutdown(&mut Context::from_waker(wakers.write)))?;
            self.shut = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_discard(&mut self, wakers: Wakers<'_>) -> Poll<Result<(), Error>> {
        while !self.eof {
            self.read.clear();
            self.eof = ready!(self.poll_fill(wakers))? == 0;
        }
        Poll::Ready(Ok(()))
    }

    /// A connection that goes to wait holds no buffer, or a small one with a part of a frame.
    fn rest(&mut self) {
        if self.read.is_empty() {
            if self.read.capacity() > 0 {
                pool::give(std::mem::take(&mut self.read));
            }
        } else if self.read.len() <= SMALL_REST && self.read.capacity() >= pool::BUFFER_SIZE {
            let rest = BytesMut::from(&self.read[..]);
            pool::give(std::mem::replace(&mut self.read, rest));
        }
    }
}
