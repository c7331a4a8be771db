//! Messages that arrived while a task waited for something else.

use std::collections::VecDeque;

use super::Session;
use crate::message::Message;
use crate::protocol::Piece;

/// How much is kept while a task waits for something else, in bytes, and one message more.
const INBOX_LIMIT: usize = 1 << 20;

/// What a kept message counts in addition to its payload.
const MESSAGE_OVERHEAD: usize = size_of::<Message>();

/// What is kept: a message, or a part of one that is received in pieces.
#[derive(Debug)]
pub(super) enum Kept {
    Message(Message),
    Piece(Piece),
}

impl Kept {
    pub(super) fn into_piece(self) -> Option<Piece> {
        match self {
            Self::Piece(piece) => Some(piece),
            Self::Message(_) => None,
        }
    }

    /// The bytes of payload.
    fn len(&self) -> usize {
        match self {
            Self::Message(message) => message.len(),
            Self::Piece(Piece::Data(data)) => data.len(),
            Self::Piece(_) => 0,
        }
    }
}

/// What was kept, in order.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    kept: VecDeque<Kept>,
    /// Something was not kept: what comes after it must not be delivered either, or there would be
    /// a gap.
    pub(super) overflowed: bool,
    /// The size of all that is kept, each with [`MESSAGE_OVERHEAD`].
    pub(super) size: usize,
}

impl Session {
    /// Keeps what arrived for the task that reads, as long as there is room and nothing was left
    /// out before it.
    pub(super) fn keep(&mut self, kept: Kept) {
        let full = self.is_inbox_full();
        let inbox = self.inbox.get_or_insert_default();
        if full || inbox.overflowed {
            inbox.overflowed = true;
            return;
        }
        inbox.size += kept.len() + MESSAGE_OVERHEAD;
        // Several turns before it is full: the task that takes them may be another one, and gets
        // its turn in between.
        self.protocol.charge_kept(kept.len());
        inbox.kept.push_back(kept);
    }

    /// Takes what was kept: nobody will read any more. It may be a MiB and more, so drop it outside
    /// of any lock.
    #[must_use]
    pub fn take_inbox(&mut self) -> impl Sized + Send + use<> {
        self.inbox.take()
    }

    /// Whether no further message should be kept.
    pub(super) fn is_inbox_full(&self) -> bool {
        self.inbox.as_ref().is_some_and(|inbox| inbox.size > INBOX_LIMIT)
    }

    pub(super) fn take_kept(&mut self) -> Option<Kept> {
        let inbox = self.inbox.as_mut()?;
        let kept = inbox.kept.pop_front()?;
        inbox.size -= kept.len() + MESSAGE_OVERHEAD;
        if inbox.kept.is_empty() && !inbox.overflowed {
            self.inbox = None;
        }
        self.protocol.charge_taken(kept.len());
        Some(kept)
    }

    /// Puts back what was taken, and comes first again.
    pub(super) fn put_back(&mut self, kept: Kept) {
        let inbox = self.inbox.get_or_insert_default();
        inbox.size += kept.len() + MESSAGE_OVERHEAD;
        inbox.kept.push_front(kept);
    }
}
