//! What a task waits for: a message, room, the end, a pong.

use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::inbox::Kept;
use super::{Error, Interest, Phase, Reading, Session, WriteSide};
use crate::error::ProtocolError;
use crate::message::Message;
use crate::protocol::Protocol;

/// What a task that waits for something gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a driver has to handle each")]
pub enum Progress<T> {
    /// What it waited for.
    Done(T),
    /// Nothing yet: carry out what [`Session::poll_action`] says for this interest, and ask again.
    Needs(Interest),
}

/// Who takes the messages that arrive while a task waits for something else, such as the end or a
/// pong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "who drives a session knows who reads")]
pub enum Listener {
    /// The same task, afterwards. What does not fit into the inbox is discarded.
    /// [`Session::poll_pong`] returns the error of the end to it, and [`Session::poll_message`]
    /// does not repeat that.
    Same,
    /// Another task: nothing more is read while the inbox is full.
    Other,
    /// Nobody any more: messages are discarded.
    Nobody,
}

/// Differs when something happened that another task may be waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    writes: u32,
    ponged: bool,
    kept: usize,
    compressing: bool,
    writing: bool,
    open: bool,
    done: bool,
}

impl Snapshot {
    /// Whether the task that reads has to look again: the connection began to end, there is an
    /// earlier deadline, or messages were kept or taken.
    #[must_use]
    pub fn concerns_reader(&self, before: &Self) -> bool {
        let ends = (before.open, before.done) != (self.open, self.done);
        ends || (self.compressing && !before.compressing) || self.kept != before.kept
    }
}

impl Session {
    /// The next message, or the end, with its error once.
    #[inline(always)]
    pub fn poll_message(
        &mut self,
        now: impl Fn() -> Instant,
    ) -> Progress<Option<Result<Message, Error>>> {
        if self.awaits_arrival() {
            self.take_whole();
            return Progress::Needs(Interest::Read);
        }
        match self.take_short() {
            Some(message) => Progress::Done(Some(Ok(message))),
            None => self.poll_any_message(now),
        }
    }

    /// As [`poll_message`](Self::poll_message), for a driver to which
    /// [`take_short`](Self::take_short) has just returned `None`: it is not tried again.
    #[inline(never)]
    pub fn poll_any_message(
        &mut self,
        now: impl Fn() -> Instant,
    ) -> Progress<Option<Result<Message, Error>>> {
        self.take_whole();
        if self.inbox.is_some() {
            if self.must_yield() {
                return Progress::Needs(Interest::Read);
            }
            if let Some(message) = self.take_kept_message(&now) {
                return Progress::Done(Some(Ok(message)));
            }
        }
        while let Some(message) = self.receive(&now) {
            // If one was not kept, those after it must not be delivered either.
            if self.inbox.is_none() {
                return Progress::Done(Some(Ok(message)));
            }
        }
        if self.is_done() {
            return Progress::Done(self.end().map(Err));
        }
        Progress::Needs(Interest::Read)
    }

    /// The error of the end, once it is over: why it failed, or that something was not kept.
    pub(super) fn end(&mut self) -> Option<Error> {
        let cut_off = self.inbox.take().is_some_and(|inbox| inbox.overflowed);
        self.tell_end().or(cut_off.then_some(Error::Backlog))
    }

    /// Whether what was kept has to wait for the next turn.
    pub(super) fn must_yield(&self) -> bool {
        self.inbox.is_some() && self.protocol.is_turn_over() && !self.is_done()
    }

    /// Whether there is something to process, or something else for
    /// [`poll_message`](Self::poll_message) to do than wait.
    #[inline(always)]
    pub fn poll_arrival(&mut self) -> Progress<()> {
        if !self.awaits_arrival() {
            return Progress::Done(());
        }
        // What arrives may be kept by another task before this one is asked again.
        self.take_whole();
        Progress::Needs(Interest::Read)
    }

    /// From here on the user takes messages as a whole.
    #[inline(always)]
    fn take_whole(&mut self) {
        if self.reading != Reading::Messages {
            self.end_pieces();
        }
    }

