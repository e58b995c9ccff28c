//! What an executor is doing, in numbers.

use serde::{Deserialize, Serialize};

/// A moment's view of an executor. Counts since it was made are marked so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExecutorStats {
    /// Threads or processes that are there.
    pub workers: usize,
    /// Jobs that were taken, since the executor was made. Each is one of the following.
    pub submitted: u64,
    /// Jobs that wait for a worker.
    pub waiting: usize,
    /// Jobs that run.
    pub running: usize,
    /// Jobs that ended with a value, since the executor was made.
    pub finished: u64,
    /// Jobs that ended with an error other than the three below, since the executor was made.
    pub failed: u64,
    /// Jobs whose worker process died under them, since the executor was made.
    pub crashed: u64,
    /// Jobs that ran, or waited, longer than their limit, since the executor was made. (One that still occupies its
    /// thread counts as running, too.)
    pub timed_out: u64,
    /// Jobs that were cancelled, since the executor was made.
    pub cancelled: u64,
}
