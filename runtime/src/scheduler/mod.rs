//! The part of the loops that any thread may touch: queues, registries, who sleeps.
//!
//! Each loop has two halves. The *owner half* is [`Core`](crate::event_loop::Core): only the thread
//! that drives the loop touches it. The *shared half* is [`LoopShared`], never moved or freed while
//! the runtime lives.
//!
//! # Where a woken task goes
//! | woken by | a task that may move | a task or callback that may not |
//! |---|---|---|
//! | a thread of the runtime | its own slot or deque (`Core::schedule`) | its own queue, or the mailbox of the home loop |
//! | any other thread | the injector | the mailbox of the home loop |
//!
//! A loop that stands alone has no deque: everything goes through its one queue, in order.
//!
//! # Lifetime
//! A task holds a plain pointer to the runtime. It is valid while the task is not complete, because a
//! runtime is freed only when none of its tasks is left (`ending.rs`). Whoever wakes from outside takes a count of its own *before* the push, while the task cannot complete.

mod bell;
mod drain;
mod ending;
mod idle;
mod injector;
mod mailbox;
mod now;
mod registry;
mod sampler;
mod slot;
mod stall;
mod steward;
mod thrift;

use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use crossbeam_deque::{Steal, Stealer, Worker};
use crossbeam_utils::CachePadded;
use loopool_executors::origin::Origin;

pub(crate) use self::bell::Bell;
pub(crate) use self::ending::{End, Ending, Phase};
pub(crate) use self::idle::Idle;
use self::injector::Injector;
pub(crate) use self::mailbox::{Mailbox, Message};
use self::now::Now;
pub(crate) use self::registry::Registry;
pub(crate) use self::sampler::Sampler;
use self::slot::Slot;
use self::stall::Stall;
pub use self::stall::Stuck;
use self::steward::Stewardship;
pub(crate) use self::thrift::{PLENTY, Thrift};
use crate::context;
use crate::event_loop::{Core, RemoteCallback};
use crate::metrics::{Counters, PollTimeCounters};
use crate::reactor::Reactor;
use crate::runtime::{DefaultExecutor, LeftTask};
use crate::shim::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use crate::short_lock::ShortLock;
use crate::task::{Header, JoinError, Runnable, Task};
use crate::time::{Timer, Timers};

/// The most tasks taken from a peer at once.
const STEAL_LIMIT: usize = 32;

/// Everything that the loops of one runtime share.
pub(crate) struct Shared {
    /// The halves of the loops, then those of the spare workers.
    pub(crate) loops: Box<[CachePadded<LoopShared>]>,
    /// How many of them are loops.
    pub(crate) loop_count: usize,
    pub(crate) idle: CachePadded<Idle>,
    injector: Injector<Runnable>,
    pub(crate) ending: Ending<LeftTask>,
    /// How many the watch thread found blocked when it last looked.
    blocked: AtomicUsize,
    /// A loop sleeps with a time limit, to look after those.
    sentinel: AtomicBool,
    pub(crate) bell: Bell,
    /// Set when there is one.
    pub(crate) watch_thread: OnceLock<Thread>,
    /// Spare workers that have a thread.
    pub(crate) spares_alive: AtomicUsize,
    slow_poll_threshold: Duration,
    pub(crate) default_executor: DefaultExecutor,
    origin: Origin,
}

/// The shared half of one loop. In this order: what every poll touches lies together.
#[repr(C)]
pub(crate) struct LoopShared {
    pub(crate) slot: Slot,
    pub(crate) now: Now,
    pub(crate) counters: Counters,
    /// How long polls take, in nanoseconds. Written by its owner, read as a hint.
    typical: AtomicU64,
    /// Its owner takes from others with reluctance (`thrift.rs`). A hint.
    reluctant: AtomicBool,
    pub(crate) mailbox: Mailbox,
    stealer: Stealer<Runnable>,
    pub(crate) stewardship: Stewardship,
    pub(crate) stall: Stall,
    pub(crate) reactor: Reactor,
    pub(crate) timers: Timers,
    pub(crate) registry: ShortLock<Registry>,
    /// Last, since few polls touch it.
    pub(crate) poll_times: PollTimeCounters,
}

