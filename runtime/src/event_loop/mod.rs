//! The event loop: callbacks and tasks on one thread, with its own reactor and timers.
//!
//! | file | holds |
//! |---|---|
//! | `core.rs` | the owner half: queues, and how a loop turns |
//! | `find_work.rs` | what it does when it has nothing to do |
//! | `closing.rs` | how it is left and emptied |
//! | `blocking.rs` | [`block_in_place`] |
//! | `serve.rs` | what is done for loops that do not come round |
//! | `spare.rs` | the turns of a spare worker |
//! | `callback.rs` | callbacks and the handles that cancel them |
//! | `handle.rs` | [`LoopHandle`], for the loop's own thread |
//! | `threadsafe.rs` | [`ThreadsafeHandle`], for all others |

mod backlog;
mod blocking;
mod callback;
mod closing;
mod core;
mod engines;
mod find_work;
mod handle;
mod serve;
mod spare;
mod threadsafe;

use std::fmt;
use std::future::Future;
use std::panic::{Location, resume_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub use self::blocking::block_in_place;
pub(crate) use self::callback::RemoteCallback;
pub use self::callback::{Handle, ThreadsafeCallbackHandle, TimerHandle};
pub(crate) use self::core::{Core, pointer_to};
pub use self::handle::{LoopHandle, get_running_loop, try_get_running_loop};
pub(crate) use self::spare::{Rest, Spare};
pub use self::threadsafe::{LoopClosed, ThreadsafeHandle};
use crate::context;
use crate::fork::Forked;
use crate::scheduler::{Phase, Plan, Shared};
use crate::task::JoinError;

/// One event loop, driven by whichever thread runs it: asyncio's `new_event_loop()`.
///
/// Callbacks and tasks run one after another on the thread that is in one of the `run` methods, in
/// the order in which they became ready. Between runs everything keeps its place.
///
/// For a service, use [`run`](crate::run) or a [`Runtime`](crate::Runtime): a loop per core, joined
/// by work stealing.
///
/// ```
/// use std::cell::RefCell;
/// use std::rc::Rc;
///
/// let event_loop = loopool::EventLoop::new()?;
/// let order = Rc::new(RefCell::new(Vec::new()));
/// let (first, second) = (order.clone(), order.clone());
/// event_loop.handle().call_soon(move || first.borrow_mut().push("callback"));
/// event_loop.run_until_complete(async move { second.borrow_mut().push("main") })?;
/// assert_eq!(*order.borrow(), ["callback", "main"]);
/// event_loop.close();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EventLoop {
    core: Rc<Core>,
}

impl EventLoop {
    /// A new loop, open and not running.
    ///
    /// # Errors
    /// When the system gives no descriptors for its reactor.
    pub fn new() -> std::io::Result<Self> {
        let plan = Plan { loops: 1, spares: 0, slow_poll_threshold: Duration::MAX };
        let (shared, mut deques) = Shared::new(plan)?;
        let deque = deques.remove(0);
        Ok(EventLoop { core: Core::new(shared, 0, deque) })
    }

    /// The handle for this thread.
    pub fn handle(&self) -> LoopHandle {
        LoopHandle::new(self.core.clone())
    }

    /// The handle that crosses threads.
    pub fn threadsafe_handle(&self) -> ThreadsafeHandle {
        ThreadsafeHandle::new(self.core.shared_arc(), self.core.index())
    }

    /// Runs until `main` is done. Other tasks and callbacks run meanwhile and keep their place when it
    /// returns.
    ///
    /// # Errors
    /// [`RunError`] when the loop was stopped before `main` was done (which is then dropped; to keep
    /// it, make it a task and run its handle), or is closed; and when `main` [raised a cancellation
    /// again](crate::Cancelled::reraise) that nothing in it takes, which ends it.
    ///
    /// # Panics
    /// With `main`'s own panic; and when this thread is inside a task or callback of a loop already.
    #[track_caller]
    pub fn run_until_complete<F: Future>(&self, main: F) -> Result<F::Output, RunError> {
        run_main(&self.core, main)?.or_else(|payload| resume_unwind(payload))
    }

    /// Runs until [`stop`](LoopHandle::stop) is called.
    ///
    /// # Errors
    /// [`RunError`] when the loop is closed.
    ///
    /// # Panics
    /// When this thread is inside a task or callback of a loop already.
    #[track_caller]
    pub fn run_forever(&self) -> Result<(), RunError> {
        let _driving = Driving::begin(&self.core)?;
        while !turn_or_stop(&self.core)? {}
        Ok(())
    }

    /// Asks the loop to stop; see [`LoopHandle::stop`].
    pub fn stop(&self) {
        self.core.stopping.set(true);
    }

    /// Whether one of the `run` methods is at work.
    pub fn is_running(&self) -> bool {
        context::current_core().is_some_and(|core| Rc::ptr_eq(&core, &self.core))
    }

    /// Whether the loop was closed.
    pub fn is_closed(&self) -> bool {
        self.core.closed.get()
    }

