//! Options of a [`ThreadPoolExecutor`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::ThreadPoolExecutor;
use super::crew::{Crew, Initializer, Options};
#[cfg(doc)]
use crate::error::{JobError, RejectReason};
use crate::{exit, os};

/// Options of a [`ThreadPoolExecutor`].
#[derive(Clone)]
pub struct ThreadPoolBuilder {
    max_workers: usize,
    queue_limit: Option<usize>,
    name_prefix: String,
    keep_alive: Duration,
    nice: u8,
    initializer: Option<Initializer>,
}

impl fmt::Debug for ThreadPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolBuilder")
            .field("max_workers", &self.max_workers)
            .field("queue_limit", &self.queue_limit)
            .field("name_prefix", &self.name_prefix)
            .field("keep_alive", &self.keep_alive)
            .field("nice", &self.nice)
            .finish_non_exhaustive()
    }
}

impl Default for ThreadPoolBuilder {
    fn default() -> Self {
        ThreadPoolBuilder {
            // CPython's default, which leaves room for blocking calls on small machines.
            max_workers: 32.min(os::usable_cpus() + 4),
            queue_limit: None,
            name_prefix: "loopool-thread".to_owned(),
            keep_alive: Duration::from_secs(10),
            nice: 0,
            initializer: None,
        }
    }
}

impl ThreadPoolBuilder {
    /// The most threads there may be at a time; at least 1. Default: `min(32, CPUs + 4)`.
    pub fn max_workers(mut self, max_workers: usize) -> Self {
        self.max_workers = max_workers.max(1);
        self
    }

    /// The most jobs that may wait; at least 1. Default: no limit.
    pub fn queue_limit(mut self, jobs: usize) -> Self {
        self.queue_limit = Some(jobs.max(1));
        self
    }

    /// What the threads' names begin with; a number follows. The system shows the first 15 bytes. NUL characters are
    /// left out.
    pub fn thread_name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.name_prefix = prefix.into();
        self
    }

    /// How long an idle thread is kept. Default: 10 seconds.
    pub fn keep_alive(mut self, keep_alive: Duration) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// By how much the threads' nice value is above that of the program's first thread (0–19), so that the event loops
    /// come first. Those that a thread with a higher value starts have at least that: without privileges there is
    /// no way back.
    pub fn nice(mut self, nice: u8) -> Self {
        self.nice = nice;
        self
    }

    /// What each thread does before its first job: to fill a thread-local variable, say.
    ///
    /// Jobs that run on other threads when it fails go on.
    ///
    /// # Errors
    /// If it returns an error or panics, the pool is broken for good: the jobs that wait fail with that reason
    /// ([`is_rejected`](JobError::is_rejected)), and later ones are [refused](RejectReason::Broken) with it.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use loopool_executors::{Executor, ThreadPoolExecutor};
    ///
    /// thread_local!(static DEPTH: Cell<u32> = const { Cell::new(0) });
    ///
    /// let pool = ThreadPoolExecutor::builder()
    ///     .initializer(|| {
    ///         DEPTH.set(8);
    ///         Ok(())
    ///     })
    ///     .build();
    /// assert_eq!(pool.submit(|| DEPTH.get())?.result(None)?, 8);
    /// # Ok::<(), loopool_executors::JobError>(())
    /// ```
    pub fn initializer(
        mut self,
        initializer: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.initializer = Some(Arc::new(initializer));
        self
    }

    /// Makes the pool. No thread is started yet.
    pub fn build(self) -> ThreadPoolExecutor {
        let options = Options {
            max_workers: self.max_workers,
            name_prefix: self.name_prefix,
            keep_alive: self.keep_alive,
            nice: self.nice,
            initializer: self.initializer,
        };
        let crew = Arc::new(Crew::new(options, self.queue_limit));
        exit::register(crew.clone());
        ThreadPoolExecutor { crew }
    }
}
