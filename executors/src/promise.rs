//! The cell that a job's outcome crosses in: one [`Promise`] puts it in, one [`Job`](crate::Job)
//! takes it out.
//!
//! # Protocol
//!
//! ```text
//! Pending ──start──▶ Running ──settle──▶ Settling ──callbacks done──▶ Done
//!    └────────────cancel / settle───────────┘  ▲                       │
//!                                              └──late callback────────┘
//! ```
//!
//! 1. Everything lives under one lock; no foreign code (callbacks, wakers' clone, wake and drop,
//!    destructors of values) runs while it is held.
//! 2. Whoever moves the cell to *Settling* owns the outcome until it moves it to *Done*. It runs the
//!    callbacks with a reference to the outcome, again and again until none is left, then publishes.
//! 3. The outcome is put in once and taken out once.
//! 4. A cell leaves *Pending* exactly once: by [`Promise::start`] (the executor took it out of its
//!    queue) or by `cancel` (the executor's [`JobOwner`] is told, once, that a place is free).
//! 5. The waiter's waker is published under the same lock as the check for *Done*, so either the
//!    waiter sees *Done* or the settler sees the waker.
//!
//! Modelled in `loom-tests/tests/promise.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Poll, Waker};

use crate::counters::Counters;
use crate::error::{JobError, panic_message};
use crate::shim::{Arc, Mutex};

/// A job's value, or why there is none.
pub type Outcome<T> = Result<T, JobError>;

type Callback<T> = Box<dyn FnOnce(&Outcome<T>) + Send>;

/// What an executor wants to hear about jobs that are cancelled behind its back.
pub trait JobOwner: Send + Sync {
    /// The job was cancelled before it was started. Its place in the queue may be given away.
    fn cancelled_while_pending(&self, id: u64);

    /// Somebody wants the running job to end. Answers whether that will be tried; if so, the
    /// job's outcome follows as usual.
    fn cancel_running(&self, id: u64) -> bool;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Pending,
    Running,
    Settling,
    Done,
}

struct Inner<T> {
    state: State,
    cancelled: bool,
    outcome: Option<Outcome<T>>,
    callbacks: Vec<Callback<T>>,
    waiter: Option<Waker>,
}

pub(crate) struct Cell<T> {
    inner: Mutex<Inner<T>>,
    owner: Option<(std::sync::Arc<dyn JobOwner>, u64)>,
}

impl<T> Cell<T> {
    /// One step out of *Pending*; false when somebody else was first.
    fn start(&self) -> bool {
        let mut inner = self.inner.lock();
        let pending = inner.state == State::Pending;
        if pending {
            inner.state = State::Running;
        }
        pending
    }

    /// Moves to *Settling* if the outcome is still open, and finishes the job.
    fn settle(&self, outcome: Outcome<T>) -> Result<(), Outcome<T>> {
        let mut inner = self.inner.lock();
        if matches!(inner.state, State::Settling | State::Done) {
            drop(inner);
            return Err(outcome);
        }
        inner.state = State::Settling;
        inner.cancelled = matches!(&outcome, Err(error) if error.is_cancelled());
        drop(inner);
        self.publish(outcome);
        Ok(())
    }

    /// Rule 2. Called by whoever owns *Settling*.
    fn publish(&self, outcome: Outcome<T>) {
        loop {
            let mut inner = self.inner.lock();
            if inner.callbacks.is_empty() {
                inner.outcome = Some(outcome);
                inner.state = State::Done;
                let waiter = inner.waiter.take();
                drop(inner);
                if let Some(waiter) = waiter {
                    waiter.wake();
                }
                return;
            }
            let callbacks = std::mem::take(&mut inner.callbacks);
            drop(inner);
            for callback in callbacks {
                let call = AssertUnwindSafe(|| callback(&outcome));
                if let Err(payload) = catch_unwind(call) {
                    let panic = panic_message(&*payload);
                    tracing::error!(panic, "a job's done-callback panicked; the others still run");
                }
            }
        }
    }

    pub(crate) fn add_done_callback(&self, callback: Callback<T>) {
        let mut inner = self.inner.lock();
        inner.callbacks.push(callback);
        if inner.state != State::Done {
            return;
        }
        // Late: own the outcome once more, so that nobody takes it while the callback looks at it.
        let outcome = inner.outcome.take().unwrap_or_else(|| Err(JobError::already_taken()));
        inner.state = State::Settling;
        drop(inner);
        self.publish(outcome);
    }

    pub(crate) fn poll_take(&self, waker: &Waker) -> Poll<Outcome<T>> {
        let waker = waker.clone();
        let mut inner = self.inner.lock();
        if inner.state == State::Done {
            let outcome = inner.outcome.take();
            drop(inner);
            return Poll::Ready(outcome.unwrap_or_else(|| Err(JobError::already_taken())));
        }
        let previous = inner.waiter.replace(waker);
        drop(inner);
        drop(previous);
        Poll::Pending
    }