    /// Drops every task and callback and closes the reactor. May be called again.
    ///
    /// Dropping the loop does the same.
    ///
    /// # Panics
    /// While the loop is running.
    #[track_caller]
    pub fn close(&self) {
        assert!(!self.is_running(), "close was called while the event loop is running");
        close(&self.core);
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        if !self.is_running() {
            close(&self.core);
        }
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("running", &self.is_running())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

fn close(core: &Rc<Core>) {
    if core.shared().is_forked() {
        // What it has is the parent's; it is never freed here.
        return std::mem::forget(core.clone());
    }
    if core.closed.replace(true) {
        return;
    }
    // Inside another loop's task the wakes of what is dropped go the long way, which is right, too.
    let _entered = context::enter_loop(core);
    let shared = core.shared();
    shared.advance(Phase::Stopped);
    shared.default_executor.close(false, Waker::noop().clone());
    shared.close_registries();
    // There is one loop, so its owner is the last.
    core.clear();
}

/// A thread drives a loop, until this is dropped.
pub(crate) struct Driving<'a> {
    core: &'a Rc<Core>,
    _entered: context::EnteredLoop,
}

impl<'a> Driving<'a> {
    #[track_caller]
    pub(crate) fn begin(core: &'a Rc<Core>) -> Result<Self, RunError> {
        if core.shared().is_forked() {
            return Err(RunError(Why::Forked));
        }
        if core.closed.get() {
            return Err(RunError(Why::Closed));
        }
        let Some(entered) = context::enter_loop(core) else {
            panic!(
                "an event loop was run inside a task or callback of an event loop, whose thread \
                 would be stuck: await the future there, or give it to create_task"
            );
        };
        core.shared().idle.enter(core.index());
        core.begin_driving();
        Ok(Driving { core, _entered: entered })
    }
}

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        self.core.leave();
    }
}

/// One turn. True when the loop was asked to stop: then everything that was ready when it was asked
/// has run.
fn turn_or_stop(core: &Core) -> Result<bool, RunError> {
    core.turn(!core.stopping.get());
    if core.shared().is_forked() {
        return Err(RunError(Why::Forked));
    }
    Ok(core.stopping.replace(false))
}

/// Drives a loop until `main` is done or has panicked.
#[track_caller]
pub(crate) fn run_main<F: Future>(
    core: &Rc<Core>,
    main: F,
) -> Result<std::thread::Result<F::Output>, RunError> {
    let location = Location::caller();
    let _driving = Driving::begin(core)?;
    // SAFETY: local, and this is the loop's thread. The future and its output may borrow from our
    // caller: `MainTask` ends the task before we return, however we return.
    let mut main = unsafe { MainTask::start(core, main, location) };
    loop {
        if let Some(outcome) = main.take_if_finished() {
            return match outcome.map_err(JoinError::into_panic) {
                Ok(output) => Ok(Ok(output)),
                Err(Ok(payload)) => Ok(Err(payload)),
                Err(Err(_)) if core.closed.get() => Err(RunError(Why::Closed)),
                // Nobody else has the handle, so it has raised that itself.
                Err(Err(_)) => Err(RunError(Why::Cancelled)),
            };
        }
        if turn_or_stop(core)? && !main.task.is_finished() {
            return Err(RunError(Why::Stopped));
        }
    }
}

/// The main future as a task of its loop, ended at the latest when this is dropped.
struct MainTask<'a, T> {
    core: &'a Core,
    task: crate::task::Task<T>,
}

impl<'a, T> MainTask<'a, T> {
    /// # Safety
    /// On the loop's thread. The returned value is dropped, not leaked, before a borrow in `F` ends.
    unsafe fn start<F: Future<Output = T>>(
        core: &'a Core,
        main: F,
        location: &'static Location<'static>,
    ) -> Self {
        // SAFETY: the caller's promise; `Drop` completes the task.
        let task = unsafe { core.spawn_unchecked(main, true, location) };
        MainTask { core, task }
    }

    fn take_if_finished(&mut self) -> Option<Result<T, JoinError>> {
        if !self.task.is_finished() {
            return None;
        }
        match pin!(&mut self.task).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        }
    }
}

impl<T> Drop for MainTask<'_, T> {
    fn drop(&mut self) {
        // In a fork the future is leaked: nothing polls it there any more, so what it borrows may end.
        if !self.task.is_finished() && !self.core.shared().is_forked() {
            self.core.abandon(self.task.header_pointer());
        }
    }
}

/// Why a run ended without the main future's output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RunError(Why);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Stopped,
    Cancelled,
    Closed,
    Forked,
}

impl RunError {
    /// Whether the loop was stopped before the future was done.
    pub fn is_stopped(&self) -> bool {
        self.0 == Why::Stopped
    }

    /// Whether the future ended cancelled, by a cancellation that it [raised again](crate::Cancelled::reraise)
    /// itself.
    pub fn is_cancelled(&self) -> bool {
        self.0 == Why::Cancelled
    }

    /// Whether the loop was closed.
    pub fn is_closed(&self) -> bool {
        self.0 == Why::Closed
    }

    /// Whether this process is a [fork](Forked) of the one in which the loop was made.
    pub fn is_forked(&self) -> bool {
        self.0 == Why::Forked
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Why::Stopped => "the event loop was stopped before the future was done",
            Why::Cancelled => {
                "the main future ended cancelled: it raised a cancellation again, and nothing around that took it"
            }
            Why::Closed => "the event loop is closed",
            Why::Forked => return Forked.fmt(f),
        })
    }
}

impl fmt::Debug for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunError({self})")
    }
}

impl std::error::Error for RunError {}
