//! What becomes of messages that a peer is too slow for: decided here, without a connection.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use tautline_frame::{CloseFrame, Prepared};

/// What a message that waits counts in addition to its payload: what its clones share (the frame,
/// and places for compressed ones), in three or four allocations, and its slot in the queue, which
/// doubles as it grows. Measured, that is up to 370 bytes; the rest is for what the allocator adds.
/// What waits for many peers counts for each.
const MESSAGE_OVERHEAD: usize = 512;

/// What its key counts, as a multiple of its size: it is in the queue and in the table, and both
/// may be half empty.
const KEY_SLOTS: usize = 5;

/// What a sender has done with its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SenderCounts {
    /// Messages that left for the connection.
    pub sent: u64,
    /// Messages whose place a newer one with the same key took.
    pub replaced: u64,
    /// Messages that were dropped because there was no room. Those of a
    /// [`ClosingSender`](crate::ClosingSender) are all that waited when it closed the connection, and
    /// the one for which there was no room; otherwise it drops none.
    pub dropped: u64,
    /// Messages that wait.
    pub queued: usize,
    /// Their payload, in bytes. The limit applies to more: see
    /// [`Writer::dropping_sender`](crate::Writer::dropping_sender).
    pub queued_bytes: usize,
}

/// Messages that wait, in the order in which they leave.
pub(super) trait Queue {
    fn pop(&mut self) -> Option<Prepared>;

    fn counts(&self) -> SenderCounts;

    /// With what the connection is to be closed, if more has come than may wait.
    fn overrun(&self) -> Option<&CloseFrame> {
        None
    }
}

/// The newest messages: the oldest are dropped when they take more than `limit` bytes.
#[derive(Debug)]
pub(super) struct Newest {
    messages: VecDeque<Prepared>,
    limit: usize,
    counts: SenderCounts,
}

impl Newest {
    pub(super) fn new(limit: usize) -> Self {
        Self { messages: VecDeque::new(), limit, counts: SenderCounts::default() }
    }

    fn is_too_much(&self) -> bool {
        self.counts.queued_bytes + self.messages.len() * MESSAGE_OVERHEAD > self.limit
    }

    pub(super) fn push(&mut self, message: Prepared) {
        self.counts.queued_bytes += message.message().len();
        self.messages.push_back(message);
        // The message itself goes if it is longer than the limit.
        while self.is_too_much() && self.take().is_some() {
            self.counts.dropped += 1;
        }
    }

    fn take(&mut self) -> Option<Prepared> {
        let message = self.messages.pop_front()?;
        self.counts.queued_bytes -= message.message().len();
        Some(message)
    }
}

impl Queue for Newest {
    fn pop(&mut self) -> Option<Prepared> {
        let message = self.take()?;
        self.counts.sent += 1;
        Some(message)
    }

    fn counts(&self) -> SenderCounts {
        SenderCounts { queued: self.messages.len(), ..self.counts }
    }
}

/// All messages: when they take more than `limit` bytes, none is sent any more, and the connection
/// is to be closed. What waited is dropped at once, so that it takes no memory until then.
#[derive(Debug)]
pub(super) struct All {
    messages: VecDeque<Prepared>,
    limit: usize,
    close: CloseFrame,
    overrun: bool,
    counts: SenderCounts,
}

impl All {
    pub(super) fn new(limit: usize, close: CloseFrame) -> Self {
        let (messages, counts) = (VecDeque::new(), SenderCounts::default());
        Self { messages, limit, close, overrun: false, counts }
    }

    pub(super) fn push(&mut self, message: Prepared) {
        let bytes = self.counts.queued_bytes + message.message().len();
        let total = bytes + (self.messages.len() + 1) * MESSAGE_OVERHEAD;
        if !self.overrun && total <= self.limit {
            self.counts.queued_bytes = bytes;
            return self.messages.push_back(message);
        }
        self.overrun = true;
        self.counts.dropped += self.messages.len() as u64 + 1;
        self.counts.queued_bytes = 0;
        self.messages = VecDeque::new();
    }
}

impl Queue for All {
    fn pop(&mut self) -> Option<Prepared> {
        let message = self.messages.pop_front()?;
        self.counts.queued_bytes -= message.message().len();
        self.counts.sent += 1;
        Some(message)
    }

    fn counts(&self) -> SenderCounts {
        SenderCounts { queued: self.messages.len(), ..self.counts }
    }

    fn overrun(&self) -> Option<&CloseFrame> {
        self.overrun.then_some(&self.close)
    }
}

/// The newest message for each key, in the order in which the keys began to wait. If they take
/// more than `limit` bytes, those that have waited longest are dropped.
#[derive(Debug)]
pub(super) struct Latest<K> {
    keys: VecDeque<K>,
    messages: HashMap<K, Prepared>,
    limit: usize,
    counts: SenderCounts,
}

impl<K: Clone + Eq + Hash> Latest<K> {
    const OVERHEAD: usize = MESSAGE_OVERHEAD + KEY_SLOTS * size_of::<K>();

    pub(super) fn new(limit: usize) -> Self {
        let (keys, messages) = (VecDeque::new(), HashMap::new());
        Self { keys, messages, limit, counts: SenderCounts::default() }
    }

    fn is_too_much(&self) -> bool {
        self.counts.queued_bytes + self.keys.len() * Self::OVERHEAD > self.limit
    }

