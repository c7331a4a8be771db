//! How the connections of a server are closed when it shuts down: the settings, and who is told
//! when. Without a clock.

use std::time::Duration;

use tautline_frame::CloseCode;

/// Connections that are told together: a timer for each of them would cost more than it spreads.
const STEP: Duration = Duration::from_millis(10);

/// The longest window, a century: times this many connections as there can be, it fits in 128 bits
/// of nanoseconds.
const LONGEST: Duration = Duration::from_secs(1 << 32);

/// How a server shuts down, in stages:
///
/// 1. It is no longer [ready](crate::ServerHandle::is_ready), but accepts for the time of
///    [`notice`](Self::notice), so that load balancers stop sending clients to it.
/// 2. It stops accepting: the listening socket is closed.
/// 3. Every connection is closed with [`code`](Self::code), one after the other within
///    [`spread`](Self::spread).
/// 4. It waits until all have ended, at most for [`timeout`](Self::timeout) from the time when the
///    last was told. Then it cuts off what is left.
///
/// ```
/// use std::time::Duration;
/// use tautline::{CloseCode, Drain, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let drain = Drain::new()
///     .notice(Duration::from_secs(5))
///     .code(CloseCode::SERVICE_RESTART)
///     .spread(Duration::from_secs(20));
/// let server = Server::bind("127.0.0.1:0").await?.drain(drain);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "settings do nothing before a server has them"]
pub struct Drain {
    code: CloseCode,
    notice: Duration,
    spread: Duration,
    timeout: Duration,
}

impl Drain {
    /// Twice the default close timeout: every connection whose handler cooperates has ended by
    /// then.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

    /// All at once, with 1001, and [`DEFAULT_TIMEOUT`](Self::DEFAULT_TIMEOUT) to end.
    pub const fn new() -> Self {
        Self {
            code: CloseCode::GOING_AWAY,
            notice: Duration::ZERO,
            spread: Duration::ZERO,
            timeout: Self::DEFAULT_TIMEOUT,
        }
    }

    /// The code of the Close (RFC 6455 section 7.4.1). Default: 1001. [`CloseCode::SERVICE_RESTART`]
    /// says that the server will be back.
    pub const fn code(mut self, code: CloseCode) -> Self {
        self.code = code;
        self
    }

    /// For how long the server still accepts when it is no longer ready. Default: 0. It should be
    /// longer than the interval at which a load balancer checks the server's health.
    pub const fn notice(mut self, notice: Duration) -> Self {
        self.notice = notice;
        self
    }

    /// In which time all connections are told, evenly, in groups of 10 ms. Default: 0, all at once.
    /// Clients that reconnect at once do not arrive together then.
    pub const fn spread(mut self, spread: Duration) -> Self {
        self.spread = spread;
        self
    }

    /// How long connections and handlers have to end, once the last was told, before they are cut
    /// off. Default: [`DEFAULT_TIMEOUT`](Self::DEFAULT_TIMEOUT).
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// See [`code`](Self::code).
    #[must_use]
    pub const fn get_code(&self) -> CloseCode {
        self.code
    }

    /// See [`notice`](Self::notice).
    #[must_use]
    pub const fn get_notice(&self) -> Duration {
        self.notice
    }

    /// See [`spread`](Self::spread).
    #[must_use]
    pub const fn get_spread(&self) -> Duration {
        self.spread
    }

    /// See [`timeout`](Self::timeout).
    #[must_use]
    pub const fn get_timeout(&self) -> Duration {
        self.timeout
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

/// Who is told when: connection `n` of `count` after `n / count` of the window.
#[derive(Debug)]
pub(crate) struct Schedule {
    spread: Duration,
    count: usize,
}

/// What is to be done at a time of a [`Schedule`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The first so many are told, and the next look is at this time of the window.
    First(usize, Duration),
    All,
}

impl Schedule {
    pub(crate) fn new(spread: Duration, count: usize) -> Self {
        Self { spread: spread.min(LONGEST), count }
    }

    pub(crate) fn at(&self, elapsed: Duration) -> Due {
        let Self { spread, count } = *self;
        if elapsed >= spread {
            return Due::All;
        }
        // The fraction is below 1, so this is at most `count`.
        let told = elapsed.as_nanos() * count as u128 / spread.as_nanos() + 1;
        let told = usize::try_from(told).unwrap_or(count).min(count);
        if told == count {
            return Due::All;
        }
        let next = spread.as_nanos() * told as u128 / count as u128;
        let next = u64::try_from(next).map_or(spread, Duration::from_nanos);
        Due::First(told, next.max(elapsed + STEP).min(spread))
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn without_a_window_all_are_told_at_once() {
        for count in [0, 1, 10_000] {
            assert_eq!(Schedule::new(Duration::ZERO, count).at(Duration::ZERO), Due::All);
        }
    }

    #[test]
    fn a_few_are_told_at_even_times() {
        let schedule = Schedule::new(ms(400), 4);
        assert_eq!(schedule.at(ms(0)), Due::First(1, ms(100)));
        assert_eq!(schedule.at(ms(99)), Due::First(1, ms(109)));
        assert_eq!(schedule.at(ms(100)), Due::First(2, ms(200)));
        assert_eq!(schedule.at(ms(250)), Due::First(3, ms(300)));
        assert_eq!(schedule.at(ms(300)), Due::All, "the last");
        assert_eq!(Schedule::new(ms(400), 0).at(ms(0)), Due::All);
    }

    #[test]
    fn many_are_told_in_groups_that_are_even_and_all_within_the_window() {
        let schedule = Schedule::new(ms(1000), 10_000);
        let (mut elapsed, mut before, mut looks) = (Duration::ZERO, 0, 0);
        while let Due::First(told, next) = schedule.at(elapsed) {
            assert!(told - before <= 101, "{told} after {before}");
            assert!(next >= elapsed + STEP);
            (elapsed, before, looks) = (next, told, looks + 1);
        }
        assert!((99..=101).contains(&looks) && elapsed <= ms(1000), "{looks}, {elapsed:?}");
    }

    #[test]
    fn extremes_do_not_overflow() {
        let schedule = Schedule::new(Duration::MAX, usize::MAX);
        assert!(matches!(schedule.at(Duration::from_secs(1)), Due::First(1.., _)));
        assert_eq!(schedule.at(Duration::MAX), Due::All);
    }
}
