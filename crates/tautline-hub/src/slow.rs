//! What becomes of publications for a member that is too slow.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use tautline::{CloseCode, CloseFrame};

use crate::delivery::Delivery;

/// What becomes of the publications of a subscription while its member's connection has no room: they
/// wait, up to a number of bytes, and then this happens.
///
/// Each counts its payload, key and meta, and 384 bytes for what else it takes, although it is shared with
/// others that wait for it. Limits are in bytes. What was recovered when the subscription began counts nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slow {
    pub(crate) limit: usize,
    pub(crate) then: Then,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Disconnect(CloseFrame),
    DropOldest,
    Latest,
}

impl Slow {
    /// How a member is closed for which too much waits.
    pub(crate) fn close(&self) -> CloseFrame {
        match &self.then {
            Then::Disconnect(close) => close.clone(),
            Then::DropOldest | Then::Latest => CloseCode::TRY_AGAIN_LATER.into(),
        }
    }

    /// How many bytes wait by default: 1 MiB.
    pub const DEFAULT_LIMIT: usize = 1 << 20;

    /// The connection is closed, with this Close: for what must not be missing. The client connects again,
    /// and recovers what it missed.
    #[must_use]
    pub fn disconnect(limit: usize, close: impl Into<CloseFrame>) -> Self {
        Self { limit, then: Then::Disconnect(close.into()) }
    }

    /// The oldest are dropped: for events of which the newest matter.
    #[must_use]
    pub const fn drop_oldest(limit: usize) -> Self {
        Self { limit, then: Then::DropOldest }
    }

    /// Of those with the same [key](crate::Publication::key), only the latest waits, in the place of the
    /// first: for prices and positions. Those without a key are one key together. If all that waits is more
    /// than the limit, what has waited longest is dropped.
    #[must_use]
    pub const fn latest(limit: usize) -> Self {
        Self { limit, then: Then::Latest }
    }
}

/// Disconnects with 1013, "try again later", when more than 1 MiB waits.
impl Default for Slow {
    fn default() -> Self {
        Self::disconnect(Self::DEFAULT_LIMIT, CloseCode::TRY_AGAIN_LATER)
    }
}

/// What waits for one subscription.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// What was missed before it began, which counts nowhere: it is bounded by the history.
    recovered: VecDeque<Delivery>,
    queue: VecDeque<Delivery>,
    /// Which of the queue has this key, counted from the first that there ever was.
    by_key: HashMap<Bytes, u64>,
    /// How many have left the front of the queue.
    left: u64,
    bytes: usize,
}

/// What came of one that was to wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits; so many were dropped, and so many replaced.
    Waits { dropped: u64, replaced: u64 },
    /// More would wait than may.
    Overrun,
}

impl Waiting {
    /// Has these wait, ahead of everything that is published.
    pub(crate) fn recover(&mut self, recovered: impl IntoIterator<Item = Delivery>) {
        self.recovered.extend(recovered);
    }

    /// What counts of it.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.recovered.len() + self.queue.len()
    }

    /// Whether it can wait without another one being dropped or replaced for it, and be none too many.
    pub(crate) fn fits(&self, delivery: &Delivery, slow: &Slow) -> bool {
        let replaces = slow.then == Then::Latest && self.by_key.contains_key(&key(delivery));
        !replaces && self.bytes + delivery.size() <= slow.limit
    }

    pub(crate) fn push(&mut self, delivery: Delivery, slow: &Slow) -> Pushed {
        let size = delivery.size();
        let mut replaced = 0;
        match &slow.then {
            Then::Disconnect(_) if self.bytes + size > slow.limit => return Pushed::Overrun,
            Then::Latest if self.replace(&delivery) => replaced = 1,
            _ => {
                self.bytes += size;
                self.queue.push_back(delivery);
            }
        }
        let mut dropped = 0;
        while self.bytes > slow.limit && self.pop_published() {
            dropped += 1;
        }
        Pushed::Waits { dropped, replaced }
    }

    /// Puts it in the place of one with the same key. If there is none, it will be at the end.
    fn replace(&mut self, delivery: &Delivery) -> bool {
        let end = self.left + self.queue.len() as u64;
        let place = *self.by_key.entry(key(delivery)).or_insert(end);
        let index = usize::try_from(place - self.left).unwrap_or(usize::MAX);
        let Some(older) = self.queue.get_mut(index) else { return false };
        self.bytes -= older.size();
        self.bytes += delivery.size();
        *older = delivery.clone();
        true
    }

    /// The next one to go, which stays until it is [popped](Self::pop).
    pub(crate) fn front(&self) -> Option<&Delivery> {
        self.recovered.front().or_else(|| self.queue.front())
    }

    pub(crate) fn pop(&mut self) {
        if self.recovered.pop_front().is_none() {
            self.pop_published();
        }
    }

    fn pop_published(&mut self) -> bool {
        let Some(delivery) = self.queue.pop_front() else { return false };
        self.bytes -= delivery.size();
        let key = key(&delivery);
        if self.by_key.get(&key) == Some(&self.left) {
            self.by_key.remove(&key);
        }
        self.left += 1;
        true
    }
}

