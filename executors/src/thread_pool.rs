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
//! 4. A worker never drops or runs a job while it holds the lock, and no panic of a job's code or
//!    destructors ends it.
//! 5. At most one worker looks for a job for a while before it goes on the list, if that has paid lately.
//!    A submission that finds it looking, and no other job queued, leaves its job to it: so it looks
//!    once more *in the critical section* in which it stops looking.
//! 6. A worker that ends takes itself off the list of threads *in the critical section in which it
//!    looked* for work, so no submission can count on it.
//! 7. A thread is a worker once its initializer has succeeded. The first that fails breaks the pool: in one
//!    critical section the queue is emptied and closed, so each job fails, or is refused.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, MutexGuard};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use crate::caught::{drop_caught, drop_each_caught, tell, text_of};
use crate::counters::Counters;
use crate::error::{JobError, RejectReason, Rejected};
use crate::job::Job;
use crate::local_job::{LocalJob, Pair};
use crate::os;
use crate::patience::Patience;
use crate::promise::JobOwner;
use crate::queue::JobQueue;
use crate::shim::Mutex;
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
    /// Signalled when a thread ends, or waits for the others' end.
    ended: Condvar,
    counters: Counters,
    options: Options,
}

struct Options {
    max_workers: usize,
    name_prefix: String,
    keep_alive: Duration,
    nice: u8,
    initializer: Option<Initializer>,
}

type Initializer = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

impl Drop for Options {
    /// By whoever lets go of the pool last: a thread of it, or somebody with a job.
    fn drop(&mut self) {
        drop_caught("an initializer", self.initializer.take());
    }
}

struct State {
    queue: JobQueue<LocalJob>,
    /// Idle workers, the warmest last.
    idle: Vec<Arc<Signal>>,
    /// A worker that is not on that list looks at the queue again and again (rule 5).
    looking: bool,
    /// Those that have not ended (rule 6).
    threads: Vec<ThreadId>,
    next_name: u64,
    /// Of the threads, and of those that have ended and were not joined.
    handles: Vec<JoinHandle<()>>,
    shut_down: bool,
    /// Why nothing is run any more (rule 7).
    broken: Option<String>,
    /// How many of the threads wait in [`shutdown`](ThreadPoolExecutor::shutdown), called by their jobs.
    waiting_inside: usize,
}

/// How one idle worker is woken.
#[derive(Default)]
struct Signal {
    condvar: Condvar,
}

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
        let state = State {
            queue: JobQueue::new(self.queue_limit),
            idle: Vec::new(),
            looking: false,
            threads: Vec::new(),
            next_name: 0,
            handles: Vec::new(),
            shut_down: false,
            broken: None,
            waiting_inside: 0,
        };
        let options = Options {
            max_workers: self.max_workers,
            name_prefix: self.name_prefix,
            keep_alive: self.keep_alive,
            nice: self.nice,
            initializer: self.initializer,
        };
        let shared = Shared {
            state: Mutex::new(state),
            ended: Condvar::new(),
            counters: Counters::default(),
            options,
        };
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
        self.shared.counters.stats(state.threads.len(), state.queue.waiting())
    }

    /// Threads that wait for a job.
    pub fn idle_workers(&self) -> usize {
        self.shared.lock().idle.len()
    }

    /// Takes no more work. With `cancel_futures`, jobs that have not started are cancelled, else they
    /// are still run. With `wait`, returns when the threads have ended (called from one of them, it
    /// does not wait for that one, nor for others that wait in this call). May be called again, also at
    /// the same time.
    pub fn shutdown(&self, wait: bool, cancel_futures: bool) {
        self.shared.shut_down(cancel_futures);
        if wait {
            self.shared.wait_for_threads();
        }
    }
}

impl<W: Work> Executor<W> for ThreadPoolExecutor {
    fn submit(&self, work: W) -> Result<Job<W::Output>, Rejected<W>> {
        let mut state = self.shared.lock();
        if state.shut_down {
            return Err(Rejected::new(work, RejectReason::ShutDown));
        }
        if let Some(why) = &state.broken {
            let reason = RejectReason::Broken(why.clone());
            return Err(Rejected::new(work, reason));
        }
        if state.queue.is_full() {
            return Err(Rejected::new(work, RejectReason::QueueFull));
        }
        let awaited = state.looking && state.queue.waiting() == 0;
        if !awaited
            && state.idle.is_empty()
            && state.threads.len() < self.shared.options.max_workers
            && let Err(error) = self.shared.start_thread(&mut state)
            && state.threads.is_empty()
        {
            let reason = RejectReason::Broken(format!("no thread could be started: {error}"));
            return Err(Rejected::new(work, reason));
        }
        let (pair, job) = Pair::new(work, self.shared.clone(), state.queue.next_id());
        state.queue.push(pair);
        let worker = if awaited { None } else { state.idle.pop() };
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
        self.state.lock()
    }

    fn start_thread(self: &Arc<Self>, state: &mut State) -> std::io::Result<()> {
        let name = format!("{}-{}", self.options.name_prefix, state.next_name);
        let shared = self.clone();
        let handle = std::thread::Builder::new().name(name).spawn(move || {
            os::lower_priority_of_this_thread(shared.options.nice);
            let _thread = Thread { shared: &shared, id: std::thread::current().id() };
            match shared.initialize() {
                Ok(()) => shared.work(),
                Err(why) => shared.break_down(why),
            }
        })?;
        state.next_name += 1;
        state.threads.push(handle.thread().id());
        // Those that have ended need no join.
        state.handles.retain(|handle| !handle.is_finished());
        state.handles.push(handle);
        Ok(())
    }