    pub(super) fn push(&mut self, key: K, message: Prepared) {
        self.counts.queued_bytes += message.message().len();
        if let Some(waiting) = self.messages.get_mut(&key) {
            let old = std::mem::replace(waiting, message);
            self.counts.queued_bytes -= old.message().len();
            self.counts.replaced += 1;
        } else {
            self.keys.push_back(key.clone());
            self.messages.insert(key, message);
        }
        while self.is_too_much() && self.take().is_some() {
            self.counts.dropped += 1;
        }
    }

    fn take(&mut self) -> Option<Prepared> {
        let message = self.messages.remove(&self.keys.pop_front()?)?;
        self.counts.queued_bytes -= message.message().len();
        Some(message)
    }
}

impl<K: Clone + Eq + Hash> Queue for Latest<K> {
    fn pop(&mut self) -> Option<Prepared> {
        let message = self.take()?;
        self.counts.sent += 1;
        Some(message)
    }

    fn counts(&self) -> SenderCounts {
        SenderCounts { queued: self.keys.len(), ..self.counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(queue: &mut impl Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.pop()).map(|it| it.message().to_string()).collect()
    }

    #[test]
    fn the_oldest_are_dropped_when_there_is_no_room() {
        let mut queue = Newest::new(10 + 3 * MESSAGE_OVERHEAD);
        for message in ["aaaa", "bbbb", "cc", "d"] {
            queue.push(message.into());
        }
        let counts = queue.counts();
        assert_eq!((counts.dropped, counts.queued, counts.queued_bytes), (1, 3, 7));
        // There is room for three, but not for so many bytes.
        queue.push("eight...".into());
        assert_eq!(queue.counts().dropped, 3);
        assert_eq!(all(&mut queue), ["d", "eight..."]);
        queue.push(vec![7; 11 + 2 * MESSAGE_OVERHEAD].into());
        assert_eq!(all(&mut queue), [""; 0], "longer than the limit");
        let counts = queue.counts();
        assert_eq!((counts.sent, counts.dropped, counts.queued_bytes), (2, 4, 0));
    }

    #[test]
    fn a_newer_message_takes_the_place_of_the_one_with_its_key() {
        let mut queue = Latest::new(10_000);
        for (key, message) in [(1, "a1"), (2, "b1"), (1, "a2"), (3, "c1"), (1, "a3")] {
            queue.push(key, message.into());
        }
        let counts = queue.counts();
        assert_eq!((counts.replaced, counts.queued, counts.queued_bytes), (2, 3, 6));
        assert_eq!(queue.pop().unwrap().message().as_text(), Some("a3"), "it keeps its place");
        // Its key begins to wait again.
        queue.push(1, "a4".into());
        assert_eq!(all(&mut queue), ["b1", "c1", "a4"]);
        assert_eq!(queue.counts().queued_bytes, 0);
    }

    #[test]
    fn the_latest_of_too_many_keys_are_bounded_too() {
        let room = Latest::<i32>::OVERHEAD;
        let mut queue = Latest::new(10 + 2 * room);
        for key in 0..1000 {
            queue.push(key, "four".into());
            assert!(queue.counts().queued_bytes <= 10);
        }
        assert_eq!(queue.counts().dropped, 998);
        // One that grows pushes out those before it, and itself if it is too long.
        queue.push(999, "seven..".into());
        assert_eq!(all(&mut queue), ["seven.."]);
        queue.push(1, vec![7; 11 + room].into());
        assert_eq!(all(&mut queue), [""; 0]);
        assert!(queue.keys.is_empty() && queue.messages.is_empty());
    }

    #[test]
    fn all_are_sent_until_there_is_no_room_and_none_from_then_on() {
        let close = CloseFrame::from(tautline_frame::CloseCode::TRY_AGAIN_LATER);
        let mut queue = All::new(10 + 3 * MESSAGE_OVERHEAD, close.clone());
        for message in ["aaaa", "bbbb", "cc"] {
            queue.push(message.into());
        }
        assert_eq!((queue.overrun(), queue.counts().queued_bytes), (None, 10), "just enough");
        assert_eq!(queue.pop().unwrap().message().as_text(), Some("aaaa"));
        // There is room for one more, but not for so many bytes.
        queue.push("five.".into());
        assert_eq!(queue.overrun(), Some(&close));
        queue.push("".into());
        assert!(queue.pop().is_none(), "nothing follows a gap");
        let counts = queue.counts();
        assert_eq!((counts.sent, counts.dropped), (1, 4));
        assert_eq!((counts.queued, counts.queued_bytes), (0, 0));
        // By their number, too.
        let mut queue = All::new(3 * MESSAGE_OVERHEAD, close);
        (0..3).for_each(|_| queue.push("".into()));
        assert!(queue.overrun().is_none());
        queue.push("".into());
        assert!(queue.overrun().is_some());
    }

    // There was room for as many messages without payload as for bytes: a limit of 64 KiB let
    // 65,536 of them wait, which took 24 MB.
    #[test]
    fn messages_without_payload_count_what_they_take() {
        let (mut newest, mut latest) = (Newest::new(64 << 10), Latest::new(64 << 10));
        for key in 0..1000 {
            newest.push("".into());
            latest.push(key, "".into());
        }
        let counts = newest.counts();
        assert_eq!((counts.queued, counts.dropped, counts.queued_bytes), (128, 872, 0));
        assert!(latest.counts().queued < 128, "their keys count too");
    }
}