    #[cold]
    fn end_pieces(&mut self) {
        self.skip_message();
        self.reading = Reading::Messages;
    }

    /// Whether nothing is kept or left to process, and the connection is open.
    #[must_use]
    #[inline(always)]
    pub fn awaits_arrival(&self) -> bool {
        let all_taken = !self.unread && self.inbox.is_none();
        self.phase == Phase::Running && all_taken && self.protocol.is_open()
    }

    /// The next message of what has been read, by the general path.
    fn receive(&mut self, now: impl Fn() -> Instant) -> Option<Message> {
        let message = self.receive_by(Protocol::handle_arrived, now)?;
        self.unread = self.read.get().is_some_and(|read| !read.is_empty());
        self.read.release();
        Some(message)
    }

    /// What `handle` makes of what has been read. If that is something, there may be more.
    #[inline(always)]
    pub(super) fn receive_by<T>(
        &mut self,
        handle: impl FnOnce(&mut Protocol, &mut BytesMut) -> Result<Option<T>, ProtocolError>,
        now: impl Fn() -> Instant,
    ) -> Option<T> {
        if !self.unread || self.phase != Phase::Running {
            return None;
        }
        if !self.protocol.queue().has_buffer() {
            // For a pong, which is encoded as soon as its ping is read.
            self.lend_buffer();
        }
        let was_open = self.protocol.is_open();
        let handled = match self.read.get() {
            Some(read) => handle(&mut self.protocol, read),
            // What is due of a message in pieces may not need any bytes.
            None => handle(&mut self.protocol, &mut BytesMut::new()),
        };
        match handled {
            Ok(received @ Some(_)) => return received,
            Ok(None) => self.unread = self.protocol.is_turn_over(),
            Err(error) => self.fail(error),
        }
        if was_open && !self.protocol.is_open() {
            // The bytes may have waited here for long: the deadline of our Close counts from now.
            self.protocol.restart_close(now());
        }
        None
    }

    /// The peer broke a rule. The protocol has failed.
    #[cold]
    pub(super) fn fail(&mut self, error: ProtocolError) {
        self.failure = Some(Box::new(error.into()));
        self.phase = match self.phase {
            // What was kept turned out wrong after the end.
            Phase::Done | Phase::Told => Phase::Done,
            Phase::Running | Phase::Ending => Phase::Ending,
            leaving @ Phase::Leaving { .. } => leaving,
        };
    }

    /// Room for a message; an error when none may be sent any more.
    #[inline]
    fn poll_ready(&mut self) -> Progress<Result<(), Error>> {
        if !self.protocol.is_open() {
            return Progress::Done(Err(self.failure().cloned().unwrap_or(Error::Closed)));
        }
        if self.protocol.ready() {
            return Progress::Done(Ok(()));
        }
        Progress::Needs(Interest::Write)
    }

    /// Room for a message; or an error, once the connection is over. A task that learns from
    /// sending that the connection is closing is likely to drop it: by then the peer has been sent
    /// our Close, and has been read to its end, as far as the deadline allows. What it still sent
    /// is kept for [`poll_message`](Self::poll_message), within a limit. If another task reads, the
    /// end is left to that task.
    #[inline]
    pub fn poll_room(
        &mut self,
        listener: Listener,
        now: impl Fn() -> Instant,
    ) -> Progress<Result<(), Error>> {
        match self.poll_ready() {
            Progress::Done(Err(error)) if listener != Listener::Other => {
                match self.poll_over(listener, now) {
                    Progress::Done(()) => Progress::Done(Err(error)),
                    Progress::Needs(interest) => Progress::Needs(interest),
                }
            }
            ready => ready,
        }
    }

    /// Everything that was queued is written and flushed, or it never will be:
    /// [`flushed`](Self::flushed) returns which.
    #[inline(always)]
    pub fn poll_flush(&mut self) -> Progress<()> {
        let all = match self.write_side {
            WriteSide::Clean | WriteSide::Shut => {
                self.protocol.is_flushed() && !self.protocol.poll_transmit()
            }
            WriteSide::Unflushed | WriteSide::HeldBack => false,
            WriteSide::Broken => true,
        };
        if all || self.is_done() { Progress::Done(()) } else { Progress::Needs(Interest::Write) }
    }

