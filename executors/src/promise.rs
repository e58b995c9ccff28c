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

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Poll, Waker};

use crate::cancel_token::{Askable, Heeded, while_current};
use crate::caught::{drop_caught, run_caught};
use crate::counters::Counters;
use crate::error::JobError;
use crate::in_hand::{InHand, with_in_hand};
use crate::shim::atomic::{AtomicBool, Ordering};
use crate::shim::{Arc, Mutex};

/// A job's value, or why there is none.
pub type Outcome<T> = Result<T, JobError>;

type Callback<T> = Box<dyn FnOnce(&Outcome<T>) + Send>;

/// What an executor wants to hear about jobs that are cancelled behind its back.
pub trait JobOwner: Send + Sync {
    /// The job was cancelled before it was started. Its place in the queue may be given away.
    fn cancelled_while_pending(&self, id: u64);

    /// Somebody wants the running job to end. Answers whether it will be made to; if so, the
    /// job's outcome follows as usual.
    fn cancel_running(&self, id: u64) -> bool;

    /// The [`Job`](crate::Job) was dropped, so that nobody can cancel it or take its outcome any more; what it has
    /// for callbacks is still called. By default nothing is done.
    fn dropped(&self, id: u64) {
        let _ = id;
    }

    /// The calling thread is about to block until the job is done, with no limit.
    ///
    /// If it is one of the executor's own threads, the job may never get another one: so the executor may
    /// run the job here and now. By default nothing is done.
    ///
    /// # Errors
    /// [`JobError::endless_wait`] when the job can't be done while this thread waits. The wait ends with it;
    /// the job stays as it is.
    fn before_wait(&self, id: u64) -> Result<(), JobError> {
        let _ = id;
        Ok(())
    }

    /// The calling thread begins to look again and again whether the job is done, or (`false`) ends that. By default
    /// nothing is done.
    fn note_look(&self, begins: bool) {
        let _ = begins;
    }

    /// The calling thread looks whether the job is done, and will look again: it may take in what has come for the
    /// executor. By default nothing is done.
    fn look(&self) {}

    /// The calling thread goes to sleep until the job is done, or (`false`) does so no more. By default nothing is done.
    fn note_sleep(&self, begins: bool) {
        let _ = begins;
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Pending,
    Running,
    /// There is an outcome, which the callbacks see first.
    Settling,
    /// The outcome may be taken, or was.
    Done,
    /// Done, but for a moment a late callback has the outcome.
    Lent,
}

struct Inner<T> {
    state: State,
    cancelled: bool,
    /// The outcome is, or was, an error and no cancellation.
    failed: bool,
    outcome: Option<Outcome<T>>,
    callbacks: VecDeque<Callback<T>>,
    waiter: Option<Waker>,
    /// Of those in the job who wait until it is asked to end (rule 8).
    heeding: Vec<Waker>,
}

impl<T> Inner<T> {
    /// Fails when there is no knowing any more.
    fn take_error(&mut self) -> Result<Option<JobError>, JobError> {
        match self.outcome.take() {
            Some(Err(error)) => Ok(Some(error)),
            Some(value) => {
                self.outcome = Some(value);
                Ok(None)
            }
            None => Err(JobError::already_taken()),
        }
    }
}

impl<T> Drop for Inner<T> {
    /// Rule 7. Callbacks and waiter have gone by now: the promise sees to it that every job is settled.
    fn drop(&mut self) {
        drop_caught("a job's outcome", self.outcome.take());
    }
}

pub(crate) struct Cell<T> {
    inner: Mutex<Inner<T>>,
    /// Set with Release in `ask_to_end`; the loads there and in `is_asked` acquire.
    asked_to_end: AtomicBool,
    owner: Option<(std::sync::Arc<dyn JobOwner>, u64)>,
}

impl<T> Cell<T> {
    /// One step out of *Pending*, if that is what it finds.
    #[must_use]
    fn start(&self) -> State {
        let mut inner = self.inner.lock();
        let found = inner.state;
        if found == State::Pending {
            inner.state = State::Running;
        }
        found
    }

    /// Moves to *Settling* if the outcome is still open, and finishes the job. `count` is called in
    /// between, and only then (rule 6).
    fn settle(
        &self,
        outcome: Outcome<T>,
        count: impl FnOnce(&Outcome<T>),
    ) -> Result<(), Outcome<T>> {
        let mut inner = self.inner.lock();
        if matches!(inner.state, State::Settling | State::Done | State::Lent) {
            drop(inner);
            return Err(outcome);
        }
        inner.state = State::Settling;
        if let Err(error) = &outcome {
            inner.cancelled = error.is_cancelled();
            inner.failed = !inner.cancelled;
        }
        drop(inner);
        count(&outcome);
        self.publish(outcome);
        Ok(())
    }

    /// Rule 2. Called by whoever owns *Settling* or *Lent*.
    fn publish(&self, mut outcome: Outcome<T>) {
        while let Some((again, callback)) = self.try_publish(outcome) {
            self.show(&again, callback);
            outcome = again;
        }
    }

