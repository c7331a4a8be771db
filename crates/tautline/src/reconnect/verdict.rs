//! Whether to connect again.

use std::time::Duration;

/// What to do after a connection has ended or was not opened:
/// [`Cause::verdict`](crate::reconnect::Cause::verdict) has the defaults,
/// [`Reconnecting::decide`](crate::reconnect::Reconnecting::decide) changes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Connect again, after the next delay of the [`Backoff`](crate::reconnect::Backoff).
    Retry,
    /// Connect again at once, for instance because the cause was an old token. If the attempt that
    /// follows fails too, the next one has its delay, whatever the verdict.
    RetryNow,
    /// Connect again, but not before this time has passed. The delay of the
    /// [`Backoff`](crate::reconnect::Backoff) comes on top, since others may have been told the same time.
    RetryAfter(Duration),
    /// Connect again after a random time between these, or after the delay of the
    /// [`Backoff`](crate::reconnect::Backoff) if that is longer.
    RetryWithin {
        /// The shortest time.
        from: Duration,
        /// The longest time.
        to: Duration,
    },
    /// Do not connect again: it would not help.
    Stop,
}
