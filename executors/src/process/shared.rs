//! What the callers of a pool and its manager thread share.
//!
//! # Protocol
//! One lock guards the queue and everything the callers want of the manager.
//! 1. Who turns the manager takes what there is and, in the same critical section, marks the pool's thread as *asleep*:
//!    from then on whoever adds something and does not turn the manager himself calls it. So nothing can fall between
//!    its look and its sleep.
//! 2. Whoever calls it takes the mark away, so that of many only the first makes the system call.
//! 3. A new job is a reason to turn the manager only when it could be started at once (*hungry*); otherwise somebody
//!    comes by himself, when a worker is done.
//! 4. A child of `fork` has a copy of the books, and what the workers write to is the parent's as well. So there nobody
//!    takes a lock or turns the manager: jobs are refused.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, Weak};
use std::thread::ThreadId;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags};

use super::force::Force;
use super::manager::Manager;
use super::policy::Metrics;
use super::remote_job::RemoteJob;
use super::sandbox::{Enforced, MemoryGuard};
use super::serving::Helm;
use crate::cancel_token::Askable;
use crate::caught::drop_each_caught;
use crate::counters::Counters;
use crate::error::{JobError, RejectReason};
use crate::exit::{self, Pool};
use crate::in_hand;
use crate::options::Priority;
use crate::origin::Origin;
use crate::own_pool;
use crate::place::HasQueue;
use crate::promise::JobOwner;
use crate::queue::{JobQueue, Leftovers, Ticket, Wanted};
use crate::stats::ExecutorStats;
use crate::timekeeper;

pub(super) struct Shared {
    state: Mutex<State>,
    /// Signalled when the manager has ended.
    over: Condvar,
    /// An eventfd, edge-triggered in the manager's epoll, so it is never read.
    pub(super) wake: OwnedFd,
    /// Where the manager hears from everybody. A loop that serves the pool waits for it.
    pub(super) epoll: Arc<Epoll>,
    /// Who turns the manager.
    pub(super) helm: Helm,
    /// How many threads look for answers, which the pool's thread need not do then. A hint, so relaxed accesses pair
    /// with nothing.
    pub(super) lookers: AtomicUsize,
    pub(super) counters: Counters,
    pub(super) metrics: Metrics,
    /// Only has to be different each time, so relaxed accesses pair with nothing.
    next_id: AtomicU64,
    /// The books; none before they are opened, and when the pool is over. Never locked by who holds `state`.
    pub(super) manager: Mutex<Option<Manager>>,
    /// The pool's thread, once it has been started.
    pub(super) thread: OnceLock<ThreadId>,
    origin: Origin,
}

struct State {
    queue: JobQueue<RemoteJob>,
    /// Those that the manager has taken, and some that have ended.
    taken: Vec<Weak<dyn Askable>>,
    /// At this many the list is searched for those that are gone.
    prune_at: usize,
    /// Running jobs that somebody wants to end.
    cancels: Vec<u64>,
    /// All of them.
    force: Option<Force>,
    /// As in [`Orders`].
    cancels_parked: bool,
    broken: Option<String>,
    shut_down: bool,
    is_over: bool,
    /// The manager's thread will never come back, and is not joined.
    is_struck: bool,
    asleep: bool,
    hungry: bool,
    workers: Vec<u32>,
    fork_server: Option<u32>,
    enforced: Option<Enforced>,
}

/// What the manager can take out of the queue.
pub(super) struct Appetite {
    /// So many jobs,
    pub(super) jobs: usize,
    /// and so many that are more urgent than that.
    pub(super) urgent: (usize, Priority),
    /// Whether they may need memory.
    pub(super) demanding: bool,
}

/// What the manager is to do.
#[derive(Default)]
pub(super) struct Orders {
    pub(super) jobs: Vec<RemoteJob>,
    /// Those that are more urgent than what the manager has.
    pub(super) urgent: Vec<RemoteJob>,
    pub(super) cancels: Vec<u64>,
    /// To cancel all that run or are about to.
    pub(super) force: Option<Force>,
    /// Jobs that were taken and that no worker has are to be cancelled.
    pub(super) cancels_parked: bool,
    /// How many jobs wait that are not among `jobs`.
    pub(super) waiting: usize,
    pub(super) shut_down: bool,
}

