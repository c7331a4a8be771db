//! The next action, and what became of it.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use super::{Error, Phase, ReadSide, Ready, Session, WriteSide};
use crate::buffers;
use crate::config::LAST_READS;
use crate::error::Timeout;
use crate::protocol::Ending;
use crate::write_queue::WriteQueue;

/// The number of reads, or turns, after which replies are written although there is more to read.
/// Well below a runtime's budget for a task (128 operations in tokio), after which a write would
/// not be let through either.
const MAX_READS: u8 = 16;

/// What to do with the transport before asking the session again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a driver has to carry out each")]
pub enum Action {
    /// Read once into [`read_buffer`](Session::read_buffer). Then call
    /// [`handle_read`](Session::handle_read),
    /// [`handle_read_blocked`](Session::handle_read_blocked), [`handle_eof`](Session::handle_eof)
    /// or [`handle_read_error`](Session::handle_read_error).
    Read,
    /// Write from [`queue`](Session::queue), and advance it. Then call
    /// [`handle_written`](Session::handle_written),
    /// [`handle_write_blocked`](Session::handle_write_blocked) or
    /// [`handle_write_error`](Session::handle_write_error).
    Write,
    /// Flush what the transport holds back. Then call [`handle_flushed`](Session::handle_flushed),
    /// [`handle_write_blocked`](Session::handle_write_blocked) or
    /// [`handle_write_error`](Session::handle_write_error).
    Flush,
    /// Shut the write side down. Then call [`handle_shut`](Session::handle_shut),
    /// [`handle_write_blocked`](Session::handle_write_blocked) or
    /// [`handle_write_error`](Session::handle_write_error).
    Shutdown,
    /// The turn is over: let the other tasks of this thread run, then call
    /// [`handle_turn`](Session::handle_turn). Check the deadline of
    /// [`poll_timeout`](Session::poll_timeout) as well, or a peer that always has more never times
    /// out.
    Yield,
    /// Nothing can be done before the transport wakes the task, or the deadline of
    /// [`poll_timeout`](Session::poll_timeout) passes. Then call
    /// [`handle_wake`](Session::handle_wake) or [`handle_timeout`](Session::handle_timeout).
    Wait,
    /// The connection is over: drop the transport.
    Done,
}

/// Which side of the connection a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a connection has two sides")]
pub enum Interest {
    /// What the peer sends, and the end.
    Read,
    /// Room in the queue, or that everything in it is written.
    Write,
}

/// What is to be done.
impl Session {
    /// The next action for a task with this interest. The order matters: every frame that has
    /// arrived before the next read, every read that is possible before a write, one write for all
    /// replies, and only then waiting.
    #[must_use]
    #[inline(always)]
    pub fn poll_action(&mut self, interest: Interest) -> Action {
        match interest {
            Interest::Read if self.phase == Phase::Running => self.next_to_read(),
            Interest::Write if matches!(self.phase, Phase::Running | Phase::Ending) => {
                self.write_action().unwrap_or_else(|| self.wait())
            }
            _ => self.next_after_running(),
        }
    }

    #[cold]
    fn next_after_running(&mut self) -> Action {
        if self.is_done() {
            return Action::Done;
        }
        match self.phase {
            Phase::Leaving { reads } => self.next_to_leave(reads),
            _ => self.next_to_end(),
        }
    }

    fn next_to_read(&mut self) -> Action {
        if self.protocol.is_turn_over() {
            return self.next_to_yield();
        }
        if self.has_begun_to_end() {
            return self.next_to_end();
        }
        // A peer that never stops sending gets its pongs anyway.
        if self.reads >= MAX_READS
            && let Some(action) = self.write_action()
        {
            return action;
        }
        if self.read_ready == Ready::Yes {
            return Action::Read;
        }
        if let Some(action) = self.write_action() {
            return action;
        }
        self.protocol.begin_turn();
        self.wait()
    }

