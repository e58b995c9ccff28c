//! [`CpuExecutor`]: a thread per core for work that computes, on rayon.
//!
//! # Protocol
//! 1. Jobs wait in our own queue, so that they can be counted, bounded and cancelled; each submission
//!    gives rayon one closure that takes the next job out. A closure that finds nothing (its job was
//!    cancelled, or run by whoever waited for it) returns.
//! 2. A job is taken out of the queue and counted as under way in one critical section; so when none waits
//!    and none is under way, all are over.
//! 3. A job that waits for another one of this pool runs it, if nobody has begun it (`own_pool.rs`). One that waits
//!    for a place in its own pool's full queue gets none, which might be for ever: it runs its work itself.
//! 4. A job that waits in `shutdown` waits neither for those on its own thread nor for those on others that
//!    wait there; and when all threads do that are left, for nothing: none is there to run what is queued.
//! 5. No panic reaches rayon but from what users give it themselves; that one its panic handler reports.

mod at_exit;

use std::fmt;
use std::sync::{Arc, Condvar, MutexGuard};
use std::thread::ThreadId;

use crate::caught::report_panic;
use crate::counters::Counters;
use crate::error::{JobError, RejectReason, Rejected};
use crate::exit;
use crate::in_hand;
use crate::job::Job;
use crate::local_job::{LocalJob, LocalPool, new_job};
use crate::options::{JobOptions, SubmitWith, With};
use crate::origin::Origin;
use crate::os;
use crate::own_pool;
use crate::place::{HasQueue, Place};
use crate::queue::{JobQueue, Leftovers};
use crate::shim::Mutex;
use crate::starting;
use crate::stats::ExecutorStats;
use crate::work::{Executor, Work};

/// A pool with a thread per core, for work that computes.
///
/// It is rayon: a job may use `rayon::join`, `par_iter` and `scope`, which then run on the same
/// threads.
///
/// # Beside event loops
/// There are as many threads as CPUs, as if there were no loops: but they run at lower priority, so a loop
/// that has something to do gets a CPU at once, and what the loops leave is used up, however little they have
/// to do. One pool is enough for a program; two of them would be in each other's way.
///
/// # Jobs that wait for jobs
/// A job may wait for others of its pool, with [`Job::result`] or what is in [`jobs`](crate::jobs). One that
/// nobody has begun the waiting thread runs there and then, so that even a pool of one thread gets on;
/// nothing else is run meanwhile. To call `result` on a job that is itself beneath on the same thread is
/// refused ([`is_endless_wait`](JobError::is_endless_wait)).
///
/// A thread that waits in `rayon::join` or `scope` may begin another job on top of what waits. So do not hold
/// a lock across these that other jobs take, too.
///
/// # Panics in jobs
/// A panic becomes the job's error, and so does one in what the job gives `join`, `scope` or `par_iter`. What
/// is given to `rayon::spawn` belongs to no job: its panic is reported through `tracing`. (Where the final
/// program is built with `panic = "abort"` a panic ends the program.)
///
/// # Examples
/// ```
/// use loopool_executors::{CpuExecutor, Executor};
///
/// let pool = CpuExecutor::new(2)?;
/// let mut job = pool.submit(|| (1..=20u64).product::<u64>())?;
/// assert_eq!(job.result(None)?, 2432902008176640000);
///
/// // On all of its threads.
/// use rayon::prelude::*;
/// let mut job = pool.submit(|| (1..=1_000u64).into_par_iter().map(|n| n * n).sum::<u64>())?;
/// assert_eq!(job.result(None)?, 333_833_500);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CpuExecutor {
    rayon: rayon::ThreadPool,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Signalled when there is one job less, if somebody waits for that, and when a thread of ours does.
    fewer: Condvar,
    counters: Counters,
    threads: usize,
    origin: Origin,
}

struct State {
    queue: JobQueue<LocalJob>,
    /// Jobs that were taken out of the queue to be run, and are not over (rule 2): the threads that they are on, one
    /// here for each.
    under_way: Vec<ThreadId>,
    /// Rayon's threads that have begun and may come back.
    begun: Vec<ThreadId>,
    /// How many of rayon's will never come back.
    struck: usize,
    /// How many threads stand in for those, the ones that are being started included.
    stand_ins: usize,
    /// The ones that have begun.
    standing_in: Vec<ThreadId>,
    shut_down: bool,
    /// How many wait in [`shutdown`](CpuExecutor::shutdown).
    waiting: usize,
    /// How many of these are the pool's own threads.
    waiting_inside: usize,
    /// How many jobs are on these (rule 4).
    suspended: usize,
    /// How often such were let go.
    rounds: u64,
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
    /// How many threads; at least 1. Default: the CPUs that the thread that makes the builder may use, with
    /// respect to its affinity and to quotas of control groups.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// The most jobs that may wait; at least 1. Default: no limit.
    pub fn queue_limit(mut self, jobs: usize) -> Self {
        self.queue_limit = Some(jobs.max(1));
        self
    }

