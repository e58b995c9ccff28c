//! The cell that a job's outcome crosses in: one [`Promise`] puts it in, one [`Job`](crate::Job)
//! takes it out.
//!
//! # Protocol
//!
//! ```text
//! Pending ──start──▶ Running ──settle──▶ Settling ──callbacks done──▶ Done ──late callback──▶ Lent
//!    └────────────cancel / settle────────────┘                         ▲                       │
//!                                                                      └────callbacks done─────┘
//! ```
//!
//! 1. Everything lives under one lock; no foreign code (callbacks, wakers' clone, wake and drop,
//!    destructors of values) runs while it is held.
//! 2. Whoever moves the cell to *Settling* or *Lent* owns the outcome until it moves it to *Done*. It
//!    takes one callback after the other out and runs it with a reference to the outcome, until none is left, then
//!    publishes. No panic keeps it from that: foreign code is run caught. If its thread exits in there, another one owns
//!    the cell in its place, with an error for an outcome (`in_hand.rs`).
//! 3. The outcome is put in once and taken out once.
//! 4. A cell leaves *Pending* exactly once: by [`Promise::start`] or [`Promise::fulfil`] (the executor took it out of
//!    its queue), by `cancel` (the executor's [`JobOwner`] is told, once, that a place is free) or by `expire`
//!    (whoever set the time is told).
//! 5. The waiter's waker is published under the same lock as the check for *Done*, so either the
//!    waiter sees *Done* or the settler sees the waker.
//! 6. What is counted of an outcome is counted in *Settling*, so statistics never lag behind an
//!    outcome that somebody has seen.
//! 7. An outcome that nobody takes is dropped, caught, by whoever lets go of the cell last: that may be
//!    a thread of a pool.
//! 8. Who wants a running job to end sets *asked to end*, and then takes the wakers of those in the job who wait
//!    for that, under the lock. They leave theirs under the lock after they have looked: so one sees the other.
//!    Those that are left when the job is done are woken, too, and told that.
//!
//! Modelled in `loom-tests/tests/promise.rs`.

mod cell;
mod owner;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) use self::cell::Cell;
use self::cell::State;
pub use self::owner::JobOwner;
use self::owner::Owner;
use crate::cancel_token::{Heeded, while_current};
use crate::caught::drop_caught;
use crate::counters::Counters;
use crate::error::JobError;
use crate::shim::Arc;

/// A job's value, or why there is none.
pub type Outcome<T> = Result<T, JobError>;

/// The side that does the work: puts the outcome in, once.
///
/// Dropped without an outcome, it fails the job, so nobody waits for ever.
///
/// # What cannot be done
/// A second outcome, which elsewhere is refused when it comes, does not compile here:
///
/// ```compile_fail,E0382
/// let (promise, mut job) = loopool_executors::Promise::new();
/// promise.set_result(5).unwrap();
/// promise.set_result(6).unwrap_err();
/// assert_eq!(job.result(None).unwrap(), 5);
/// ```
///
/// ```compile_fail,E0382
/// let (promise, mut job) = loopool_executors::Promise::new();
/// promise.set_result(5).unwrap();
/// promise.set_exception(loopool_executors::JobError::cancelled());
/// assert_eq!(job.result(None).unwrap(), 5);
/// ```
///
/// The first one does:
///
/// ```
/// let (promise, mut job) = loopool_executors::Promise::new();
/// promise.set_result(5).unwrap();
/// assert_eq!(job.result(None).unwrap(), 5);
/// ```
pub struct Promise<T> {
    cell: Arc<Cell<T>>,
}

impl<T> Promise<T> {
    /// A promise and the job that will have its outcome.
    ///
    /// ```
    /// use loopool_executors::Promise;
    ///
    /// let (promise, mut job) = Promise::new();
    /// promise.set_result(5).unwrap();
    /// assert_eq!(job.result(None).unwrap(), 5);
    /// ```
    #[allow(clippy::new_ret_no_self, reason = "a promise without its job is of no use")]
    pub fn new() -> (Promise<T>, crate::Job<T>) {
        Self::with_owner(Owner::NONE)
    }

    /// As [`new`](Self::new), with somebody who hears of cancellations under the given number.
    pub fn owned_by(owner: std::sync::Arc<dyn JobOwner>, id: u64) -> (Promise<T>, crate::Job<T>) {
        Self::with_owner(Owner::of(owner, id))
    }