    /// What is queued waits while there is more to read, but not for long.
    #[cold]
    fn next_to_yield(&mut self) -> Action {
        if self.protocol.is_paused() {
            return self.write_action().unwrap_or_else(|| self.wait());
        }
        let due = self.reads.saturating_add(1) >= MAX_READS || self.protocol.should_write();
        if due && let Some(action) = self.write_action() {
            return action;
        }
        Action::Yield
    }

    /// Ends the transport as the protocol says (RFC 6455 section 7.1.1), so that what was sent
    /// arrives.
    #[cold]
    fn next_to_end(&mut self) -> Action {
        if let Some(action) = self.write_action() {
            return action;
        }
        let shut = self.is_shut();
        if !shut && self.write_ready == Ready::No {
            // Messages kept for the user do not wait for the peer.
            return self.next_turn().unwrap_or_else(|| self.wait());
        }
        let ended = self.read_side == ReadSide::Ended;
        match self.protocol.poll_ending() {
            Some(Ending::AwaitEof) if !ended => self.next_to_discard(),
            Some(Ending::Drain) | None if shut && !ended => self.next_to_discard(),
            _ if !shut => Action::Shutdown,
            _ => {
                self.finish();
                Action::Done
            }
        }
    }

    /// Data that still arrives is not delivered, but processing it is work too.
    fn next_to_discard(&mut self) -> Action {
        if self.unread
            && let Some(read) = self.read.get()
        {
            let count = read.len();
            let _ = self.protocol.handle_arrived(read);
            self.protocol.note_discarded(count);
        }
        self.read.clear();
        self.unread = false;
        match self.next_turn() {
            Some(action) => action,
            None if self.read_ready == Ready::Yes => Action::Read,
            None => self.wait(),
        }
    }

    /// What comes before the next turn, if this one is over.
    fn next_turn(&mut self) -> Option<Action> {
        match (self.protocol.is_turn_over(), self.protocol.is_paused()) {
            (false, _) => None,
            (true, false) => Some(Action::Yield),
            (true, true) => Some(self.wait()),
        }
    }

    #[inline(never)]
    fn wait(&mut self) -> Action {
        self.read.rest();
        // What has arrived may have asked for no reply.
        self.rest_queue();
        self.note_held();
        Action::Wait
    }

    /// What is received and not taken, or queued to be sent, counts against the budget, if there is
    /// one.
    #[inline]
    fn note_held(&mut self) {
        if !self.protocol.has_budget() {
            return;
        }
        let inbox = self.inbox.as_ref().map_or(0, |inbox| inbox.size);
        let held = self.protocol.held() + self.read.held() + inbox;
        if held > 0 || self.protocol.is_limited() {
            self.protocol.note_held(held);
        }
    }

    /// Ends the transport without waiting. What the peer was still sending is read first: closing a
    /// socket with unread bytes sends a reset, which may overtake what was written.
    #[cold]
    fn next_to_leave(&mut self, reads: u8) -> Action {
        if let Some(action) = self.write_action() {
            return action;
        }
        if !self.is_shut() && self.write_ready == Ready::Yes {
            return Action::Shutdown;
        }
        self.read.clear();
        let more = self.read_ready == Ready::Yes && self.read_side == ReadSide::Open;
        if reads == 0 || !more || !self.is_shut() {
            self.finish();
            return Action::Done;
        }
        self.phase = Phase::Leaving { reads: reads - 1 };
        Action::Read
    }

    /// What is to be done on the write side, if anything can be. Restarts the count of reads, even
    /// if nothing can be written.
    #[inline]
    fn write_action(&mut self) -> Option<Action> {
        self.reads = 0;
        if self.write_ready == Ready::No {
            return None;
        }
        match self.write_side {
            WriteSide::Shut | WriteSide::Broken => None,
            _ if !self.protocol.is_flushed() || self.protocol.poll_transmit() => {
                Some(Action::Write)
            }
            WriteSide::Unflushed | WriteSide::HeldBack => Some(Action::Flush),
            WriteSide::Clean => None,
        }
    }