    /// Takes the outcome if it is there, without leaving a waker.
    pub(crate) fn try_take(&self) -> Option<Outcome<T>> {
        let mut inner = self.inner.lock();
        if inner.state != State::Done {
            return None;
        }
        let outcome = inner.outcome.take();
        drop(inner);
        Some(outcome.unwrap_or_else(|| Err(JobError::already_taken())))
    }

    /// Cancels a pending job at once; asks the owner to end a running one.
    pub(crate) fn cancel(&self) -> bool {
        let mut inner = self.inner.lock();
        match inner.state {
            State::Pending => {
                inner.state = State::Settling;
                inner.cancelled = true;
                drop(inner);
                if let Some((owner, id)) = &self.owner {
                    owner.cancelled_while_pending(*id);
                }
                self.publish(Err(JobError::cancelled()));
                true
            }
            State::Running => {
                drop(inner);
                match &self.owner {
                    Some((owner, id)) => owner.cancel_running(*id),
                    None => false,
                }
            }
            State::Settling | State::Done => inner.cancelled,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.inner.lock().state == State::Done
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self.inner.lock().state, State::Running | State::Settling)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.inner.lock().cancelled
    }
}

/// The side that does the work: puts the outcome in, once.
///
/// Dropped without an outcome, it fails the job, so nobody waits for ever.
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
        Self::with_owner(None)
    }

    /// As [`new`](Self::new), with somebody who hears of cancellations under the given number.
    pub fn owned_by(owner: std::sync::Arc<dyn JobOwner>, id: u64) -> (Promise<T>, crate::Job<T>) {
        Self::with_owner(Some((owner, id)))
    }

    fn with_owner(
        owner: Option<(std::sync::Arc<dyn JobOwner>, u64)>,
    ) -> (Promise<T>, crate::Job<T>) {
        let inner = Inner {
            state: State::Pending,
            cancelled: false,
            outcome: None,
            callbacks: Vec::new(),
            waiter: None,
        };
        let cell = Arc::new(Cell { inner: Mutex::new(inner), owner });
        (Promise { cell: cell.clone() }, crate::Job::new(cell))
    }

    /// Marks the job as running. False when it was cancelled before: then it must not be run.
    ///
    /// (`set_running_or_notify_cancel` in Python.)
    #[must_use = "a cancelled job must not be run"]
    pub fn start(&self) -> bool {
        self.cell.start()
    }

    /// Whether the job was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cell.is_cancelled()
    }

    /// Finishes the job with a value.
    ///
    /// # Errors
    /// Hands the value back when the job already has an outcome (it was cancelled).
    pub fn set_result(self, value: T) -> Result<(), T> {
        self.cell.settle(Ok(value)).map_err(|outcome| match outcome {
            Ok(value) => value,
            Err(_) => unreachable!("the outcome that comes back is the one that was offered"),
        })
    }

    /// Finishes the job with an error; without effect when it already has an outcome.
    pub fn set_exception(self, error: JobError) {
        // An outcome that comes first stays: the error belongs to nobody any more.
        let _ = self.cell.settle(Err(error));
    }

    /// Finishes the job with what `work` returns, or with its panic.
    pub fn fulfil(self, work: impl FnOnce() -> T) {
        self.finish(catch_unwind(AssertUnwindSafe(work)).map_err(JobError::panicked));
    }

    /// As [`fulfil`](Self::fulfil), and counts what became of it, before anybody can see it.
    pub(crate) fn fulfil_counted(self, work: impl FnOnce() -> T, counters: &Counters) {
        let running = counters.run();
        let outcome = catch_unwind(AssertUnwindSafe(work)).map_err(JobError::panicked);
        drop(running);
        counters.record(&outcome);
        self.finish(outcome);
    }

    /// Finishes the job with `outcome`; false when that came too late (then it is dropped, whatever its
    /// destructor does).
    pub(crate) fn finish(self, outcome: Outcome<T>) -> bool {
        match self.cell.settle(outcome) {
            Ok(()) => true,
            Err(unwanted) => {
                drop_caught(unwanted);
                false
            }
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        // Refused in the usual case, in which the outcome is there already.
        let _ = self.cell.settle(Err(JobError::abandoned()));
    }
}

impl<T> std::fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Promise").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

/// Drops a value whose destructor may panic, on a thread that must live on.
pub(crate) fn drop_caught<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        let panic = panic_message(&*payload);
        tracing::error!(panic, "the destructor of something a job left behind panicked");
    }
}