    fn with_owner(owner: Owner) -> (Promise<T>, crate::Job<T>) {
        let cell = Arc::new(Cell::new(owner));
        (Promise { cell: cell.clone() }, crate::Job::new(cell))
    }

    /// Marks the job as running. False when it was cancelled before: then it must not be run.
    ///
    /// (`set_running_or_notify_cancel` in Python.)
    #[must_use = "a cancelled job must not be run"]
    pub fn start(&self) -> bool {
        self.cell.start() == State::Pending
    }

    /// Whether the job was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cell.is_cancelled()
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.cell.is_pending()
    }

    /// Under which its owner knows the job.
    pub(crate) fn id(&self) -> u64 {
        self.cell.owner().id()
    }

    pub(crate) fn cell(&self) -> &Arc<Cell<T>> {
        &self.cell
    }

    /// Finishes the job with a value.
    ///
    /// # Errors
    /// Hands the value back when the job already has an outcome (it was cancelled).
    pub fn set_result(self, value: T) -> Result<(), T> {
        self.cell.settle(Ok(value), |_| ()).map_err(|outcome| match outcome {
            Ok(value) => value,
            Err(_) => unreachable!("the outcome that comes back is the one that was offered"),
        })
    }

    /// Finishes the job with an error; without effect when it already has an outcome.
    pub fn set_exception(self, error: JobError) {
        // An outcome that comes first stays: the error belongs to nobody any more.
        self.finish(Err(error));
    }

    /// [Starts](Self::start) the job, if nobody has, and finishes it with what `work` returns, or with its panic. In
    /// `work`, the job's [`CancelToken`](crate::CancelToken) is the current one. When the job is over already (it was
    /// cancelled), `work` is dropped instead.
    ///
    /// ```
    /// use loopool_executors::Promise;
    ///
    /// let (promise, mut job) = Promise::new();
    /// promise.fulfil(|| 6 * 7);
    /// assert_eq!(job.result(None).unwrap(), 42);
    ///
    /// let (promise, job) = Promise::new();
    /// job.cancel();
    /// promise.fulfil(|| unreachable!("a cancelled job is not run"));
    /// ```
    pub fn fulfil(self, work: impl FnOnce() -> T)
    where
        T: Send + 'static,
    {
        match self.cell.start() {
            State::Pending | State::Running => {
                let outcome = self.outcome_of(work);
                self.finish(outcome);
            }
            State::Settling | State::Done | State::Lent => drop_caught("a cancelled job", work),
        }
    }

    /// As [`fulfil`](Self::fulfil), and counts what became of it, before anybody can see it.
    pub(crate) fn fulfil_counted(self, work: impl FnOnce() -> T, counters: &Counters)
    where
        T: Send + 'static,
    {
        let running = counters.run();
        let outcome = self.outcome_of(work);
        drop(running);
        self.finish_counted(outcome, counters);
    }

    /// Finishes the job with `outcome` and counts it, before anybody can see it; when that comes too
    /// late, neither.
    pub(crate) fn finish_counted(self, outcome: Outcome<T>, counters: &Counters) {
        let settled = self.cell.settle(outcome, |outcome| counters.record(outcome));
        drop_caught("a job's outcome", settled);
    }

    /// What `work` returns, or how else it ends.
    fn outcome_of(&self, work: impl FnOnce() -> T) -> Outcome<T>
    where
        T: Send + 'static,
    {
        let work = || while_current(&self.cell, work);
        catch_unwind(AssertUnwindSafe(work)).map_err(|payload| match payload.downcast::<Heeded>() {
            Ok(heeded) if heeded.is_for(&self.cell) => JobError::cancelled(),
            Ok(_) => JobError::panicked(Box::new("another job, which is to end, was checked here")),
            Err(payload) => JobError::panicked(payload),
        })
    }

    /// Finishes the job with `outcome`; when that comes too late it is dropped, whatever its destructor
    /// does.
    fn finish(self, outcome: Outcome<T>) {
        drop_caught("a job's outcome", self.cell.settle(outcome, |_| ()));
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        if self.cell.is_open() {
            // Refused when an outcome has come meanwhile.
            let _ = self.cell.settle(Err(JobError::abandoned()), |_| ());
        }
    }
}

impl<T> std::fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Promise").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}