    /// What the threads' names begin with; a number follows. NUL characters are left out.
    pub fn thread_name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.name_prefix = prefix.into();
        self
    }

    /// By how much the threads' nice value is above that of the program's first thread (0–19): each step leaves a thread about a fifth less of a
    /// CPU that others want as well. Default: 10, a tenth.
    pub fn nice(mut self, nice: u8) -> Self {
        self.nice = nice;
        self
    }

    /// Makes the pool and starts its threads.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn build(self) -> Result<CpuExecutor, std::io::Error> {
        let state = State {
            queue: JobQueue::new(self.queue_limit),
            under_way: Vec::new(),
            begun: Vec::new(),
            struck: 0,
            stand_ins: 0,
            standing_in: Vec::new(),
            shut_down: false,
            waiting: 0,
            waiting_inside: 0,
            suspended: 0,
            rounds: 0,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            fewer: Condvar::new(),
            counters: Counters::default(),
            threads: self.threads,
            origin: Origin::here(),
        });
        let (prefix, nice) = (self.name_prefix, self.nice);
        // It lives as long as the threads, and with it what they know their pool by.
        let pool = shared.clone();
        let rayon = rayon::ThreadPoolBuilder::new()
            .num_threads(self.threads)
            .thread_name(move |index| format!("{prefix}-{index}"))
            .start_handler(move |_| {
                own_pool::work_for(&*pool);
                pool.lock().begun.push(std::thread::current().id());
                os::lower_priority_of_this_thread(nice);
            })
            .panic_handler(|payload| report_panic("a closure given to rayon", payload))
            .spawn_handler(|thread| {
                let name = thread.name().unwrap_or_default().to_owned();
                starting::thread(name, || thread.run()).map(drop)
            })
            .build()
            .map_err(std::io::Error::other)?;
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
            threads: os::usable_cpus(),
            queue_limit: None,
            name_prefix: "loopool-cpu".to_owned(),
            nice: 10,
        }
    }

    /// What the pool is doing.
    pub fn stats(&self) -> ExecutorStats {
        if self.shared.origin.is_left_behind() {
            return self.shared.counters.stats(0, 0);
        }
        let waiting = self.shared.lock().queue.waiting();
        self.shared.counters.stats(self.shared.threads, waiting)
    }

    /// Takes no more work. With `cancel_futures`, jobs that have not started are cancelled, else they
    /// are still run. With `wait`, returns when all jobs are over (called by one of them, it waits neither
    /// for that one nor for others that wait in this call). May be called again, also at the same time.
    ///
    /// A job that waits for the one which calls this with `wait` is waited for in turn, if they are on two threads, and
    /// neither ends.
    ///
    /// What a job gives rayon is a part of it, on whichever thread that runs: there, call this without
    /// `wait`, or the job waits for its part and the part for the job.
    ///
    /// Tells what became of every job: after a `wait` none is waiting or running any more.
    pub fn shutdown(&self, wait: bool, cancel_futures: bool) -> ExecutorStats {
        if self.shared.origin.is_left_behind() {
            return self.stats();
        }
        let mut leftovers = Leftovers::new();
        let mut state = self.shared.lock();
        state.shut_down = true;
        state.queue.close(&mut leftovers);
        let cancelled = if cancel_futures { state.queue.drain(&mut leftovers) } else { Vec::new() };
        self.shared.counters.record_unrun(cancelled.len(), true);
        if state.waiting > 0 {
            self.shared.fewer.notify_all();
        }
        drop(state);
        leftovers.clear();
        in_hand::for_each(cancelled, |job| job.end(JobError::cancelled()));
        if wait {
            self.shared.wait_for_jobs();
        }
        self.stats()
    }

    /// This pool, for jobs that are treated so.
    pub fn with(&self, options: JobOptions) -> With<'_, Self> {
        With::new(self, options)
    }
}

impl<W: Work> SubmitWith<W> for CpuExecutor {
    fn submit_with(
        &self,
        options: &JobOptions,
        place: Place,
        work: W,
    ) -> Result<Job<W::Output>, Rejected<W>> {
        if self.shared.origin.is_left_behind() {
            return Err(Rejected::new(work, RejectReason::Forked));
        }
        let mut place = place.of(&*self.shared);
        let mut leftovers = Leftovers::new();
        let mut state = self.shared.lock();
        if state.shut_down {
            return Err(Rejected::new(work, exit::refusal()));
        }
        let has_place = state.queue.admits(&mut place.ticket);
        let is_own = || place.was_waited_for() && own_pool::works_for(&*self.shared);
        if !(has_place || is_own()) {
            return Err(Rejected::new(work, RejectReason::QueueFull));
        }
        let number = state.queue.next_number();
        let (local, job) = match new_job(work, options, &self.shared, number) {
            Ok(made) => made,
            Err(refused) => {
                state.queue.grant(&mut leftovers);
                return Err(refused);
            }
        };
        self.shared.counters.record_submitted();
        state.queue.push(options.priority, local);
        let has_threads = state.struck < self.shared.threads;
        drop(state);
        // Rule 3.
        if has_place || !self.shared.run_waiting(number) {
            let shared = self.shared.clone();
            if has_threads {
                self.rayon.spawn_fifo(move || _ = shared.run_one());
            } else {
                shared.stand_in(shared.lock());
            }
        }
        Ok(job)
    }
}