    /// Whether the protocol is over: both Closes are exchanged, or ours is all that is left to
    /// send.
    #[inline(always)]
    fn has_begun_to_end(&mut self) -> bool {
        !self.protocol.is_open() && self.begin_to_end()
    }

    #[cold]
    fn begin_to_end(&mut self) -> bool {
        self.protocol.poll_transmit();
        let over = self.protocol.poll_ending().is_some();
        if over {
            self.phase = Phase::Ending;
        }
        over
    }

    /// The buffer to read into, and how many bytes to read at most: it has room for as many.
    #[inline]
    pub fn read_buffer(&mut self) -> (&mut BytesMut, usize) {
        if self.protocol.is_streaming() {
            return self.read.room_to_stream(self.filled);
        }
        let buffered = self.read.get().map_or(0, |read| read.len());
        self.read.room(self.protocol.missing(buffered))
    }

    /// What is to be written.
    #[inline]
    pub const fn queue(&mut self) -> &mut WriteQueue {
        self.protocol.queue()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    #[inline]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_done() { None } else { self.protocol.poll_timeout() }
    }

    /// Whether to read once before [`handle_timeout`](Self::handle_timeout): unread bytes are a
    /// sign of life too, and the task may be busy sending. Report the outcome of that read as for
    /// [`Action::Read`].
    #[must_use]
    pub fn should_probe(&self) -> bool {
        self.phase == Phase::Running && !self.unread && self.read_ready == Ready::Yes
    }
}

/// Events.
impl Session {
    /// The task was woken: each side of the transport may be asked again.
    #[inline]
    pub fn handle_wake(&mut self) {
        self.read_ready = Ready::Yes;
        self.write_ready = Ready::Yes;
    }

    /// Bytes were read into the buffer, at least one.
    #[inline]
    pub fn handle_read(&mut self, count: usize, now: Instant) {
        // A peer that fills the buffer has more to send, and must not delay replies.
        self.filled = self.read.handle_filled(count);
        self.reads = if self.filled { MAX_READS } else { self.reads.saturating_add(1) };
        self.unread = true;
        self.protocol.note_arrived(count);
        let charged = self.protocol.charge_rates(count, now);
        self.protocol.handle_received(now);
        if let Err(error) = charged {
            self.fail(error);
        }
    }

    /// There is nothing to read for now.
    #[inline]
    pub fn handle_read_blocked(&mut self) {
        self.read_ready = Ready::No;
    }

    /// The transport reported end of file.
    pub fn handle_eof(&mut self, now: Instant) {
        self.read_side = ReadSide::Ended;
        if self.phase != Phase::Running {
            return;
        }
        if !self.protocol.handle_eof(now) {
            self.note_failure(Error::ConnectionLost);
        }
        // Even if the connection is lost, the peer may have ended its half only: what is queued for
        // it is still written.
        self.phase = Phase::Ending;
    }

