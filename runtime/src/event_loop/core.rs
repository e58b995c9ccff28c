//! The owner half of a loop, and how it turns.
//!
//! # A turn
//! 1. What other threads sent is taken in.
//! 2. If nothing is ready: look for work elsewhere, then sleep in the reactor. If much was run since
//!    the reactor was last asked, ask it without sleeping. Either way timers that are due follow.
//! 3. Run what is ready: the entries of the loop's own queue that were there when the turn began
//!    (what they add waits for the next turn, as in asyncio), in turns with tasks from the deque.
//!
//! Order: a loop that stands alone has one queue for callbacks and tasks, first in, first out. In a
//! runtime of several loops callbacks and local tasks keep that queue, and tasks that may move go
//! through the slot and the deque.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use crossbeam_deque::Worker;
use loopool_executors::caught::tell;
use loopool_executors::engine::Engine;
use loopool_executors::patience::Patience;

use super::backlog::Backlog;
use super::callback::{Callback, CallbackTimers, RemoteCallback};
use super::engines::Engines;
use crate::context;
use crate::metrics::LoopGauges;
use crate::reactor::{self, Events};
use crate::scheduler::{LoopShared, Message, Shared, Thrift};
use crate::task::{Recycler, Runnable};
use crate::time::{Action, Due, TimerKey};

/// So many things are run before the reactor, the mailbox and the injector are looked at again.
pub(super) const MAINTENANCE: u32 = 61;
/// Or after about this time, in nanoseconds, if what is run takes long.
const MAINTENANCE_TIME: u64 = 1_000_000;
/// So many tasks in a row may come out of the slot before others have their turn.
const SLOT_BUDGET: u8 = 3;
/// One run in so many is timed, at random distances: tasks that take turns are all met.
const SAMPLE: u32 = 16;

/// A deadline that was further away when the clock was last looked at needs no look of its own: the next
/// turn is not that far.
const FAR: Duration = Duration::from_millis(1);

/// For so many timers that are due there is memory at any time.
const DUE_KEPT: usize = 1024;

/// The same for messages.
const MESSAGES_KEPT: usize = 1024;

/// Something that is ready.
pub(crate) enum Entry {
    Task(Runnable),
    Callback(Rc<Callback>),
    Remote(Arc<RemoteCallback>),
}

/// The owner half of a loop.
pub(crate) struct Core {
    pub(super) shared: Arc<Shared>,
    /// Our half of it: looked up for every poll, more than once.
    half: NonNull<LoopShared>,
    pub(super) index: usize,
    /// The loop that takes the sockets and timers of tasks: this one; but a spare worker, which does not
    /// last, gives them to a loop for which it stands in.
    pub(super) place: Cell<usize>,
    pub(super) deque: Worker<Runnable>,
    pub(super) ready: RefCell<VecDeque<Entry>>,
    pub(super) callback_timers: RefCell<CallbackTimers>,
    pub(super) stopping: Cell<bool>,
    pub(crate) closed: Cell<bool>,
    /// Everything is being dropped.
    pub(super) clearing: Cell<bool>,
    /// The runtime is closing, and its end waits for the last task.
    pub(crate) awaits_tasks: Cell<bool>,
    /// A task is being run: what it wakes last comes next. Also what its end wakes, if nothing else is queued.
    slot_is_open: Cell<bool>,
    /// Something that is known to block is being run.
    pub(super) blocking: Cell<bool>,
    /// It has slept since it last had something to do.
    pub(super) rested: Cell<bool>,
    /// A timer was set whose time is past.
    pub(super) timer_overdue: Cell<bool>,
    /// What was far when this thread last looked at the clock, in this turn or shortly before.
    far: Cell<Option<Instant>>,
    /// Runs until one is timed.
    until_sample: Cell<u32>,
    pub(super) since_maintenance: Cell<u32>,
    slot_budget: Cell<u8>,
    pub(super) backlog: Cell<Backlog>,
    random: Cell<u32>,
    pub(super) patience: RefCell<Patience>,
    pub(super) engines: RefCell<Engines>,
    pub(super) thrift: RefCell<Thrift>,
    pub(super) scratch: RefCell<Scratch>,
    pub(crate) recycler: Recycler,
}

/// A pointer from which [`Arc`]'s counts can be reached.
pub(crate) fn pointer_to(shared: &Arc<Shared>) -> NonNull<Shared> {
    // SAFETY: the pointer of an `Arc` is not null.
    unsafe { NonNull::new_unchecked(Arc::as_ptr(shared).cast_mut()) }
}

