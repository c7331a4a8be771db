//! The history of a topic, and what a subscriber has missed: without a clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::broker::{History, Keep, Range};
use crate::delivery::Delivery;
use crate::position::{Epoch, Position};

/// The last publications of a topic.
#[derive(Debug)]
pub(crate) struct Log {
    keep: Keep,
    epoch: Epoch,
    /// The newest offset that there was.
    top: u64,
    /// That of the newest publication, or where the log began: nothing that can be delivered lies between this
    /// and `top`.
    last: u64,
    kept: VecDeque<(Instant, Delivery)>,
    bytes: usize,
}

/// Why a subscriber does not get everything since its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GapReason {
    /// The position is of another history: that one is gone.
    Epoch,
    /// Some of what came after it is no longer kept.
    Trimmed,
    /// It is beyond the end of the history, which went back: what came later is gone.
    Ahead,
    /// The history could not be read.
    Unavailable,
}

impl Log {
    pub(crate) fn new(keep: Keep, epoch: Epoch, top: u64) -> Self {
        Self { keep, epoch, top, last: top, kept: VecDeque::new(), bytes: 0 }
    }

    /// How long something is kept.
    pub(crate) const fn age(&self) -> Duration {
        self.keep.age
    }

    pub(crate) const fn top(&self) -> Position {
        Position { epoch: self.epoch, offset: self.top }
    }

    /// The place of the next publication: its position, and the offset ahead of it.
    pub(crate) const fn next(&self) -> (Position, u64) {
        (Position { epoch: self.epoch, offset: self.top + 1 }, self.top)
    }

    /// Keeps a publication, whose offset is greater than all before.
    pub(crate) fn push(&mut self, delivery: Delivery, now: Instant) {
        let Some(position) = delivery.position() else { return };
        (self.top, self.last) = (position.offset, position.offset);
        self.bytes += delivery.size();
        self.kept.push_back((now, delivery));
        self.trim(now);
    }

    /// Up to this offset there is nothing else that could be delivered.
    pub(crate) fn skip_to(&mut self, offset: u64) {
        self.top = self.top.max(offset);
    }

    /// The offset of the publication that the next one follows.
    pub(crate) const fn last(&self) -> u64 {
        self.last
    }

    /// Keeps what came before the oldest that is kept, in order, up to there: as much of it as is to be kept. It
    /// goes when that one goes. These are all up to the offset that was read to; nothing happens if something is
    /// missing between that and what is kept.
    pub(crate) fn restore(&mut self, earlier: &[Delivery], read_to: u64, now: Instant) {
        let (is_empty, oldest) = (self.kept.is_empty(), self.kept.front());
        let since = oldest.map_or(now, |(since, _)| *since);
        let ahead = oldest.map_or(self.last, |(_, oldest)| oldest.previous());
        let end = oldest.and_then(|(_, oldest)| oldest.position());
        let end = end.map_or(self.top.saturating_add(1), |oldest| oldest.offset);
        let is_before = |delivery: &Delivery| {
            let position = delivery.position();
            position.is_some_and(|place| place.epoch == self.epoch && place.offset < end)
        };
        let earlier = &earlier[..earlier.partition_point(is_before)];
        if read_to < ahead {
            return;
        }
        for delivery in earlier.iter().rev() {
            let bytes = self.bytes + delivery.size();
            if self.kept.len() >= self.keep.messages || bytes > self.keep.bytes {
                break;
            }
            self.bytes = bytes;
            self.kept.push_front((since, delivery.clone()));
        }
        // What lies between could not be delivered: the next one follows the last of these.
        if let (true, Some(last)) = (is_empty, self.latest().and_then(Delivery::position)) {
            self.last = last.offset;
        }
    }

