//! What one end of a connection does next: read, write, wait or end. It decides; the driver, which
//! has the transport, acts.

mod action;
mod error;
mod inbox;
mod pieces;
mod read_buffer;
mod tasks;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

pub use self::action::{Action, Interest};
pub use self::error::Error;
use self::inbox::Inbox;
use self::read_buffer::ReadBuffer;
pub use self::tasks::{Listener, Progress, Snapshot};
use crate::buffers;
use crate::close::CloseFrame;
use crate::compression::Compress;
#[cfg(feature = "deflate")]
use crate::compression::Compression;
use crate::config::{Config, LAST_READS};
use crate::message::Message;
use crate::prepared::Prepared;
use crate::protocol::Protocol;
use crate::role::Role;

/// One end of a connection, from the opening handshake to the end of the transport: a [`Protocol`],
/// the bytes that have been read but not processed, and what to do next. It has no transport, no
/// clock and no waker; its driver does.
///
/// # Driving a session
/// A task that waits for something asks for it with one of the `poll_*` methods:
/// [`poll_message`](Self::poll_message), [`poll_room`](Self::poll_room),
/// [`poll_flush`](Self::poll_flush), [`poll_over`](Self::poll_over),
/// [`poll_pong`](Self::poll_pong). The answer is what it waited for, or an [`Interest`]. With the
/// interest the driver asks for the [next action](Self::poll_action), carries it out, reports what
/// happened through a `handle_*` method, and asks again. Each time that the task is woken the
/// driver begins with [`handle_wake`](Self::handle_wake).
///
/// `now` is a function where the time is rarely needed: reading the clock costs as much as a short
/// message.
///
/// ```
/// use std::time::Instant;
/// use bytes::{Buf, BytesMut};
/// use tautline_frame::session::{Action, Progress, Session};
/// use tautline_frame::{Config, Message, Role};
///
/// let now = Instant::now();
/// let mut server = Session::new(Role::Server, Config::new(), BytesMut::new(), now);
/// // What stands in for a socket: a masked "hello" (with a key of zeros) to read, and a place to write to.
/// let mut incoming = &b"\x81\x85\0\0\0\0hello"[..];
/// let mut outgoing = Vec::new();
/// let message = loop {
///     let interest = match server.poll_message(|| now) {
///         Progress::Done(message) => break message,
///         Progress::Needs(interest) => interest,
///     };
///     match server.poll_action(interest) {
///         Action::Read => {
///             let (buffer, most) = server.read_buffer();
///             let count = most.min(incoming.len());
///             buffer.extend_from_slice(&incoming[..count]);
///             incoming.advance(count);
///             server.handle_read(count, now);
///         }
///         Action::Write => {
///             outgoing.extend_from_slice(server.queue().chunk());
///             let count = server.queue().chunk().len();
///             server.queue().advance(count);
///             server.handle_written(|| now);
///         }
///         action => panic!("{action:?} is not needed here"),
///     }
/// };
/// assert_eq!(message.unwrap()?, Message::from("hello"));
/// # Ok::<(), tautline_frame::session::Error>(())
/// ```
pub struct Session {
    protocol: Protocol,
    read: ReadBuffer,
    /// Whether `read` contains bytes that have not been processed: the user takes one message at a
    /// time.
    unread: bool,
    phase: Phase,
    read_side: ReadSide,
    read_ready: Ready,
    write_side: WriteSide,
    write_ready: Ready,
    /// Reads and turns since a write was last considered: see [`write_action`](Self::write_action).
    reads: u8,
    reading: Reading,
    /// The last read filled the buffer: the peer has more.
    filled: bool,
    /// What arrived while a task waited for something else; usually `None`.
    inbox: Option<Box<Inbox>>,
    /// Why the connection ended, if not in order.
    failure: Option<Box<Error>>,
    /// Why what was queued will not be written.
    lost: Option<Box<Error>>,
    /// Counts writes, including those that failed. It may wrap.
    writes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Running,
    /// The protocol is over; the transport is being ended.
    Ending,
    /// A deadline passed, or the user drops the connection: it ends without waiting for anything.
    /// So many more reads are tried.
    Leaving {
        reads: u8,
    },
    Done,
    /// The user has been told, too.
    Told,
}

