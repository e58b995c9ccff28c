//! What the workers of a pool share with whoever submits, and with the program's end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, MutexGuard};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

use super::at_exit;
use super::growth::Growth;
use super::worker::Worker;
use crate::caught::{drop_caught, tell, text_of};
use crate::counters::Counters;
use crate::error::{JobError, RejectReason, Rejected};
use crate::exit;
use crate::in_hand;
use crate::job::Job;
use crate::local_job::{LocalJob, LocalPool, new_job};
use crate::options::JobOptions;
use crate::origin::Origin;
use crate::os;
use crate::own_pool;
use crate::place::{HasQueue, Place};
use crate::queue::{JobQueue, Leftovers};
use crate::shim::Mutex;
use crate::starting;
use crate::stats::ExecutorStats;
use crate::timekeeper;
use crate::work::Work;

pub(super) struct Crew {
    pub(super) state: Mutex<State>,
    /// Signalled when a worker ends, or waits for the others' end.
    pub(super) ended: Condvar,
    counters: Counters,
    pub(super) options: Options,
    origin: Origin,
}

pub(super) struct Options {
    pub(super) max_workers: usize,
    pub(super) name_prefix: String,
    pub(super) keep_alive: Duration,
    pub(super) nice: u8,
    pub(super) initializer: Option<Initializer>,
}

pub(super) type Initializer = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

impl Drop for Options {
    /// By whoever lets go of the pool last: a thread of it, or somebody with a job.
    fn drop(&mut self) {
        drop_caught("an initializer", self.initializer.take());
    }
}

pub(super) struct State {
    pub(super) queue: JobQueue<LocalJob>,
    /// Idle workers, the warmest last.
    pub(super) idle: Vec<Arc<Signal>>,
    /// A worker that is not on that list looks at the queue again and again (rule 5).
    pub(super) looking: bool,
    /// How many have not ended (rule 6), those included whose thread is being started.
    pub(super) workers: usize,
    /// Those of them whose thread has begun, and whether they are no longer coming.
    pub(super) begun: Vec<(ThreadId, bool)>,
    /// Threads that will never come back, and are not joined.
    struck: Vec<ThreadId>,
    /// How many are joining threads that have ended.
    joining: usize,
    /// How many were started, or woken, and have not got as far as to do something.
    pub(super) coming: usize,
    pub(super) growth: Growth,
    next_name: u64,
    /// Of the workers, and of those that have ended and were not joined.
    handles: Vec<JoinHandle<()>>,
    /// How many are starting threads without the lock, so that not all handles are there.
    starting: usize,
    pub(super) shut_down: bool,
    /// Why nothing is run any more (rule 7).
    pub(super) broken: Option<String>,
    /// How many workers wait in [`shutdown`](super::ThreadPoolExecutor::shutdown), called by their jobs.
    waiting_inside: usize,
    /// How often such were let go.
    rounds: u64,
}

/// How one idle worker is woken.
#[derive(Default)]
pub(super) struct Signal {
    pub(super) condvar: Condvar,
}