    fn show(&self, outcome: &Outcome<T>, callback: Callback<T>) {
        let call = || run_caught("a job's done-callback", || callback(outcome));
        with_in_hand(&Owned(self), call);
    }

    /// Publishes unless there is a callback, which comes first.
    fn try_publish(&self, outcome: Outcome<T>) -> Option<(Outcome<T>, Callback<T>)> {
        let mut inner = self.inner.lock();
        if let Some(callback) = inner.callbacks.pop_front() {
            return Some((outcome, callback));
        }
        inner.outcome = Some(outcome);
        inner.state = State::Done;
        let waiter = inner.waiter.take();
        let heeding = std::mem::take(&mut inner.heeding);
        drop(inner);
        if let Some(waiter) = waiter {
            run_caught("the waker of whoever awaits a job", || waiter.wake());
        }
        wake_each(heeding);
        None
    }

    pub(crate) fn add_done_callback(&self, callback: Callback<T>) {
        let mut inner = self.inner.lock();
        if inner.state != State::Done {
            inner.callbacks.push_back(callback);
            return;
        }
        let Some(outcome) = inner.outcome.take() else {
            drop(inner);
            let taken = Err(JobError::already_taken());
            return run_caught("a job's done-callback", || callback(&taken));
        };
        // Late: own the outcome once more, so that nobody takes it while the callback looks at it.
        inner.state = State::Lent;
        inner.callbacks.push_back(callback);
        drop(inner);
        self.publish(outcome);
    }

    pub(crate) fn poll_take(&self, waker: &Waker) -> Poll<Outcome<T>> {
        let taken = self
            .poll_with(waker, |inner| (inner.state == State::Done).then(|| inner.outcome.take()));
        taken.map(|outcome| outcome.unwrap_or_else(|| Err(JobError::already_taken())))
    }

    /// Whether it is done, and if so, whether it failed. Takes nothing.
    pub(crate) fn poll_done(&self, waker: &Waker) -> Poll<bool> {
        self.poll_with(waker, |inner| {
            matches!(inner.state, State::Done | State::Lent).then_some(inner.failed)
        })
    }

    /// Rule 5: what `look` finds, or the waker is left.
    fn poll_with<R>(&self, waker: &Waker, look: impl Fn(&mut Inner<T>) -> Option<R>) -> Poll<R> {
        if let Some(found) = look(&mut self.inner.lock()) {
            return Poll::Ready(found);
        }
        let waker = waker.clone();
        let mut inner = self.inner.lock();
        if let Some(found) = look(&mut inner) {
            drop(inner);
            drop_caught("a waker", waker);
            return Poll::Ready(found);
        }
        let previous = inner.waiter.replace(waker);
        drop(inner);
        drop_caught("a waker", previous);
        Poll::Pending
    }

