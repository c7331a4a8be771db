//! How often each address may come: in a table of fixed size.

use std::time::{Duration, Instant};

use super::network::Key;

/// How many addresses are remembered, in sets that one hash selects. It is for those that came
/// within the last seconds: a burst of 100 is forgiven in three seconds at 30 a second. 256 KiB.
const SETS: usize = 2_048;
const WAYS: usize = 8;

/// When the bucket of each address will be empty again (its "theoretical arrival time" in the
/// generic cell rate algorithm, ITU-T I.371).
///
/// Whose set is full takes the place of the one that is empty soonest, of which least is forgotten.
/// So addresses that come once, however many there are, make the table forget each other, and not
/// those who are at their limit. Which addresses share a set depends on a hash with a secret.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// From when on times are counted: the first call.
    epoch: Option<Instant>,
    /// A key, or 0 if the place is free, and a time in nanoseconds. Empty until it is needed.
    cells: Vec<[u64; 2]>,
}

impl Rates {
    /// Counts one more, unless it is too many: so many per second, and so many at once.
    pub(super) fn take(&mut self, key: Key, rate: u32, burst: u32, now: Instant) -> bool {
        if self.cells.is_empty() {
            self.cells = vec![[0; 2]; SETS * WAYS];
        }
        let epoch = *self.epoch.get_or_insert(now);
        let now = nanoseconds(now.saturating_duration_since(epoch));
        let one = 1_000_000_000 / u64::from(rate.max(1));
        let tolerance = one.saturating_mul(u64::from(burst.max(1)) - 1);
        let cell = self.cell(key);
        let empty_at = if cell[0] == key.get() { cell[1].max(now) } else { now };
        if empty_at - now > tolerance {
            return false;
        }
        *cell = [key.get(), empty_at.saturating_add(one)];
        true
    }

    /// The place of this key, or the one that it may take.
    fn cell(&mut self, key: Key) -> &mut [u64; 2] {
        let first = (key.get() % SETS as u64) as usize * WAYS;
        let set = &self.cells[first..first + WAYS];
        let known = set.iter().position(|cell| cell[0] == key.get());
        let soonest = || (0..WAYS).min_by_key(|&way| set[way][1]);
        let way = known.or_else(soonest).unwrap_or(0);
        &mut self.cells[first + way]
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use std::collections::HashMap;
    use std::hash::{BuildHasher, RandomState};
    use std::sync::LazyLock;

    use super::*;

    static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);

    fn key(of: u64) -> Key {
        Key::new(SECRET.hash_one(of)).unwrap_or(Key::MIN)
    }

    /// The same without forgetting anybody.
    #[derive(Default)]
    struct Model(HashMap<Key, f64>);

    impl Model {
        /// A bucket that leaks `rate` per second and holds `burst`.
        fn take(&mut self, key: Key, rate: f64, burst: f64, since_last: f64) -> bool {
            for level in self.0.values_mut() {
                *level = (*level - since_last * rate).max(0.0);
            }
            let level = self.0.entry(key).or_default();
            let fits = *level + 1.0 <= burst + 1e-6;
            if fits {
                *level += 1.0;
            }
            fits
        }
    }

    #[test]
    fn a_burst_and_then_so_many_per_second() {
        let (mut rates, key, start) = (Rates::default(), key(1), Instant::now());
        let mut taken = |now, tries| (0..tries).filter(|_| rates.take(key, 30, 100, now)).count();
        assert_eq!(taken(start, 200), 100);
        assert_eq!(taken(start + Duration::from_millis(32), 5), 0);
        assert_eq!(taken(start + Duration::from_secs(1), 200), 30);
        assert_eq!(taken(start + Duration::from_secs(60), 200), 100, "all is forgiven");
        // A clock that goes back changes nothing.
        assert_eq!(taken(start - Duration::from_secs(1), 5), 0);
    }

    #[test]
    fn the_extremes_do_not_overflow() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let late = start + Duration::from_secs(60 * 60 * 24 * 365 * 100);
        for (rate, burst) in [(0, 0), (1, u32::MAX), (u32::MAX, u32::MAX), (u32::MAX, 1)] {
            for now in [start, late] {
                rates.take(key(7), rate, burst, now);
            }
        }
    }

    // What the table says is what buckets say that are never forgotten, for few addresses.
    #[test]
    fn it_agrees_with_a_bucket_for_each_address() {
        let keys: Vec<_> = (0..8).map(key).collect();
        let hasher = RandomState::new();
        let (mut rates, mut model, mut now) = (Rates::default(), Model::default(), Instant::now());
        let mut refused = 0;
        for step in 0..20_000_u64 {
            let random = hasher.hash_one(step);
            // In steps of a hundredth of what one takes, so that no rounding decides.
            let passed = Duration::from_millis(2 * (random % 4) + 1);
            now += passed;
            let key =
                keys[(random >> 32) as usize % if step.is_multiple_of(2) { 2 } else { keys.len() }];
            let expected = model.take(key, 5.0, 10.0, passed.as_secs_f64());
            assert_eq!(rates.take(key, 5, 10, now), expected, "step {step}");
            refused += usize::from(!expected);
        }
        assert!((1_000..19_000).contains(&refused), "{refused} of 20,000 were refused");
    }

    // An attacker with a /48 comes from each of its 65,536 networks in turn.
    #[test]
    fn who_is_at_its_limit_is_not_forgotten_for_those_that_come_once() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let greedy = key(0);
        let (mut taken, mut others) = (0, 0);
        for step in 0..200_000_u64 {
            // Two seconds in all.
            let now = start + Duration::from_micros(10 * step);
            others += usize::from(rates.take(key(step % 65_536 + 1), 30, 100, now));
            taken += usize::from(rates.take(greedy, 30, 100, now));
        }
        assert_eq!(others, 200_000);
        assert!((155..=160).contains(&taken), "{taken}, not 100 and 60");
        assert_eq!(rates.cells.len(), SETS * WAYS);
    }
}
