//! [`ThreadsafeHandle`]: what every other thread may do with a loop.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use loopool_executors::caught::drop_caught;
use loopool_executors::{Job, JobError, JobOwner, Promise};

use super::callback::{RemoteCallback, ThreadsafeCallbackHandle};
use super::core::pointer_to;
use crate::fork::Forked;
use crate::metrics::RuntimeMetrics;
use crate::placement::{self, NoSuchLoop};
use crate::scheduler::{Phase, Shared};
use crate::shim::Mutex;
use crate::task::Task;

/// A loop and its runtime, for other threads.
///
/// Outlives the runtime; then everything says that it is closed.
#[derive(Clone)]
pub struct ThreadsafeHandle {
    shared: Arc<Shared>,
    loop_index: usize,
}

impl ThreadsafeHandle {
    pub(crate) fn new(shared: Arc<Shared>, loop_index: usize) -> Self {
        ThreadsafeHandle { shared, loop_index }
    }

    /// Calls `callback` on the loop's thread, waking it if it sleeps. Callbacks from one thread are
    /// called in order.
    ///
    /// # Errors
    /// [`LoopClosed`] when the loop is closed; the callback is dropped.
    pub fn call_soon_threadsafe(
        &self,
        callback: impl FnOnce() + Send + 'static,
    ) -> Result<ThreadsafeCallbackHandle, LoopClosed> {
        let callback = RemoteCallback::new(callback);
        if self.shared.is_forked() {
            callback.cancel();
            return Err(LoopClosed(Why::Forked));
        }
        if !self.is_closed() && self.shared.send_callback(self.loop_index, callback.clone()) {
            Ok(ThreadsafeCallbackHandle(callback))
        } else {
            callback.cancel();
            Err(LoopClosed(Why::Closed))
        }
    }

    /// Makes a task of `future`; see [`create_task`](crate::create_task).
    ///
    /// In a runtime that is closed the future is dropped, and the handle says that it was cancelled.
    #[track_caller]
    pub fn create_task<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let location = Location::caller();
        let shared = &self.shared;
        // SAFETY: `'static` and `Send`; a task that is registered keeps the runtime alive.
        let (runnable, task) = unsafe {
            crate::task::new_task(future, pointer_to(shared), self.loop_index, false, location)
        };
        if let Some(runnable) = shared.admit(runnable, &task) {
            shared.schedule(runnable);
        }
        task
    }

    /// Runs `future` in the loop's runtime, for a thread that is not one of its: the [`Job`] is waited
    /// on with [`result`](Job::result) (whose time limit does not cancel anything), awaited in any
    /// runtime, or [cancelled](Job::cancel), which cancels the task. A job that is dropped lets the task go on.
    ///
    /// ```
    /// let runtime = loopool::Runtime::builder().build()?;
    /// let handle = runtime.threadsafe_handle();
    /// let other = std::thread::spawn(move || {
    ///     handle.run_coroutine_threadsafe(async { 6 * 7 }).result(None)
    /// });
    /// runtime.run(async { while !other.is_finished() { loopool::yield_now().await } });
    /// assert_eq!(other.join().unwrap()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn run_coroutine_threadsafe<F>(&self, future: F) -> Job<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let owner = Arc::new(CancelTask::default());
        let (promise, job) = Promise::owned_by(owner.clone(), 0);
        let refusal = match () {
            () if self.shared.is_forked() => Some(LoopClosed(Why::Forked)),
            () if self.is_closed() => Some(LoopClosed(Why::Closed)),
            () => None,
        };
        if let Some(refusal) = refusal {
            promise.set_exception(JobError::rejected(refusal));
            return job;
        }
        let task = self.create_task(Bridge { promise: Some(promise), future });
        owner.set(task);
        job
    }

    /// Makes a task on loop `loop_index`, which it never leaves. `make` is called there, so the future
    /// that it makes need not be `Send`; only the maker and the output cross threads.
    ///
    /// A task that is cancelled before it was first polled drops its maker uncalled, on that loop. A
    /// panic of the maker is the task's. The main loop of a [`Runtime`](crate::Runtime), number 0, runs
    /// its tasks only while somebody runs it: until then the task waits.
    ///
    /// In a runtime that is closed the maker is dropped, and the handle says that it was cancelled.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    ///
    /// let runtime = loopool::Runtime::builder().loops(2).build()?;
    /// let handle = runtime.threadsafe_handle();
    /// let task = handle.spawn_on(1, || {
    ///     let counter = Rc::new(Cell::new(0));
    ///     async move {
    ///         counter.set(counter.get() + 1);
    ///         counter.get()
    ///     }
    /// })?;
    /// assert_eq!(runtime.run(task).unwrap(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        placement::spawn_on(&self.shared, loop_index, make, Location::caller())
    }

    /// Makes a task on each loop, as [`spawn_on`](Self::spawn_on) does; `make` gets the loop's number.
    /// For what there is one of per core: a listener with `SO_REUSEPORT`, a cache without locks.
    #[track_caller]
    pub fn spawn_on_each<M, F>(&self, make: M) -> Vec<Task<F::Output>>
    where
        M: Fn(usize) -> F + Send + Clone + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        placement::spawn_on_each(&self.shared, &make, Location::caller())
    }

    /// How many loops the runtime has. Their numbers begin with 0, the main loop's.
    pub fn loops(&self) -> usize {
        self.shared.loop_count
    }

    /// What the runtime's loops are doing.
    pub fn metrics(&self) -> RuntimeMetrics {
        self.shared.metrics()
    }

    /// Whether the loop was closed. (In a [fork](Forked) of the process it is as it was.)
    pub fn is_closed(&self) -> bool {
        self.shared.phase() == Phase::Stopped
    }
}

