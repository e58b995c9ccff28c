//! [`ThreadPoolExecutor`]: threads for work that blocks.
//!
//! # Protocol
//! One lock guards the queue, the idle list and the number of threads.
//! 1. A submission pushes its job and, in the same critical section, takes the most recently idle
//!    worker off the list (its caches are warm) or decides to start a thread.
//! 2. A worker that finds the queue empty puts itself on the list *in the critical section in which it
//!    looked*, so no submission can fall between.
//! 3. Whoever takes a worker off the list notifies it. A worker that wakes by itself (time limit) is
//!    still on the list, takes itself off and ends.
//! 4. A worker never drops or runs a job while it holds the lock.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::counters::Counters;
use crate::error::{RejectReason, Rejected};
use crate::job::Job;
use crate::local_job::{LocalJob, Pair};
use crate::os;
use crate::promise::JobOwner;
use crate::queue::JobQueue;
use crate::stats::ExecutorStats;
use crate::work::{Executor, Work};

/// A pool of threads for work that blocks or computes.
///
/// Threads are started when a job finds none idle, up to the limit; the most recently idle one is
/// used again first, and one that was idle for the [keep-alive](ThreadPoolBuilder::keep_alive) time
/// ends. A panic becomes the job's error; the thread lives on. (Where the final program is built with
/// `panic = "abort"` a panic ends the program.)
///
/// Dropping the pool takes no more work, lets what was submitted run to its end, and does not wait;
/// [`shutdown`](Self::shutdown) does.
///
/// ```
/// use loopool_executors::{Executor, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(4);
/// let mut jobs: Vec<_> = (0..8).map(|n| pool.submit(move || n * n).unwrap()).collect();
/// let squares: Vec<i32> = jobs.iter_mut().map(|job| job.result(None).unwrap()).collect();
/// assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36, 49]);
/// pool.shutdown(true, false);
/// ```
pub struct ThreadPoolExecutor {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    counters: Counters,
    options: Options,
}

struct Options {
    max_workers: usize,
    name_prefix: String,
    keep_alive: Duration,
    nice: u8,
}

struct State {
    queue: JobQueue<LocalJob>,
    /// Idle workers, the warmest last.
    idle: Vec<Arc<Signal>>,
    threads: usize,
    next_name: u64,
    handles: Vec<JoinHandle<()>>,
    shut_down: bool,
}

/// How one idle worker is woken.
#[derive(Default)]
struct Signal {
    condvar: Condvar,
}

/// Options of a [`ThreadPoolExecutor`].
#[derive(Debug, Clone)]
pub struct ThreadPoolBuilder {
    max_workers: usize,
    queue_limit: Option<usize>,
    name_prefix: String,
    keep_alive: Duration,
    nice: u8,
}

impl Default for ThreadPoolBuilder {
    fn default() -> Self {
        ThreadPoolBuilder {
            // CPython's default, which leaves room for blocking calls on small machines.
            max_workers: 32.min(num_cpus::get() + 4),
            queue_limit: None,
            name_prefix: "loopool-thread".to_owned(),
            keep_alive: Duration::from_secs(10),
            nice: 0,
        }
    }
}

impl ThreadPoolBuilder {
    /// The most threads there may be at a time; at least 1. Default: `min(32, CPUs + 4)`.
    pub fn max_workers(mut self, max_workers: usize) -> Self {
        self.max_workers = max_workers.max(1);
        self
    }

    /// The most jobs that may wait. Default: no limit.
    pub fn queue_limit(mut self, jobs: usize) -> Self {
        self.queue_limit = Some(jobs);
        self
    }

