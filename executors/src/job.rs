//! [`Job`]: the handle of submitted work.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crate::error::JobError;
use crate::patience::Patience;
use crate::promise::{Cell as PromiseCell, Outcome};
use crate::shim::Arc;

/// Submitted work: awaited, or waited on from a thread.
///
/// Dropping a `Job` lets the work go on and throws its outcome away;
/// [`cancel_on_drop`](Job::cancel_on_drop) makes a guard that cancels instead. A job can be awaited in
/// any runtime.
///
/// The outcome can be taken once, by awaiting or by [`result`](Job::result).
///
/// ```
/// use loopool_executors::{Executor, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(2);
/// let mut job = pool.submit(|| 6 * 7)?;
/// assert_eq!(job.result(None)?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a job that is dropped goes on, but its outcome is lost"]
pub struct Job<T> {
    cell: Arc<PromiseCell<T>>,
}

impl<T> Job<T> {
    pub(crate) fn new(cell: Arc<PromiseCell<T>>) -> Self {
        Job { cell }
    }

    pub(crate) fn cell(&self) -> &PromiseCell<T> {
        &self.cell
    }

    /// Blocks the calling thread until the job is done, at most `timeout`, and takes its outcome.
    ///
    /// Never call this on an event loop's thread: it stops the loop. Await the job there.
    ///
    /// Called without a limit by a job of the same pool, of threads or cores, for one that nobody has begun, this
    /// runs it: so jobs may wait for jobs that they have submitted, however few threads there are.
    ///
    /// # Errors
    /// The job's own error, or one with [`is_wait_timeout`](JobError::is_wait_timeout) when the time
    /// ran out, or one with [`is_endless_wait`](JobError::is_endless_wait) when the job needs the very thread
    /// that would wait: with both the job goes on and may be asked again.
    pub fn result(&mut self, timeout: impl Into<Option<Duration>>) -> Outcome<T> {
        self.wait_for(timeout.into(), PromiseCell::try_take, PromiseCell::poll_take)?
    }

    /// Blocks as [`result`](Self::result) does, but takes only an error: a value stays, to be taken later.
    ///
    /// ```
    /// # use loopool_executors::{Executor, ThreadPoolExecutor};
    /// let pool = ThreadPoolExecutor::new(1);
    /// let mut good = pool.submit(|| 1)?;
    /// let mut bad = pool.submit(|| panic!("no"))?;
    /// assert!(good.exception(None)?.is_none());
    /// assert_eq!(good.result(None)?, 1);
    /// let error: Option<loopool_executors::JobError> = bad.exception(None)?;
    /// # let _: Result<(), _> = bad.result(None);
    /// assert_eq!(error.unwrap().panic_message(), Some("no"));
    /// # Ok::<(), loopool_executors::JobError>(())
    /// ```
    ///
    /// # Errors
    /// When there is no knowing: one with [`is_wait_timeout`](JobError::is_wait_timeout) when the time ran out, one
    /// with [`is_endless_wait`](JobError::is_endless_wait), or another when the outcome, or the error, was taken before.
    pub fn exception(
        &mut self,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Option<JobError>, JobError> {
        let (look, poll) = (PromiseCell::try_take_error, PromiseCell::poll_take_error);
        self.wait_for(timeout.into(), look, poll)?
    }

    /// Blocks until `look` or `poll` finds something, at most so long.
    fn wait_for<R>(
        &mut self,
        timeout: Option<Duration>,
        look: impl Fn(&PromiseCell<T>) -> Option<R>,
        poll: impl Fn(&PromiseCell<T>, &Waker) -> Poll<R>,
    ) -> Result<R, JobError> {
        if let Some(found) = look(&self.cell) {
            return Ok(found);
        }
        if timeout.is_none() {
            self.cell.owner().before_wait()?;
        }
        let deadline = deadline_after(timeout);
        let since = Instant::now();
        let found = match self.look_for(deadline, look) {
            Some(found) => Ok(found),
            None => self.sleep_until(deadline, poll),
        };
        let _ = EAGER.try_with(|eager| eager.set(since.elapsed() < SOON));
        found
    }

    /// Sleeps until `poll` finds something.
    fn sleep_until<R>(
        &self,
        deadline: Option<Instant>,
        poll: impl Fn(&PromiseCell<T>, &Waker) -> Poll<R>,
    ) -> Result<R, JobError> {
        let waker = unpark_this_thread();
        if let Poll::Ready(found) = poll(&self.cell, &waker) {
            return Ok(found);
        }
        self.cell.owner().note_sleep(true);
        let parked = Instant::now();
        let found = loop {
            if !park_until(deadline) {
                break Err(JobError::wait_timed_out());
            }
            if let Poll::Ready(found) = poll(&self.cell, &waker) {
                with_patience(|patience| patience.slept(parked.elapsed(), true));
                break Ok(found);
            }
        };
        self.cell.owner().note_sleep(false);
        found
    }

    /// For as long as it usually pays on this thread.
    fn look_for<R>(
        &self,
        deadline: Option<Instant>,
        look: impl Fn(&PromiseCell<T>) -> Option<R>,
    ) -> Option<R> {
        let over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let look = |_| {
            self.cell.owner().look();
            if over() { Some(None) } else { look(&self.cell).map(Some) }
        };
        with_patience(|patience| {
            self.cell.owner().note_look(true);
            let found = match EAGER.try_with(Cell::get) {
                Ok(true) => look_briefly(look),
                _ => None,
            };
            let found = found.or_else(|| {
                let rounds = patience.rounds();
                patience.look(rounds, look)
            });
            self.cell.owner().note_look(false);
            found.flatten()
        })
    }

    /// Cancels the job.
    ///
    /// A job that has not started never will. A running one is killed where that can be done (a pool
    /// of processes). A running thread can't be stopped, so there the answer is `false`, and the job's
    /// [`CancelToken`](crate::CancelToken) asks it to end. `true`, too, when the job is already cancelled.
    pub fn cancel(&self) -> bool {
        self.cell.cancel()
    }

    /// Whether the outcome is there: a value, an error or a cancellation.
    pub fn done(&self) -> bool {
        self.cell.is_done()
    }

    /// Whether the job has been started and is not done.
    pub fn running(&self) -> bool {
        self.cell.is_running()
    }

    /// Whether the job was cancelled.
    pub fn cancelled(&self) -> bool {
        self.cell.is_cancelled()
    }

    /// Calls `callback` with the outcome when the job is done.
    ///
    /// Callbacks run in order of registration in the thread that completes the job, before the
    /// outcome can be taken; on a job that is done, at once in the calling thread. (When the outcome
    /// was taken before that, the callback gets an error that says so.) A callback that panics is
    /// reported through `tracing`, and the others still run. They do so, too, after one that [exits](crate::exit()),
    /// with an error, which is the job's outcome from then on.
    pub fn add_done_callback(&self, callback: impl FnOnce(&Outcome<T>) + Send + 'static) {
        self.cell.add_done_callback(Box::new(callback));
    }

    /// A guard that cancels the job when it is dropped before the outcome was taken.
    pub fn cancel_on_drop(self) -> CancelOnDrop<T> {
        CancelOnDrop { job: self }
    }
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        self.cell.owner().note_dropped();
    }
}