impl fmt::Debug for ThreadsafeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadsafeHandle")
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// The loop was closed, or is that of a process of which this one is a fork: nothing can be run on it
/// here any more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LoopClosed(Why);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Closed,
    Forked,
}

impl LoopClosed {
    /// Whether this process is a [fork](Forked) of the one in which the loop was made.
    pub fn is_forked(&self) -> bool {
        self.0 == Why::Forked
    }
}

impl fmt::Display for LoopClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Why::Closed => f.write_str("the event loop is closed"),
            Why::Forked => Forked.fmt(f),
        }
    }
}

impl fmt::Debug for LoopClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoopClosed({self})")
    }
}

impl std::error::Error for LoopClosed {}

/// A future whose outcome goes to a job: its value, its panic, or that it was dropped unfinished.
struct Bridge<F: Future> {
    promise: Option<Promise<F::Output>>,
    future: F,
}

impl<F: Future> Future for Bridge<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: `future` is pinned with us: never moved, dropped in place; `Drop` does not move it.
        // `promise` is not pinned.
        let (promise, future) = unsafe {
            let this = self.get_unchecked_mut();
            (&mut this.promise, Pin::new_unchecked(&mut this.future))
        };
        if promise.is_none() {
            return Poll::Ready(());
        }
        let poll = std::panic::AssertUnwindSafe(|| future.poll(cx));
        let outcome = match std::panic::catch_unwind(poll) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(payload) => Err(JobError::panicked(payload)),
        };
        if let Some(promise) = promise.take() {
            match outcome {
                // A cancellation that came first stays; the value is dropped.
                Ok(output) => drop_caught("a job's value", promise.set_result(output)),
                Err(error) => promise.set_exception(error),
            }
        }
        Poll::Ready(())
    }
}

impl<F: Future> Drop for Bridge<F> {
    fn drop(&mut self) {
        if let Some(promise) = self.promise.take() {
            promise.set_exception(JobError::cancelled());
        }
    }
}

/// Cancels the task of a job that is cancelled, and holds its handle until then, or until the job is dropped:
/// whoever has the promise has this, too, and the task has the promise, so it would hold itself for ever.
///
/// The job stays *pending* in the eyes of its promise while the task runs, so that a cancellation
/// takes effect for the waiting side at once.
#[derive(Default)]
struct CancelTask(Mutex<Option<Task<()>>>);

impl CancelTask {
    /// While nobody has the job yet.
    fn set(&self, task: Task<()>) {
        *self.0.lock() = Some(task);
    }

    fn take(&self) -> Option<Task<()>> {
        self.0.lock().take()
    }
}

impl JobOwner for CancelTask {
    fn cancelled_while_pending(&self, _id: u64) {
        if let Some(task) = self.take() {
            task.cancel();
        }
    }

    fn cancel_running(&self, _id: u64) -> bool {
        false
    }

    fn dropped(&self, _id: u64) {
        drop(self.take());
    }
}