impl Shared {
    pub(super) fn new(queue_limit: Option<usize>) -> std::io::Result<Self> {
        use nix::sys::eventfd::{EfdFlags, EventFd};
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let state = State {
            queue: JobQueue::new(queue_limit),
            taken: Vec::new(),
            prune_at: PRUNE_AT_LEAST,
            cancels: Vec::new(),
            force: None,
            cancels_parked: false,
            broken: None,
            shut_down: false,
            is_over: false,
            is_struck: false,
            asleep: false,
            hungry: false,
            workers: Vec::new(),
            fork_server: None,
            enforced: None,
        };
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Shared {
            state: Mutex::new(state),
            over: Condvar::new(),
            wake: wake.into(),
            helm: Helm::new(&epoll)?,
            epoll: Arc::new(epoll),
            lookers: AtomicUsize::new(0),
            counters: Counters::default(),
            metrics: Metrics::default(),
            next_id: AtomicU64::new(1),
            manager: Mutex::new(None),
            thread: OnceLock::new(),
            origin: Origin::here(),
        })
    }

    /// Rule 4.
    pub(super) fn is_left_behind(&self) -> bool {
        self.origin.is_left_behind()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A number for a new job.
    pub(super) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Relaxed)
    }

    /// Whether a job would be taken now, as far as that is known.
    pub(super) fn admits(&self, ticket: &Ticket) -> Result<(), RejectReason> {
        if self.is_left_behind() {
            return Err(RejectReason::Forked);
        }
        let state = self.lock();
        match state.refusal() {
            Some(reason) => Err(reason),
            None if ticket.is_unused() && state.queue.is_full() => Err(RejectReason::QueueFull),
            None => Ok(()),
        }
    }

    /// Queues a job, unless the pool has changed its mind since [`admits`](Self::admits).
    pub(super) fn push(&self, mut job: RemoteJob, ticket: &mut Ticket) -> Result<(), RejectReason> {
        let mut leftovers = Leftovers::new();
        let mut state = self.lock();
        let refusal = state.refusal();
        let full = || (!state.queue.admits(ticket)).then_some(RejectReason::QueueFull);
        if let Some(reason) = refusal.or_else(full) {
            // The job's destructor runs without the lock.
            drop(state);
            drop(job);
            return Err(reason);
        }
        if let Err(error) = job.terms.enter_queue() {
            // The place is somebody else's again.
            state.queue.grant(&mut leftovers);
            drop(state);
            drop(job);
            return Err(RejectReason::Broken(format!(
                "no thread for the limits of jobs could be started: {error}"
            )));
        }
        self.counters.record_submitted();
        state.queue.push(job.terms.priority(), job);
        let is_hungry = state.hungry;
        drop(state);
        if is_hungry {
            self.start_one();
        }
        Ok(())
    }

    pub(super) fn shut_down(&self, cancel_futures: bool) {
        if self.is_left_behind() {
            return;
        }
        let mut leftovers = Leftovers::new();
        let mut state = self.lock();
        state.shut_down = true;
        state.cancels_parked |= cancel_futures;
        state.queue.close(&mut leftovers);
        let cancelled = if cancel_futures { state.queue.drain(&mut leftovers) } else { Vec::new() };
        self.counters.record_unrun(cancelled.len(), true);
        self.wake(state);
        in_hand::for_each(cancelled, |job| job.give_up(JobError::cancelled()));
    }

    /// Shuts down, and cancels all that runs.
    pub(super) fn end_workers(&self, force: Force) {
        if self.is_left_behind() {
            return;
        }
        self.shut_down(true);
        let mut state = self.lock();
        state.force = state.force.max(Some(force));
        self.wake(state);
    }

    /// Waits until the manager has ended, and every job is counted. Whether the manager can be joined.
    pub(super) fn wait(&self) -> bool {
        if self.is_left_behind() {
            return false;
        }
        self.helm.note_sleep(true);
        let state = self.lock();
        let over = |state: &mut State| state.is_over && !state.queue.misses_a_note();
        let waited = self.over.wait_while(state, |state| !over(state));
        self.helm.note_sleep(false);
        !waited.unwrap_or_else(|poisoned| poisoned.into_inner()).is_struck
    }

    pub(super) fn stats(&self) -> ExecutorStats {
        if self.is_left_behind() {
            return self.counters.stats(0, 0);
        }
        let state = self.lock();
        let parked = self.metrics.parked.load(Relaxed);
        self.counters.stats(state.workers.len(), state.queue.waiting() + parked)
    }

    pub(super) fn workers(&self) -> Vec<u32> {
        if self.is_left_behind() { Vec::new() } else { self.lock().workers.clone() }
    }

    pub(super) fn fork_server(&self) -> Option<u32> {
        if self.is_left_behind() { None } else { self.lock().fork_server }
    }

    pub(super) fn enforced(&self) -> Option<Enforced> {
        if self.is_left_behind() { None } else { self.lock().enforced.clone() }
    }

    /// Rule 2.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let asleep = std::mem::replace(&mut state.asleep, false);
        drop(state);
        if asleep {
            self.ring();
        }
    }

    /// Calls the pool's thread to look at the queue.
    pub(super) fn call(&self) {
        self.wake(self.lock());
    }

    /// Whether somebody has called.
    pub(super) fn is_called(&self) -> bool {
        !self.lock().asleep
    }

    /// Wakes the pool's thread.
    pub(super) fn ring(&self) {
        // Refused only when the counter is full, and then the thread is woken anyway.
        let _ = nix::unistd::write(&self.wake, &1u64.to_ne_bytes());
    }

    // For the manager:

    /// Rule 1: takes so many jobs and everything else there is to do. `could_start` says whether another worker could
    /// be started.
    pub(super) fn orders(
        &self,
        appetite: Appetite,
        could_start: bool,
        leftovers: &mut Leftovers<RemoteJob>,
    ) -> Orders {
        let mut state = self.lock();
        let mut take = |most, above| -> Vec<RemoteJob> {
            let wanted = Wanted { above, demanding: appetite.demanding };
            let jobs = std::iter::from_fn(|| state.queue.pop_of(wanted, leftovers));
            let jobs: Vec<_> = jobs.take(most).collect();
            state.note_taken(&jobs);
            jobs
        };
        let (most, above) = appetite.urgent;
        let urgent = take(most, Some(above));
        let jobs = take(appetite.jobs, None);
        state.asleep = true;
        state.hungry = jobs.len() < appetite.jobs || could_start;
        Orders {
            jobs,
            urgent,
            cancels: std::mem::take(&mut state.cancels),
            force: state.force.take(),
            cancels_parked: std::mem::take(&mut state.cancels_parked),
            waiting: state.queue.waiting(),
            shut_down: state.shut_down,
        }
    }

    /// So many jobs that were taken wait elsewhere, for a worker or for memory: they have places in the queue.
    pub(super) fn note_elsewhere(&self, jobs: usize, leftovers: &mut Leftovers<RemoteJob>) {
        self.lock().queue.note_elsewhere(jobs, leftovers);
    }

    /// Takes every job that waits, to be failed.
    pub(super) fn drain(&self, leftovers: &mut Leftovers<RemoteJob>) -> Vec<RemoteJob> {
        let mut state = self.lock();
        let waiting = state.queue.drain(leftovers);
        self.counters.record_unrun(waiting.len(), false);
        waiting
    }

    /// Refuses jobs from now on, and gives those that wait, to be failed.
    pub(super) fn break_down(
        &self,
        why: &str,
        leftovers: &mut Leftovers<RemoteJob>,
    ) -> Vec<RemoteJob> {
        let mut state = self.lock();
        state.broken = Some(why.to_owned());
        state.queue.close(leftovers);
        drop(state);
        self.drain(leftovers)
    }

    /// The reason, as it was given.
    pub(super) fn why_broken(&self) -> String {
        self.lock().broken.clone().unwrap_or_default()
    }

    pub(super) fn publish(&self, workers: Vec<u32>, fork_server: Option<u32>) {
        let mut state = self.lock();
        state.workers = workers;
        state.fork_server = fork_server;
    }

    /// A worker has told what holds it in; the rest is the program's own.
    pub(super) fn note_enforced(&self, told: Enforced, rss_limit: Option<(u64, MemoryGuard)>) {
        self.lock().enforced = Some(Enforced { rss_limit, ..told });
    }

    /// The manager's last act.
    pub(super) fn end(&self) {
        let mut leftovers = Leftovers::new();
        let mut state = self.lock();
        state.is_over = true;
        state.shut_down = true;
        state.queue.close(&mut leftovers);
        state.workers.clear();
        state.fork_server = None;
        drop(state);
        let waiting = self.drain(&mut leftovers);
        leftovers.clear();
        let ended = "the pool's manager thread has ended";
        in_hand::for_each(waiting, |job| job.give_up(JobError::rejected(ended)));
        self.over.notify_all();
    }
}