/// How many loops and spare workers there are, and how patient one is with them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) loops: usize,
    pub(crate) spares: usize,
    pub(crate) slow_poll_threshold: Duration,
}

impl Shared {
    /// The shared halves, and the deques that belong to the owners: of the loops, then of the spares.
    pub(crate) fn new(plan: Plan) -> std::io::Result<(Arc<Shared>, Vec<Worker<Runnable>>)> {
        let deques: Vec<_> = (0..plan.loops + plan.spares).map(|_| Worker::new_fifo()).collect();
        let halves = deques
            .iter()
            .map(|deque| LoopShared::new(deque).map(CachePadded::new))
            .collect::<std::io::Result<_>>()?;
        let shared = Shared {
            loops: halves,
            loop_count: plan.loops,
            idle: CachePadded::new(Idle::new(plan.loops, plan.spares)),
            injector: Injector::new(plan.loops),
            ending: Ending::new(plan.loops),
            blocked: AtomicUsize::new(0),
            sentinel: AtomicBool::new(false),
            bell: Bell::new(),
            watch_thread: OnceLock::new(),
            spares_alive: AtomicUsize::new(0),
            slow_poll_threshold: plan.slow_poll_threshold,
            default_executor: DefaultExecutor::new(),
            origin: Origin::here(),
        };
        Ok((Arc::new(shared), deques))
    }

    /// Whether there is one loop only and nobody to help it: it keeps one order for all it runs.
    pub(crate) fn stands_alone(&self) -> bool {
        self.loops.len() == 1
    }

