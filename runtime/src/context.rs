//! What the current thread is doing: which loop it drives, and the record of what it polls.
//!
//! Pointers in a thread-local without destructor, so they can be asked for while a thread ends. They are
//! saved and restored by guards, so that leaving by a panic restores what was outside.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use loopool_executors::caught::run_caught;

use crate::cancel::{Record, lost};
use crate::event_loop::Core;
use crate::scheduler::Shared;
use crate::task::Recycler;

struct State {
    core: Cell<*const Core>,
    record: Cell<*const Record>,
    /// The record that was set aside by who is on the stack above it, if one was.
    aside: Cell<*const Record>,
}

thread_local! {
    static STATE: State = const {
        State {
            core: Cell::new(ptr::null()),
            record: Cell::new(ptr::null()),
            aside: Cell::new(ptr::null()),
        }
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

/// Calls `f` with the loop that this thread drives, if it does.
#[inline]
pub(crate) fn with_core<R>(f: impl FnOnce(&Core) -> R) -> Option<R> {
    STATE.with(|state| {
        // SAFETY: as in `current_core`; `f` cannot leave the loop, because the guard that does is on
        // the stack below us.
        unsafe { state.core.get().as_ref() }.map(f)
    })
}

/// Calls `f` with the memory that this thread's loop keeps, if it drives one.
#[inline]
pub(crate) fn with_recycler<R>(f: impl FnOnce(Option<&Recycler>) -> R) -> R {
    STATE.with(|state| {
        // SAFETY: as in `current_core`; `f` runs no foreign code.
        f(unsafe { state.core.get().as_ref() }.map(|core| &core.recycler))
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

/// Makes `record` that of what this thread polls, until the guard is dropped.
#[inline]
pub(crate) fn enter(record: &Record) -> Entered<'_> {
    Entered { outer: replace_record(record), record: PhantomData }
}

/// What is polled until the guard is dropped finds no record.
pub(crate) fn hide_record() -> Entered<'static> {
    Entered { outer: replace_record(ptr::null()), record: PhantomData }
}

/// As [`hide_record`], for code of the task that may have others polled by somebody else's executor: it can
/// still ask for the record [around](with_record_around) it.
pub(crate) fn set_record_aside() -> SetAside {
    let hidden = hide_record();
    STATE.with(|state| {
        let outer = state.aside.get();
        if !hidden.outer.is_null() {
            state.aside.set(hidden.outer);
        }
        SetAside { _hidden: hidden, outer }
    })
}

/// Never leaked, as [`Entered`]: whoever entered the record is on the stack below us.
pub(crate) struct SetAside {
    _hidden: Entered<'static>,
    outer: *const Record,
}

impl Drop for SetAside {
    fn drop(&mut self) {
        STATE.with(|state| state.aside.set(self.outer));
    }
}

#[inline]
fn replace_record(record: *const Record) -> *const Record {
    STATE.with(|state| state.record.replace(record))
}

/// Never leaked: the pointer in `STATE` is valid because this borrows the record.
pub(crate) struct Entered<'a> {
    outer: *const Record,
    record: PhantomData<&'a Record>,
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        replace_record(self.outer);
    }
}

/// Calls `f` with the record of what this thread polls, if it polls something of ours.
#[inline]
pub(crate) fn with_record<R>(f: impl FnOnce(Option<&Record>) -> R) -> R {
    let record = STATE.with(|state| state.record.get());
    // SAFETY: `Entered` borrows it as long as the pointer is set, on this thread; it is on the stack
    // below us.
    f(unsafe { record.as_ref() })
}

/// As [`with_record`], for what is not polled but merely asks or is dropped: a record that was set aside is
/// good for it.
pub(crate) fn with_record_around<R>(f: impl FnOnce(Option<&Record>) -> R) -> R {
    let record = STATE.with(|state| {
        let record = state.record.get();
        if record.is_null() { state.aside.get() } else { record }
    });
    // SAFETY: as in `with_record`; one that was set aside is further down, and `SetAside` is between.
    f(unsafe { record.as_ref() })
}

/// As [`with_record`], for a scope: with no record it makes one for itself.
#[inline]
pub(crate) fn with_own_record<T>(f: impl FnOnce(&Record) -> Poll<T>) -> Poll<T> {
    with_record(|record| match record {
        Some(record) => f(record),
        None => outside_tasks(f),
    })
}

/// In somebody else's executor.
#[cold]
fn outside_tasks<T>(f: impl FnOnce(&Record) -> Poll<T>) -> Poll<T> {
    let record = Record::new(None);
    let entered = enter(&record);
    let polled = f(&record);
    drop(entered);
    if let (Poll::Pending, Some(location)) = (&polled, record.raised_at()) {
        lost(location);
    }
    polled
}

/// Whether a task is being polled on this thread that may be polled on others, too.
pub(crate) fn inside_a_task_that_may_move() -> bool {
    with_record_around(|record| {
        let task = record.and_then(Record::task);
        // SAFETY: who polls a task holds a reference to it.
        task.is_some_and(|task| !unsafe { task.as_ref() }.is_local())
    })
}

/// Whether the current task's budget allows a leaf to be polled; see [`Record::has_budget`].
#[must_use]
#[inline]
pub(crate) fn has_budget(cx: &Context<'_>) -> bool {
    with_record(|record| record.is_none_or(|record| record.has_budget(cx)))
}

/// A leaf was ready; see [`Record::spend`].
#[inline]
pub(crate) fn spend_budget() {
    with_record(|record| record.map_or((), Record::spend));
}

/// Polls a leaf within the current task's budget.
#[inline]
pub(crate) fn within_budget<T>(
    cx: &mut Context<'_>,
    poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    if !has_budget(cx) {
        return Poll::Pending;
    }
    let polled = poll(cx);
    if polled.is_ready() {
        spend_budget();
    }
    polled
}

/// Wakes, and keeps a panic of a foreign waker from what we are in the middle of.
#[inline]
pub(crate) fn wake_caught(waker: Waker) {
    run_caught("a waker", || waker.wake());
}