    /// What the threads' names begin with; a number follows. The system shows the first 15 bytes.
    pub fn thread_name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.name_prefix = prefix.into();
        self
    }

    /// How long an idle thread is kept. Default: 10 seconds.
    pub fn keep_alive(mut self, keep_alive: Duration) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// By how much the threads' nice value is raised (0–19), so that the event loops come first.
    pub fn nice(mut self, nice: u8) -> Self {
        self.nice = nice;
        self
    }

    /// Makes the pool. No thread is started yet.
    pub fn build(self) -> ThreadPoolExecutor {
        let state = State {
            queue: JobQueue::new(self.queue_limit),
            idle: Vec::new(),
            threads: 0,
            next_name: 0,
            handles: Vec::new(),
            shut_down: false,
        };
        let options = Options {
            max_workers: self.max_workers,
            name_prefix: self.name_prefix,
            keep_alive: self.keep_alive,
            nice: self.nice,
        };
        let shared = Shared { state: Mutex::new(state), counters: Counters::default(), options };
        ThreadPoolExecutor { shared: Arc::new(shared) }
    }
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

    /// What the pool is doing.
    pub fn stats(&self) -> ExecutorStats {
        let state = self.shared.lock();
        self.shared.counters.stats(state.threads, state.queue.waiting())
    }

    /// Threads that wait for a job.
    pub fn idle_workers(&self) -> usize {
        self.shared.lock().idle.len()
    }

    /// Takes no more work. With `cancel_futures`, jobs that have not started are cancelled, else they
    /// are still run. With `wait`, returns when the threads have ended (called from one of them, it
    /// does not wait for that one). May be called again.
    pub fn shutdown(&self, wait: bool, cancel_futures: bool) {
        self.shared.shut_down(cancel_futures);
        if !wait {
            return;
        }
        let handles = std::mem::take(&mut self.shared.lock().handles);
        let me = std::thread::current().id();
        for handle in handles {
            if handle.thread().id() != me {
                // A worker's body catches every panic of a job, so there is nothing to learn here.
                let _ = handle.join();
            }
        }
    }
}

impl<W: Work> Executor<W> for ThreadPoolExecutor {
    fn submit(&self, work: W) -> Result<Job<W::Output>, Rejected<W>> {
        let mut state = self.shared.lock();
        if state.shut_down {
            return Err(Rejected::new(work, RejectReason::ShutDown));
        }
        if state.queue.is_full() {
            return Err(Rejected::new(work, RejectReason::QueueFull));
        }
        if state.idle.is_empty()
            && state.threads < self.shared.options.max_workers
            && let Err(error) = self.shared.start_thread(&mut state)
            && state.threads == 0
        {
            let reason = RejectReason::Broken(format!("no thread could be started: {error}"));
            return Err(Rejected::new(work, reason));
        }
        let (pair, job) = Pair::new(work, self.shared.clone());
        state.queue.push(pair);
        let worker = state.idle.pop();
        drop(state);
        if let Some(worker) = worker {
            worker.condvar.notify_one();
        }
        Ok(job)
    }

    fn shutdown(&self, wait: bool, cancel_futures: bool) {
        ThreadPoolExecutor::shutdown(self, wait, cancel_futures);
    }
}

impl Drop for ThreadPoolExecutor {
    fn drop(&mut self) {
        self.shared.shut_down(false);
    }
}

impl fmt::Debug for ThreadPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ThreadPoolExecutor").field(&self.stats()).finish()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn start_thread(self: &Arc<Self>, state: &mut State) -> std::io::Result<()> {
        let name = format!("{}-{}", self.options.name_prefix, state.next_name);
        let shared = self.clone();
        let handle = std::thread::Builder::new().name(name).spawn(move || {
            os::lower_priority_of_this_thread(shared.options.nice);
            shared.work();
        })?;
        state.next_name += 1;
        state.threads += 1;
        // Those that have ended need no join.
        state.handles.retain(|handle| !handle.is_finished());
        state.handles.push(handle);
        Ok(())
    }

    /// The life of one thread.
    fn work(&self) {
        let signal = Arc::new(Signal::default());
        let mut garbage = Vec::new();
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop(&mut garbage) {
                drop(state);
                garbage.clear();
                job.run(&self.counters);
                state = self.lock();
                continue;
            }
            if !garbage.is_empty() {
                drop(state);
                garbage.clear();
                state = self.lock();
                continue;
            }
            if state.shut_down {
                break;
            }
            state.idle.push(signal.clone());
            loop {
                let waited = signal.condvar.wait_timeout(state, self.options.keep_alive);
                let (again, timed_out) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
                state = again;
                let place = state.idle.iter().position(|other| Arc::ptr_eq(other, &signal));
                match place {
                    None => break,
                    Some(place) if timed_out.timed_out() => {
                        state.idle.remove(place);
                        state.threads -= 1;
                        return;
                    }
                    Some(_) => {}
                }
            }
        }
        state.threads -= 1;
    }

    fn shut_down(&self, cancel_futures: bool) {
        let mut state = self.lock();
        state.shut_down = true;
        let cancelled = if cancel_futures { state.queue.drain() } else { Default::default() };
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        for worker in idle {
            worker.condvar.notify_one();
        }
        for job in cancelled {
            if job.cancel() {
                self.counters.record_cancelled();
            }
        }
    }
}

impl JobOwner for Shared {
    fn cancelled_while_pending(&self, _id: u64) {
        let garbage = self.lock().queue.note_cancelled();
        drop(garbage);
        self.counters.record_cancelled();
    }

    fn cancel_running(&self, _id: u64) -> bool {
        false
    }
}
