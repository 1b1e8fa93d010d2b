//! How often values of which size came, as openraft counts its batches.
//!
//! The registry's crate of this name prepares tables for sixteen resolutions at the first use, 26 MB that stay resident,
//! of which openraft uses one with two kilobytes. This one has what openraft calls, of that one resolution: counts by the
//! highest bit of a value and the two bits after it, so that a percentile is at most a quarter too low.

use std::fmt;
use std::marker::PhantomData;

/// Bits of a value that are kept: the highest one and two more.
const WIDTH: u32 = 3;
/// Values of one highest bit fall into so many buckets.
const GROUP: usize = 1 << (WIDTH - 1);
/// Enough for every `u64`.
const BUCKETS: usize = GROUP * (u64::BITS - WIDTH + 2) as usize;

/// Counts of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: Vec<u64>,
    marked: PhantomData<T>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Histogram<T> {
    /// Without values.
    #[must_use]
    pub fn new() -> Self {
        Histogram { counts: vec![0; BUCKETS], marked: PhantomData }
    }

    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value so many times.
    pub fn record_n(&mut self, value: u64, times: u64) {
        let count = &mut self.counts[bucket(value)];
        *count = count.saturating_add(times);
    }

    /// What so many values of a thousand are below, about.
    fn permille(&self, samples: u64, permille: u64) -> u64 {
        let wanted = (u128::from(samples) * u128::from(permille)).div_ceil(1000);
        let mut seen = 0_u128;
        for (at, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if *count > 0 && seen >= wanted {
                return least(at);
            }
        }
        0
    }

    /// The percentiles that are shown.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        let samples = self.counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        let [p0_1, p1, p5, p10, p50, p90, p99, p99_9] =
            [1, 10, 50, 100, 500, 900, 990, 999].map(|permille| self.permille(samples, permille));
        PercentileStats { samples, p0_1, p1, p5, p10, p50, p90, p99, p99_9 }
    }
}

fn bucket(value: u64) -> usize {
    let bits = u64::BITS - value.leading_zeros();
    let Some(group) = bits.checked_sub(WIDTH) else { return usize::try_from(value).unwrap_or(0) };
    let rest = usize::try_from(value >> group).unwrap_or(0) % GROUP;
    GROUP * (group as usize + 1) + rest
}

/// The least value of a bucket.
fn least(bucket: usize) -> u64 {
    match bucket.checked_sub(GROUP) {
        Some(above) => ((GROUP + above % GROUP) as u64) << (above / GROUP),
        None => bucket as u64,
    }
}

/// Percentiles of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the percentile that its name says")]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PercentileStats { samples, p1, p50, p90, p99, p99_9, .. } = self;
        write!(f, "[samples: {samples}, P1: {p1}, P50: {p50}, P90: {p90}, P99: {p99}, P99.9: {p99_9}]")
    }
}

/// Histograms one after the other, as text.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart(Vec<(String, Histogram)>);

impl AsciiChart {
    /// Without any.
    #[must_use]
    pub fn new() -> Self {
        AsciiChart::default()
    }

    /// With one more.
    #[must_use]
    pub fn add(mut self, name: impl Into<String>, histogram: Histogram) -> Self {
        self.0.push((name.into(), histogram));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, histogram)| writeln!(f, "{name}: {}", histogram.percentile_stats()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_bucket_that_begins_at_most_a_quarter_below() {
        let around = (0..64).flat_map(|bit| [0, 1].map(|less| (1_u64 << bit) - less));
        for value in around.chain(0..5000).chain([u64::MAX]) {
            let (at, least) = (bucket(value), least(bucket(value)));
            assert!(at < BUCKETS && least <= value && value - least <= value / 4, "{value}: {at} {least}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats().p99, 0);
        histogram.record_n(1, 98);
        histogram.record(1024);
        histogram.record(4096);
        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, stats.p50, stats.p99, stats.p99_9), (100, 1, 1024, 4096));
    }
}
