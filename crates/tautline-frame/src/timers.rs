//! The deadlines of a connection: one table, read by `poll_timeout`.

use std::time::{Duration, Instant};

use crate::role::unpredictable_key;

/// When what is due. All `None` when nothing is awaited.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    /// The next look whether the peer has been silent for long.
    pub(crate) keepalive: Option<Instant>,
    /// Something must have been received by then, since a ping was written.
    pub(crate) ping: Option<Instant>,
    /// The connection must have ended by then.
    pub(crate) close: Option<Instant>,
    /// The transport must have taken something by then.
    pub(crate) send: Option<Instant>,
}

impl Timers {
    /// The first that is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        let mut first = self.keepalive;
        // A loop that nearly always finds nothing: asked for at every wake-up.
        for other in [self.ping, self.close, self.send].into_iter().flatten() {
            first = Some(first.map_or(other, |first| first.min(other)));
        }
        first
    }
}

/// Whether a deadline has passed.
pub(crate) fn is_due(deadline: Option<Instant>, now: Instant) -> bool {
    deadline.is_some_and(|deadline| deadline <= now)
}

/// Between a half and the whole of `interval`, at random, so that connections that began together do not ping together.
pub(crate) fn jittered(interval: Duration) -> Duration {
    let random = u32::from_be_bytes(unpredictable_key());
    interval / 2 + interval.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
}
