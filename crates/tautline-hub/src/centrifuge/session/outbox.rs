//! What waits to be sent, in frames.

use std::collections::VecDeque;

use tautline::Message;

use crate::centrifuge::format::{Batch, Format};
use crate::centrifuge::wire;

/// From this many bytes on, a frame is full: more messages in one save nothing, and the reader has to
/// have the whole of it before it sees the first.
const FRAME: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Outbox {
    format: Format,
    full: VecDeque<Batch>,
    last: Batch,
    /// Of all of them.
    bytes: usize,
    max: usize,
    /// What may wait: `max`, and beside that a message for which there was room and which is longer than `max`.
    limit: usize,
}

/// More waits than may.
pub(super) struct Overfull;

impl Outbox {
    pub(super) const fn new(format: Format, max: usize) -> Self {
        Self { format, full: VecDeque::new(), last: Batch::new(format), bytes: 0, max, limit: max }
    }

    /// Whether a message of any length may be added: what waits is less than a frame, and than half of what may.
    pub(super) const fn has_room(&self) -> bool {
        self.bytes < FRAME && self.bytes <= self.max / 2
    }

    /// Adds a message. Where there is room, it may be longer than what may wait.
    pub(super) fn push(&mut self, reply: &wire::Reply) -> Result<(), Overfull> {
        let had_room = self.has_room();
        self.bytes -= self.last.len();
        self.last.push(reply);
        self.bytes += self.last.len();
        if had_room {
            let long = if self.bytes > self.max { self.bytes } else { 0 };
            self.limit = self.max.saturating_add(long);
        } else if self.bytes > self.limit {
            return Err(Overfull);
        }
        if self.last.len() >= FRAME {
            self.full.push_back(std::mem::replace(&mut self.last, Batch::new(self.format)));
        }
        Ok(())
    }

    /// The next frame.
    pub(super) fn pop(&mut self) -> Option<Message> {
        let batch = match self.full.pop_front() {
            Some(batch) => batch,
            None if self.last.is_empty() => return None,
            None => std::mem::replace(&mut self.last, Batch::new(self.format)),
        };
        self.bytes -= batch.len();
        Some(batch.into_message())
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.format, self.max);
    }
}