    /// Whether this process has only a copy of it (`fork.rs`). Asked before every lock that a thread of
    /// the parent might have held, on the slow paths.
    pub(crate) fn is_forked(&self) -> bool {
        self.origin.is_left_behind()
    }

    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        self.ending.phase()
    }

    /// Moves on to `phase`, never back, and wakes every loop to see it.
    pub(crate) fn advance(&self, phase: Phase) {
        self.ending.advance(phase);
        for index in 0..self.loops.len() {
            self.wake_loop(index);
        }
        self.ring();
    }

    /// Wakes the watch thread, if there is one.
    pub(crate) fn ring(&self) {
        if let Some(thread) = self.watch_thread.get() {
            let abroad = self.bell.ring();
            thread.unpark();
            if abroad {
                self.loops[0].reactor.wake();
            }
        }
    }

    /// The main loop is driven from now on, or not any more: the watch thread sleeps elsewhere.
    pub(crate) fn main_loop_changed(&self, driven: bool) {
        if !driven {
            self.ring();
        } else if self.bell.is_abroad() {
            let reactor = &self.loops[0].reactor;
            reactor.wake();
            // A fork has no watch thread.
            while self.bell.stays_abroad() && !reactor.is_forked() {
                std::thread::yield_now();
                reactor.wake();
            }
        }
    }

    /// A loop is awake and has something to do, which may take long.
    pub(crate) fn see_to_a_watch(&self) {
        if self.bell.must_ring() {
            self.ring();
        }
    }

    /// Tasks that are not complete.
    pub(crate) fn live(&self) -> usize {
        registry::count_all(self.loops.iter().map(|half| &half.registry))
    }

    /// Takes a new task in; the caller queues what comes back. A runtime that is closing takes those of its
    /// own tasks and callbacks, cancelled: what they clean up with. Others, and all of them once it has
    /// ended, are refused: the future is dropped at once. Either way the handle says so.
    pub(crate) fn admit<T>(&self, runnable: Runnable, task: &Task<T>) -> Option<Runnable> {
        if self.is_forked() {
            runnable.refuse(JoinError::forked());
            return None;
        }
        if self.refuses_tasks() || !self.register(&runnable) {
            runnable.refuse(JoinError::cancelled(false));
            return None;
        }
        // After the entry: either `cancel_all` finds the task, or we see that it has been there.
        if self.phase() == Phase::Open {
            return Some(runnable);
        }
        if self.refuses_tasks() {
            // It has come too late after all.
            self.take_out(runnable.header_pointer(), runnable.home());
            runnable.refuse(JoinError::cancelled(false));
            return None;
        }
        task.cancel();
        Some(runnable)
    }

    /// A thread outside must not keep a runtime from ending, however many tasks it makes.
    fn refuses_tasks(&self) -> bool {
        match self.phase() {
            Phase::Open => false,
            Phase::Closing => context::with_loop_of(self, (), |_, ()| ()).is_err(),
            Phase::Stopped => true,
        }
    }

    /// Enters a new task. False when the runtime takes none: then its future is to be dropped.
    fn register(&self, task: &Runnable) -> bool {
        self.loops[task.home()].registry.with(|registry| registry.insert(task.header_pointer()))
    }

    /// A task is about to be complete.
    pub(crate) fn unregister(&self, task: NonNull<Header>, end: End) {
        // SAFETY: the caller holds a reference.
        let header = unsafe { task.as_ref() };
        self.ending.note(end, || LeftTask::of(header));
        self.take_out(task, header.home());
    }

    /// Out of the registry of `home`. The end of the last task is waited for.
    fn take_out(&self, task: NonNull<Header>, home: usize) {
        let emptied = self.loops[home].registry.with(|registry| registry.remove(task));
        if emptied && self.phase() != Phase::Open {
            self.wake_loop(0);
        }
    }

    /// A task is to be run, by the word of whatever thread. The caller has a count of the runtime.
    pub(crate) fn schedule(&self, task: Runnable) {
        if let Err(task) = context::with_loop_of(self, task, Core::schedule) {
            self.schedule_remote(task);
        }
    }

    /// A task was woken by a thread that drives none of our loops.
    pub(crate) fn schedule_remote(&self, task: Runnable) {
        if self.is_forked() {
            // Nothing runs it here.
            std::mem::forget(task);
        } else if task.is_local() || self.stands_alone() {
            self.send_task(task);
        } else {
            self.inject(task);
            self.call_anybody();
        }
    }

    /// There is work for anybody, in the injector or with a peer: sees to it that somebody looks.
    pub(crate) fn call_anybody(&self) {
        let has_time = |index: usize| {
            !thrift::is_worth_waking(self.injector.len(), self.loops[index].typical())
        };
        if let Some(index) = self.idle.notify_any(has_time) {
            self.write_wake(index);
        }
    }

    /// The loop for a new descriptor that loop `index` would take: once that one has `together`, another one
    /// that is driven and has at least `slack` fewer, the one that has the fewest of all.
    pub(crate) fn place_for_source(&self, index: usize, together: usize, slack: usize) -> usize {
        if self.loops[index].reactor.registered() < together {
            return index;
        }
        let least = (0..self.loop_count)
            .filter(|&other| other == index || !self.idle.is_absent(other))
            .min_by_key(|&other| self.loops[other].reactor.registered());
        let count = |index: usize| self.loops[index].reactor.registered();
        least.filter(|&least| count(index) >= count(least) + slack).unwrap_or(index)
    }

    /// Where everybody looks. The caller wakes somebody.
    pub(crate) fn inject(&self, task: Runnable) {
        self.injector.push(task);
    }

    /// Puts a callback into the mailbox of loop `index`. False when the loop is closed.
    pub(crate) fn send_callback(&self, index: usize, callback: Arc<RemoteCallback>) -> bool {
        let sent = !self.is_forked()
            && self.loops[index].mailbox.push(Message::Callback(callback)).is_ok();
        if sent {
            self.wake_loop(index);
        }
        sent
    }

    /// Puts a task into the mailbox of its home loop.
    pub(crate) fn send_task(&self, task: Runnable) {
        if self.is_forked() {
            return std::mem::forget(task);
        }
        let home = task.home();
        match self.loops[home].mailbox.push(Message::Task(task)) {
            Ok(()) => self.wake_loop(home),
            // Mailboxes are closed when no task is left, or with a loop that is stuck: then its tasks
            // are leaked with it.
            Err(task) => std::mem::forget(task),
        }
    }

    /// Sees to it that loop `index` looks at what was published for it.
    pub(crate) fn wake_loop(&self, index: usize) {
        if self.idle.notify(index) {
            self.write_wake(index);
        }
    }

    /// Whether a timer lies at one of the loops. Most likely it is `place`.
    pub(crate) fn has_timer(&self, place: usize, timer: &Timer) -> bool {
        self.loops[place].timers.have(timer)
            || self.loops.iter().any(|half| half.timers.have(timer))
    }

    /// Somebody else than its owner has set a timer at loop `index`: who sleeps until the next one looks
    /// again. That is the watch thread, while nobody drives the loop.
    pub(crate) fn timer_was_set_at(&self, index: usize) {
        self.wake_loop(index);
        // A loop that is left after this look rings by itself.
        if self.idle.is_absent(index) {
            self.ring();
        }
    }

    /// Wakes a loop that the caller has claimed.
    pub(crate) fn write_wake(&self, index: usize) {
        self.loops[index].counters.woken();
        self.loops[index].reactor.wake();
    }

    /// Whether there is something for which a sleeper is worth waking that does not lie with loop `index`.
    pub(crate) fn is_worth_waking_besides(&self, index: usize) -> bool {
        let mut peers = self.loops.iter().enumerate().filter(|(other, _)| *other != index);
        self.has_injected() || peers.any(|(_, peer)| peer.is_worth_waking())
    }

    /// Whether there is a task for everybody.
    pub(crate) fn has_injected(&self) -> bool {
        !self.injector.is_empty()
    }

    /// Whether somebody could find a task to take.
    pub(crate) fn has_stealable(&self) -> bool {
        self.has_injected() || self.loops.iter().any(|peer| peer.has_stealable())
    }

    /// Whether somebody who takes slots as well could find a task.
    pub(crate) fn has_work(&self) -> bool {
        self.has_stealable() || self.loops.iter().any(|peer| !peer.slot.is_empty())
    }

    /// Wakes a sleeper for tasks that lie with loop `index`, so many or more, if that pays.
    pub(crate) fn offer(&self, index: usize, queued: usize) {
        let typical = self.loops[index].typical();
        let plenty = thrift::worth(queued, typical) >= PLENTY;
        let takes = |other: usize| plenty || !self.loops[other].is_reluctant();
        if thrift::is_worth_waking(queued, typical)
            && let Some(sleeper) = self.idle.claim_any_of(takes)
        {
            self.write_wake(sleeper);
        }
    }

    /// Wakes a sleeper, willing or not: what is queued has lasted, or somebody is blocked. False when there is
    /// none.
    pub(crate) fn wake_any(&self) -> bool {
        let sleeper = self.idle.claim_any();
        if let Some(sleeper) = sleeper {
            self.write_wake(sleeper);
        }
        sleeper.is_some()
    }

    /// Whether a loop sleeps that would take from others without reluctance. A hint.
    pub(crate) fn has_willing_sleeper(&self) -> bool {
        let willing =
            |index: usize| self.idle.is_asleep(index) && !self.loops[index].is_reluctant();
        (0..self.loop_count).any(willing)
    }

    /// Moves a batch from the injector into `deque`. False when there was none.
    pub(crate) fn take_injected(&self, deque: &Worker<Runnable>) -> bool {
        self.injector.take(deque)
    }

    /// Takes tasks from one loop; with `slot`, also the one that it wants to run next.
    pub(crate) fn steal_from(
        &self,
        victim: usize,
        slot: bool,
        deque: &Worker<Runnable>,
    ) -> Option<Runnable> {
        let peer = &self.loops[victim];
        while peer.has_stealable() {
            match peer.stealer.steal_batch_with_limit_and_pop(deque, STEAL_LIMIT) {
                Steal::Success(task) => return Some(task),
                Steal::Empty => break,
                Steal::Retry => {}
            }
        }
        if slot { peer.slot.take() } else { None }
    }

    /// Whether somebody besides `index` may be blocked.
    pub(crate) fn others_may_be_blocked(&self, index: usize) -> bool {
        // The count is a hint, and may be of the loop that asks.
        !self.stands_alone()
            && (self.blocked.load(Ordering::Relaxed) > 0 || self.idle.others_block(index))
    }

    /// Whether loop `index` is to sleep with a time limit, to look after the others.
    pub(crate) fn begin_sentinel(&self, index: usize) -> bool {
        // Relaxed: a role that protects nothing.
        self.others_may_be_blocked(index) && !self.sentinel.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn end_sentinel(&self) {
        self.sentinel.store(false, Ordering::Relaxed);
    }

    /// Some are blocked: if no sleeper looks after them, one is woken to do so.
    pub(crate) fn call_sentinel(&self) {
        if !self.sentinel.load(Ordering::Relaxed) {
            self.wake_any();
        }
    }

    /// Loop `index` blocks: if all others sleep or block, somebody has to look after it, or to take what
    /// was queued there.
    pub(crate) fn call_for(&self, index: usize) {
        // As F1 of `idle.rs`: who runs now will see what was queued when it is about to sleep.
        fence(Ordering::SeqCst);
        if !self.idle.others_run(index) && !self.wake_any() {
            self.ring();
        }
    }

    /// Asks every task to end.
    pub(crate) fn cancel_all(&self) {
        for half in &self.loops {
            let mut wakers = Vec::new();
            half.registry.with(|registry| {
                registry.for_each(|task| {
                    // SAFETY: in the registry, under its lock.
                    wakers.push(unsafe { crate::task::handle_for_cancel(task) });
                });
            });
            for task in wakers {
                task.cancel();
            }
        }
    }
}