impl<T> Future for Job<T> {
    type Output = Outcome<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.cell.poll_take(cx.waker())
    }
}

impl<T> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("done", &self.done())
            .field("running", &self.running())
            .field("cancelled", &self.cancelled())
            .finish()
    }
}

/// A [`Job`] that is cancelled when this is dropped: for work that nobody needs any more once the
/// one who asked has gone.
///
/// Made by [`Job::cancel_on_drop`].
#[derive(Debug)]
#[must_use = "dropping it cancels the job"]
pub struct CancelOnDrop<T> {
    job: Job<T>,
}

impl<T> CancelOnDrop<T> {
    /// The job inside.
    pub fn job(&self) -> &Job<T> {
        &self.job
    }
}

impl<T> Future for CancelOnDrop<T> {
    type Output = Outcome<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.job).poll(cx)
    }
}

impl<T> Drop for CancelOnDrop<T> {
    fn drop(&mut self) {
        self.job.cancel();
    }
}

/// Who was given an outcome so soon, the wake included, looks for the next one for [`EAGERNESS`] at least.
const SOON: Duration = Duration::from_micros(60);
const EAGERNESS: Duration = Duration::from_micros(20);

thread_local! {
    /// Whether the last outcome that this thread waited for came soon.
    static EAGER: Cell<bool> = const { Cell::new(false) };
}

/// Looks for a moment, letting others run in between.
fn look_briefly<T>(look: impl Fn(bool) -> Option<T>) -> Option<T> {
    let since = Instant::now();
    loop {
        if let Some(found) = look(false) {
            return Some(found);
        }
        if since.elapsed() >= EAGERNESS {
            return None;
        }
        std::thread::yield_now();
    }
}

/// With what this thread knows of waiting for jobs. Without, at the thread's end.
fn with_patience<R>(f: impl FnOnce(&mut Patience) -> R) -> R {
    thread_local! {
        static PATIENCE: RefCell<Patience> = const { RefCell::new(Patience::new()) };
    }
    let mut patience = PATIENCE.try_with(RefCell::take).unwrap_or_default();
    let result = f(&mut patience);
    // It has no destructor, so it is there till the end.
    let _ = PATIENCE.try_with(|cell| cell.replace(patience));
    result
}

/// So long from now; a time that is too far for the clock never comes.
pub(crate) fn deadline_after(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

/// A waker for [`park_until`].
pub(crate) fn unpark_this_thread() -> Waker {
    Waker::from(std::sync::Arc::new(Unpark(std::thread::current())))
}

/// Parks this thread, perhaps for nothing. False when it is past the deadline.
pub(crate) fn park_until(deadline: Option<Instant>) -> bool {
    let Some(deadline) = deadline else {
        std::thread::park();
        return true;
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        std::thread::park_timeout(left);
    }
    !left.is_zero()
}

/// Wakes a thread that is parked.
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}