/// Buffers that are used again and again.
pub(super) struct Scratch {
    pub(super) events: Events,
    pub(super) wakers: Vec<Waker>,
    due: Vec<Due>,
    messages: Vec<Message>,
}

impl Core {
    pub(crate) fn new(shared: Arc<Shared>, index: usize, deque: Worker<Runnable>) -> Rc<Core> {
        let half = NonNull::from(&*shared.loops[index]);
        Rc::new(Core {
            shared,
            half,
            index,
            place: Cell::new(index),
            deque,
            ready: RefCell::new(VecDeque::new()),
            callback_timers: RefCell::new(CallbackTimers::default()),
            stopping: Cell::new(false),
            closed: Cell::new(false),
            clearing: Cell::new(false),
            awaits_tasks: Cell::new(false),
            slot_is_open: Cell::new(false),
            blocking: Cell::new(false),
            rested: Cell::new(true),
            timer_overdue: Cell::new(false),
            far: Cell::new(None),
            until_sample: Cell::new(SAMPLE),
            since_maintenance: Cell::new(0),
            slot_budget: Cell::new(SLOT_BUDGET),
            backlog: Cell::new(Backlog::default()),
            random: Cell::new(0x9e37_79b9 ^ (index as u32 + 1)),
            patience: RefCell::new(Patience::new()),
            engines: RefCell::default(),
            thrift: RefCell::new(Thrift::default()),
            recycler: Recycler::new(),
            scratch: RefCell::new(Scratch {
                events: Events::new(),
                wakers: Vec::new(),
                due: Vec::new(),
                messages: Vec::new(),
            }),
        })
    }

