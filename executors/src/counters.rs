//! What became of the jobs, counted. Statistics only: nothing is decided by them, so every access is
//! relaxed and pairs with nothing.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::promise::Outcome;
use crate::stats::ExecutorStats;

#[derive(Debug, Default)]
pub(crate) struct Counters {
    submitted: AtomicU64,
    running: AtomicUsize,
    finished: AtomicU64,
    failed: AtomicU64,
    crashed: AtomicU64,
    timed_out: AtomicU64,
    cancelled: AtomicU64,
}

impl Counters {
    /// Counts a job as running until the guard is dropped.
    pub(crate) fn run(&self) -> Running<'_> {
        self.begin();
        Running(self)
    }

    /// Counts a job as running until [`end`](Self::end): for those whose end comes from elsewhere.
    pub(crate) fn begin(&self) {
        self.running.fetch_add(1, Relaxed);
    }

    /// Counts one job fewer as running.
    pub(crate) fn end(&self) {
        self.running.fetch_sub(1, Relaxed);
    }

    /// Counts what became of a job that was run.
    pub(crate) fn record<T>(&self, outcome: &Outcome<T>) {
        let counter = match outcome {
            Ok(_) => &self.finished,
            Err(error) if error.is_cancelled() => &self.cancelled,
            Err(error) if error.is_timeout() || error.is_queue_timeout() => &self.timed_out,
            Err(error) if error.crash().is_some() => &self.crashed,
            Err(_) => &self.failed,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Counts a job that was cancelled before it ran.
    pub(crate) fn record_cancelled(&self) {
        self.cancelled.fetch_add(1, Relaxed);
    }

    /// Counts a job that was submitted.
    pub(crate) fn record_submitted(&self) {
        self.submitted.fetch_add(1, Relaxed);
    }

    /// Counts a job whose time was up.
    pub(crate) fn record_timed_out(&self) {
        self.timed_out.fetch_add(1, Relaxed);
    }

    /// Counts a job that could not be run.
    pub(crate) fn record_failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    /// Counts jobs that were taken out of the queue to be ended unrun.
    pub(crate) fn record_unrun(&self, jobs: usize, cancelled: bool) {
        let counter = if cancelled { &self.cancelled } else { &self.failed };
        counter.fetch_add(jobs as u64, Relaxed);
    }

    pub(crate) fn stats(&self, workers: usize, waiting: usize) -> ExecutorStats {
        ExecutorStats {
            workers,
            submitted: self.submitted.load(Relaxed),
            waiting,
            running: self.running.load(Relaxed),
            finished: self.finished.load(Relaxed),
            failed: self.failed.load(Relaxed),
            crashed: self.crashed.load(Relaxed),
            timed_out: self.timed_out.load(Relaxed),
            cancelled: self.cancelled.load(Relaxed),
        }
    }
}

pub(crate) struct Running<'a>(&'a Counters);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
