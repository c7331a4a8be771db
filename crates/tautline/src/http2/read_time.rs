//! When a connection was last read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::timer::now;

/// When an HTTP/2 connection was last read, for all of its streams: what they take has arrived by
/// then. So the clock is read once for what came together, and not for each message, of which it is
/// a good part. Clones are of the same connection.
#[derive(Clone, Debug)]
pub(crate) struct ReadTime(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    begun: Instant,
    /// After that.
    nanoseconds: AtomicU64,
}

impl ReadTime {
    /// Of a connection that begins.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared { begun: now(), nanoseconds: AtomicU64::new(0) }))
    }

    /// It was read just now.
    pub(crate) fn note(&self) {
        let passed = now().saturating_duration_since(self.0.begun).as_nanos();
        let nanoseconds = u64::try_from(passed).unwrap_or(u64::MAX);
        // Whoever takes what was read does so behind a lock of `h2`.
        self.0.nanoseconds.store(nanoseconds, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> Instant {
        let passed = Duration::from_nanos(self.0.nanoseconds.load(Ordering::Relaxed));
        self.0.begun.checked_add(passed).unwrap_or(self.0.begun)
    }
}