/// The list of jobs that were taken is not searched while it is shorter than this.
const PRUNE_AT_LEAST: usize = 64;

impl State {
    fn note_taken(&mut self, jobs: &[RemoteJob]) {
        if self.taken.len() >= self.prune_at {
            self.taken.retain(|job| job.strong_count() > 0);
            self.prune_at = PRUNE_AT_LEAST.max(2 * self.taken.len());
        }
        self.taken.extend(jobs.iter().map(|job| Arc::downgrade(&job.as_askable())));
    }

    /// Why no job is taken.
    fn refusal(&self) -> Option<RejectReason> {
        if self.shut_down {
            return Some(exit::refusal());
        }
        self.broken.as_ref().map(|why| RejectReason::Broken(why.clone()))
    }
}

impl Shared {
    /// A job that waited wants to be run no more, and is counted. What is to be done about that.
    fn note_gone(&self) -> Leftovers<RemoteJob> {
        let mut leftovers = Leftovers::new();
        let mut state = self.lock();
        state.queue.note_gone(&mut leftovers);
        if state.is_over {
            self.over.notify_all();
        }
        leftovers
    }

    /// As [`note_gone`](Self::note_gone), in the timekeeper's thread, which does nothing foreign.
    pub(super) fn note_late(&self) {
        let gone = self.note_gone().take_gone();
        if !gone.is_empty() {
            timekeeper::elsewhere(Box::new(|| drop_each_caught("a job whose time is up", gone)));
        }
    }
}