    /// What became of everything that was queued, after [`poll_flush`](Self::poll_flush).
    ///
    /// # Errors
    /// Why it was not written, perhaps by another task, or why the connection failed.
    #[inline]
    pub fn flushed(&self) -> Result<(), Error> {
        match self.failure().or(self.lost.as_deref()) {
            None => Ok(()),
            Some(error) => Err(error.clone()),
        }
    }

    /// The connection is over: both Closes are exchanged, or it failed, and the transport has
    /// ended.
    pub fn poll_over(&mut self, listener: Listener, now: impl Fn() -> Instant) -> Progress<()> {
        loop {
            match self.read_meanwhile(listener, &now) {
                Meanwhile::Read => {}
                Meanwhile::Over => return Progress::Done(()),
                Meanwhile::Needs(interest) => return Progress::Needs(interest),
            }
        }
    }

    /// The answer to the ping with this number, or that it did not come in time.
    ///
    /// # Errors
    /// [`Error::Timeout`]; [`Error::Backlog`] when the inbox of the [same task](Listener::Same) is
    /// full; otherwise why the connection ended.
    pub fn poll_pong(
        &mut self,
        id: u64,
        listener: Listener,
        now: impl Fn() -> Instant,
    ) -> Progress<Result<Duration, Error>> {
        loop {
            if let Some(answer) = self.protocol.pong(id) {
                return Progress::Done(answer.map_err(Error::from));
            }
            if listener == Listener::Same && self.is_inbox_full() {
                return Progress::Done(Err(Error::Backlog));
            }
            match self.read_meanwhile(listener, &now) {
                Meanwhile::Read => {}
                Meanwhile::Over => {
                    let told = listener == Listener::Same;
                    let error = if told { self.tell_end() } else { self.failure().cloned() };
                    return Progress::Done(Err(error.unwrap_or(Error::Closed)));
                }
                Meanwhile::Needs(interest) => match self.protocol.pong(id) {
                    Some(_) => {}
                    None => return Progress::Needs(interest),
                },
            }
        }
    }

    /// Reads on for a task that waits for something else.
    fn read_meanwhile(&mut self, listener: Listener, now: impl Fn() -> Instant) -> Meanwhile {
        if self.is_done() {
            return Meanwhile::Over;
        }
        if listener == Listener::Other && self.is_inbox_full() {
            // The other task has to take some first. Replies are written, and deadlines apply,
            // anyway.
            return Meanwhile::Needs(Interest::Write);
        }
        // The beginning of a message may be kept in pieces, and the rest has to follow.
        let whole = self.reading == Reading::Messages && !self.protocol.is_in_pieces();
        let received = match whole {
            true => self.receive(now).map(Kept::Message),
            false => self.receive_piece(now).map(Kept::Piece),
        };
        let Some(received) = received else { return Meanwhile::Needs(Interest::Read) };
        if listener != Listener::Nobody {
            self.keep(received);
        }
        Meanwhile::Read
    }

    /// Whether a task that writes may be waiting for what only reading brings: a pong, or the end.
    #[must_use]
    pub fn waits_for_reading(&self) -> bool {
        !self.protocol.is_open() || self.protocol.newest_pong() == Some(false)
    }

    /// What other tasks may be waiting for.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            writes: self.writes,
            ponged: self.protocol.newest_pong() == Some(true),
            kept: self.inbox.as_ref().map_or(0, |inbox| inbox.size),
            compressing: self.protocol.holds_compressor(),
            writing: self.protocol.is_writing(),
            open: self.protocol.is_open(),
            done: self.is_done(),
        }
    }
}

/// The outcome of reading on.
enum Meanwhile {
    /// A message, which was kept or dropped.
    Read,
    /// The connection is over.
    Over,
    Needs(Interest),
}
