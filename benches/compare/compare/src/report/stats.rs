//! What is said of the figures of some rounds.
//!
//! Noise comes and goes with the host: the participants of one round are slow or fast together, and
//! far more so than a participant differs from another. So two of them are compared within each
//! round, and it is these ratios that have a median and an interval. The interval is that of the
//! sign test: it assumes nothing of the distribution.

/// Differences below this are none, whatever the rounds say: two builds of the same code differ by
/// as much.
const TIE: f64 = 0.03;
/// How likely the true median may be on either side of an interval.
const TAIL: f64 = 0.025;

/// What a participant came to in a round.
pub(super) type Figure = (usize, f64);

/// A median, and an interval in which the true one lies with a confidence of at least 95 %. With
/// fewer than six values nothing is that sure, and the interval is all of them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Estimate {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    /// Of how many values.
    pub(super) count: usize,
}

impl Estimate {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (median, count, rank) = (quantile(&values, 0.5)?, values.len(), rank(values.len()));
        Some(Self { median, low: values[rank - 1], high: values[count - rank], count })
    }

    /// Of the ratios of one participant to another, each taken within a round. A round that only
    /// one of them has counts for neither.
    pub(super) fn of_ratio(one: &[Figure], other: &[Figure]) -> Option<Self> {
        let ratio = |&(round, value): &Figure| {
            let (_, base) = other.iter().find(|(found, _)| *found == round)?;
            let ratio = value / base;
            ratio.is_finite().then_some(ratio)
        };
        Self::of(one.iter().filter_map(ratio).collect())
    }

    /// Whether a ratio tells no difference.
    pub(super) fn is_tie(&self) -> bool {
        (self.low <= 1.0 && self.high >= 1.0) || (self.median - 1.0).abs() <= TIE
    }
}

/// The interval of the median of so many values reaches from the value of this rank, counted from
/// 1, to that of the same rank from above: the largest `k` of which `P(X < k)` is at most [`TAIL`],
/// where `X` counts the heads of so many coins.
fn rank(count: usize) -> usize {
    let mut heads = 0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let (mut below, mut rank) = (0.0, 0);
    while rank < count {
        below += heads;
        if below > TAIL {
            break;
        }
        heads *= (count - rank) as f64 / (rank + 1) as f64;
        rank += 1;
    }
    rank.max(1)
}

/// The value below which this part of them lies, between two where none is there. They are in
/// order.
pub(super) fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let at = part * sorted.len().checked_sub(1)? as f64;
    let below = at.floor();
    let (low, high) = (sorted[below as usize], sorted[at.ceil() as usize]);
    Some(low + (high - low) * (at - below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(values: &[f64]) -> (f64, f64, f64) {
        let found = Estimate::of(values.to_vec()).unwrap();
        (found.median, found.low, found.high)
    }

    /// `P(X < k)` of `count` coins, by counting in whole numbers.
    fn below(count: u32, k: u32) -> f64 {
        let choose =
            |of: u128| (0..of).fold(1, |all, at| all * (u128::from(count) - at) / (at + 1));
        (0..k).map(|heads| choose(heads.into())).sum::<u128>() as f64 / 2_f64.powi(count as i32)
    }

    #[test]
    fn the_rank_is_that_of_the_sign_test() {
        // P(X < 4) of 15 is 576 / 32,768 = 0.0176, P(X < 5) is 1,941 / 32,768 = 0.0592.
        assert_eq!((below(15, 4), below(15, 5)), (576.0 / 32_768.0, 1_941.0 / 32_768.0));
        let ranks = [5, 6, 7, 8, 9, 11, 12, 15, 17, 20, 25].map(rank);
        assert_eq!(ranks, [1, 1, 1, 1, 2, 2, 3, 4, 5, 6, 8]);
        for count in 6..=60 {
            let k = rank(count as usize) as u32;
            assert!(below(count, k) <= TAIL && below(count, k + 1) > TAIL, "{count}: {k}");
        }
        assert_eq!([0, 1, 2, 3, 4, 5].map(rank), [1; 6]);
    }

    #[test]
    fn an_interval_leaves_out_the_ends_of_many_and_of_few_nothing() {
        let many = [9, 1, 15, 4, 12, 7, 3, 10, 2, 14, 6, 11, 8, 5, 13].map(f64::from);
        assert_eq!(estimate(&many), (8.0, 4.0, 12.0));
        assert_eq!(estimate(&[5.0, 1.0, 4.0, 2.0, 3.0]), (3.0, 1.0, 5.0));
        assert_eq!(estimate(&[2.0, 1.0]), (1.5, 1.0, 2.0));
        assert_eq!(estimate(&[7.0]), (7.0, 7.0, 7.0));
        assert_eq!(Estimate::of(Vec::new()), None);
    }

    /// A host that is twice as slow in some rounds does not touch a ratio within a round.
    #[test]
    fn ratios_are_those_within_a_round() {
        let base = [(0, 6.0), (1, 12.0), (2, 8.0), (3, 6.0), (4, 9.0)];
        let ours = base.map(|(round, value)| (round, value * 1.5));
        let found = Estimate::of_ratio(&ours, &base).unwrap();
        assert_eq!(found, Estimate { median: 1.5, low: 1.5, high: 1.5, count: 5 });
    }

    #[test]
    fn a_round_of_only_one_counts_for_neither() {
        let one = [(0, 2.0), (2, 9.0), (3, 4.0)];
        let other = [(3, 2.0), (0, 4.0), (1, 100.0), (2, 0.0)];
        let found = Estimate::of_ratio(&one, &other).unwrap();
        assert_eq!(found, Estimate { median: 1.25, low: 0.5, high: 2.0, count: 2 });
        assert_eq!(Estimate::of_ratio(&one, &[(7, 1.0)]), None);
    }

    #[test]
    fn a_tie_is_an_interval_with_1_in_it_or_a_difference_too_small() {
        let tie = |low, median, high| Estimate { median, low, high, count: 15 }.is_tie();
        assert!(tie(0.98, 1.10, 1.20));
        assert!(tie(0.80, 0.90, 1.00));
        assert!(tie(1.01, 1.02, 1.03));
        assert!(tie(0.96, 0.98, 0.99));
        assert!(!tie(1.01, 1.04, 1.08));
        assert!(!tie(0.90, 0.95, 0.99));
    }

    #[test]
    fn quantiles_lie_between_values() {
        let values = [1.0, 2.0, 3.0, 4.0, 9.0];
        let found = [0.0, 0.25, 0.5, 0.75, 1.0].map(|part| quantile(&values, part).unwrap());
        assert_eq!(found, values);
        assert_eq!(quantile(&[1.0, 2.0], 0.25), Some(1.25));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
