//! The end of a pool by force.

use std::time::Instant;

use super::manager::Manager;
use super::pool::ProcessPoolExecutor;
use super::worker_handle::WorkerHandle;
use crate::error::JobError;
use crate::stats::ExecutorStats;

/// How jobs are ended that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Force {
    /// As when they are cancelled.
    Terminate,
    Kill,
}

impl ProcessPoolExecutor {
    /// Takes no more work, cancels what waits and what runs, and ends the workers as a job that is cancelled ends its own:
    /// with a [`cancel_grace`](crate::ProcessPoolBuilder::cancel_grace) they are asked by SIGTERM, and killed when that time
    /// is over, else killed at once, with whatever jobs have started in them. Does not wait for them to be gone;
    /// [`shutdown`](Self::shutdown) does. May be called again, also after a shutdown that lets jobs run on.
    ///
    /// ```
    /// use std::time::Duration;
    /// use loopool_executors::{CancelToken, Executor, Job, ProcessPoolExecutor, call};
    ///
    /// let pool = ProcessPoolExecutor::builder().workers(1).cancel_grace(Duration::from_secs(5)).build()?;
    /// let heeds = |()| _ = CancelToken::current().unwrap().wait(None);
    /// let mut job: Job<()> = pool.submit(call(heeds, ()))?;
    /// pool.terminate_workers();
    /// assert!(job.result(None).unwrap_err().is_cancelled());
    /// pool.shutdown(true, false);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn terminate_workers(&self) -> ExecutorStats {
        self.shared().end_workers(Force::Terminate);
        self.stats()
    }

    /// Takes no more work, cancels what waits and what runs, and kills the workers with whatever jobs have
    /// started in them. Does not wait for them to be gone; [`shutdown`](Self::shutdown) does. May be called
    /// again, also after a shutdown that lets jobs run on.
    ///
    /// ```
    /// use loopool_executors::{Executor, Job, ProcessPoolExecutor, call};
    ///
    /// let pool = ProcessPoolExecutor::builder().workers(1).build()?;
    /// let mut endless: Job<()> = pool.submit(call(|()| loop {}, ()))?;
    /// pool.kill_workers();
    /// assert!(endless.result(None).unwrap_err().is_cancelled());
    /// assert_eq!(pool.shutdown(true, false).cancelled, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn kill_workers(&self) -> ExecutorStats {
        self.shared().end_workers(Force::Kill);
        self.stats()
    }
}

impl Manager {
    /// Cancels whatever was taken; and kills, if that is wanted, those who are still asked to end. Those that run nothing go
    /// when the pool closes.
    pub(super) fn end_all(&mut self, force: Force, now: Instant) {
        let in_workers = self.workers.values().flat_map(WorkerHandle::jobs);
        let all: Vec<u64> = in_workers.chain(&self.stranded).map(|job| job.id).collect();
        // Those that wait behind another one first: so they are taken back, one by one.
        for id in all.into_iter().rev() {
            self.cancel(id, now);
        }
        self.end_parked(JobError::cancelled);
        if force == Force::Terminate {
            return;
        }
        for worker in self.workers.values_mut() {
            if worker.kill_at.take().is_some() {
                worker.kill();
            }
        }
    }
}