impl Crew {
    pub(super) fn new(options: Options, queue_limit: Option<usize>) -> Self {
        let state = State {
            queue: JobQueue::new(queue_limit),
            idle: Vec::new(),
            looking: false,
            workers: 0,
            begun: Vec::new(),
            struck: Vec::new(),
            joining: 0,
            coming: 0,
            growth: Growth::default(),
            next_name: 0,
            handles: Vec::new(),
            starting: 0,
            shut_down: false,
            broken: None,
            waiting_inside: 0,
            rounds: 0,
        };
        Crew {
            state: Mutex::new(state),
            ended: Condvar::new(),
            counters: Counters::default(),
            options,
            origin: Origin::here(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn stats(&self) -> ExecutorStats {
        if self.origin.is_left_behind() {
            return self.counters.stats(0, 0);
        }
        let state = self.lock();
        self.counters.stats(state.workers, state.queue.waiting())
    }

    pub(super) fn idle_workers(&self) -> usize {
        if self.origin.is_left_behind() { 0 } else { self.lock().idle.len() }
    }

    /// Rule 1.
    pub(super) fn submit<W: Work>(
        self: &Arc<Self>,
        options: &JobOptions,
        place: Place,
        work: W,
    ) -> Result<Job<W::Output>, Rejected<W>> {
        if self.origin.is_left_behind() {
            return Err(Rejected::new(work, RejectReason::Forked));
        }
        let mut place = place.of(&**self);
        let mut leftovers = Leftovers::new();
        let mut state = self.lock();
        if let Some(reason) = state.refusal() {
            return Err(Rejected::new(work, reason));
        }
        if state.workers == 0
            && let Err(error) = self.start_first(&mut state)
        {
            let reason = RejectReason::Broken(format!("no thread could be started: {error}"));
            return Err(Rejected::new(work, reason));
        }
        let has_place = state.queue.admits(&mut place.ticket);
        let is_own = || place.was_waited_for() && own_pool::works_for(&**self);
        if !(has_place || is_own()) {
            return Err(Rejected::new(work, RejectReason::QueueFull));
        }
        let (local, job) = match new_job(work, options, self, state.queue.next_number()) {
            Ok(made) => made,
            Err(refused) => {
                state.queue.grant(&mut leftovers);
                return Err(refused);
            }
        };
        self.counters.record_submitted();
        let awaited = state.looking && state.queue.waiting() == 0;
        let number = state.queue.push(options.priority, local);
        if !has_place {
            // Rule 9.
            drop(state);
            self.run_waiting(number);
            return Ok(job);
        }
        let worker = if awaited { None } else { state.idle.pop() };
        state.coming += usize::from(worker.is_some());
        let watch = !awaited && worker.is_none() && self.is_to_be_watched(&mut state);
        drop(state);
        if let Some(worker) = worker {
            worker.condvar.notify_one();
        } else if watch {
            self.watch();
        }
        Ok(job)
    }

    /// The first one that there is to be, under the lock: without it nothing is run.
    fn start_first(self: &Arc<Self>, state: &mut State) -> std::io::Result<()> {
        let handle = self.start(&state.next_thread_name(&self.options))?;
        state.workers += 1;
        state.coming += 1;
        state.keep(Some(handle));
        Ok(())
    }

    /// So many more; whether the system gave them.
    pub(super) fn start_more(
        self: &Arc<Self>,
        count: usize,
        mut state: MutexGuard<'_, State>,
    ) -> std::io::Result<()> {
        state.workers += count;
        state.coming += count;
        state.starting += 1;
        let names: Vec<_> = (0..count).map(|_| state.next_thread_name(&self.options)).collect();
        drop(state);
        let mut refused = Ok(());
        let mut start = |name: &String| self.start(name).map_err(|error| refused = Err(error)).ok();
        let started: Vec<_> = names.iter().map_while(&mut start).collect();
        let mut state = self.lock();
        state.workers -= count - started.len();
        state.coming -= count - started.len();
        state.starting -= 1;
        state.keep(started);
        drop(state);
        self.ended.notify_all();
        refused
    }

    fn start(self: &Arc<Self>, name: &str) -> std::io::Result<JoinHandle<()>> {
        let crew = self.clone();
        starting::thread(name, move || {
            at_exit::keep(&crew);
            os::lower_priority_of_this_thread(crew.options.nice);
            own_pool::work_for(&*crew);
            let worker = Worker::begin(&crew);
            match crew.initialize() {
                Ok(()) => worker.work(),
                Err(why) => crew.break_down(why)(),
            }
        })
    }

    /// Rule 7. Why not, if it fails.
    fn initialize(&self) -> Result<(), String> {
        let Some(initializer) = &self.options.initializer else { return Ok(()) };
        if self.lock().is_over() {
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

    /// Rule 7. What is left to be done runs foreign code.
    #[must_use = "the jobs that waited are to be failed"]
    fn break_down(&self, why: String) -> impl FnOnce() + Send + use<> {
        let mut leftovers = Leftovers::new();
        let mut state = self.lock();
        let first = state.broken.is_none();
        state.broken.get_or_insert_with(|| why.clone());
        let waiting = state.queue.drain(&mut leftovers);
        self.counters.record_unrun(waiting.len(), false);
        state.queue.close(&mut leftovers);
        let idle = std::mem::take(&mut state.idle);
        state.coming += idle.len();
        drop(state);
        for worker in idle {
            worker.condvar.notify_one();
        }
        move || {
            leftovers.clear();
            if first {
                tell(|| tracing::error!(reason = why, "a pool of threads is broken"));
            }
            let reason = RejectReason::Broken(why);
            in_hand::for_each(waiting, |job| job.end(JobError::rejected(&reason)));
        }
    }

    /// Runs a job that was started.
    pub(super) fn run(&self, job: LocalJob) {
        let _inside = own_pool::enter(job.id());
        job.run(&self.counters);
    }

    /// Waits for the workers: for those that do not wait here themselves, if the caller is one.
    pub(super) fn wait_for_all(&self) {
        if self.origin.is_left_behind() {
            return;
        }
        if own_pool::works_for(self) {
            self.wait_inside();
        } else {
            self.wait_for_workers(None);
        }
    }

    /// Waits until no worker is left and every job is counted, at most so long; whether it is so.
    pub(super) fn wait_for_workers(&self, limit: Option<Duration>) -> bool {
        let state = self.lock();
        let others = |state: &mut State| {
            let threads = state.workers + state.starting + state.joining;
            threads > 0 || state.queue.misses_a_note()
        };
        let limit = limit.unwrap_or(Duration::MAX);
        let wait = || self.ended.wait_timeout_while(state, limit, others);
        let waited = self.state.while_released(wait);
        let (mut state, timed_out) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        if timed_out.timed_out() {
            return false;
        }
        let handles = std::mem::take(&mut state.handles);
        if handles.is_empty() {
            return true;
        }
        state.joining += 1;
        drop(state);
        for handle in handles {
            // For the destructors of its thread-locals. A worker catches every panic, so there is
            // nothing to learn here.
            let _ = handle.join();
        }
        self.lock().joining -= 1;
        self.ended.notify_all();
        true
    }

    /// This thread will never come back. If it is one of the workers, the job that it runs counts as ended, and
    /// somebody else runs what is queued.
    pub(super) fn strike(self: &Arc<Self>, thread: ThreadId) {
        let mut state = self.lock();
        // Of all pools; its handle may be among those that are not there yet.
        state.struck.push(thread);
        state.forget_the_struck();
        let Some(has_come) = state.end(thread) else { return };
        if !has_come {
            drop(state);
            let why = "the initializer of its threads has ended the program".to_owned();
            timekeeper::elsewhere(Box::new(self.break_down(why)));
        } else if state.queue.waiting() > 0
            // It may have been the last.
            && let Err(error) = self.start_first(&mut state)
            && state.workers == 0
        {
            drop(state);
            let why = format!("no thread could be started: {error}");
            timekeeper::elsewhere(Box::new(self.break_down(why)));
        } else {
            drop(state);
        }
        self.ended.notify_all();
    }

    /// The last one who comes lets all of them go, together: one that went alone would be waited for by the others.
    fn wait_inside(&self) {
        let mut state = self.lock();
        state.waiting_inside += 1;
        self.ended.notify_all();
        let round = state.rounds;
        let others = |state: &mut State| {
            let at_work = state.workers > state.waiting_inside || state.starting > 0;
            state.rounds == round && (at_work || state.queue.misses_a_note())
        };
        let waited = self.state.while_released(|| self.ended.wait_while(state, others));
        let mut state = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        if state.rounds == round {
            state.rounds += 1;
            self.ended.notify_all();
        }
        state.waiting_inside -= 1;
    }

    pub(super) fn shut_down(&self, cancel_futures: bool) {
        if self.origin.is_left_behind() {
            return;
        }
        let mut leftovers = Leftovers::new();
        let mut state = self.lock();
        state.shut_down = true;
        state.queue.close(&mut leftovers);
        let cancelled = if cancel_futures { state.queue.drain(&mut leftovers) } else { Vec::new() };
        self.counters.record_unrun(cancelled.len(), true);
        let idle = std::mem::take(&mut state.idle);
        state.coming += idle.len();
        drop(state);
        leftovers.clear();
        for worker in idle {
            worker.condvar.notify_one();
        }
        in_hand::for_each(cancelled, |job| job.end(JobError::cancelled()));
    }
}

impl State {
    /// Why no job is taken.
    fn refusal(&self) -> Option<RejectReason> {
        if self.shut_down {
            return Some(exit::refusal());
        }
        self.broken.as_ref().map(|why| RejectReason::Broken(why.clone()))
    }

    /// Whether there is nothing left to do for a worker, now and later.
    pub(super) fn is_over(&self) -> bool {
        self.broken.is_some() || (self.shut_down && self.queue.waiting() == 0)
    }

    /// Rule 6. If it was one of the pool's, whether its initializer had returned.
    pub(super) fn end(&mut self, worker: ThreadId) -> Option<bool> {
        let place = self.begun.iter().position(|(other, _)| *other == worker)?;
        let (_, has_come) = self.begun.swap_remove(place);
        self.coming -= usize::from(!has_come);
        self.workers -= 1;
        Some(has_come)
    }

    /// It has got as far as to look for work.
    pub(super) fn note_come(&mut self, worker: ThreadId) {
        if let Some((_, has_come)) = self.begun.iter_mut().find(|(other, _)| *other == worker) {
            self.coming -= usize::from(!std::mem::replace(has_come, true));
        }
    }

    /// Keeps handles, to be joined, and no longer those whose threads have ended.
    fn keep(&mut self, handles: impl IntoIterator<Item = JoinHandle<()>>) {
        self.handles.retain(|handle| !handle.is_finished());
        self.handles.extend(handles);
        self.forget_the_struck();
    }

    fn forget_the_struck(&mut self) {
        self.handles.retain(|handle| !self.struck.contains(&handle.thread().id()));
    }

    fn next_thread_name(&mut self, options: &Options) -> String {
        let name = format!("{}-{}", options.name_prefix, self.next_name);
        self.next_name += 1;
        name
    }
}

impl LocalPool for Crew {
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
        if state.shut_down {
            self.ended.notify_all();
        }
        leftovers
    }

    /// Rule 9.
    fn run_waiting(&self, number: u64) -> bool {
        let mut leftovers = Leftovers::new();
        let mut state = self.lock();
        let Some(job) = state.queue.take(number, &mut leftovers) else { return false };
        state.growth.note_taken();
        drop(state);
        leftovers.clear();
        self.run(job);
        true
    }
}

impl HasQueue for Crew {
    type Entry = LocalJob;

    fn is_left_behind(&self) -> bool {
        self.origin.is_left_behind()
    }

    fn with_queue<R>(&self, f: impl FnOnce(&mut JobQueue<LocalJob>) -> R) -> R {
        f(&mut self.lock().queue)
    }
}
