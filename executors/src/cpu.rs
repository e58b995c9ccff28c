//! [`CpuExecutor`]: a thread per core for work that computes, on rayon.
//!
//! Jobs wait in our own queue, so that they can be counted, bounded and cancelled; each submission
//! gives rayon one closure that takes the next job out. A closure that finds nothing (its job was
//! cancelled) returns.

mod at_exit;

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::ThreadId;

use crate::caught::drop_each_caught;
use crate::counters::Counters;
use crate::error::{JobError, RejectReason, Rejected};
use crate::exit;
use crate::job::Job;
use crate::local_job::{LocalJob, Pair};
use crate::os;
use crate::promise::JobOwner;
use crate::queue::JobQueue;
use crate::stats::ExecutorStats;
use crate::work::{Executor, Work};

/// A pool with a thread per core, for work that computes.
///
/// It is rayon: a job may use `rayon::join`, `par_iter` and `scope`, which then run on the same
/// threads. The threads run at lower priority than the event loops, so that a saturated pool does not
/// ruin the latency of I/O. A panic becomes the job's error.
///
/// ```
/// use loopool_executors::{CpuExecutor, Executor};
///
/// let pool = CpuExecutor::new(2)?;
/// let mut job = pool.submit(|| (1..=20u64).product::<u64>())?;
/// assert_eq!(job.result(None)?, 2432902008176640000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CpuExecutor {
    rayon: rayon::ThreadPool,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Signalled when the last job is over: the last closure has returned, or no job runs or waits.
    quiet: Condvar,
    counters: Counters,
}

struct State {
    queue: JobQueue<LocalJob>,
    /// Closures handed to rayon that have not returned.
    outstanding: usize,
    /// The threads that run a job; one is here for each that it runs inside of another.
    running: Vec<ThreadId>,
    shut_down: bool,
}

/// Options of a [`CpuExecutor`].
#[derive(Debug, Clone)]
pub struct CpuExecutorBuilder {
    threads: usize,
    queue_limit: Option<usize>,
    name_prefix: String,
    nice: u8,
}

impl CpuExecutorBuilder {
    /// How many threads; at least 1. Default: the CPUs this process may use.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// The most jobs that may wait. Default: no limit.
    pub fn queue_limit(mut self, jobs: usize) -> Self {
        self.queue_limit = Some(jobs);
        self
    }

    /// What the threads' names begin with; a number follows.
    pub fn thread_name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.name_prefix = prefix.into();
        self
    }

    /// By how much the threads' nice value is raised (0–19). Default: 10.
    pub fn nice(mut self, nice: u8) -> Self {
        self.nice = nice;
        self
    }

    /// Makes the pool and starts its threads.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn build(self) -> Result<CpuExecutor, std::io::Error> {
        let (prefix, nice) = (self.name_prefix, self.nice);
        let rayon = rayon::ThreadPoolBuilder::new()
            .num_threads(self.threads)
            .thread_name(move |index| format!("{prefix}-{index}"))
            .start_handler(move |_| os::lower_priority_of_this_thread(nice))
            .build()
            .map_err(std::io::Error::other)?;
        let state = State {
            queue: JobQueue::new(self.queue_limit),
            outstanding: 0,
            running: Vec::new(),
            shut_down: false,
        };
        let shared = Shared {
            state: Mutex::new(state),
            quiet: Condvar::new(),
            counters: Counters::default(),
        };
        let shared = Arc::new(shared);
        exit::register(shared.clone());
        Ok(CpuExecutor { rayon, shared })
    }
}

impl CpuExecutor {
    /// A pool of `threads` threads (at least one).
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn new(threads: usize) -> Result<Self, std::io::Error> {
        Self::builder().threads(threads).build()
    }

    /// A pool with options.
    pub fn builder() -> CpuExecutorBuilder {
        CpuExecutorBuilder {
            threads: num_cpus::get(),
            queue_limit: None,
            name_prefix: "loopool-cpu".to_owned(),
            nice: 10,
        }
    }

    /// What the pool is doing.
    pub fn stats(&self) -> ExecutorStats {
        let waiting = self.shared.lock().queue.waiting();
        self.shared.counters.stats(self.rayon.current_num_threads(), waiting)
    }

