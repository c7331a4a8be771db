//! How long to wait before the next attempt: a policy without clock and timer.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::verdict::Verdict;

/// The ceiling is doubled from here if the first one is shorter, so that a first ceiling of zero
/// does not make all others zero.
const SHORTEST: Duration = Duration::from_millis(1);

/// How long to wait before each attempt to connect: a random time, whose ceiling doubles from
/// failure to failure up to a limit (exponential backoff with full jitter). It reads no clock and
/// starts no timer.
///
/// RFC 6455 section 7.2.3 asks for this, so that a server that restarts is not overrun by all its
/// clients at once: the first delay is random and at most 5 seconds, later ones are longer. "Full"
/// means that a delay is anything from zero to the ceiling, not only its upper half: so the clients
/// that were cut off together come back evenly.
///
/// A connection that lasted [`healthy_after`](Self::healthy_after) resets it.
///
/// ```
/// use std::time::Duration;
/// use tautline::reconnect::Backoff;
///
/// let mut backoff = Backoff::new().first(Duration::from_secs(1)).max(Duration::from_secs(3)).seed(7);
/// assert!(backoff.next_delay() <= Duration::from_secs(1));
/// assert!(backoff.next_delay() <= Duration::from_secs(2));
/// assert!(backoff.next_delay() <= Duration::from_secs(3)); // not 4
/// backoff.reset();
/// assert!(backoff.next_delay() <= Duration::from_secs(1));
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    jitter: bool,
    healthy_after: Duration,
    max_failures: Option<u32>,
    failures: u32,
    /// How many delays there were since the last connection that was healthy.
    delays: u32,
    /// The connection that ends was healthy.
    was_healthy: bool,
    /// The last delay was none, as [`Verdict::RetryNow`] asks.
    hurried: bool,
    /// Taken from the system when first used, so that clones of settings do not act as one.
    random: Option<Random>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Self::DEFAULT_FIRST,
            max: Self::DEFAULT_MAX,
            jitter: true,
            healthy_after: Self::DEFAULT_HEALTHY_AFTER,
            max_failures: None,
            failures: 0,
            delays: 0,
            was_healthy: false,
            hurried: false,
            random: None,
        }
    }
}

impl Backoff {
    /// Five seconds: RFC 6455 section 7.2.3.
    pub const DEFAULT_FIRST: Duration = Duration::from_secs(5);

    /// One minute: how long a user may have to wait for a server that is back.
    pub const DEFAULT_MAX: Duration = Duration::from_secs(60);

    /// Thirty seconds: a server that accepts connections and fails soon after is not healthy.
    pub const DEFAULT_HEALTHY_AFTER: Duration = Duration::from_secs(30);

    /// The defaults: delays of up to 5, 10, 20, 40 and then 60 seconds, without an end.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The ceiling of the first delay. Default: [`DEFAULT_FIRST`](Self::DEFAULT_FIRST).
    #[must_use]
    pub const fn first(mut self, ceiling: Duration) -> Self {
        self.first = ceiling;
        self
    }

    /// The highest ceiling. Default: [`DEFAULT_MAX`](Self::DEFAULT_MAX).
    #[must_use]
    pub const fn max(mut self, ceiling: Duration) -> Self {
        self.max = ceiling;
        self
    }

    /// Whether a delay is random from zero to its ceiling, or the ceiling itself. Turn it off only
    /// where no other client has the same server, or to see what happens. Default: random.
    #[must_use]
    pub const fn jitter(mut self, yes: bool) -> Self {
        self.jitter = yes;
        self
    }

    /// How long a connection must have lasted for the next delay to be a first one again. Default:
    /// [`DEFAULT_HEALTHY_AFTER`](Self::DEFAULT_HEALTHY_AFTER).
    #[must_use]
    pub const fn healthy_after(mut self, lasted: Duration) -> Self {
        self.healthy_after = lasted;
        self
    }

    /// How many attempts in a row may fail, or end before they are
    /// [healthy](Self::healthy_after), before no other is made; zero counts as one. Default: any
    /// number.
    #[must_use]
    pub fn max_failures(mut self, failures: impl Into<Option<u32>>) -> Self {
        self.max_failures = failures.into();
        self
    }

