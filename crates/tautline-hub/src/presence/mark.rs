//! The order in which the members of a node are told, and which parts of it are known.

use super::digest::BUCKETS;
use crate::topic::Topic;

/// A place in the order of a node's members: by bucket, then by number, then by topic. A bucket is what
/// has the same low byte of the number, so that all are of about the same size, however many members
/// one topic has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    /// The connection of this key, and its topics up to and with this one; `None` is ahead of its
    /// first.
    At(u64, Option<Topic>),
    /// Behind the last one.
    End,
}

/// Numbers in the order of buckets.
pub(super) const fn key_of(number: u64) -> u64 {
    number.rotate_right(8)
}

/// The number of a key.
pub(super) const fn number_of(key: u64) -> u64 {
    key.rotate_left(8)
}

/// The bucket of a key.
pub(super) const fn bucket_of(key: u64) -> usize {
    (key >> 56) as usize
}

impl Mark {
    /// Ahead of the first one of a bucket, which is behind the last one of the bucket before.
    pub(super) const fn start_of(bucket: usize) -> Self {
        if bucket < BUCKETS { Self::At((bucket as u64) << 56, None) } else { Self::End }
    }

    /// In which bucket it is; the start of one is in it.
    pub(super) const fn bucket(&self) -> usize {
        match self {
            Self::At(key, _) => bucket_of(*key),
            Self::End => BUCKETS,
        }
    }
}

/// Some of the buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Buckets(pub(super) [u64; BUCKETS / 64]);

impl Buckets {
    pub(super) const fn insert(&mut self, bucket: usize) {
        self.0[bucket / 64] |= 1 << (bucket % 64);
    }

    pub(super) const fn remove(&mut self, bucket: usize) {
        self.0[bucket / 64] &= !(1 << (bucket % 64));
    }

    pub(super) const fn contains(&self, bucket: usize) -> bool {
        self.0[bucket / 64] & (1 << (bucket % 64)) != 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(super) fn extend(&mut self, others: &Self) {
        for (word, other) in self.0.iter_mut().zip(others.0) {
            *word |= other;
        }
    }

    /// The first one that is at or behind `bucket`, or else the first one of all.
    pub(super) fn next(&self, bucket: usize) -> Option<usize> {
        let from = |start| (start..BUCKETS).find(|bucket| self.contains(*bucket));
        from(bucket).or_else(|| from(0))
    }
}

/// Which parts of another node's members are known for certain, as ranges that are in order and do not
/// touch. A range has what is behind its first mark, up to and with its second.
#[derive(Debug)]
pub(super) struct Coverage(Vec<(Mark, Mark)>);

/// More ranges than there ever are when pieces come in order, or nearly so; further ones are forgotten,
/// and asked for again.
const MAX_RANGES: usize = 1024;

impl Coverage {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn is_whole(&self) -> bool {
        matches!(&self.0[..], [(from, Mark::End)] if *from == Mark::start_of(0))
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn add_all(&mut self) {
        self.0.clear();
        self.0.push((Mark::start_of(0), Mark::End));
    }

    pub(super) fn add(&mut self, mut from: Mark, mut to: Mark) {
        let start = self.0.partition_point(|(_, end)| *end < from);
        let stop = self.0.partition_point(|(begin, _)| *begin <= to);
        if start == stop && self.0.len() >= MAX_RANGES {
            return;
        }
        if let [(first, _), ..] = &self.0[start..stop]
            && *first < from
        {
            from = first.clone();
        }
        if let [.., (_, last)] = &self.0[start..stop]
            && *last > to
        {
            to = last.clone();
        }
        self.0.splice(start..stop, [(from, to)]);
    }

    pub(super) fn add_bucket(&mut self, bucket: usize) {
        self.add(Mark::start_of(bucket), Mark::start_of(bucket + 1));
    }

    pub(super) fn remove_bucket(&mut self, bucket: usize) {
        let (low, high) = (Mark::start_of(bucket), Mark::start_of(bucket + 1));
        let ranges = std::mem::take(&mut self.0);
        for (from, to) in ranges {
            if to <= low || from >= high {
                self.0.push((from, to));
                continue;
            }
            if from < low {
                self.0.push((from, low.clone()));
            }
            if to > high {
                self.0.push((high.clone(), to));
            }
        }
    }

    pub(super) fn has_bucket(&self, bucket: usize) -> bool {
        let (low, high) = (Mark::start_of(bucket), Mark::start_of(bucket + 1));
        let index = self.0.partition_point(|(_, end)| *end < high);
        self.0.get(index).is_some_and(|(from, _)| *from <= low)
    }

    /// The buckets that are not covered, or not to their end.
    pub(super) fn missing(&self) -> Buckets {
        let mut missing = Buckets::default();
        for bucket in (0..BUCKETS).filter(|bucket| !self.has_bucket(*bucket)) {
            missing.insert(bucket);
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u64, topic: &str) -> Mark {
        Mark::At(key_of(number), Topic::new(topic).ok())
    }

    #[test]
    fn the_order_is_by_the_low_byte_then_by_number_then_by_topic() {
        let ordered = [
            Mark::start_of(0),
            at(0, "a"),
            at(256, "a"),
            at(256, "b"),
            at(1 << 63, "a"),
            Mark::start_of(1),
            at(1, "a"),
            at(257, ""),
            Mark::start_of(255),
            at(u64::MAX, "z"),
            Mark::End,
        ];
        for pair in ordered.windows(2) {
            assert!(pair[0] < pair[1], "{pair:?}");
        }
        assert_eq!(Mark::start_of(256), Mark::End);
        assert_eq!((at(511, "a").bucket(), Mark::End.bucket()), (255, 256));
        assert_eq!(number_of(key_of(0x1234)), 0x1234);
    }

    #[test]
    fn ranges_that_touch_become_one() {
        let mut coverage = Coverage::new();
        coverage.add(at(256, "b"), at(512, "a"));
        coverage.add(Mark::start_of(0), at(256, "a"));
        assert_eq!((coverage.0.len(), coverage.has_bucket(0)), (2, false));
        coverage.add(at(512, "a"), Mark::start_of(1));
        assert!(!coverage.has_bucket(0), "a hole remains");
        coverage.add(at(256, "a"), at(256, "b"));
        assert_eq!((coverage.0.len(), coverage.has_bucket(0)), (1, true));
        coverage.add(Mark::start_of(1), Mark::End);
        assert!(coverage.is_whole() && coverage.missing().is_empty());
    }

    #[test]
    fn a_bucket_is_taken_out_of_what_covers_it() {
        let mut coverage = Coverage::new();
        coverage.add_all();
        coverage.remove_bucket(7);
        coverage.remove_bucket(255);
        let mut missing = Buckets::default();
        missing.insert(7);
        missing.insert(255);
        assert_eq!(coverage.missing(), missing);
        assert_eq!(
            (missing.next(0), missing.next(8), missing.next(256)),
            (Some(7), Some(255), Some(7))
        );
        coverage.add_bucket(255);
        coverage.add_bucket(7);
        assert!(coverage.is_whole());
    }

    #[test]
    fn ranges_are_bounded() {
        let mut coverage = Coverage::new();
        for number in 0..100_000_u64 {
            coverage.add(at(number * 256, ""), at(number * 256, "a"));
        }
        assert_eq!(coverage.0.len(), MAX_RANGES);
    }
}
