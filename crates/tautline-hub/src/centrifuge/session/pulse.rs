//! Pings of the protocol: an empty reply, which the client answers with an empty command.

use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use crate::centrifuge::config::Ping;

/// Whether a client is there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pulse {
    /// It is not asked.
    Off,
    /// It will be asked.
    Idle { ping: Ping, next: Instant },
    /// It was asked, and has not answered.
    Waiting { ping: Ping, next: Instant, deadline: Instant },
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// Send a ping.
    Ping,
    /// The last one was not answered in time.
    Missed,
}

impl Pulse {
    /// Connections that come at the same time are not pinged at the same time: the first ping is sent at
    /// a random time in the second half of the interval. None is sent if that is beyond what the clock can tell.
    pub(super) fn new(ping: Option<Ping>, now: Instant) -> Self {
        let Some(ping) = ping else { return Self::Off };
        let random = RandomState::new().hash_one(ping.interval) >> 32;
        let half = ping.interval / 2;
        let later = half.mul_f64(random as f64 / f64::from(u32::MAX));
        match now.checked_add(half.saturating_add(later)) {
            Some(next) => Self::Idle { ping, next },
            None => Self::Off,
        }
    }

    pub(super) fn at(self) -> Option<Instant> {
        match self {
            Self::Off => None,
            Self::Idle { next, .. } => Some(next),
            Self::Waiting { next, deadline, .. } => Some(next.min(deadline)),
        }
    }

    pub(super) fn take_due(&mut self, now: Instant) -> Option<Beat> {
        match *self {
            Self::Waiting { deadline, .. } if now >= deadline => Some(Beat::Missed),
            Self::Idle { ping, next } if now >= next => {
                let times = now.checked_add(ping.interval).zip(now.checked_add(ping.timeout));
                let Some((next, deadline)) = times else {
                    *self = Self::Off;
                    return None;
                };
                *self = Self::Waiting { ping, next, deadline };
                Some(Beat::Ping)
            }
            Self::Off | Self::Idle { .. } | Self::Waiting { .. } => None,
        }
    }

    /// The client has answered. Returns whether it was asked.
    pub(super) fn answered(&mut self) -> bool {
        let Self::Waiting { ping, next, .. } = *self else { return false };
        *self = Self::Idle { ping, next };
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    // The first ping may be within what the clock can tell, and the next one not.
    #[test]
    fn the_last_ping_that_the_clock_can_tell_is_the_last() {
        let (now, interval) = (Instant::now(), Duration::from_secs(10_000_000_000_000_000_000));
        let ping = Ping { interval, timeout: Duration::from_secs(1) };
        let first = || Some(Pulse::new(Some(ping), now)).filter(|pulse| pulse.at().is_some());
        let mut pulse = (0..1000).find_map(|_| first()).unwrap();
        let at = pulse.at().unwrap();
        assert_eq!((pulse.take_due(at), pulse.at()), (None, None));
    }
}
