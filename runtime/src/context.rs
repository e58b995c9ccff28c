//! What the current thread is doing: which loop it drives, which task it polls, how much that task
//! may still do before it has to let others run.
//!
//! A thread-local without destructor, so it can be asked while a thread ends. Everything is saved and
//! restored by guards, so that leaving by a panic restores what was outside.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::{Context, Waker};

use crate::event_loop::Core;
use crate::scheduler::Shared;
use crate::task::{Header, report_panic};

/// How many operations of our own leaf futures one poll of a task may do.
///
/// The same figure as tokio's; what matters is that it is large against the cost of a poll and small
/// against a millisecond.
const BUDGET: u8 = 128;

struct State {
    core: Cell<*const Core>,
    task: Cell<Option<NonNull<Header>>>,
    budget: Cell<u8>,
}

thread_local! {
    static STATE: State = const {
        State { core: Cell::new(std::ptr::null()), task: Cell::new(None), budget: Cell::new(BUDGET) }
    };
}

/// Makes `core` the loop of this thread until the guard is dropped. `None` when the thread drives a
/// loop already.
pub(crate) fn enter_loop(core: &Rc<Core>) -> Option<EnteredLoop> {
    STATE.with(|state| {
        if !state.core.get().is_null() {
            return None;
        }
        state.core.set(Rc::as_ptr(core));
        Some(EnteredLoop { _core: core.clone() })
    })
}

/// Whether this thread drives a loop.
pub(crate) fn inside_a_loop() -> bool {
    STATE.with(|state| !state.core.get().is_null())
}

pub(crate) struct EnteredLoop {
    /// Keeps the pointer in `STATE` valid.
    _core: Rc<Core>,
}

impl Drop for EnteredLoop {
    fn drop(&mut self) {
        STATE.with(|state| state.core.set(std::ptr::null()));
    }
}

/// The loop that this thread drives.
pub(crate) fn current_core() -> Option<Rc<Core>> {
    STATE.with(|state| {
        let core = state.core.get();
        if core.is_null() {
            return None;
        }
        // SAFETY: `EnteredLoop` holds an `Rc` of it as long as the pointer is set, on this thread.
        Some(unsafe {
            Rc::increment_strong_count(core);
            Rc::from_raw(core)
        })
    })
}

/// Calls `f` with this thread's loop, if that belongs to `shared`; else hands the argument back.
#[inline]
pub(crate) fn with_loop_of<A>(
    shared: *const Shared,
    argument: A,
    f: impl FnOnce(&Core, A),
) -> Result<(), A> {
    STATE.with(|state| {
        // SAFETY: as in `current_core`; `f` cannot leave the loop, because the guard that does is on
        // the stack below us.
        match unsafe { state.core.get().as_ref() } {
            Some(core) if std::ptr::eq(core.shared(), shared) => {
                f(core, argument);
                Ok(())
            }
            _ => Err(argument),
        }
    })
}

/// Marks `task` as the one that is polled, with a fresh budget, until the guard is dropped.
#[inline]
pub(crate) fn enter_task(task: NonNull<Header>) -> EnteredTask {
    STATE.with(|state| EnteredTask {
        task: state.task.replace(Some(task)),
        budget: state.budget.replace(BUDGET),
    })
}

pub(crate) struct EnteredTask {
    task: Option<NonNull<Header>>,
    budget: u8,
}

impl Drop for EnteredTask {
    #[inline]
    fn drop(&mut self) {
        STATE.with(|state| {
            state.task.set(self.task);
            state.budget.set(self.budget);
        });
    }
}

/// Whether a task is being polled on this thread.
pub(crate) fn inside_a_task() -> bool {
    STATE.with(|state| state.task.get().is_some())
}

/// One unit of the current task's budget, asked for *before* a resource is taken. False when it is
/// used up: then the task is woken to go on after others, and the caller returns pending.
#[must_use]
#[inline]
pub(crate) fn consume_budget(cx: &mut Context<'_>) -> bool {
    STATE.with(|state| {
        if state.task.get().is_none() {
            return true;
        }
        match state.budget.get().checked_sub(1) {
            Some(left) => {
                state.budget.set(left);
                true
            }
            None => {
                cx.waker().wake_by_ref();
                false
            }
        }
    })
}

/// Wakes, and keeps a panic of a foreign waker from what we are in the middle of.
#[inline]
pub(crate) fn wake_caught(waker: &Waker) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake_by_ref())) {
        report_panic("a waker", &*payload);
    }
}