    /// For the next core of the same index.
    pub(crate) fn into_deque(self) -> Worker<Runnable> {
        self.deque
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Looks at `engine`, too, before it sleeps.
    pub(crate) fn look_at(&self, engine: Weak<dyn Engine>) {
        self.engines.borrow_mut().add(engine);
    }

    pub(crate) fn shared_arc(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// The runtime, as tasks hold it. Made from the `Arc`, so that a count can be taken from it.
    pub(crate) fn shared_pointer(&self) -> NonNull<Shared> {
        pointer_to(&self.shared)
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// A thread begins to drive the loop.
    pub(super) fn begin_driving(&self) {
        self.far.set(None);
        if self.index == 0 && self.shared.loop_count > 1 {
            self.shared.main_loop_changed(true);
        }
        if self.index < self.shared.loop_count {
            // What it runs first may take long.
            self.shared.see_to_a_watch();
        }
    }

    pub(crate) fn place(&self) -> usize {
        self.place.get()
    }

    #[inline]
    pub(crate) fn half(&self) -> &LoopShared {
        // SAFETY: in `shared`, which we hold, and where halves never move.
        unsafe { self.half.as_ref() }
    }

    /// Appends to the loop's own queue.
    pub(super) fn push_ready(&self, entry: Entry) {
        self.ready.borrow_mut().push_back(entry);
    }

    /// A task was woken, or made, by this loop's thread.
    pub(crate) fn schedule(&self, task: Runnable) {
        if task.is_local() {
            if task.home() == self.index {
                self.push_ready(Entry::Task(task));
            } else {
                self.shared.send_task(task);
            }
        } else if self.shared.stands_alone() && self.closed.get() {
            // Nobody looks at our queue any more; who ends the loop looks at the mailbox.
            self.shared.send_task(task);
        } else if self.shared.stands_alone() {
            self.push_ready(Entry::Task(task));
        } else if self.slot_is_open.get() && !self.blocking.get() {
            if let Some(displaced) = self.half().slot.put(task) {
                self.push_stealable(displaced);
            }
        } else {
            self.push_stealable(task);
        }
    }

    fn push_stealable(&self, task: Runnable) {
        self.deque.push(task);
        self.share();
    }

    /// Wakes a sleeper if there is more to do than we get to soon. The task that we run next is not
    /// counted: with nothing in the slot that is one of those in the deque.
    pub(super) fn share(&self) {
        if self.blocking.get() {
            return self.shared.call_for(self.index);
        }
        if !self.shared.idle.could_use_help() {
            return;
        }
        let next = usize::from(self.half().slot.is_empty());
        let backlog = self.deque.len().saturating_sub(next);
        self.shared.offer(self.index, backlog);
    }

    /// What is queued has much behind it, or there is always something.
    fn share_what_lasts(&self) {
        if self.deque.is_empty() {
            self.backlog.set(self.backlog.get().ended());
            return;
        }
        if !self.shared.idle.could_use_help() {
            return;
        }
        self.share();
        let gladly = self.shared.has_willing_sleeper();
        let (backlog, call) = self.backlog.get().at(Instant::now(), gladly);
        self.backlog.set(backlog);
        if call {
            self.shared.wake_any();
        }
    }

    /// One turn; sleeps in it if there is nothing to do and `may_sleep`.
    pub(crate) fn turn(&self, may_sleep: bool) {
        if !self.half().mailbox.is_empty() {
            self.read_mailbox();
        }
        if self.nothing_ready() {
            self.find_work(may_sleep);
        } else if self.maintenance_is_due() {
            self.maintain();
        }
        if self.timer_overdue.get() {
            self.expire_timers();
        }
        self.have_work();
        self.run_ready();
        self.half()
            .counters
            .publish(&LoopGauges { queue_depth: self.ready.borrow().len() + self.deque.len() });
    }

    /// Step 3 of a turn.
    fn run_ready(&self) {
        let mut own = self.ready.borrow().len();
        let mut others = MAINTENANCE;
        loop {
            let mut idle = true;
            if own > 0 {
                own -= 1;
                // Shorter than it was only if the loop was closed by what it ran.
                let Some(entry) = self.ready.borrow_mut().pop_front() else { break };
                self.run(entry);
                idle = false;
            }
            if others > 0
                && let Some(task) = self.next_stealable()
            {
                others -= 1;
                self.run(Entry::Task(task));
                idle = false;
            }
            if idle {
                break;
            }
            if self.maintenance_is_due() {
                if own == 0 {
                    break;
                }
                self.maintain();
                others = MAINTENANCE;
            }
        }
    }

    /// After there was nothing to do: if there is now, what we run may take long, and somebody has to
    /// watch.
    pub(super) fn have_work(&self) {
        if !self.nothing_ready() {
            self.begin_work();
        }
    }

    /// What is run now may take long.
    fn begin_work(&self) {
        if self.rested.replace(false) {
            self.shared.see_to_a_watch();
        }
    }

    /// After so many runs, or after fewer that take long.
    pub(super) fn maintenance_is_due(&self) -> bool {
        let runs = self.since_maintenance.get();
        let spent = u64::from(runs).saturating_mul(self.half().typical());
        runs >= MAINTENANCE || spent > MAINTENANCE_TIME
    }

    pub(super) fn nothing_ready(&self) -> bool {
        self.ready.borrow().is_empty() && self.deque.is_empty() && self.half().slot.is_empty()
    }

    pub(super) fn next_stealable(&self) -> Option<Runnable> {
        if self.shared.stands_alone() {
            return None;
        }
        let budget = self.slot_budget.get();
        if let Some(task) = self.half().slot.take() {
            if budget > 0 {
                self.slot_budget.set(budget - 1);
                return Some(task);
            }
            self.deque.push(task);
        }
        self.slot_budget.set(SLOT_BUDGET);
        self.deque.pop()
    }

    pub(super) fn run(&self, entry: Entry) {
        let until_sample = self.until_sample.get() - 1;
        self.until_sample.set(until_sample);
        self.since_maintenance.set(self.since_maintenance.get() + 1);
        let begun = (until_sample == 0).then(|| self.begin_sample());
        let is_task = matches!(entry, Entry::Task(_));
        let half = self.half();
        match entry {
            Entry::Task(task) => {
                half.now.task(&task);
                self.slot_is_open.set(true);
                // Who awaits this one may await the others that are queued: better woken once for them all.
                let ends = || self.slot_is_open.set(self.deque.is_empty());
                task.run(&self.shared, |again| self.requeue(again), ends);
                self.slot_is_open.set(false);
            }
            Entry::Callback(callback) => self.call(|| callback.call()),
            Entry::Remote(callback) => self.call(|| callback.call()),
        }
        half.counters.ran();
        if let Some(begun) = begun {
            half.note_poll_time(begun.elapsed(), is_task);
        }
    }

    #[cold]
    fn begin_sample(&self) -> Instant {
        // From 1 to twice as many but one, so that many on average.
        self.until_sample.set(1 + self.next_random() % (2 * SAMPLE - 1));
        Instant::now()
    }

    fn call(&self, callback: impl FnOnce()) {
        self.half().now.callback();
        callback();
        self.half().counters.called();
    }

    /// A task that woke itself goes to the end, so that others run.
    fn requeue(&self, task: Runnable) {
        if task.is_local() || self.shared.stands_alone() {
            self.push_ready(Entry::Task(task));
        } else {
            self.push_stealable(task);
        }
    }

    pub(super) fn read_mailbox(&self) {
        let mut messages = std::mem::take(&mut self.scratch.borrow_mut().messages);
        self.half().mailbox.swap(&mut messages);
        let mut ready = self.ready.borrow_mut();
        ready.extend(messages.drain(..).map(|message| match message {
            Message::Task(task) => Entry::Task(task),
            Message::Callback(callback) => Entry::Remote(callback),
        }));
        drop(ready);
        messages.shrink_to(MESSAGES_KEPT);
        self.scratch.borrow_mut().messages = messages;
    }

    /// A look at everything that other threads and the system may have brought, without sleeping.
    pub(super) fn maintain(&self) {
        self.between();
        if !self.half().mailbox.is_empty() {
            self.read_mailbox();
        }
        if self.shared.take_injected(&self.deque) {
            self.pass_on();
        }
        // With no descriptor to ask for there are only timers.
        if self.half().reactor.registered() > 0 {
            self.wait_for_events(Some(Duration::ZERO));
        } else {
            self.since_maintenance.set(0);
            self.expire_timers();
        }
        self.share_what_lasts();
        self.look_after_peers();
    }

    /// Not in a task or callback.
    pub(super) fn between(&self) {
        self.half().now.other();
        self.shared.came_round(self.index);
    }

    pub(super) fn wait_for_events(&self, limit: Option<Duration>) {
        self.since_maintenance.set(0);
        let mut scratch = self.scratch.borrow_mut();
        let Scratch { events, wakers, .. } = &mut *scratch;
        let waited = self.half().reactor.wait(events, limit, wakers);
        drop(scratch);
        self.after_wait(waited);
    }

    /// Wakes those whose descriptors are ready, then those whose timers are due.
    pub(super) fn after_wait(&self, waited: std::io::Result<()>) {
        self.half().counters.turned();
        if let Err(error) = waited {
            // Only a broken descriptor or memory exhaustion ends here; sleeping a little keeps a
            // broken system from being burned as well.
            tell(|| tracing::error!(%error, "waiting for events failed"));
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut wakers = std::mem::take(&mut self.scratch.borrow_mut().wakers);
        if !wakers.is_empty() {
            self.begin_work();
        }
        reactor::wake_all(&mut wakers);
        self.scratch.borrow_mut().wakers = wakers;
        self.expire_timers();
    }

    pub(super) fn expire_timers(&self) {
        self.timer_overdue.set(false);
        let mut due = std::mem::take(&mut self.scratch.borrow_mut().due);
        let now = self.half().timers.expire(&mut due);
        self.far.set(now.map(|now| now + FAR));
        // Numbers become callbacks before any waker, which is foreign code, could give them to others.
        let mut callbacks: VecDeque<_> = {
            let mut timers = self.callback_timers.borrow_mut();
            let call = |due: &Due| match due.action {
                Action::Call(number) => Some(timers.remove(number)),
                Action::Wake(_) => None,
            };
            due.iter().filter_map(call).collect()
        };
        if !due.is_empty() {
            self.begin_work();
        }
        for timer in due.drain(..) {
            match timer.action {
                Action::Wake(waker) => context::wake_caught(waker),
                Action::Call(_) => {
                    if let Some(callback) = callbacks.pop_front().flatten() {
                        self.push_ready(Entry::Callback(callback));
                    }
                }
            }
        }
        due.shrink_to(DUE_KEPT);
        self.scratch.borrow_mut().due = due;
    }

    /// This thread has read the clock.
    #[inline]
    pub(crate) fn looked_at_clock(&self, now: Instant) {
        self.far.set(Some(now + FAR));
    }

    /// Whether `deadline` was far away at the last look at the clock.
    #[inline]
    pub(crate) fn is_far(&self, deadline: Instant) -> bool {
        self.far.get().is_some_and(|far| deadline > far)
    }

    /// A timer that calls a callback on this loop.
    pub(super) fn insert_callback_timer(&self, when: Instant, number: usize) -> TimerKey {
        self.half().timers.with(|wheel| wheel.insert(when, Action::Call(number)))
    }

    pub(super) fn cancel_callback_timer(&self, key: TimerKey) {
        // An action that comes back is a number: nothing to drop.
        let _ = self.half().timers.with(|wheel| wheel.cancel(key));
    }

    pub(super) fn next_random(&self) -> u32 {
        // Marsaglia's xorshift32.
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.random.set(x);
        x
    }
}