    /// Forgets what is too old or too much.
    pub(crate) fn trim(&mut self, now: Instant) {
        while let Some((since, oldest)) = self.kept.front() {
            let is_old = now.saturating_duration_since(*since) >= self.keep.age;
            if self.kept.len() <= self.keep.messages && self.bytes <= self.keep.bytes && !is_old {
                break;
            }
            self.bytes -= oldest.size();
            self.kept.pop_front();
        }
        // Not more than twice what a burst has left.
        if self.kept.capacity() > 32 && self.kept.len() < self.kept.capacity() / 4 {
            self.kept.shrink_to(self.kept.len() * 2);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    pub(crate) fn latest(&self) -> Option<&Delivery> {
        self.kept.back().map(|(_, delivery)| delivery)
    }

    /// What came after this position, in order.
    ///
    /// # Errors
    /// Why that cannot be said.
    pub(crate) fn since(
        &self,
        position: Position,
    ) -> Result<impl DoubleEndedIterator<Item = &Delivery>, GapReason> {
        if position.epoch != self.epoch {
            return Err(GapReason::Epoch);
        }
        if position.offset > self.top {
            return Err(GapReason::Ahead);
        }
        let first = self.first_after(position.offset);
        let is_complete = match self.kept.get(first) {
            // Nothing lies between it and the one before it.
            Some((_, delivery)) => delivery.previous() <= position.offset,
            None => position.offset >= self.last,
        };
        if !is_complete {
            return Err(GapReason::Trimmed);
        }
        Ok(self.kept.range(first..).map(|(_, delivery)| delivery))
    }

    /// A part of it.
    pub(crate) fn read(&self, range: Range, limit: usize) -> History {
        let given = |delivery: &Delivery| {
            delivery.position().map(|place| (place.offset, delivery.publication().clone()))
        };
        let (first, is_newest_first) = match range {
            Range::After(offset) => (self.first_after(offset), false),
            Range::Latest => (0, true),
        };
        let behind = self.kept.range(first..).map(|(_, delivery)| delivery);
        let publications: Vec<_> = if is_newest_first {
            behind.rev().take(limit).filter_map(given).collect()
        } else {
            behind.take(limit).filter_map(given).collect()
        };
        let complete = match range {
            Range::After(offset) => self.since(Position { epoch: self.epoch, offset }).is_ok(),
            Range::Latest => true,
        };
        let read_to = match (range, publications.last()) {
            (Range::After(_), Some((last, _))) => *last,
            (Range::After(after), None) => after,
            (Range::Latest, _) => publications.first().map_or(0, |(newest, _)| *newest),
        };
        History { publications, top: self.top(), complete, read_to }
    }

    fn first_after(&self, offset: u64) -> usize {
        let offset_of = |delivery: &Delivery| delivery.position().map_or(0, |place| place.offset);
        self.kept.partition_point(|(_, delivery)| offset_of(delivery) <= offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::Topic;

    const EPOCH: Epoch = Epoch::from_u64(7);

    fn keep(messages: usize, bytes: usize, age: u64) -> Keep {
        Keep { messages, bytes, age: Duration::from_secs(age) }
    }

    fn log(keep: Keep, count: u64, now: Instant) -> Log {
        let mut log = Log::new(keep, EPOCH, 0);
        for _ in 0..count {
            push(&mut log, now);
        }
        log
    }

    fn push(log: &mut Log, now: Instant) {
        let place = log.next();
        let topic = Topic::new("a").unwrap();
        log.push(Delivery::new(topic, place.0.offset.to_string().into(), Some(place)), now);
    }

    fn since(log: &Log, epoch: u64, offset: u64) -> Result<Vec<u64>, GapReason> {
        let position = Position { epoch: Epoch::from_u64(epoch), offset };
        let missed = log.since(position)?;
        Ok(missed.filter_map(Delivery::position).map(|position| position.offset).collect())
    }

    #[test]
    fn what_came_before_is_kept_as_well_if_nothing_is_missing_between() {
        let now = Instant::now();
        let earlier: Vec<_> = log(keep(10, usize::MAX, 60), 5, now).kept.into_iter().collect();
        let earlier: Vec<_> = earlier.into_iter().map(|(_, delivery)| delivery).collect();
        for (count, is_reached) in [(5, true), (4, true), (3, true), (2, false), (0, false)] {
            for live in [0, 2] {
                let mut log = Log::new(keep(4, usize::MAX, 60), EPOCH, 3);
                (0..live).for_each(|_| push(&mut log, now));
                let before = log.kept.len();
                log.restore(&earlier[..count], count as u64, now);
                // Those that are there are not there twice, and no more than are to be kept.
                let added = if is_reached { (4 - before).min(3) } else { 0 };
                assert_eq!(log.kept.len(), before + added, "{count} {live}");
                assert_eq!(log.top().offset, 3 + live as u64);
                let all: usize = log.kept.iter().map(|(_, delivery)| delivery.size()).sum();
                assert_eq!(log.bytes, all);
                let first = 3 - added as u64;
                let expected: Vec<_> = (first + 1..=3 + live as u64).collect();
                assert_eq!(since(&log, 7, first), Ok(expected), "{count} {live}");
            }
        }
        let mut small = Log::new(keep(10, 2 * earlier[0].size(), 60), EPOCH, 5);
        small.restore(&earlier, 5, now);
        assert_eq!(since(&small, 7, 3), Ok(vec![4, 5]));
        let mut other = Log::new(keep(10, usize::MAX, 60), Epoch::from_u64(8), 5);
        other.restore(&earlier, 5, now);
        assert!(other.is_empty());
        // What lies between could not be decoded.
        let mut behind = Log::new(keep(10, usize::MAX, 60), EPOCH, 5);
        behind.restore(&earlier[..2], 5, now);
        assert_eq!(behind.latest().and_then(Delivery::position).map(|it| it.offset), Some(2));
        assert_eq!(since(&behind, 7, 2), Ok(vec![]));
    }

    #[test]
    fn who_comes_back_gets_what_was_missed_or_is_told_why_not() {
        let log = log(keep(3, usize::MAX, 60), 5, Instant::now());
        assert_eq!(log.top().offset, 5);
        assert_eq!(since(&log, 7, 5), Ok(vec![]));
        assert_eq!(since(&log, 7, 4), Ok(vec![5]));
        assert_eq!(since(&log, 7, 2), Ok(vec![3, 4, 5]));
        assert_eq!(since(&log, 7, 1), Err(GapReason::Trimmed));
        assert_eq!(since(&log, 7, 0), Err(GapReason::Trimmed));
        assert_eq!(since(&log, 7, 6), Err(GapReason::Ahead));
        assert_eq!(since(&log, 8, 5), Err(GapReason::Epoch));
    }

    #[test]
    fn an_empty_history_has_a_position_too() {
        let log = log(keep(3, usize::MAX, 60), 0, Instant::now());
        assert_eq!(since(&log, 7, 0), Ok(vec![]));
        assert_eq!(since(&log, 7, 1), Err(GapReason::Ahead));
    }

    #[test]
    fn each_of_the_three_bounds_holds() {
        let start = Instant::now();
        let mut by_bytes = log(keep(100, 3 * 400, 60), 5, start);
        assert_eq!(by_bytes.kept.len(), 3, "of 385 bytes each");
        assert_eq!(since(&by_bytes, 7, 2), Ok(vec![3, 4, 5]));
        by_bytes.trim(start + Duration::from_secs(59));
        assert_eq!(by_bytes.kept.len(), 3);
        by_bytes.trim(start + Duration::from_secs(60));
        assert!(by_bytes.is_empty());
        assert_eq!(
            since(&by_bytes, 7, 5),
            Ok(vec![]),
            "nothing was missed, though nothing is kept"
        );
        assert_eq!(since(&by_bytes, 7, 4), Err(GapReason::Trimmed));
        assert_eq!(by_bytes.bytes, 0);
    }

    #[test]
    fn a_single_one_that_is_too_large_is_not_kept() {
        let log = log(keep(100, 10, 60), 1, Instant::now());
        assert!(log.is_empty());
        assert_eq!(since(&log, 7, 0), Err(GapReason::Trimmed));
        assert_eq!(since(&log, 7, 1), Ok(vec![]));
    }

    // As on NATS, where offsets are those of a stream that many topics share.
    #[test]
    fn offsets_need_not_be_contiguous() {
        let mut log = Log::new(keep(2, usize::MAX, 60), EPOCH, 10);
        let topic = Topic::new("a").unwrap();
        for (offset, previous) in [(15, 10), (16, 15), (40, 16)] {
            let place = (Position { epoch: EPOCH, offset }, previous);
            log.push(Delivery::new(topic.clone(), "".into(), Some(place)), Instant::now());
        }
        assert_eq!(since(&log, 7, 15), Ok(vec![16, 40]));
        assert_eq!(since(&log, 7, 16), Ok(vec![40]));
        assert_eq!(since(&log, 7, 20), Ok(vec![40]), "nothing of this topic lies between");
        assert_eq!(since(&log, 7, 10), Err(GapReason::Trimmed));
        let all = log.read(Range::After(0), 10);
        let offsets: Vec<_> = all.publications.iter().map(|(offset, _)| *offset).collect();
        assert_eq!((offsets, all.complete), (vec![16, 40], false));
        let latest = log.read(Range::Latest, 1);
        assert_eq!((latest.publications[0].0, latest.top.offset), (40, 40));
    }
}