/// How the user takes messages: the newest call tells. What arrives while a task waits for
/// something else is kept in that form.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reading {
    Messages,
    /// In pieces, and none of a message was taken.
    Start,
    /// In pieces, and in the middle of one.
    Pieces,
}

/// Whether a side of the transport may be asked before the next wake-up.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ready {
    Yes,
    No,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum ReadSide {
    Open,
    /// The transport reported end of file.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum WriteSide {
    Clean,
    /// Something was written that the transport may still hold back.
    Unflushed,
    /// A flush was tried, and is pending.
    HeldBack,
    /// It was shut down.
    Shut,
    /// It failed.
    Broken,
}

impl Session {
    /// A session after the opening handshake; `arrived` contains the bytes that were read after it.
    #[must_use]
    pub fn new(
        role: Role,
        config: impl Into<Arc<Config>>,
        arrived: BytesMut,
        now: Instant,
    ) -> Self {
        let mut protocol = Protocol::new(role, config, now);
        if !arrived.is_empty() {
            protocol.handle_received(now);
            protocol.note_arrived(arrived.len());
        }
        Self {
            protocol,
            unread: !arrived.is_empty(),
            read: ReadBuffer::new(arrived),
            phase: Phase::Running,
            read_side: ReadSide::Open,
            read_ready: Ready::Yes,
            write_side: WriteSide::Clean,
            write_ready: Ready::Yes,
            reads: 0,
            reading: Reading::Messages,
            filled: false,
            inbox: None,
            failure: None,
            lost: None,
            writes: 0,
        }
    }

    /// A session that is over, to replace one that is taken.
    #[must_use]
    pub fn ended(role: Role, now: Instant) -> Self {
        let mut ended = Self::new(role, Config::new(), BytesMut::new(), now);
        ended.phase = Phase::Told;
        ended
    }

    /// Has a client not wait for the peer to end the transport: see [`Protocol::end_at_once`].
    pub const fn end_at_once(&mut self) {
        self.protocol.end_at_once();
    }

    /// Compresses as agreed (RFC 7692). Call it before the first message.
    #[cfg(feature = "deflate")]
    pub fn set_compression(&mut self, settings: Compression) {
        self.protocol.set_compression(settings);
    }
}

/// What the user wants.
impl Session {
    /// Queues a message as a whole, even if there is no room: call [`poll_room`](Self::poll_room)
    /// first.
    ///
    /// # Errors
    /// [`Error::Closed`] once a Close was sent or received (RFC 6455 section 5.5.1). Nothing was
    /// queued.
    #[inline(always)]
    pub fn send(&mut self, message: Message, compress: Compress) -> Result<(), Error> {
        if !self.protocol.queue().has_buffer() {
            self.lend_buffer();
        }
        Ok(self.protocol.send_with(message, compress)?)
    }

    /// Queues a message that was prepared for many connections: see [`Protocol::send_prepared`].
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[inline]
    pub fn send_prepared(&mut self, prepared: &Prepared) -> Result<(), Error> {
        if !self.protocol.queue().has_buffer() {
            self.lend_buffer();
        }
        Ok(self.protocol.send_prepared(prepared)?)
    }

    /// Pings the peer; [`poll_pong`](Self::poll_pong) waits for the answer under the number that is
    /// returned.
    ///
    /// # Errors
    /// [`Error::Closed`] when the connection is not open.
    pub fn ping(&mut self) -> Result<u64, Error> {
        Ok(self.protocol.ping()?)
    }

    /// Starts the closing handshake (RFC 6455 section 7.1.2). Does nothing on a connection that is
    /// closing already.
    ///
    /// # Errors
    /// [`Error::CloseCode`] if this role must not send the code.
    pub fn close(&mut self, frame: CloseFrame, now: Instant) -> Result<(), Error> {
        Ok(self.protocol.close(frame, now)?)
    }

