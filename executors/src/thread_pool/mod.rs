//! [`ThreadPoolExecutor`]: threads for work that blocks.
//!
//! # Protocol
//! One lock guards the queue, the idle list and the number of workers.
//! 1. A submission pushes its job and, in the same critical section, takes the most recently idle
//!    worker off the list (its caches are warm), or sees to it that somebody will look whether a worker is missing
//!    (rule 8).
//! 2. A worker that finds the queue empty puts itself on the list *in the critical section in which it
//!    looked*, so no submission can fall between.
//! 3. Whoever takes a worker off the list notifies it. A worker that wakes by itself (time limit) is
//!    still on the list, takes itself off and ends.
//! 4. A worker never drops or runs a job while it holds the lock, and no panic of a job's code or
//!    destructors ends it.
//! 5. At most one worker looks for a job for a while before it goes on the list, if that has paid lately.
//!    A submission that finds it looking, and no other job queued, leaves its job to it: so it looks
//!    once more *in the critical section* in which it stops looking.
//! 6. A worker that ends counts itself out *in the critical section in which it looked* for work, so no
//!    submission can count on it.
//! 7. A thread is a worker once its initializer has succeeded. The first that fails breaks the pool: in one
//!    critical section the queue is emptied and closed, so each job fails, or is refused.
//! 8. While a job waits and there may be more workers, the pool is *watched* (`growth.rs`): whoever pushes a job
//!    that nobody idle takes sees to that in the same critical section, and the watch ends in one in which it found
//!    no job. So workers that are all blocked are noticed though nobody submits again.
//! 9. A job that waits for another one of this pool runs it, if nobody has begun it (`own_pool.rs`). One that
//!    waits for a place in its own pool's full queue gets none, which might be for ever: it runs its work itself.

mod at_exit;
mod builder;
mod crew;
mod growth;
mod worker;

use std::fmt;
use std::sync::Arc;

pub use self::builder::ThreadPoolBuilder;
use self::crew::Crew;
use crate::error::Rejected;
use crate::job::Job;
use crate::options::{JobOptions, SubmitWith, With};
use crate::place::Place;
use crate::stats::ExecutorStats;
use crate::work::{Executor, Work};

/// A pool of threads for work that blocks or computes.
///
/// There are as few threads as will do: the most recently idle one is used again first, and another one is
/// started, up to the limit, only when a job has waited for some tenths of a millisecond, because all of them are
/// blocked or have too much to do. One that was idle for the [keep-alive](ThreadPoolBuilder::keep_alive) time
/// ends. A panic becomes the job's error; the thread lives on. (Where the final program is built with
/// `panic = "abort"` a panic ends the program.)
///
/// A thread can't be stopped: [`Job::cancel`] and a [limit](JobOptions::job_timeout) ask a job that runs to end, and
/// it does so if it heeds its [`CancelToken`](crate::CancelToken).
///
/// Dropping the pool takes no more work, lets what was submitted run to its end, and does not wait;
/// [`shutdown`](Self::shutdown) does, and so does the program's [end](crate::exit()).
///
/// ```
/// use loopool_executors::{Executor, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(4);
/// let mut jobs: Vec<_> = (0..8).map(|n| pool.submit(move || n * n).unwrap()).collect();
/// let squares: Vec<i32> = jobs.iter_mut().map(|job| job.result(None).unwrap()).collect();
/// assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36, 49]);
/// let stats = pool.shutdown(true, false);
/// assert_eq!((stats.submitted, stats.finished), (8, 8));
/// ```
pub struct ThreadPoolExecutor {
    crew: Arc<Crew>,
}

impl Default for ThreadPoolExecutor {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl ThreadPoolExecutor {
    /// A pool of at most `max_workers` threads (at least one).
    pub fn new(max_workers: usize) -> Self {
        Self::builder().max_workers(max_workers).build()
    }

    /// A pool with options.
    pub fn builder() -> ThreadPoolBuilder {
        ThreadPoolBuilder::default()
    }

    /// This pool, for jobs that are treated so.
    pub fn with(&self, options: JobOptions) -> With<'_, Self> {
        With::new(self, options)
    }

    /// What the pool is doing.
    pub fn stats(&self) -> ExecutorStats {
        self.crew.stats()
    }

    /// Threads that wait for a job.
    pub fn idle_workers(&self) -> usize {
        self.crew.idle_workers()
    }

    /// Takes no more work. With `cancel_futures`, jobs that have not started are cancelled, else they
    /// are still run. With `wait`, returns when the threads have ended (called from one of them, it
    /// does not wait for that one, nor for others that wait in this call). May be called again, also at
    /// the same time.
    ///
    /// A job that waits for the one which calls this with `wait` is waited for in turn, if they are on two threads, and
    /// neither ends.
    ///
    /// Tells what became of every job: after a `wait` none is waiting or running any more.
    pub fn shutdown(&self, wait: bool, cancel_futures: bool) -> ExecutorStats {
        self.crew.shut_down(cancel_futures);
        if wait {
            self.crew.wait_for_all();
        }
        self.stats()
    }
}

impl<W: Work> SubmitWith<W> for ThreadPoolExecutor {
    fn submit_with(
        &self,
        options: &JobOptions,
        place: Place,
        work: W,
    ) -> Result<Job<W::Output>, Rejected<W>> {
        self.crew.submit(options, place, work)
    }
}

impl<W: Work> Executor<W> for ThreadPoolExecutor {
    fn submit(&self, work: W) -> Result<Job<W::Output>, Rejected<W>> {
        self.submit_to(Place::default(), work)
    }

    fn shutdown(&self, wait: bool, cancel_futures: bool) -> ExecutorStats {
        ThreadPoolExecutor::shutdown(self, wait, cancel_futures)
    }

    fn place(&self) -> Place {
        Place::in_queue_of(self.crew.clone())
    }

    fn submit_to(&self, place: Place, work: W) -> Result<Job<W::Output>, Rejected<W>> {
        self.submit_with(&JobOptions::default(), place, work)
    }
}

impl Drop for ThreadPoolExecutor {
    fn drop(&mut self) {
        self.crew.shut_down(false);
    }
}

impl fmt::Debug for ThreadPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ThreadPoolExecutor").field(&self.stats()).finish()
    }
}
