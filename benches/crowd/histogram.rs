//! Latencies, to within a sixteenth.

use std::fmt;

use crate::support::Result;

const PARTS: u64 = 16;

/// How many of each.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    longest: u64,
}

impl Histogram {
    pub(crate) fn add(&mut self, micros: u64) {
        let bucket = usize::try_from(bucket(micros)).unwrap_or(0);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
        self.longest = self.longest.max(micros);
    }

    /// Adds what [`parts`](Self::parts) of another one, in another process, wrote.
    pub(crate) fn merge(&mut self, parts: &str) -> Result {
        let mut numbers = parts.split(' ').map(str::parse::<u64>);
        let mut next = || numbers.next().transpose();
        self.longest = self.longest.max(next()?.ok_or("no histogram")?);
        while let Some(bucket) = next()? {
            let (bucket, count) = (usize::try_from(bucket)?, next()?.ok_or("a bucket is empty")?);
            if self.buckets.len() <= bucket {
                self.buckets.resize(bucket + 1, 0);
            }
            self.buckets[bucket] += count;
            self.count += count;
        }
        Ok(())
    }

    /// One line: the longest, then the number of each bucket and how many are in it.
    pub(crate) fn parts(&self) -> String {
        let mut parts = self.longest.to_string();
        for (bucket, count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            parts.push_str(&format!(" {bucket} {count}"));
        }
        parts
    }

    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// What this part of them did not exceed.
    fn quantile(&self, part: f64) -> u64 {
        let rank = (self.count as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return end_of(bucket as u64).min(self.longest);
            }
        }
        self.longest
    }
}

/// Below 16 each has its own; above, each power of two has 16 parts.
const fn bucket(value: u64) -> u64 {
    if value < PARTS {
        return value;
    }
    let power = value.ilog2() as u64 - 4;
    (power + 1) * PARTS + (value >> power) - PARTS
}

/// The largest value of a bucket.
const fn end_of(bucket: u64) -> u64 {
    if bucket < PARTS {
        return bucket;
    }
    let power = bucket / PARTS - 1;
    (((bucket % PARTS) + PARTS + 1) << power) - 1
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} deliveries, ms:", self.count)?;
        for (name, part) in [
            ("p1", 0.01),
            ("p50", 0.5),
            ("p90", 0.9),
            ("p99", 0.99),
            ("p99.9", 0.999),
            ("p100", 1.0),
        ] {
            write!(f, " {name} {:.1}", self.quantile(part) as f64 / 1e3)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_in_its_bucket_and_no_bucket_is_wide() {
        for value in (0..100_000).chain([u64::from(u32::MAX), 1 << 40]) {
            let end = end_of(bucket(value));
            assert!(end >= value && end - value <= value / PARTS, "{value}: {end}");
            assert_eq!(bucket(end + 1), bucket(value) + 1);
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_added() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|value| histogram.add(value));
        let near = |part, value: u64| {
            let found = histogram.quantile(part);
            assert!(found >= value && found <= value + value / PARTS, "{found}, not {value}");
        };
        near(0.5, 500);
        near(0.99, 990);
        near(1.0, 1000);
        assert_eq!(histogram.count(), 1000);
    }

    #[test]
    fn those_of_several_processes_are_one() {
        let (mut all, mut merged) = (Histogram::default(), Histogram::default());
        for values in [0..500, 400..2000] {
            let mut one = Histogram::default();
            values.clone().for_each(|value| one.add(value));
            values.for_each(|value| all.add(value));
            merged.merge(&one.parts()).unwrap();
        }
        merged.merge(&Histogram::default().parts()).unwrap();
        assert_eq!((merged.count(), merged.to_string()), (all.count(), all.to_string()));
        assert!(merged.merge("1 2").is_err() && merged.merge("").is_err());
    }
}