    /// Makes the delays the same in each run, for tests. Do not give two clients the same seed.
    /// Default: a seed of the system, another one for each client.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.random = Some(Random(seed));
        self
    }

    /// How many attempts in a row have failed so far.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Starts over: the next delay is a first one.
    pub const fn reset(&mut self) {
        self.failures = 0;
        self.delays = 0;
        self.hurried = false;
        self.was_healthy = false;
    }

    /// Takes note of how long a connection lasted: starts over if it was
    /// [healthy](Self::healthy_after).
    pub fn note_lasted(&mut self, lasted: Duration) {
        if lasted >= self.healthy_after {
            self.reset();
            self.was_healthy = true;
        }
    }

    /// Takes note of a failure, and returns how long to wait before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        self.delays = self.delays.saturating_add(1);
        self.hurried = false;
        if self.jitter { self.random().up_to(ceiling) } else { ceiling }
    }

    /// Takes note of a failure with this verdict, and returns how long to wait before the next
    /// attempt. `None` if there is to be none, or if there were
    /// [too many](Self::max_failures).
    pub fn delay_for(&mut self, verdict: Verdict) -> Option<Duration> {
        let hurried = self.hurried;
        // The end of a healthy connection is no failure.
        let failed = !std::mem::take(&mut self.was_healthy);
        let too_many = self.max_failures.is_some_and(|max| self.failures >= max.saturating_sub(1));
        if verdict == Verdict::Stop || failed && too_many {
            return None;
        }
        let own = self.next_delay();
        if !failed {
            self.failures = 0;
        }
        Some(match verdict {
            // Once only: what fails each time would be tried without a pause.
            Verdict::RetryNow if !hurried => {
                self.hurried = true;
                Duration::ZERO
            }
            // All clients may have been told the same time, so the delay comes on top.
            Verdict::RetryAfter(time) => time.saturating_add(own),
            Verdict::RetryWithin { from, to } => {
                let spread = self.random().up_to(to.saturating_sub(from));
                from.saturating_add(spread).max(own)
            }
            Verdict::Retry | Verdict::RetryNow | Verdict::Stop => own,
        })
    }

    /// The longest that the next delay can be.
    fn ceiling(&self) -> Duration {
        if self.delays == 0 {
            return self.first.min(self.max);
        }
        let factor = 1u32.checked_shl(self.delays).unwrap_or(u32::MAX);
        self.first.max(SHORTEST).saturating_mul(factor).min(self.max)
    }

    fn random(&mut self) -> &mut Random {
        self.random.get_or_insert_with(Random::of_system)
    }
}

