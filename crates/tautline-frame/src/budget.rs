//! What many connections together may hold.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// So many, on cache lines of their own: connections of different cores rarely meet.
const SHARDS: usize = 16;

/// The bytes that all connections together may hold: received and not taken by the user, or queued
/// to be sent. Clones share one budget.
///
/// While more is held than the limit, the connections that hold the most, which is the average or
/// more, do not read on: their peers are slowed down, and the others are not. They look again every
/// 50 ms. One that is held up so for 30 s is failed with 1013 and
/// [`Timeout::Memory`](crate::Timeout::Memory): what fills the budget may be parts of messages that
/// will never be complete.
///
/// It is not a limit to the byte: each connection counts what it holds when it waits, and at the
/// end of a turn. What the user has taken is the user's, and is not counted.
///
/// ```
/// use tautline_frame::{Config, MemoryBudget};
///
/// let budget = MemoryBudget::new(256 << 20);
/// let config = Config::new().memory_budget(budget.clone());
/// assert_eq!((budget.used(), budget.strikes()), (0, 0));
/// ```
#[derive(Clone)]
pub struct MemoryBudget(Arc<Shared>);

#[derive(Default)]
struct Shared {
    limit: usize,
    strikes: AtomicU64,
    /// Which shard the next connection counts in.
    next: AtomicUsize,
    shards: [Shard; SHARDS],
}

/// What some of the connections hold, and how many of them hold anything.
#[derive(Default)]
#[repr(align(128))]
struct Shard {
    bytes: AtomicUsize,
    holders: AtomicUsize,
}

impl MemoryBudget {
    /// A budget of this many bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Shared { limit, ..Shared::default() }))
    }

    /// How many bytes may be held.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// How many bytes are held.
    #[must_use]
    pub fn used(&self) -> usize {
        self.sum(|shard| &shard.bytes)
    }

    /// How many times a connection had to wait because of this budget.
    #[must_use]
    pub fn strikes(&self) -> u64 {
        self.0.strikes.load(Ordering::Relaxed)
    }

    fn sum(&self, part: impl Fn(&Shard) -> &AtomicUsize) -> usize {
        let parts = self.0.shards.iter().map(|shard| part(shard).load(Ordering::Relaxed));
        parts.fold(0, usize::saturating_add)
    }

    /// A connection that holds nothing yet.
    pub(crate) fn share(&self) -> Share {
        let shard = self.0.next.fetch_add(1, Ordering::Relaxed) % SHARDS;
        Share { budget: self.clone(), shard, held: 0 }
    }
}

/// By identity: two budgets of the same size are not the same.
impl PartialEq for MemoryBudget {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for MemoryBudget {}

impl Hash for MemoryBudget {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBudget")
            .field("limit", &self.limit())
            .field("used", &self.used())
            .finish_non_exhaustive()
    }
}

/// What one connection holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: MemoryBudget,
    shard: usize,
    held: usize,
}

impl Share {
    /// It holds this much now.
    pub(crate) fn set(&mut self, held: usize) {
        let Some(shard) = self.budget.0.shards.get(self.shard) else { return };
        // Only this connection adds and subtracts its part, so no sum falls below 0.
        match held.checked_sub(self.held) {
            Some(0) => return,
            Some(more) => shard.bytes.fetch_add(more, Ordering::Relaxed),
            None => shard.bytes.fetch_sub(self.held - held, Ordering::Relaxed),
        };
        match (self.held, held) {
            (0, _) => drop(shard.holders.fetch_add(1, Ordering::Relaxed)),
            (_, 0) => drop(shard.holders.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
        self.held = held;
    }

    /// Whether this connection is to hold no more: too much is held, and it has no less than the
    /// average.
    pub(crate) fn is_over(&self) -> bool {
        if self.held == 0 {
            return false;
        }
        let used = self.budget.used();
        let holders = self.budget.sum(|shard| &shard.holders).max(1);
        used > self.budget.limit() && self.held >= used / holders
    }

    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// The connection waits because of it.
    pub(crate) fn strike(&self) {
        self.budget.0.strikes.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_until_its_connection_is_gone() {
        let budget = MemoryBudget::new(1000);
        let mut shares: Vec<_> = (0..40).map(|_| budget.share()).collect();
        for (index, share) in shares.iter_mut().enumerate() {
            share.set(index);
            share.set(index);
        }
        assert_eq!(budget.used(), (0..40).sum());
        shares.truncate(20);
        assert_eq!(budget.used(), (0..20).sum());
        for share in &mut shares {
            share.set(0);
        }
        assert_eq!((budget.used(), budget.sum(|shard| &shard.holders)), (0, 0));
    }

    #[test]
    fn the_largest_are_over_first_and_some_always_are() {
        let budget = MemoryBudget::new(1000);
        let mut shares: Vec<_> = (0..10).map(|_| budget.share()).collect();
        shares[9].set(1000);
        assert!(shares.iter().all(|share| !share.is_over()), "the limit is allowed");
        shares[0].set(1);
        let over = |shares: &[Share]| shares.iter().filter(|share| share.is_over()).count();
        assert!(shares[9].is_over() && over(&shares) == 1);
        for share in &mut shares {
            share.set(200);
        }
        assert_eq!(over(&shares), 10, "all hold the same");
        shares[3].set(300);
        assert!(shares[3].is_over() && over(&shares) == 1);
        shares.truncate(2);
        assert_eq!(over(&shares), 0, "the others have ended");
    }
}