fn key(delivery: &Delivery) -> Bytes {
    delivery.publication().get_key().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publication::Publication;
    use crate::topic::Topic;

    fn delivery(text: &str, key: Option<&'static str>) -> Delivery {
        let publication = Publication::new(text);
        let publication = match key {
            Some(key) => publication.key(key),
            None => publication,
        };
        Delivery::new(Topic::new("a").unwrap(), publication, None)
    }

    fn rest(waiting: &mut Waiting) -> Vec<String> {
        let mut rest = Vec::new();
        while let Some(delivery) = waiting.front() {
            rest.push(delivery.publication().message().to_string());
            waiting.pop();
        }
        assert_eq!((waiting.bytes(), waiting.len(), waiting.by_key.len()), (0, 0, 0));
        rest
    }

    /// Room for so many of one byte, with a key of one byte or none.
    fn room(count: usize) -> usize {
        delivery("a", Some("k")).size() * count
    }

    const WAITS: Pushed = Pushed::Waits { dropped: 0, replaced: 0 };

    #[test]
    fn none_is_missing_or_the_connection_is_closed() {
        let slow = Slow::disconnect(room(2), CloseCode::POLICY_VIOLATION);
        let mut waiting = Waiting::default();
        assert_eq!(waiting.push(delivery("1", None), &slow), WAITS);
        assert_eq!(waiting.push(delivery("2", None), &slow), WAITS);
        assert_eq!(waiting.push(delivery("3", None), &slow), Pushed::Overrun);
        assert_eq!(rest(&mut waiting), ["1", "2"]);
    }

    #[test]
    fn the_oldest_are_dropped() {
        let slow = Slow::drop_oldest(room(2));
        let mut waiting = Waiting::default();
        for text in ["1", "2"] {
            assert_eq!(waiting.push(delivery(text, None), &slow), WAITS);
        }
        let dropped = Pushed::Waits { dropped: 1, replaced: 0 };
        assert_eq!(waiting.push(delivery("3", None), &slow), dropped);
        assert_eq!(rest(&mut waiting), ["2", "3"]);
        // One that is larger than all that may wait.
        let large = "x".repeat(room(2));
        assert_eq!(waiting.push(delivery(&large, None), &slow), dropped);
        assert_eq!(waiting.len(), 0);
    }

    #[test]
    fn the_latest_of_each_key_waits_in_the_place_of_the_first() {
        let slow = Slow::latest(room(3));
        let mut waiting = Waiting::default();
        let replaced = Pushed::Waits { dropped: 0, replaced: 1 };
        assert_eq!(waiting.push(delivery("1", Some("a")), &slow), WAITS);
        assert_eq!(waiting.push(delivery("2", Some("b")), &slow), WAITS);
        assert_eq!(waiting.push(delivery("3", Some("a")), &slow), replaced);
        assert_eq!(waiting.push(delivery("4", None), &slow), WAITS);
        assert_eq!(waiting.push(delivery("5", None), &slow), replaced);
        waiting.pop();
        // The first has left, so a newer one waits anew.
        assert_eq!(waiting.push(delivery("6", Some("a")), &slow), WAITS);
        assert_eq!(waiting.push(delivery("7", Some("b")), &slow), replaced);
        let dropped = Pushed::Waits { dropped: 1, replaced: 0 };
        assert_eq!(waiting.push(delivery("8", Some("c")), &slow), dropped);
        assert_eq!(rest(&mut waiting), ["5", "6", "8"]);
    }

    #[test]
    fn what_was_recovered_goes_first_and_counts_nowhere() {
        let slow = Slow::drop_oldest(room(1));
        let mut waiting = Waiting::default();
        waiting.recover([delivery("1", None), delivery("2", None)]);
        assert_eq!(waiting.push(delivery("3", None), &slow), WAITS);
        assert_eq!(rest(&mut waiting), ["1", "2", "3"]);
    }
}