    /// Takes no more work. With `cancel_futures`, jobs that have not started are cancelled, else they
    /// are still run. With `wait`, returns when all jobs are over. May be called again.
    ///
    /// # Panics
    /// With `wait` on one of the pool's own threads, which would wait for itself.
    #[track_caller]
    pub fn shutdown(&self, wait: bool, cancel_futures: bool) {
        let mut state = self.shared.lock();
        state.shut_down = true;
        let cancelled = if cancel_futures { state.queue.drain() } else { Default::default() };
        drop(state);
        for job in cancelled {
            job.end(JobError::cancelled(), &self.shared.counters);
        }
        if wait {
            assert!(
                self.rayon.current_thread_index().is_none(),
                "CpuExecutor::shutdown(wait = true) inside one of its own jobs would never return"
            );
            let state = self.shared.lock();
            let all_over = self.shared.quiet.wait_while(state, |state| state.outstanding > 0);
            drop(all_over);
        }
    }
}

impl<W: Work> Executor<W> for CpuExecutor {
    fn submit(&self, work: W) -> Result<Job<W::Output>, Rejected<W>> {
        let mut state = self.shared.lock();
        if state.shut_down {
            return Err(Rejected::new(work, exit::refusal()));
        }
        if state.queue.is_full() {
            return Err(Rejected::new(work, RejectReason::QueueFull));
        }
        let (pair, job) = Pair::new(work, self.shared.clone());
        state.queue.push(pair);
        state.outstanding += 1;
        drop(state);
        let shared = self.shared.clone();
        self.rayon.spawn_fifo(move || shared.run_one());
        Ok(job)
    }

    fn shutdown(&self, wait: bool, cancel_futures: bool) {
        CpuExecutor::shutdown(self, wait, cancel_futures);
    }
}

impl Drop for CpuExecutor {
    /// Takes no more work and lets what was submitted run to its end, without waiting (the program's
    /// [end](crate::exit()) does).
    fn drop(&mut self) {
        self.shared.lock().shut_down = true;
    }
}

impl fmt::Debug for CpuExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CpuExecutor").field(&self.stats()).finish()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn run_one(&self) {
        let _outstanding = Outstanding(self);
        self.run_next();
    }

    /// Runs the job that comes next; false when none waits.
    fn run_next(&self) -> bool {
        let mut garbage = Vec::new();
        let mut state = self.lock();
        let job = state.queue.pop(&mut garbage);
        let running = job.is_some().then(|| Running::begin(self, &mut state));
        drop(state);
        drop_each_caught("a cancelled job", garbage);
        if let Some(job) = job {
            job.run(&self.counters);
        }
        running.is_some()
    }

    fn tell_if_quiet(&self, state: &State) {
        let nothing_runs = state.running.is_empty() && state.queue.waiting() == 0;
        if state.outstanding == 0 || nothing_runs {
            self.quiet.notify_all();
        }
    }
}

/// A closure that rayon runs; counted until this is dropped.
struct Outstanding<'a>(&'a Shared);

impl Drop for Outstanding<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.outstanding -= 1;
        self.0.tell_if_quiet(&state);
    }
}

/// A job that runs on this thread.
struct Running<'a> {
    shared: &'a Shared,
    thread: ThreadId,
}

impl<'a> Running<'a> {
    fn begin(shared: &'a Shared, state: &mut State) -> Self {
        let thread = std::thread::current().id();
        state.running.push(thread);
        Running { shared, thread }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(place) = state.running.iter().position(|thread| *thread == self.thread) {
            state.running.swap_remove(place);
        }
        self.shared.tell_if_quiet(&state);
    }
}

impl JobOwner for Shared {
    fn cancelled_while_pending(&self, _id: u64) {
        let mut state = self.lock();
        let garbage = state.queue.note_cancelled();
        self.tell_if_quiet(&state);
        drop(state);
        self.counters.record_cancelled();
        drop_each_caught("a cancelled job", garbage);
    }

    fn cancel_running(&self, _id: u64) -> bool {
        false
    }
}
