//! Durations, counted by their magnitude.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Up to 2^38 µs: three days.
const BUCKETS: usize = 40;

/// Statistics only: every access is relaxed and pairs with nothing. Written by one at a time, who has the manager's lock.
pub(in crate::process) struct Histogram([AtomicU64; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Histogram([const { AtomicU64::new(0) }; BUCKETS])
    }
}

impl Histogram {
    pub(in crate::process) fn record(&self, duration: Duration) {
        self.record_several(duration, 1);
    }

    /// So many durations that are so long together.
    pub(in crate::process) fn record_several(&self, sum: Duration, number: u32) {
        let duration = sum / number.max(1);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        let count = &self.0[bucket.min(BUCKETS - 1)];
        // No addition that others could come between: there are none, and it would cost three times as much.
        count.store(count.load(Relaxed) + u64::from(number), Relaxed);
    }

    pub(super) fn read(&self) -> DurationHistogram {
        let mut counts: Vec<u64> = self.0.iter().map(|count| count.load(Relaxed)).collect();
        let used = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        counts.truncate(used);
        DurationHistogram { counts }
    }
}

/// How many durations there were of each magnitude.
///
/// ```
/// use loopool_executors::{Executor, ProcessPoolExecutor, call};
///
/// let pool = ProcessPoolExecutor::new(1)?;
/// pool.submit(call(|n: u32| n, 1))?.result(None)?;
/// let times = pool.snapshot().run_time;
/// assert_eq!(times.count(), 1);
/// assert!(times.quantile(0.5).unwrap() > std::time::Duration::ZERO);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurationHistogram {
    /// The first one counts durations of less than a microsecond, and number *n* those of less than 2ⁿ µs that the
    /// one before does not count. The last one is not zero.
    pub counts: Vec<u64>,
}

impl DurationHistogram {
    /// Those of both.
    pub(super) fn and(mut self, other: &DurationHistogram) -> Self {
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self
    }

    /// How many durations there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// A bound that so large a part of the durations (0 to 1) stayed below; none if there were no durations. It is up
    /// to twice as long as the longest of them.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let rank = (part.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        let reached = |count: &u64| {
            below += count;
            below >= rank
        };
        let bucket = self.counts.iter().position(reached)?;
        Some(Duration::from_micros(1u64.checked_shl(bucket as u32).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_by_magnitude() {
        let histogram = Histogram::default();
        assert_eq!(histogram.read().quantile(0.5), None);
        for (nanos, times) in [(999, 3), (1000, 2), (3999, 4), (u64::MAX, 1)] {
            (0..times).for_each(|_| histogram.record(Duration::from_nanos(nanos)));
        }
        histogram.record(Duration::MAX);
        let read = histogram.read();
        assert_eq!((&read.counts[..3], read.counts.len()), (&[3, 2, 4][..], BUCKETS));
        assert_eq!(read.count(), 11);
        let micros = |part| read.quantile(part).unwrap().as_micros();
        assert_eq!((micros(0.0), micros(0.2), micros(0.4), micros(0.8)), (1, 1, 2, 4));
        assert!(micros(1.0) > 1 << 38);
    }
}