impl JobOwner for Shared {
    fn cancelled_while_pending(&self, _id: u64) {
        self.counters.record_cancelled();
        if !self.is_left_behind() {
            self.note_gone().clear();
        }
    }

    fn cancel_running(&self, id: u64) -> bool {
        if self.is_left_behind() {
            return false;
        }
        let mut state = self.lock();
        if state.is_over {
            return false;
        }
        state.cancels.push(id);
        self.wake(state);
        true
    }

    fn before_wait(&self, _id: u64) -> Result<(), JobError> {
        if self.is_left_behind() {
            return Err(JobError::rejected(RejectReason::Forked));
        }
        if own_pool::brings_outcomes_of(self) {
            return Err(JobError::endless_wait("this is the thread that brings the job's outcome"));
        }
        Ok(())
    }

    fn note_look(&self, begins: bool) {
        match begins {
            true => self.lookers.fetch_add(1, Relaxed),
            false => self.lookers.fetch_sub(1, Relaxed),
        };
    }

    fn look(&self) {
        if !self.is_left_behind() {
            self.look_for_answers(false);
        }
    }

    fn note_sleep(&self, begins: bool) {
        if !self.is_left_behind() {
            self.helm.note_sleep(begins);
        }
    }
}

impl HasQueue for Shared {
    type Entry = RemoteJob;

    fn is_left_behind(&self) -> bool {
        Shared::is_left_behind(self)
    }

    fn with_queue<R>(&self, f: impl FnOnce(&mut JobQueue<RemoteJob>) -> R) -> R {
        f(&mut self.lock().queue)
    }

    fn note_sleep(&self, begins: bool) {
        self.helm.note_sleep(begins);
    }
}

impl Pool for Shared {
    fn close(&self) {
        self.shut_down(false);
    }

    fn wait(&self, limit: Duration) -> bool {
        self.helm.note_sleep(true);
        let waited = self.over.wait_timeout_while(self.lock(), limit, |state| !state.is_over);
        self.helm.note_sleep(false);
        let (_state, timed_out) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        !timed_out.timed_out()
    }

    /// Without its manager nothing goes on here; the workers die with the program.
    fn strike(self: Arc<Self>, thread: ThreadId) {
        if self.thread.get() == Some(&thread) {
            let mut state = self.lock();
            state.is_struck = true;
            let taken = std::mem::take(&mut state.taken);
            drop(state);
            let steps: Vec<Box<dyn FnOnce() + Send>> = vec![
                Box::new({
                    let pool = self.clone();
                    move || pool.close_books()
                }),
                Box::new(move || self.end()),
                Box::new(move || {
                    let jobs = taken.iter().filter_map(Weak::upgrade).collect();
                    in_hand::for_each(jobs, |job| job.abandon());
                }),
            ];
            timekeeper::elsewhere(Box::new(|| in_hand::for_each(steps, |step| step())));
        }
    }

    fn describe(&self) -> String {
        let state = self.lock();
        let parked = self.metrics.parked.load(Relaxed);
        let (waiting, workers) = (state.queue.waiting() + parked, state.workers.len());
        let running = self.counters.stats(workers, waiting).running;
        let pids = &state.workers;
        format!("a process pool ({running} jobs run, {waiting} wait, workers {pids:?})")
    }
}