impl LoopShared {
    /// Whether a thief could take something besides what is next. A hint.
    pub(crate) fn has_stealable(&self) -> bool {
        !self.stealer.is_empty()
    }

    /// For how long a thief would be busy with what it can get here. A guess.
    pub(crate) fn worth(&self) -> Duration {
        thrift::worth(self.stealer.len(), self.typical())
    }

    /// Whether its owner takes from others with reluctance. A hint.
    pub(crate) fn is_reluctant(&self) -> bool {
        self.reluctant.load(Ordering::Relaxed)
    }

    /// By its owner.
    pub(crate) fn set_reluctant(&self, reluctant: bool) {
        self.reluctant.store(reluctant, Ordering::Relaxed);
    }

    fn is_worth_waking(&self) -> bool {
        thrift::is_worth_waking(self.stealer.len(), self.typical())
    }

    /// How long polls take here, in nanoseconds.
    #[inline]
    pub(crate) fn typical(&self) -> u64 {
        self.typical.load(Ordering::Relaxed)
    }

    /// By its owner: a poll has taken so long.
    pub(crate) fn note_poll_time(&self, time: Duration, of_task: bool) {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if of_task {
            self.poll_times.record(time);
        }
        self.typical.store(thrift::typical(self.typical(), time), Ordering::Relaxed);
    }

    fn new(deque: &Worker<Runnable>) -> std::io::Result<Self> {
        Ok(LoopShared {
            slot: Slot::new(),
            stealer: deque.stealer(),
            mailbox: Mailbox::new(),
            reactor: Reactor::new()?,
            timers: Timers::new(),
            registry: ShortLock::new(Registry::new()),
            counters: Counters::default(),
            typical: AtomicU64::new(thrift::UNKNOWN),
            reluctant: AtomicBool::new(false),
            poll_times: PollTimeCounters::default(),
            now: Now::default(),
            stall: Stall::new(),
            stewardship: Stewardship::default(),
        })
    }
}
