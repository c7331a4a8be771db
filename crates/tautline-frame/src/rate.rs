//! How much may come in a second: a bucket without a clock.

use std::time::Duration;

use crate::error::ProtocolError;

const SECOND: u64 = 1_000_000_000;

/// Which part of a burst is counted at once. Counting takes 100 instructions, a tenth of all that
/// a connection does for a read.
const UNCOUNTED: u64 = 16;

/// So much per second, and so much at once: a token bucket. For messages, bytes or frames.
///
/// Over any time, at most the amount of that time and one burst go through.
///
/// ```
/// use tautline_frame::Rate;
///
/// let rate = Rate::per_second(500).burst(2_000);
/// assert_eq!((rate.get_per_second(), rate.get_burst()), (500, 2_000));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    per_second: u64,
    burst: u64,
}

impl Rate {
    /// This much per second, at least 1, and as much at once as in one second.
    #[must_use]
    pub const fn per_second(amount: u64) -> Self {
        let amount = if amount == 0 { 1 } else { amount };
        Self { per_second: amount, burst: amount }
    }

    /// This much at once, from a peer that sent little before.
    #[must_use]
    pub const fn burst(mut self, amount: u64) -> Self {
        self.burst = amount;
        self
    }

    /// How much per second.
    #[must_use]
    pub const fn get_per_second(&self) -> u64 {
        self.per_second
    }

    /// How much at once.
    #[must_use]
    pub const fn get_burst(&self) -> u64 {
        self.burst
    }

    /// So little of what came may be left uncounted for a while that nobody notices: a part of the
    /// burst.
    pub(crate) const fn few(rate: Option<Self>) -> u32 {
        match rate {
            Some(rate) if rate.burst / UNCOUNTED < u32::MAX as u64 => {
                (rate.burst / UNCOUNTED) as u32
            }
            _ => u32::MAX,
        }
    }

    /// The time in which so much may come, in nanoseconds.
    #[inline]
    pub(crate) const fn time(self, amount: u64) -> u64 {
        match amount.checked_mul(SECOND) {
            Some(product) => product / self.per_second,
            None => (amount / self.per_second).saturating_mul(SECOND),
        }
    }
}

/// What rates apply to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Counts {
    pub(crate) bytes: u32,
    /// Frames of messages.
    pub(crate) messages: u32,
    /// Control frames.
    pub(crate) controls: u32,
}

/// What happens to a peer that sends more messages, or more bytes, than [`Rate`]s allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Excess {
    /// No more is read for as long as it came too early. The peer is slowed down by TCP, or by the
    /// window of its HTTP/2 stream.
    #[default]
    ReadLater,
    /// The connection is failed with 1008.
    Close,
}

/// How many times each limit over time has struck a peer: it had to wait, or the connection was
/// failed. See [`Protocol::strikes`](crate::Protocol::strikes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Strikes {
    /// [`Config::message_rate`](crate::Config::message_rate).
    pub message_rate: u64,
    /// [`Config::byte_rate`](crate::Config::byte_rate).
    pub byte_rate: u64,
    /// [`Config::control_rate`](crate::Config::control_rate), once at most: it fails the connection.
    pub control_rate: u64,
    /// [`Config::memory_budget`](crate::Config::memory_budget): it had to wait for others to let go
    /// of memory.
    pub memory_budget: u64,
}

impl Strikes {
    pub(crate) const NONE: Self =
        Self { message_rate: 0, byte_rate: 0, control_rate: 0, memory_budget: 0 };

    /// The connection was failed for this.
    pub(crate) const fn note(&mut self, error: &ProtocolError) {
        match error {
            ProtocolError::TooManyMessages { .. } => self.message_rate += 1,
            ProtocolError::TooManyBytes { .. } => self.byte_rate += 1,
            ProtocolError::TooManyControlFrames { .. } => self.control_rate += 1,
            _ => {}
        }
    }
}

/// How far a peer is ahead of its rate: 0 for one that is not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    /// The time that what came takes at the rate, less the time that passed, in nanoseconds.
    ahead: u64,
}

impl Bucket {
    pub(crate) const EMPTY: Self = Self { ahead: 0 };

    /// So much came in the time since the last call. Returns how long the peer is too early, in
    /// nanoseconds; 0 while it is within the burst.
    #[inline]
    pub(crate) fn charge(&mut self, rate: Rate, amount: u64, elapsed: u64) -> u64 {
        self.ahead = self.ahead.saturating_add(rate.time(amount)).saturating_sub(elapsed);
        self.ahead.saturating_sub(rate.time(rate.burst))
    }

    #[inline]
    pub(crate) const fn is_empty(self) -> bool {
        self.ahead == 0
    }
}

/// As a number for [`Bucket::charge`]; 585 years at most.
#[inline]
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::unpredictable_key;

    fn random(below: u64) -> u64 {
        u64::from(u32::from_be_bytes(unpredictable_key())) % below
    }

    /// The model: whether in every stretch of the calls so far no more came than its time and a
    /// burst allow. `calls` has the time since the call before, in milliseconds, and the amount.
    fn is_within(calls: &[(u64, u64)], rate: Rate) -> bool {
        (0..calls.len()).all(|from| {
            let (time, amount) = calls[from..]
                .iter()
                .fold((0, 0), |(time, amount), call| (time + call.0, amount + call.1));
            amount * 1000 <= time * rate.per_second + rate.burst * 1000
        })
    }

    #[test]
    fn a_bucket_is_exceeded_exactly_where_some_stretch_of_time_has_too_much() {
        let (mut exceeded, mut kept) = (0, 0);
        for _ in 0..300 {
            // Divisors of a second, so that the times are exact.
            let rate = Rate::per_second([1, 10, 500, 100_000][random(4) as usize]);
            let rate = rate.burst(random(5 * rate.per_second));
            let (mut bucket, mut calls) = (Bucket::EMPTY, Vec::new());
            for _ in 0..40 {
                let call = (random(2000), random(rate.per_second * 3 / 2 + 2));
                calls.push(call);
                let wait = bucket.charge(rate, call.1, call.0 * 1_000_000);
                assert_eq!(wait == 0, is_within(&calls, rate), "{rate:?} {calls:?}");
                if wait == 0 { kept += 1 } else { exceeded += 1 }
            }
        }
        assert!(exceeded > 100 && kept > 100, "both happen: {exceeded} {kept}");
    }

    #[test]
    fn who_waits_as_long_as_it_is_told_comes_at_the_rate() {
        let rate = Rate::per_second(100).burst(50);
        let (mut bucket, mut time, mut amount, mut wait) = (Bucket::EMPTY, 0, 0, 0);
        for _ in 0..1000 {
            let came = random(30);
            amount += came;
            time += wait;
            wait = bucket.charge(rate, came, wait);
        }
        time += wait;
        assert_eq!(amount, 50 + time / (SECOND / 100), "{time} ns");
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut bucket = Bucket::EMPTY;
        let slow = Rate::per_second(0).burst(0);
        assert_eq!(slow.get_per_second(), 1);
        assert_eq!(bucket.charge(slow, u64::MAX, 0), u64::MAX);
        assert_eq!(bucket.charge(slow, u64::MAX, u64::MAX), 0);
        let fast = Rate::per_second(u64::MAX);
        assert_eq!(bucket.charge(fast, u64::MAX, 0), 0);
    }
}