    /// Rule 7. Why not, if it fails.
    fn initialize(&self) -> Result<(), String> {
        let Some(initializer) = &self.options.initializer else { return Ok(()) };
        let over = {
            let state = self.lock();
            state.broken.is_some() || (state.shut_down && state.queue.waiting() == 0)
        };
        if over {
            // There is nothing to do for it.
            return Ok(());
        }
        match catch_unwind(AssertUnwindSafe(|| initializer())) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("the initializer of its threads failed: {error}")),
            Err(payload) => {
                Err(format!("the initializer of its threads panicked: {}", text_of(payload)))
            }
        }
    }

    /// Rule 7.
    fn break_down(&self, why: String) {
        let mut state = self.lock();
        let first = state.broken.is_none();
        state.broken.get_or_insert_with(|| why.clone());
        let waiting = state.queue.drain();
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        for worker in idle {
            worker.condvar.notify_one();
        }
        if first {
            tell(|| tracing::error!(reason = why, "a pool of threads is broken"));
        }
        let reason = RejectReason::Broken(why);
        for job in waiting {
            job.end(JobError::rejected(&reason), &self.counters);
        }
    }

    /// The life of one thread.
    fn work(&self) {
        let me = std::thread::current().id();
        let signal = Arc::new(Signal::default());
        let mut garbage = Vec::new();
        let mut patience = Patience::new();
        let mut has_looked = false;
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop(&mut garbage) {
                drop(state);
                drop_each_caught("a cancelled job", garbage.drain(..));
                job.run(&self.counters);
                has_looked = false;
                state = self.lock();
                continue;
            }
            if !garbage.is_empty() {
                drop(state);
                drop_each_caught("a cancelled job", garbage.drain(..));
                state = self.lock();
                continue;
            }
            if state.shut_down || state.broken.is_some() {
                break;
            }
            if !std::mem::replace(&mut has_looked, true) && !state.looking {
                let rounds = patience.rounds();
                if rounds > 0 {
                    state = self.look(state, &mut patience, rounds);
                    continue;
                }
            }
            state.idle.push(signal.clone());
            let begun = Instant::now();
            loop {
                let keep_alive = self.options.keep_alive;
                let wait = || signal.condvar.wait_timeout(state, keep_alive);
                let waited = self.state.while_released(wait);
                let (again, timed_out) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
                state = again;
                let place = state.idle.iter().position(|other| Arc::ptr_eq(other, &signal));
                match place {
                    None => {
                        patience.slept(begun.elapsed(), true);
                        break;
                    }
                    Some(place) if timed_out.timed_out() => {
                        state.idle.remove(place);
                        self.end(&mut state, me);
                        return;
                    }
                    Some(_) => {}
                }
            }
        }
        self.end(&mut state, me);
    }

    /// Looks for a job, or an end, so often. Rule 5.
    fn look<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        patience: &mut Patience,
        rounds: u32,
    ) -> MutexGuard<'a, State> {
        state.looking = true;
        drop(state);
        // What is found is taken with the rest, by the caller.
        let _ = patience.look(rounds, |_| {
            let state = self.lock();
            let over = state.shut_down || state.broken.is_some();
            (state.queue.waiting() > 0 || over).then_some(())
        });
        state = self.lock();
        state.looking = false;
        state
    }

    /// Rule 6. Without effect when that was done before.
    fn end(&self, state: &mut State, thread: ThreadId) {
        state.threads.retain(|other| *other != thread);
        self.ended.notify_all();
    }

    /// Waits until no thread is left, or only those that wait here themselves, if the caller is one.
    fn wait_for_threads(&self) {
        let mut state = self.lock();
        let inside = state.threads.contains(&std::thread::current().id());
        if inside {
            state.waiting_inside += 1;
            self.ended.notify_all();
        }
        let others =
            |state: &mut State| state.threads.len() > if inside { state.waiting_inside } else { 0 };
        let waited = self.state.while_released(|| self.ended.wait_while(state, others));
        let mut state = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        if inside {
            state.waiting_inside -= 1;
        }
        let handles = std::mem::take(&mut state.handles);
        let (left, ended): (Vec<_>, Vec<_>) =
            handles.into_iter().partition(|handle| state.threads.contains(&handle.thread().id()));
        state.handles = left;
        drop(state);
        for handle in ended {
            // For the destructors of its thread-locals. A worker catches every panic, so there is
            // nothing to learn here.
            let _ = handle.join();
        }
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
            job.end(JobError::cancelled(), &self.counters);
        }
    }
}

/// Takes the thread off the list however it ends.
struct Thread<'a> {
    shared: &'a Shared,
    id: ThreadId,
}

impl Drop for Thread<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        self.shared.end(&mut state, self.id);
    }
}

impl JobOwner for Shared {
    fn cancelled_while_pending(&self, _id: u64) {
        let garbage = self.lock().queue.note_cancelled();
        self.counters.record_cancelled();
        drop_each_caught("a cancelled job", garbage);
    }

    fn cancel_running(&self, _id: u64) -> bool {
        false
    }
}