    /// Closes without waiting, for a connection that is dropped: the [next
    /// actions](Self::poll_action) write what is queued and this Close, unless one was sent before,
    /// and shut the transport down, as far as it lets them, and then the connection is over. Does
    /// nothing if it is over already.
    pub fn close_at_once(&mut self, frame: CloseFrame, now: Instant) {
        if !self.is_done() {
            // This role must not send the code: the peer sees the end of the stream without a
            // Close.
            let _ = self.protocol.close(frame, now);
            self.phase = Phase::Leaving { reads: LAST_READS };
        }
    }

    /// The next message, if it has arrived already and is short: a shortcut for
    /// [`poll_message`](Self::poll_message), which has to be called after `None`. It is passed in
    /// registers as far as the user's loop.
    #[must_use = "it is a message of the peer"]
    #[inline(always)]
    pub fn take_short(&mut self) -> Option<Message> {
        if !self.unread || self.phase != Phase::Running || self.inbox.is_some() {
            return None;
        }
        let read = self.read.get()?;
        let message = self.protocol.take_short(read)?;
        self.unread = !read.is_empty();
        self.reading = Reading::Messages;
        Some(message)
    }

    /// Leaves the protocol between two messages, so that the transport can be used for something
    /// else. Returns the bytes that were read but not processed. The session is over then.
    ///
    /// `None`, and nothing happens, when the connection is not open, when something is queued or
    /// not flushed, when a message is kept for the user, or when a part of a message was received:
    /// its frames were taken apart already.
    pub fn leave(&mut self) -> Option<BytesMut> {
        let all_written = self.poll_flush() == Progress::Done(())
            && self.write_side == WriteSide::Clean
            && !self.protocol.is_writing();
        let all_taken = self.inbox.is_none() && self.protocol.is_between_messages();
        if !all_written || !all_taken || !self.protocol.is_open() || self.phase != Phase::Running {
            return None;
        }
        self.phase = Phase::Told;
        let rest = self.read.get().map_or_else(BytesMut::new, |read| BytesMut::from(&read[..]));
        self.read.end();
        Some(rest)
    }

    #[inline(never)]
    fn lend_buffer(&mut self) {
        self.protocol.queue().lend_buffer(buffers::take());
    }
}

/// Questions.
impl Session {
    /// The rules underneath.
    #[must_use]
    #[inline]
    pub const fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    /// Whether the connection is over and the transport has ended, or is to be dropped.
    #[must_use]
    #[inline]
    pub const fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done | Phase::Told)
    }

    /// Whether [`poll_message`](Self::poll_message) has returned everything, including the end.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.phase == Phase::Told && self.inbox.is_none()
    }

    /// Whether the write side was shut down, or failed.
    #[must_use]
    pub const fn is_shut(&self) -> bool {
        matches!(self.write_side, WriteSide::Shut | WriteSide::Broken)
    }

    /// Whether a message may be queued now.
    #[must_use]
    #[inline]
    pub fn has_room(&self) -> bool {
        self.protocol.is_open() && self.protocol.ready()
    }

    /// Why the connection ended, if not in order.
    #[must_use]
    pub const fn failure(&self) -> Option<&Error> {
        match &self.failure {
            Some(failure) => Some(failure),
            None => None,
        }
    }

    /// Something went wrong: the first counts.
    fn note_failure(&mut self, error: Error) {
        self.failure.get_or_insert_with(|| Box::new(error));
    }

    /// Why the connection ended, if not in order: returned once. `None` before the connection is
    /// over.
    pub fn tell_end(&mut self) -> Option<Error> {
        if self.phase != Phase::Done {
            return None;
        }
        self.phase = Phase::Told;
        self.failure().cloned()
    }
}

/// Without message contents, which do not belong in logs.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("role", &self.protocol.role())
            .field("phase", &self.phase)
            .field("open", &self.protocol.is_open())
            .field("read_side", &self.read_side)
            .field("write_side", &self.write_side)
            .finish_non_exhaustive()
    }
}
