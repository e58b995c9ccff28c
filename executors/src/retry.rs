//! [`Retry`]: which failures of a job are answered by another attempt.

use std::time::Duration;

use crate::error::JobError;
use crate::process::CrashCause;

/// Which failures of a job in a pool of processes are answered by another attempt, how often, and after what pause.
///
/// Failures are counted apart, by cause: two crashes and a time-out of one job are not three of anything. Nothing is
/// tried again unless it was named here, and nothing at all before the author says that the job may be run twice
/// ([`idempotent`](Self::idempotent)): a worker that dies may have done its job's work and only not said so.
///
/// ```
/// use std::time::Duration;
/// use loopool_executors::{Executor, JobOptions, ProcessPoolExecutor, Retry, call};
///
/// fn flaky(path: String) -> bool {
///     let is_first = std::fs::File::create_new(&path).is_ok();
///     if is_first {
///         std::process::abort();
///     }
///     std::fs::remove_file(&path).is_ok()
/// }
///
/// let pool = ProcessPoolExecutor::new(1)?;
/// let retry = Retry::new(3).on_crash().on_timeout().idempotent();
/// let path = std::env::temp_dir().join(format!("loopool-flaky-{}", std::process::id()));
/// let job = call(flaky, path.display().to_string());
/// assert!(pool.with(JobOptions::new().retry(retry)).submit(job)?.result(None)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// One that was not declared idempotent is no option of a job:
///
/// ```compile_fail,E0308
/// use loopool_executors::{JobOptions, Retry};
/// let options = JobOptions::new().retry(Retry::new(3).on_crash());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "it has to be declared idempotent and given to a job's options"]
pub struct Retry {
    attempts: u32,
    causes: [bool; Cause::COUNT],
    first_pause: Duration,
    longest_pause: Duration,
}

impl Retry {
    /// Of the attempts that fail for one and the same cause, so many at most, the first one included; at least 1,
    /// which is none more. No cause is named yet.
    ///
    /// Pauses between attempts grow from 10 ms to 10 s, see [`pauses`](Self::pauses).
    pub fn new(attempts: u32) -> Self {
        Retry {
            attempts: attempts.max(1),
            causes: [false; Cause::COUNT],
            first_pause: Duration::from_millis(10),
            longest_pause: Duration::from_secs(10),
        }
    }

    /// When the job's process dies, but for want of memory. Once the attempts are used up, all of them by crashes,
    /// the job's input is *quarantined*: the error [has all reports](JobError::quarantine).
    pub fn on_crash(self) -> Self {
        self.on(Cause::Crash)
    }

    /// When the job runs longer than its limit. Past its deadline it is tried no more. (Where the pool has a
    /// [grace](crate::ProcessPoolBuilder::cancel_grace) the attempt before may still be ending.)
    pub fn on_timeout(self) -> Self {
        self.on(Cause::Timeout)
    }

    /// When the job's process dies for want of memory.
    pub fn on_out_of_memory(self) -> Self {
        self.on(Cause::OutOfMemory)
    }

    /// When the job panics. (A value that is an `Err` is a value: the pool does not look into it.)
    pub fn on_error(self) -> Self {
        self.on(Cause::Error)
    }

    /// How long to wait before the second attempt, and at most before a later one. Each pause is twice as long as
    /// the one before, and shortened by chance, by up to one half, so that jobs that failed together don't come back
    /// together.
    pub fn pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.first_pause = first;
        self.longest_pause = longest.max(first);
        self
    }

    /// Declares that to run the job twice does no harm. Only then it may be. (And only then it may be given ahead to a
    /// worker with a [sandbox](crate::Sandbox), which is not believed when it says that it has not begun.)
    pub fn idempotent(self) -> IdempotentRetry {
        IdempotentRetry(self)
    }

    fn on(mut self, cause: Cause) -> Self {
        self.causes[cause as usize] = true;
        self
    }
}

/// A [`Retry`] for jobs that may be run twice. Made by [`Retry::idempotent`], for
/// [`JobOptions::retry`](crate::JobOptions::retry).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "it has to be given to a job's options"]
pub struct IdempotentRetry(Retry);

impl IdempotentRetry {
    /// Whether another attempt follows the failure number `failures` for this cause.
    pub(crate) fn allows(&self, cause: Cause, failures: u32) -> bool {
        self.0.causes[cause as usize] && failures < self.0.attempts
    }

    /// How long to wait after so many failures in all. `chance` may be any number.
    pub(crate) fn pause(&self, failures: u32, chance: u64) -> Duration {
        let doubled = 1u32 << failures.saturating_sub(1).min(30);
        let longest = self.0.first_pause.saturating_mul(doubled).min(self.0.longest_pause);
        // 32 bits of it are a fraction.
        let fraction = (chance >> 32) as f64 / f64::from(u32::MAX);
        longest - longest.mul_f64(fraction / 2.0).min(longest)
    }
}

/// What failures are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Crash,
    OutOfMemory,
    Timeout,
    Error,
}

impl Cause {
    pub(crate) const COUNT: usize = 4;

    /// What may be tried again at all.
    pub(crate) fn of(error: &JobError) -> Option<Cause> {
        if let Some(report) = error.crash() {
            let memory = report.cause == CrashCause::OutOfMemory;
            Some(if memory { Cause::OutOfMemory } else { Cause::Crash })
        } else if error.is_timeout() {
            Some(Cause::Timeout)
        } else if error.is_panic() {
            Some(Cause::Error)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_counted_apart_and_only_those_that_were_named() {
        let retry = Retry::new(3).on_crash().on_timeout().idempotent();
        assert!(retry.allows(Cause::Crash, 1) && retry.allows(Cause::Crash, 2));
        assert!(!retry.allows(Cause::Crash, 3) && retry.allows(Cause::Timeout, 2));
        assert!(!retry.allows(Cause::Error, 1) && !retry.allows(Cause::OutOfMemory, 1));
        assert!(!Retry::new(0).on_error().idempotent().allows(Cause::Error, 1));
    }

    #[test]
    fn pauses_double_within_their_bounds_whatever_chance_says() {
        let ms = Duration::from_millis;
        let retry = Retry::new(9).pauses(ms(8), ms(100)).idempotent();
        for (failures, longest) in [(1, 8), (2, 16), (4, 64), (5, 100), (u32::MAX, 100)] {
            assert_eq!(retry.pause(failures, 0), ms(longest));
            let least = retry.pause(failures, u64::MAX);
            assert!(least <= ms(longest) / 2 + ms(1) && least >= ms(longest) / 2 - ms(1));
        }
        let none = Retry::new(2).pauses(Duration::ZERO, Duration::ZERO).idempotent();
        assert_eq!(none.pause(1, u64::MAX), Duration::ZERO);
    }
}
