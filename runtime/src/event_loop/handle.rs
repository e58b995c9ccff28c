//! [`LoopHandle`]: what the loop's own thread may do with it.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::callback::{Callback, Handle, TimerHandle};
use super::core::{Core, Entry};
use super::threadsafe::ThreadsafeHandle;
use crate::context;
use crate::fork::Forked;
use crate::placement::{self, NoSuchLoop};
use crate::task::Task;
use crate::time::from_now;

/// A loop, for its own thread: it is not `Send`, so the compiler sees to what asyncio's documentation
/// asks for. [`threadsafe`](Self::threadsafe) gives the handle for other threads.
#[derive(Clone)]
pub struct LoopHandle {
    core: Rc<Core>,
}

/// The loop that this thread is running.
///
/// # Panics
/// Outside a running loop; see [`try_get_running_loop`].
#[track_caller]
pub fn get_running_loop() -> LoopHandle {
    try_get_running_loop().expect("there is no running loopool event loop on this thread")
}

/// The loop that this thread is running, if it is running one.
pub fn try_get_running_loop() -> Option<LoopHandle> {
    context::current_core().map(LoopHandle::new)
}

impl LoopHandle {
    pub(crate) fn new(core: Rc<Core>) -> Self {
        LoopHandle { core }
    }

    /// Calls `callback` in the loop's next turn. Callbacks are called in order of registration.
    ///
    /// A callback that panics is reported through `tracing`; the loop goes on.
    ///
    /// # Panics
    /// When the loop is closed, or [was made before a fork](crate::Forked).
    #[track_caller]
    pub fn call_soon(&self, callback: impl FnOnce() + 'static) -> Handle {
        let callback = Callback::new(callback);
        if self.accepts_callbacks() {
            self.core.push_ready(Entry::Callback(callback.clone()));
        } else {
            callback.cancel();
        }
        Handle(callback)
    }

    /// Calls `callback` after `delay`; see [`call_at`](Self::call_at).
    ///
    /// # Panics
    /// When the loop is closed, or [was made before a fork](crate::Forked).
    #[track_caller]
    pub fn call_later(&self, delay: Duration, callback: impl FnOnce() + 'static) -> TimerHandle {
        self.call_at(from_now(delay), callback)
    }

    /// Calls `callback` at `when`, or in the next turn if that is past. Earlier times come first,
    /// equal ones in order of registration.
    ///
    /// # Panics
    /// When the loop is closed, or [was made before a fork](crate::Forked).
    #[track_caller]
    pub fn call_at(&self, when: Instant, callback: impl FnOnce() + 'static) -> TimerHandle {
        let callback = Callback::new(callback);
        if !self.accepts_callbacks() {
            callback.cancel();
            return TimerHandle { callback, core: Weak::new(), when, timer: None };
        }
        let number = self.core.callback_timers.borrow_mut().insert(callback.clone());
        let key = self.core.insert_callback_timer(when, number);
        if when <= Instant::now() {
            self.core.timer_overdue.set(true);
        }
        TimerHandle { callback, core: Rc::downgrade(&self.core), when, timer: Some((number, key)) }
    }

    /// The loop's clock: monotonic, the one of [`call_at`](Self::call_at).
    pub fn time(&self) -> Instant {
        Instant::now()
    }

    /// As [`create_task`](crate::create_task), on this loop's runtime. On a loop that is closed the
    /// future is dropped, and the handle says that it was cancelled.
    #[track_caller]
    pub fn create_task<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        // SAFETY: `'static` and `Send`.
        unsafe { self.core.spawn_unchecked(future, false, Location::caller()) }
    }

    /// As [`create_local_task`](crate::create_local_task), on this loop. On a loop that is closed the
    /// future is dropped, and the handle says that it was cancelled.
    #[track_caller]
    pub fn create_local_task<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        // SAFETY: `'static`; local, and a `LoopHandle` stays on the loop's thread.
        unsafe { self.core.spawn_unchecked(future, true, Location::caller()) }
    }

    /// As [`ThreadsafeHandle::spawn_on`].
    ///
    /// # Errors
    /// [`NoSuchLoop`], with the maker, when there is no loop of this number.
    #[track_caller]
    pub fn spawn_on<M, F>(
        &self,
        loop_index: usize,
        make: M,
    ) -> Result<Task<F::Output>, NoSuchLoop<M>>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        placement::spawn_on(&self.core.shared, loop_index, make, Location::caller())
    }

    /// As [`ThreadsafeHandle::spawn_on_each`].
    #[track_caller]
    pub fn spawn_on_each<M, F>(&self, make: M) -> Vec<Task<F::Output>>
    where
        M: Fn(usize) -> F + Send + Clone + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        placement::spawn_on_each(&self.core.shared, &make, Location::caller())
    }

    /// The loop's number in its runtime: 0 is the main loop, or the only one. On a spare worker it is that
    /// of a loop for which it stands in.
    pub fn index(&self) -> usize {
        self.core.place()
    }

    /// How many loops the runtime has.
    pub fn loops(&self) -> usize {
        self.core.shared.loop_count
    }

    /// Asks the loop to stop: it finishes the present turn, then the run call returns. Called before a
    /// run, that run makes one turn without sleeping. Tasks are not cancelled; they go on in the
    /// next run.
    ///
    /// Only for a loop that stands alone; those of a [`Runtime`](crate::Runtime) end with it, and
    /// there this has no effect on any but the main loop.
    pub fn stop(&self) {
        self.core.stopping.set(true);
    }

    /// The handle for other threads.
    pub fn threadsafe(&self) -> ThreadsafeHandle {
        ThreadsafeHandle::new(self.core.shared_arc(), self.core.place())
    }

    /// False while the loop drops what it has: destructors may call anything, and what they want to be
    /// called later never is.
    #[track_caller]
    fn accepts_callbacks(&self) -> bool {
        if self.core.clearing.get() {
            return false;
        }
        assert!(!self.core.shared().is_forked(), "{Forked}");
        assert!(!self.core.closed.get(), "the event loop is closed");
        true
    }
}

impl fmt::Debug for LoopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopHandle").field("index", &self.core.index()).finish_non_exhaustive()
    }
}

impl Core {
    /// Makes a task and queues it, if the runtime takes it (`Shared::admit`).
    ///
    /// # Safety
    /// On the loop's thread. The future is `Send`, or `local` is set. Future and output are
    /// `'static`, or the caller sees to the task's end before their borrows end.
    pub(crate) unsafe fn spawn_unchecked<F: Future>(
        &self,
        future: F,
        local: bool,
        location: &'static Location<'static>,
    ) -> Task<F::Output> {
        let home = if local { self.index() } else { self.place() };
        // SAFETY: the caller's promise; a task that is registered keeps the runtime alive.
        let (runnable, task) =
            unsafe { crate::task::new_task(future, self.shared_pointer(), home, local, location) };
        let Some(runnable) = self.shared().admit(runnable, &task) else { return task };
        if local || self.shared().stands_alone() {
            self.schedule(runnable);
        } else {
            // If the thread does not drive this loop just now, the task goes where others look.
            self.shared().schedule(runnable);
        }
        task
    }
}