impl<W: Work> Executor<W> for CpuExecutor {
    fn submit(&self, work: W) -> Result<Job<W::Output>, Rejected<W>> {
        self.submit_to(Place::default(), work)
    }

    fn shutdown(&self, wait: bool, cancel_futures: bool) -> ExecutorStats {
        CpuExecutor::shutdown(self, wait, cancel_futures)
    }

    fn place(&self) -> Place {
        Place::in_queue_of(self.shared.clone())
    }

    fn submit_to(&self, place: Place, work: W) -> Result<Job<W::Output>, Rejected<W>> {
        self.submit_with(&JobOptions::default(), place, work)
    }
}

impl Drop for CpuExecutor {
    /// Takes no more work and lets what was submitted run to its end, without waiting (the program's
    /// [end](crate::exit()) does).
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl fmt::Debug for CpuExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CpuExecutor").field(&self.stats()).finish()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Runs the job that comes next; whether there was one.
    fn run_one(&self) -> bool {
        let mut leftovers = Leftovers::new();
        let job = self.begin(|queue| queue.pop(&mut leftovers));
        leftovers.clear();
        let is_there = job.is_some();
        self.finish(job);
        is_there
    }

    /// No more work is taken.
    fn close(&self) {
        if self.origin.is_left_behind() {
            return;
        }
        let mut leftovers = Leftovers::new();
        let mut state = self.lock();
        state.shut_down = true;
        state.queue.close(&mut leftovers);
    }

    /// Rule 2.
    fn begin(
        &self,
        take: impl FnOnce(&mut JobQueue<LocalJob>) -> Option<LocalJob>,
    ) -> Option<LocalJob> {
        let me = std::thread::current().id();
        let mut state = self.lock();
        let job = take(&mut state.queue)?;
        state.under_way.push(me);
        Some(job)
    }

    /// Runs what was begun.
    fn finish(&self, job: Option<LocalJob>) {
        let Some(job) = job else { return };
        let _under_way = UnderWay(self);
        let _inside = own_pool::enter(job.id());
        job.run(&self.counters);
    }

    /// Rule 4.
    fn wait_for_jobs(&self) {
        let inside = own_pool::works_for(self);
        let depth = if inside { own_pool::depth() } else { 0 };
        let mut state = self.lock();
        state.waiting += 1;
        if inside {
            state.waiting_inside += 1;
            state.suspended += depth;
            self.fewer.notify_all();
        }
        let round = state.rounds;
        let others = |state: &mut State| {
            let threads = self.threads - state.struck + state.stand_ins;
            let alone = inside && state.waiting_inside >= threads;
            let mine = if inside { state.suspended } else { 0 };
            let at_work = state.queue.waiting() + state.under_way.len() > mine && !alone;
            let let_go = inside && state.rounds != round;
            !let_go && (at_work || state.queue.misses_a_note())
        };
        let waited = self.state.while_released(|| self.fewer.wait_while(state, others));
        let mut state = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        state.waiting -= 1;
        if inside {
            if state.rounds == round {
                // All of them go together: one that went alone would be waited for by the others.
                state.rounds += 1;
                self.fewer.notify_all();
            }
            state.waiting_inside -= 1;
            state.suspended -= depth;
        }
    }
}

/// A job that was taken out of the queue; counted until this is dropped.
struct UnderWay<'a>(&'a Shared);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let me = std::thread::current().id();
        let mut state = self.0.lock();
        if let Some(place) = state.under_way.iter().position(|thread| *thread == me) {
            state.under_way.swap_remove(place);
        }
        if state.waiting > 0 {
            self.0.fewer.notify_all();
        }
    }
}

impl LocalPool for Shared {
    fn origin(&self) -> Origin {
        self.origin
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn note_gone(&self) -> Leftovers<LocalJob> {
        let mut leftovers = Leftovers::new();
        let mut state = self.lock();
        state.queue.note_gone(&mut leftovers);
        if state.waiting > 0 {
            self.fewer.notify_all();
        }
        leftovers
    }

    /// Rule 3.
    fn run_waiting(&self, number: u64) -> bool {
        let mut leftovers = Leftovers::new();
        let job = self.begin(|queue| queue.take(number, &mut leftovers));
        leftovers.clear();
        let is_there = job.is_some();
        self.finish(job);
        is_there
    }
}

impl HasQueue for Shared {
    type Entry = LocalJob;

    fn is_left_behind(&self) -> bool {
        self.origin.is_left_behind()
    }

    fn with_queue<R>(&self, f: impl FnOnce(&mut JobQueue<LocalJob>) -> R) -> R {
        f(&mut self.lock().queue)
    }
}