    /// Who waits does so no more.
    pub(crate) fn forget_waiter(&self) {
        let waiter = self.inner.lock().waiter.take();
        drop_caught("a waker", waiter);
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

    /// Whether it is an error, if it is done; takes that, and leaves a value.
    pub(crate) fn try_take_error(&self) -> Option<Result<Option<JobError>, JobError>> {
        let mut inner = self.inner.lock();
        (inner.state == State::Done).then(|| inner.take_error())
    }

    pub(crate) fn poll_take_error(
        &self,
        waker: &Waker,
    ) -> Poll<Result<Option<JobError>, JobError>> {
        self.poll_with(waker, |inner| (inner.state == State::Done).then(|| inner.take_error()))
    }

    /// Cancels a pending job at once; asks the owner to end a running one.
    pub(crate) fn cancel(&self) -> bool {
        if self.cancel_if_pending() {
            return true;
        }
        let inner = self.inner.lock();
        if inner.state != State::Running {
            return inner.cancelled;
        }
        drop(inner);
        self.ask_to_end();
        match &self.owner {
            Some((owner, id)) => owner.cancel_running(*id),
            None => false,
        }
    }

    /// Cancels a job that has not started; whether it was one.
    pub(crate) fn cancel_if_pending(&self) -> bool {
        let mut inner = self.inner.lock();
        if inner.state != State::Pending {
            return false;
        }
        inner.state = State::Settling;
        inner.cancelled = true;
        drop(inner);
        if let Some((owner, id)) = &self.owner {
            let tell = || owner.cancelled_while_pending(*id);
            let what = "an executor that was told of a cancellation";
            with_in_hand(&Owned(self), || run_caught(what, tell));
        }
        self.publish(Err(JobError::cancelled()));
        true
    }

    /// Its time to wait is up, or to run if it has been `started`: fails, if it still does that. `count` is called
    /// under the lock (so whoever finds that the job is over finds it counted), `free` after that. If there are
    /// callbacks, the rest is to be done `elsewhere`, because they may take their time.
    pub(crate) fn expire(
        cell: &Arc<Self>,
        started: bool,
        error: JobError,
        count: impl FnOnce(),
        free: impl FnOnce(),
        elsewhere: impl FnOnce(Box<dyn FnOnce() + Send>),
    ) where
        T: Send + 'static,
    {
        let mut inner = cell.inner.lock();
        if inner.state != if started { State::Running } else { State::Pending } {
            return;
        }
        inner.state = State::Settling;
        inner.failed = true;
        count();
        drop(inner);
        if started {
            cell.ask_to_end();
        }
        free();
        if let Some((outcome, callback)) = cell.try_publish(Err(error)) {
            let cell = cell.clone();
            elsewhere(Box::new(move || {
                cell.show(&outcome, callback);
                cell.publish(outcome);
            }));
        }
    }

    /// Rule 8.
    fn ask_to_end(&self) {
        // Release: with the loads in `is_asked`, so that who heeds it sees what was done before.
        self.asked_to_end.store(true, Ordering::Release);
        wake_each(std::mem::take(&mut self.inner.lock().heeding));
    }

    /// Whether there is no outcome yet.
    fn is_open(&self) -> bool {
        matches!(self.inner.lock().state, State::Pending | State::Running)
    }

    /// Whether it still waits for its turn.
    pub(crate) fn is_pending(&self) -> bool {
        self.inner.lock().state == State::Pending
    }

    /// To be called when the job is dropped.
    pub(crate) fn note_dropped(&self) {
        if let Some((owner, id)) = &self.owner {
            run_caught("an executor that was told of a dropped job", || owner.dropped(*id));
        }
    }

    /// To be called before a thread blocks, with no limit, until the job is done.
    pub(crate) fn before_wait(&self) -> Result<(), JobError> {
        match &self.owner {
            Some((owner, id)) => owner.before_wait(*id),
            None => Ok(()),
        }
    }

    /// To be called by a thread that is about to look again and again whether the job is done, and when it no more does.
    pub(crate) fn note_look(&self, begins: bool) {
        if let Some((owner, _)) = &self.owner {
            owner.note_look(begins);
        }
    }

    /// To be called by a thread that looks again and again whether the job is done.
    pub(crate) fn while_looking(&self) {
        if let Some((owner, _)) = &self.owner {
            owner.look();
        }
    }

    /// To be called by a thread that goes to sleep until the job is done, and when it does so no more.
    pub(crate) fn note_sleep(&self, begins: bool) {
        if let Some((owner, _)) = &self.owner {
            owner.note_sleep(begins);
        }
    }

    /// Who is to do it.
    pub(crate) fn owner(&self) -> Option<&std::sync::Arc<dyn JobOwner>> {
        self.owner.as_ref().map(|(owner, _)| owner)
    }

    /// Whether nobody is to be called when it is done. (Who waits is woken.)
    pub(crate) fn has_no_callbacks(&self) -> bool {
        self.inner.lock().callbacks.is_empty()
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.inner.lock().state, State::Done | State::Lent)
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self.inner.lock().state, State::Running | State::Settling)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.inner.lock().cancelled
    }
}

/// A cell in *Settling* or *Lent*, while foreign code runs on its owner's thread.
struct Owned<'a, T>(&'a Cell<T>);

// SAFETY: all that another thread does with it is to take it over, and that touches no value: the outcome is with the
// owner, and what is put in its place is an error. Callbacks and wakers are `Send`.
unsafe impl<T> Sync for Owned<'_, T> {}

impl<T> InHand for Owned<'_, T> {
    /// Rule 2. Callbacks that are left get the error, too.
    fn take_over(&self) {
        let mut inner = self.0.inner.lock();
        inner.failed = !inner.cancelled;
        let error = if inner.cancelled { JobError::cancelled() } else { JobError::abandoned() };
        drop(inner);
        self.0.publish(Err(error));
    }
}

impl<T: Send> Askable for Cell<T> {
    fn is_asked(&self) -> bool {
        // Acquire: the store in `ask_to_end`.
        self.asked_to_end.load(Ordering::Acquire)
    }

    fn poll_asked(&self, waker: Option<&Waker>) -> Poll<bool> {
        if self.is_asked() {
            return Poll::Ready(true);
        }
        let waker = waker.cloned();
        let mut inner = self.inner.lock();
        let asked = self.is_asked();
        if asked || matches!(inner.state, State::Done | State::Lent) {
            drop(inner);
            drop_caught("a waker", waker);
            return Poll::Ready(asked);
        }
        inner.heeding.extend(waker);
        Poll::Pending
    }

    fn abandon(&self) {
        // Refused when the outcome is there already.
        let _ = self.settle(Err(JobError::abandoned()), |_| ());
    }

    fn forget(&self, waker: &Waker) {
        let mut inner = self.inner.lock();
        let place = inner.heeding.iter().position(|other| other.will_wake(waker));
        let waker = place.map(|place| inner.heeding.swap_remove(place));
        drop(inner);
        drop_caught("a waker", waker);
    }
}

fn wake_each(heeding: Vec<Waker>) {
    for waker in heeding {
        run_caught("a waker in a job that is to end, or is over", || waker.wake());
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
            failed: false,
            outcome: None,
            callbacks: VecDeque::new(),
            waiter: None,
            heeding: Vec::new(),
        };
        let asked_to_end = AtomicBool::new(false);
        let cell = Arc::new(Cell { inner: Mutex::new(inner), asked_to_end, owner });
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
        self.cell.owner.as_ref().map_or(0, |(_, id)| *id)
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