    /// Reading failed.
    pub fn handle_read_error(&mut self, error: io::Error, now: Instant) {
        if self.phase == Phase::Running {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                // TLS ended without close_notify: whether something is missing shows in WebSocket's
                // Close.
                return self.handle_eof(now);
            }
            if !self.protocol.handle_eof(now) {
                self.note_failure(error.into());
            }
        }
        self.read_side = ReadSide::Ended;
        self.finish();
    }

    /// The transport took some of the queue.
    #[inline]
    pub fn handle_written(&mut self, now: impl FnOnce() -> Instant) {
        if self.write_side == WriteSide::Clean {
            self.write_side = WriteSide::Unflushed;
        }
        self.note_write(now);
    }

    #[inline]
    fn note_write(&mut self, now: impl FnOnce() -> Instant) {
        self.writes = self.writes.wrapping_add(1);
        self.protocol.note_written(now);
    }

    /// The transport has flushed everything.
    #[inline]
    pub fn handle_flushed(&mut self, now: impl FnOnce() -> Instant) {
        if self.write_side == WriteSide::HeldBack {
            self.note_write(now);
        }
        self.write_side = WriteSide::Clean;
        self.rest_queue();
    }

    /// With nothing to write, a connection holds no buffer for it.
    #[inline]
    fn rest_queue(&mut self) {
        if let Some(buffer) = self.protocol.queue().reclaim_buffer() {
            buffers::give(buffer);
        }
    }

    /// The transport accepts nothing for now.
    pub fn handle_write_blocked(&mut self, now: Instant) {
        self.write_ready = Ready::No;
        if self.write_side == WriteSide::Unflushed && self.protocol.is_flushed() {
            // A transport with its own buffer, such as TLS, accepts data that the peer does not
            // read.
            self.write_side = WriteSide::HeldBack;
        }
        // If nothing is queued, it is the shutdown that is pending, which has the deadline of the
        // end.
        if self.write_side == WriteSide::HeldBack || !self.protocol.is_flushed() {
            self.protocol.handle_blocked(now);
        }
    }

    /// Writing failed. What the peer sent before is still read.
    pub fn handle_write_error(&mut self, error: io::Error, now: Instant) {
        self.end_writing(Error::Io(Arc::new(error)), now);
    }

    fn end_writing(&mut self, error: Error, now: Instant) {
        self.protocol.handle_broken(now);
        self.writes = self.writes.wrapping_add(1);
        if self.phase == Phase::Running {
            self.note_failure(error.clone());
        } else {
            self.finish();
        }
        self.write_side = WriteSide::Broken;
        self.lost = Some(Box::new(error));
    }

    /// The write side was shut down.
    pub fn handle_shut(&mut self) {
        self.write_side = WriteSide::Shut;
    }

    /// Others have had their turn.
    pub fn handle_turn(&mut self, now: Instant) {
        self.note_held();
        if let Err(error) = self.protocol.charge_rates(0, now) {
            self.fail(error);
        }
        self.protocol.begin_turn();
        self.reads = self.reads.saturating_add(1);
    }

    /// The deadline of [`poll_timeout`](Self::poll_timeout) may have passed. Drop the transport if
    /// the session [is done](Self::is_done) then.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.unread && self.phase == Phase::Running {
            // The peer has sent more than the user has taken: the pong may be in it.
            self.protocol.handle_received(now);
        }
        let Err(timeout) = self.protocol.handle_timeout(now) else { return };
        match (self.phase, timeout) {
            (_, Timeout::Send) => {
                let delivers = self.phase == Phase::Running && self.unread;
                self.end_writing(timeout.into(), now);
                if !delivers {
                    self.finish();
                }
            }
            // The peer is told why, if the transport accepts it at once.
            (Phase::Running, _) => {
                self.note_failure(timeout.into());
                self.phase = Phase::Leaving { reads: LAST_READS };
            }
            // If Closes were exchanged, or the cause is known, a peer that does not end the stream
            // is not an error.
            _ => self.give_up(timeout),
        }
    }

    /// What is queued will not be written any more.
    fn give_up(&mut self, timeout: Timeout) {
        if !self.protocol.is_flushed() && !self.is_shut() {
            self.write_side = WriteSide::Broken;
            self.lost = Some(Box::new(timeout.into()));
        }
        self.finish();
    }

    /// The end.
    pub(super) fn finish(&mut self) {
        if self.is_done() {
            return;
        }
        self.phase = Phase::Done;
        self.read.end();
        self.protocol.drop_queue();
        self.protocol.release_memory();
        if self.protocol.peer_close().is_some() {
            // The peer has sent its Close: that the transport failed afterwards is not an error.
            self.failure = None;
        }
    }
}
