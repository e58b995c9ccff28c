//! How long polls take: a histogram of samples.

use std::time::Duration;

use super::count;
use crate::shim::atomic::{AtomicU64, Ordering::Relaxed};

/// Bucket 0 holds what took less than 2^6 ns, each next one what took less than twice as long, and the
/// last one everything from 2^36 ns, some 69 seconds, on.
const BUCKETS: usize = 32;
const FIRST_BITS: u32 = 6;

/// How long the polls of a loop's tasks took: a histogram of samples; part of
/// [`LoopMetrics`](crate::LoopMetrics).
///
/// One in 16 of what a loop runs is timed, at random distances, callbacks included, which then do not count here. So a
/// [total](Self::total) of 100 stands for some 1600 polls. A poll is counted when it has returned.
///
/// The buckets are powers of two, in nanoseconds: less than 64 ns, less than 128 ns, and so on; what took
/// 69 seconds or more is in the last one.
///
/// ```
/// use std::time::Duration;
///
/// let runtime = loopool::Runtime::builder().loops(1).build()?;
/// runtime.run_until_complete(async {
///     for _ in 0..1000 {
///         loopool::yield_now().await;
///     }
/// });
/// let times = &runtime.metrics().loops[0].poll_times;
/// assert!(times.total() >= 1000 / 32);
/// println!("99 % of the polls took less than {:?}", times.quantile(0.99));
/// for (bound, count) in times.buckets().filter(|&(_, count)| count > 0) {
///     println!("less than {bound:?}: {count}");
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PollTimes {
    counts: [u64; BUCKETS],
}

impl PollTimes {
    /// How many polls were timed.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The buckets, the shortest times first: how many took less than this time, and no less than that of
    /// the bucket before. The bound of the last one is [`Duration::MAX`].
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.counts.iter().enumerate().map(|(bucket, &count)| (bound(bucket), count))
    }

    /// A time that the fraction `quantile` of the polls did not reach, 0.99 for the 99th percentile. It is
    /// the bound of a bucket: at most twice what an exact measurement would give, but for the first
    /// bucket, where it is 64 ns however short the polls were, and for the last one, where it is
    /// [`Duration::MAX`]. `None` when none was timed yet. What is outside of 0 to 1 is taken for the nearer of
    /// them.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        // The nearest rank. Counts beyond 2^53 would be rounded.
        let rank = ((quantile.clamp(0.0, 1.0) * self.total() as f64).ceil() as u64).max(1);
        let mut below = 0;
        self.buckets().find_map(|(bound, count)| {
            below += count;
            (below >= rank).then_some(bound)
        })
    }
}

/// Above everything in `bucket`.
fn bound(bucket: usize) -> Duration {
    match bucket {
        bucket if bucket == BUCKETS - 1 => Duration::MAX,
        bucket => Duration::from_nanos(1 << (FIRST_BITS + bucket as u32)),
    }
}

/// Where one loop counts its samples. Only its thread writes them: a plain load and store.
#[derive(Default)]
pub(crate) struct PollTimeCounters([AtomicU64; BUCKETS]);

impl PollTimeCounters {
    pub(crate) fn record(&self, nanos: u64) {
        let bucket = u64::BITS - (nanos >> FIRST_BITS).leading_zeros();
        count(&self.0[(bucket as usize).min(BUCKETS - 1)]);
    }

    pub(super) fn read(&self) -> PollTimes {
        PollTimes { counts: std::array::from_fn(|bucket| self.0[bucket].load(Relaxed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: &[u64]) -> PollTimes {
        let counters = PollTimeCounters::default();
        times.iter().for_each(|&nanos| counters.record(nanos));
        counters.read()
    }

    /// The bound of the only bucket that is not empty.
    fn bound_of(nanos: u64) -> Duration {
        let times = of(&[nanos]);
        assert_eq!(times.total(), 1);
        let mut full = times.buckets().filter(|&(_, count)| count > 0);
        let (bound, _) = full.next().unwrap();
        assert!(full.next().is_none());
        bound
    }

    #[test]
    fn each_time_lies_below_the_bound_of_its_bucket_and_not_below_the_one_before() {
        assert_eq!(bound_of(0), Duration::from_nanos(64));
        for bits in FIRST_BITS..36 {
            assert_eq!(bound_of((1 << bits) - 1), Duration::from_nanos(1 << bits));
            assert_eq!(bound_of(1 << bits), Duration::from_nanos(2 << bits));
        }
        assert_eq!(bound_of((1 << 37) - 1), Duration::MAX);
        assert_eq!(bound_of(u64::MAX), Duration::MAX);
    }

    #[test]
    fn a_quantile_is_the_bound_that_its_rank_falls_under() {
        assert_eq!(of(&[]).quantile(0.5), None);
        let mut times = vec![100; 99];
        times.push(5_000_000);
        let times = of(&times);
        let (short, long) = (Duration::from_nanos(128), Duration::from_nanos(1 << 23));
        for quantile in [-1.0, 0.0, 0.5, 0.99, f64::NAN] {
            assert_eq!(times.quantile(quantile), Some(short));
        }
        for quantile in [0.995, 1.0, 2.0] {
            assert_eq!(times.quantile(quantile), Some(long));
        }
    }
}
