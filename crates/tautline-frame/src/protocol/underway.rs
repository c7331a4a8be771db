//! A message whose receipt has begun must make progress, or the peer could make us hold its parts
//! for as long as it likes.

use std::time::{Duration, Instant};

use super::Protocol;
use crate::close::{CloseCode, CloseFrame};
use crate::config::HELD_PER_BYTE;
use crate::error::Timeout;
use crate::header::Header;
use crate::state::Event;
use crate::timers::is_due;

/// How long after the deadline to check again for a message that may have arrived but has not been
/// read.
const CHECK_AGAIN: Duration = Duration::from_secs(1);

/// Exists from when the rest of a message is first waited for until the message is complete.
#[derive(Debug)]
pub(super) struct Underway {
    /// When to check for progress.
    deadline: Option<Instant>,
    /// When it last made progress.
    progress: Instant,
    /// Bytes of its frames that have arrived since then.
    received: usize,
    /// Everything received up to this time has been read.
    read_up_to: Instant,
}

impl Underway {
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl Protocol {
    /// Whether the peer still owes a part of a message that will be delivered.
    fn is_mid_message(&self) -> bool {
        let data = |header: &Header| !header.opcode.is_control();
        let mid = self.incoming.is_some() || self.reader.current().is_some_and(data);
        mid && self.state.allows(Event::ReceiveData)
    }

    /// Whether [`await_rest`](Self::await_rest) may have anything to do: nearly always it has not.
    #[inline]
    pub(super) fn may_be_mid_message(&self) -> bool {
        self.incoming.is_some() || self.underway.is_some() || self.reader.current().is_some()
    }

    /// Everything that arrived has been read, and more is needed.
    #[inline(never)]
    pub(super) fn await_rest(&mut self, now: Instant) {
        if !self.is_mid_message() {
            self.underway = None;
            return;
        }
        let read_up_to = self.last_received;
        if let Some(underway) = &mut self.underway {
            underway.read_up_to = read_up_to;
            return;
        }
        if let Some(timeout) = self.config.message_timeout {
            let deadline = now.checked_add(timeout);
            let underway = Underway { deadline, progress: now, received: 0, read_up_to };
            self.underway = Some(Box::new(underway));
        }
    }

    /// Notes that `count` bytes of a data frame have arrived, when `in_buffer` bytes are held for
    /// it in the buffer. A peer that makes us hold much for few bytes has to send more.
    #[inline(never)]
    pub(super) fn note_progress(&mut self, count: usize, in_buffer: usize, now: Instant) {
        let Some(underway) = &mut self.underway else { return };
        let held = in_buffer + self.incoming.as_ref().map_or(0, |incoming| incoming.data.len());
        underway.received = underway.received.saturating_add(count);
        if underway.received > held / HELD_PER_BYTE {
            underway.received = 0;
            underway.progress = underway.progress.max(now);
        }
    }

    /// Fails the connection if the message has made no progress in time.
    pub(super) fn check_underway(&mut self, now: Instant) -> Result<(), Timeout> {
        let Some(underway) = self.underway.as_mut().filter(|it| is_due(it.deadline, now)) else {
            return Ok(());
        };
        // What has not been read may be the rest: that is not the peer's fault, so check again
        // soon. A peer whose bytes are read all the time, such as pings, cannot put off the
        // deadline this way.
        let unseen = self.last_received > underway.read_up_to;
        if unseen && now.saturating_duration_since(underway.read_up_to) > CHECK_AGAIN {
            underway.deadline = now.checked_add(CHECK_AGAIN);
            return Ok(());
        }
        let timeout = self.config.message_timeout;
        underway.deadline = timeout.and_then(|timeout| underway.progress.checked_add(timeout));
        if !is_due(underway.deadline, now) {
            return Ok(());
        }
        let frame = CloseFrame::new(CloseCode::POLICY_VIOLATION, "message timeout");
        let frame = frame.unwrap_or(CloseFrame::from(CloseCode::POLICY_VIOLATION));
        self.fail(frame, now);
        Err(Timeout::Message)
    }
}
