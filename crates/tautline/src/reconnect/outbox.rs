//! Messages that wait for a connection: what is kept, and up to which bound.

use std::collections::VecDeque;

use tautline_frame::Message;

/// What a message that waits counts in addition to its payload: its slot in the queue, which doubles
/// as it grows, the channel to its sender, and what its payload is shared by. That is some 300
/// bytes; the rest is for what the allocator adds.
pub(super) const OVERHEAD: usize = 512;

/// What becomes of messages that are sent while there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhileAway {
    /// Sending fails at once, and returns the message.
    Fail,
    /// Sending waits for a connection. Choose it only if the stream is polled by another task than
    /// those that send: one that waits to send cannot do what it waits for.
    Wait,
    /// Messages are kept, and handed to the next connection before any other, in the order in which
    /// they were sent. Sending fails if there is no room.
    #[non_exhaustive]
    Keep {
        /// How much is kept: for each message its payload and 512 bytes for what else it takes.
        max_bytes: usize,
    },
}

impl WhileAway {
    /// [`Keep`](Self::Keep) with a bound in bytes.
    #[must_use]
    pub const fn keep(max_bytes: usize) -> Self {
        Self::Keep { max_bytes }
    }
}

/// Messages that wait, in the order in which they were sent, each with a ticket by which its sender
/// learns what became of it.
#[derive(Debug)]
pub(super) struct Outbox<T> {
    waiting: VecDeque<(Message, T)>,
    bytes: usize,
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0 }
    }
}

impl<T> Outbox<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The bytes that count.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps a message, unless that would take more than `limit` bytes in total.
    pub(super) fn push(
        &mut self,
        message: Message,
        ticket: T,
        limit: usize,
    ) -> Result<(), Message> {
        let size = message.len().saturating_add(OVERHEAD);
        match self.bytes.checked_add(size) {
            Some(bytes) if bytes <= limit => self.bytes = bytes,
            _ => return Err(message),
        }
        self.waiting.push_back((message, ticket));
        Ok(())
    }

    /// Takes the first message.
    pub(super) fn pop(&mut self) -> Option<(Message, T)> {
        let (message, ticket) = self.waiting.pop_front()?;
        self.bytes -= message.len() + OVERHEAD;
        Some((message, ticket))
    }

    /// Puts back what [`pop`](Self::pop) took.
    pub(super) fn put_back(&mut self, message: Message, ticket: T) {
        self.bytes += message.len() + OVERHEAD;
        self.waiting.push_front((message, ticket));
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    #[test]
    fn messages_are_kept_in_order_up_to_the_bound_in_bytes() {
        let mut outbox = Outbox::default();
        let limit = 2 * OVERHEAD + 7;
        outbox.push("abc".into(), 1, limit).unwrap();
        assert_eq!(outbox.push("12345".into(), 2, limit).unwrap_err().as_text(), Some("12345"));
        outbox.push("four".into(), 3, limit).unwrap();
        assert!(outbox.push("".into(), 4, limit).is_err(), "none without its overhead");
        assert_eq!(outbox.bytes(), limit);
        let (message, ticket) = outbox.pop().unwrap();
        assert_eq!((message.as_text(), ticket, outbox.bytes()), (Some("abc"), 1, OVERHEAD + 4));
        outbox.put_back(message, ticket);
        assert_eq!(outbox.bytes(), limit);
        let tickets: Vec<_> =
            std::iter::from_fn(|| outbox.pop()).map(|(_, ticket)| ticket).collect();
        assert_eq!((tickets, outbox.bytes(), outbox.is_empty()), (vec![1, 3], 0, true));
    }
}
