//! Messages that arrived while a task waited for something else.

use std::collections::VecDeque;

use super::Session;
use crate::message::Message;

/// How much is kept while a task waits for something else, in bytes, and one message more.
const INBOX_LIMIT: usize = 1 << 20;

/// What a kept message counts in addition to its payload.
const MESSAGE_OVERHEAD: usize = size_of::<Message>();

/// Kept messages, in order.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) messages: VecDeque<Message>,
    /// A message was not kept: those after it must not be delivered either, or there would be a
    /// gap.
    pub(super) overflowed: bool,
    /// The size of all of them, each with [`MESSAGE_OVERHEAD`].
    pub(super) size: usize,
}

impl Session {
    /// Keeps a message for [`poll_message`](Session::poll_message), as long as there is room and
    /// none was left out before it.
    pub(super) fn keep(&mut self, message: Message) {
        let full = self.is_inbox_full();
        let inbox = self.inbox.get_or_insert_default();
        if full || inbox.overflowed {
            inbox.overflowed = true;
            return;
        }
        inbox.size += message.len() + MESSAGE_OVERHEAD;
        // Several turns before it is full: the task that takes them may be another one, and gets
        // its turn in between.
        self.protocol.charge_kept(message.len());
        inbox.messages.push_back(message);
    }

    /// Takes the messages that were kept: nobody will read any more. They may be a MiB and more, so
    /// drop them outside of any lock.
    pub fn take_inbox(&mut self) -> VecDeque<Message> {
        self.inbox.take().map_or_else(VecDeque::new, |inbox| inbox.messages)
    }

    /// Whether no further message should be kept.
    pub(super) fn is_inbox_full(&self) -> bool {
        self.inbox.as_ref().is_some_and(|inbox| inbox.size > INBOX_LIMIT)
    }

    pub(super) fn take_kept(&mut self) -> Option<Message> {
        let inbox = self.inbox.as_mut()?;
        let message = inbox.messages.pop_front()?;
        inbox.size -= message.len() + MESSAGE_OVERHEAD;
        if inbox.messages.is_empty() && !inbox.overflowed {
            self.inbox = None;
        }
        self.protocol.charge_taken(&message);
        Some(message)
    }
}
