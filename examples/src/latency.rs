//! How long answers take: a histogram that any thread may write to without waiting.
//!
//! Bounds are round decimal numbers with two digits (10, 11, … 99, 100, 110, …, in microseconds), so
//! that a percentile is wrong by at most a tenth, and the bounds that Prometheus is told are exactly
//! bounds of ours. All accesses are relaxed: these are statistics, nothing is decided by them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// 1 to 100 µs one by one, then 90 steps for each of the six decades up to 100 s, then all above.
const BUCKETS: usize = 100 + 6 * 90 + 1;

/// The bounds that Prometheus is told, in seconds and in microseconds.
const TOLD: [(&str, u64); 16] = [
    ("0.0001", 100),
    ("0.00025", 250),
    ("0.0005", 500),
    ("0.001", 1_000),
    ("0.0025", 2_500),
    ("0.005", 5_000),
    ("0.01", 10_000),
    ("0.025", 25_000),
    ("0.05", 50_000),
    ("0.1", 100_000),
    ("0.25", 250_000),
    ("0.5", 500_000),
    ("1", 1_000_000),
    ("2.5", 2_500_000),
    ("5", 5_000_000),
    ("10", 10_000_000),
];

/// Durations, counted.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

/// A [`Histogram`] at one moment. The difference of two is what came between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    buckets: Vec<u64>,
    micros: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: [const { AtomicU64::new(0) }; BUCKETS], micros: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts one.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
        self.buckets[bucket_of(micros)].fetch_add(1, Relaxed);
        self.micros.fetch_add(micros, Relaxed);
    }

    /// What was counted so far.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            buckets: self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect(),
            micros: self.micros.load(Relaxed),
        }
    }
}

impl Snapshot {
    /// What came since an earlier snapshot of the same histogram.
    pub fn since(&self, earlier: &Snapshot) -> Snapshot {
        let pairs = self.buckets.iter().zip(&earlier.buckets);
        Snapshot {
            buckets: pairs.map(|(now, then)| now.saturating_sub(*then)).collect(),
            micros: self.micros.saturating_sub(earlier.micros),
        }
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The sum of all, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.micros as f64 / 1e6
    }

    /// A duration that `percent` of all do not exceed; none when there are none.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((percent / 100.0 * count as f64).ceil() as u64).clamp(1, count);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|in_bucket| {
            seen += in_bucket;
            seen >= rank
        })?;
        Some(Duration::from_micros(bound_of(bucket)))
    }

    /// The bounds for Prometheus, each with how many did not exceed it.
    pub fn cumulative(&self) -> impl Iterator<Item = (&'static str, u64)> {
        TOLD.into_iter()
            .map(|(name, micros)| (name, self.buckets[..=bucket_of(micros)].iter().sum::<u64>()))
    }
}

/// A bucket holds what is above its predecessor's bound and not above its own.
fn bucket_of(micros: u64) -> usize {
    if micros <= 100 {
        return micros.saturating_sub(1) as usize;
    }
    let above = micros - 1;
    let digits = above.ilog10();
    let leading = (above / 10u64.pow(digits - 1)) as usize;
    (100 + (digits as usize - 2) * 90 + leading - 10).min(BUCKETS - 1)
}

/// The largest number of microseconds that falls into a bucket.
fn bound_of(bucket: usize) -> u64 {
    if bucket < 100 {
        return bucket as u64 + 1;
    }
    let decade = (bucket - 100) / 90;
    let leading = (bucket - 100) % 90 + 11;
    leading as u64 * 10u64.pow(decade as u32 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_ends_at_its_bound() {
        for bucket in 0..BUCKETS - 1 {
            assert_eq!(bucket_of(bound_of(bucket)), bucket);
            assert_eq!(bucket_of(bound_of(bucket) + 1), bucket + 1);
        }
        assert_eq!(bound_of(BUCKETS - 2), 100_000_000);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_right_to_a_tenth() {
        let histogram = Histogram::default();
        for micros in 1..=10_000 {
            histogram.record(Duration::from_micros(micros));
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count(), 10_000);
        for (percent, exact) in [(0.0, 1.0), (50.0, 5000.0), (99.0, 9900.0), (100.0, 10_000.0)] {
            let found = snapshot.percentile(percent).unwrap().as_micros() as f64;
            assert!((exact..=exact * 1.1).contains(&found), "{percent}: {found}");
        }
    }

    #[test]
    fn a_difference_holds_what_came_between() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_secs(9));
        let earlier = histogram.snapshot();
        assert_eq!(earlier.since(&earlier).percentile(50.0), None);
        histogram.record(Duration::from_millis(2));
        let between = histogram.snapshot().since(&earlier);
        assert_eq!((between.count(), between.sum_seconds()), (1, 0.002));
        assert_eq!(between.percentile(99.0), Some(Duration::from_millis(2)));
    }

    #[test]
    fn a_bound_counts_what_equals_it() {
        let histogram = Histogram::default();
        for micros in [1, 100, 101, 10_000, 10_001, 99_000_000] {
            histogram.record(Duration::from_micros(micros));
        }
        let told: Vec<_> = histogram.snapshot().cumulative().collect();
        let up_to = |name| told.iter().find(|(bound, _)| *bound == name).map(|found| found.1);
        assert_eq!(up_to("0.0001"), Some(2));
        assert_eq!(up_to("0.00025"), Some(3));
        assert_eq!(up_to("0.01"), Some(4));
        assert_eq!(up_to("10"), Some(5));
    }
}