/// SplitMix64: a counter whose bits are mixed. Good enough to spread clients, and nothing depends
/// on nobody being able to predict it.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    /// Of the keys that the standard library hashes with, which it takes from the system.
    fn of_system() -> Self {
        Self(RandomState::new().hash_one(0))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Evenly from zero up to `ceiling`, in steps of 2^-32 of it.
    fn up_to(&mut self, ceiling: Duration) -> Duration {
        let part = (self.next() >> 32) as u32;
        // Exact in any range, where floating point would lose nanoseconds and could overflow.
        let nanos = (ceiling.as_nanos() >> 32) * u128::from(part)
            + (((ceiling.as_nanos() & u128::from(u32::MAX)) * u128::from(part)) >> 32);
        Duration::new((nanos / 1_000_000_000) as u64, (nanos % 1_000_000_000) as u32)
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn delays_are_evenly_between_zero_and_a_ceiling_that_doubles_up_to_the_limit() {
        let ceilings = [5, 10, 20, 40, 60, 60, 60].map(secs);
        let mut tenths = [[0u32; 10]; 7];
        for seed in 0..10_000 {
            let mut backoff = Backoff::new().seed(seed);
            for (ceiling, tenths) in ceilings.iter().zip(&mut tenths) {
                let delay = backoff.next_delay();
                assert!(delay < *ceiling, "{delay:?} of {ceiling:?}");
                tenths[(delay.as_secs_f64() / ceiling.as_secs_f64() * 10.0) as usize] += 1;
            }
        }
        // Full jitter: the lowest tenth has as many as any other. Seven deviations from 1,000.
        for tenths in tenths {
            assert!(tenths.iter().all(|count| (790..1210).contains(count)), "{tenths:?}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_delays_and_no_seed_gives_others() {
        let delays = |mut backoff: Backoff| [(); 8].map(|()| backoff.next_delay());
        let seeded = Backoff::new().seed(42);
        assert_eq!(delays(seeded.clone()), delays(seeded));
        assert_ne!(delays(Backoff::new().seed(1)), delays(Backoff::new().seed(2)));
        let settings = Backoff::new();
        assert_ne!(delays(settings.clone()), delays(settings), "clones of unused settings");
    }

    #[test]
    fn it_starts_over_after_a_connection_that_lasted_and_not_after_a_short_one() {
        let mut backoff = Backoff::new().jitter(false);
        let delays = [(); 3].map(|()| backoff.next_delay());
        assert_eq!(delays, [5, 10, 20].map(secs));
        backoff.note_lasted(secs(29));
        assert_eq!((backoff.next_delay(), backoff.failures()), (secs(40), 4));
        backoff.note_lasted(secs(30));
        assert_eq!((backoff.next_delay(), backoff.failures()), (secs(5), 1));
    }

    #[test]
    fn extreme_settings_neither_overflow_nor_spin() {
        let mut longest = Backoff::new().first(Duration::MAX).max(Duration::MAX).seed(3);
        for _ in 0..100 {
            longest.next_delay();
        }
        assert_eq!(longest.clone().jitter(false).next_delay(), Duration::MAX);
        assert_eq!(longest.delay_for(Verdict::RetryAfter(Duration::MAX)), Some(Duration::MAX));
        longest.delays = u32::MAX - 1;
        longest.next_delay();
        longest.next_delay();
        let mut none = Backoff::new().first(Duration::ZERO).jitter(false);
        let delays = [(); 3].map(|()| none.next_delay().as_millis());
        assert_eq!(delays, [0, 2, 4], "only the first is immediate");
        let capped = Backoff::new().first(secs(9)).max(secs(2)).jitter(false).next_delay();
        assert_eq!(capped, secs(2));
    }

    #[test]
    fn a_verdict_is_heeded_and_what_others_were_told_too_is_spread() {
        let backoff = || Backoff::new().seed(11);
        let own = backoff().next_delay();
        assert_eq!(backoff().delay_for(Verdict::Retry), Some(own));
        let after = Verdict::RetryAfter(secs(120));
        assert_eq!(backoff().delay_for(after), Some(secs(120) + own));
        assert_eq!(backoff().delay_for(Verdict::Stop), None);
        let within = Verdict::RetryWithin { from: secs(100), to: secs(130) };
        let mut halves = [0; 2];
        for seed in 0..1000 {
            let delay = Backoff::new().seed(seed).delay_for(within).unwrap();
            assert!(delay >= secs(100) && delay < secs(130), "{delay:?}");
            halves[usize::from(delay >= secs(115))] += 1;
        }
        assert!(halves.iter().all(|count| *count > 400), "{halves:?}");
    }

    #[test]
    fn at_once_is_once_and_failures_in_a_row_have_a_bound() {
        let mut backoff = Backoff::new().jitter(false);
        let delays = [(); 4].map(|()| backoff.delay_for(Verdict::RetryNow).unwrap());
        assert_eq!(delays, [0, 10, 0, 40].map(secs));
        let mut bounded = Backoff::new().max_failures(3);
        assert!(bounded.delay_for(Verdict::Retry).is_some());
        assert!(bounded.delay_for(Verdict::RetryNow).is_some());
        assert_eq!(bounded.delay_for(Verdict::Retry), None);
        bounded.reset();
        assert!(bounded.delay_for(Verdict::Retry).is_some());
    }

    // A feed of at most one failure stopped when its connection of three days was lost, without having
    // tried.
    #[test]
    fn the_end_of_a_healthy_connection_is_no_failure() {
        let mut once = Backoff::new().max_failures(1).healthy_after(secs(30));
        once.note_lasted(secs(30));
        assert!(once.delay_for(Verdict::Retry).is_some());
        assert_eq!(once.failures(), 0);
        assert_eq!(once.delay_for(Verdict::Retry), None);
        once.note_lasted(secs(29));
        assert_eq!(once.delay_for(Verdict::Retry), None);
    }
}
