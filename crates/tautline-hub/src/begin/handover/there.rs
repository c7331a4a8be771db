//! What the model has beside the crate's own: a broker, and subscribers who check what they get.

use crate::broker::History;
use crate::delivery::Delivery;
use crate::line::Step;
use crate::log::GapReason;
use crate::position::{Epoch, Position};
use crate::publication::Publication;

/// What was published. Its message is its offset.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) offset: u64,
    pub(super) previous: u64,
    /// What cannot be decoded has an offset, and is for nobody.
    pub(super) is_readable: bool,
}

impl Entry {
    pub(super) fn publication(self) -> Publication {
        self.offset.to_string().into()
    }
}

/// It has the last ones of what was published. If it goes back, what is published then is what was there before: by its
/// offset nobody could tell.
pub(super) struct Broker {
    /// Of each epoch, which count from 0.
    all: Vec<Vec<Entry>>,
    first: usize,
    end: usize,
    most: usize,
}

impl Broker {
    pub(super) fn new(most: usize) -> Self {
        Self { all: vec![Vec::new()], first: 0, end: 0, most }
    }

    pub(super) fn epoch(&self) -> Epoch {
        Epoch::from_u64(self.all.len() as u64 - 1)
    }

    pub(super) fn top(&self) -> Position {
        let last = self.end.checked_sub(1).map(|last| self.all[self.all.len() - 1][last].offset);
        Position { epoch: self.epoch(), offset: last.unwrap_or(0) }
    }

    pub(super) fn publish(&mut self, step: u64, is_readable: bool) -> Entry {
        let previous = self.top().offset;
        let entries = self.all.last_mut().unwrap();
        if self.end == entries.len() {
            entries.push(Entry { offset: previous + step, previous, is_readable });
        }
        self.end += 1;
        self.first = self.first.max(self.end.saturating_sub(self.most));
        entries[self.end - 1]
    }

    pub(super) fn begin_anew(&mut self) {
        self.all.push(Vec::new());
        (self.first, self.end) = (0, 0);
    }

    pub(super) fn forget(&mut self) {
        self.first = self.end;
    }

    pub(super) fn go_back(&mut self, count: usize) {
        self.end = self.end.saturating_sub(count);
        self.first = self.first.min(self.end);
    }

    pub(super) fn history(&self, after: u64, limit: usize) -> History {
        let kept = &self.all[self.all.len() - 1][self.first..self.end];
        let behind = &kept[kept.partition_point(|entry| entry.offset <= after)..];
        let part = &behind[..limit.min(behind.len())];
        let given = |entry: &Entry| (entry.offset, entry.publication());
        History {
            publications: part.iter().filter(|entry| entry.is_readable).map(given).collect(),
            top: self.top(),
            complete: match part.first() {
                Some(first) => first.previous <= after,
                None => after == self.top().offset,
            },
            read_to: part.last().map_or(after, |last| last.offset),
        }
    }

    /// The one that a subscriber gets next who has everything up to this position, of all that there ever were.
    pub(super) fn next(&self, at: Position) -> Option<Position> {
        let entries = &self.all[usize::try_from(at.epoch.as_u64()).unwrap()];
        let behind = &entries[entries.partition_point(|entry| entry.offset <= at.offset)..];
        let next = behind.iter().find(|entry| entry.is_readable)?;
        Some(Position { offset: next.offset, ..at })
    }
}

/// A subscriber.
pub(super) struct Subscriber {
    /// Everything up to there was received; unknown after a gap.
    pub(super) at: Option<Position>,
    /// Where the gap is.
    pub(super) gap: Option<Position>,
}

impl Subscriber {
    /// It gets the next one, and after a gap one that is behind it.
    pub(super) fn get(&mut self, delivery: &Delivery, broker: &Broker, seed: u64) {
        let position = delivery.position().unwrap();
        let message = delivery.publication().message().as_text().unwrap().parse();
        assert_eq!(message, Ok(position.offset), "seed {seed}");
        if let Some(at) = self.at {
            assert_eq!(Some(position), broker.next(at), "seed {seed}: behind {at:?}");
        } else if let Some(gap) = self.gap.filter(|gap| gap.epoch == position.epoch) {
            assert!(position.offset > gap.offset, "seed {seed}: {position:?} behind {gap:?}");
        }
        self.at = Some(position);
    }

    pub(super) fn take(&mut self, step: &Step, broker: &Broker, seed: u64) {
        match step {
            Step::Deliver(delivery) => self.get(delivery, broker, seed),
            Step::Gap(GapReason::Trimmed) => (self.at, self.gap) = (None, self.at.or(self.gap)),
            // It may go on ahead of where it was.
            Step::Gap(_) => (self.at, self.gap) = (None, None),
        }
    }
}
