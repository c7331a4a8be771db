//! How long a broker may take: what the settings of all of them share.

use std::time::Duration;

/// The shortest that either may be.
const LEAST: Duration = Duration::from_millis(1);

/// How long a broker may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// For an operation, an attempt to connect, or the answer to a heartbeat.
    pub(super) deadline: Duration,
    /// Between two heartbeats.
    pub(super) heartbeat: Duration,
}

impl Times {
    /// Five seconds: a server that takes longer is overloaded, stopped or out of reach.
    pub(super) const DEADLINE: Duration = Duration::from_secs(5);
    /// With the deadline, a server that does not answer is taken for lost after ten seconds.
    pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);

    pub(super) fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline.max(LEAST);
    }

    pub(super) fn set_heartbeat(&mut self, every: Duration) {
        self.heartbeat = every.max(LEAST);
    }
}

impl Default for Times {
    fn default() -> Self {
        Self { deadline: Self::DEADLINE, heartbeat: Self::HEARTBEAT }
    }
}
