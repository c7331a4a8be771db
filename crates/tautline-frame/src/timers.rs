//! The deadlines of a connection: one table, read by `poll_timeout`.

use std::time::{Duration, Instant};

use crate::role::unpredictable_key;

/// The deadlines that nearly every connection has. All are `None` when nothing is awaited.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    /// When to check next whether the peer has been silent for too long.
    pub(crate) keepalive: Option<Instant>,
    /// The transport must have accepted something by then.
    pub(crate) send: Option<Instant>,
}

impl Timers {
    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        match (self.keepalive, self.send) {
            (Some(keepalive), Some(send)) => Some(keepalive.min(send)),
            (one, None) | (None, one) => one,
        }
    }
}

/// Whether a deadline has passed.
pub(crate) fn is_due(deadline: Option<Instant>, now: Instant) -> bool {
    deadline.is_some_and(|deadline| deadline <= now)
}

/// Between a half and the whole of `interval`, at random, so that connections that began together
/// do not ping together.
pub(crate) fn jittered(interval: Duration) -> Duration {
    let random = u32::from_be_bytes(unpredictable_key());
    interval / 2 + interval.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
}
