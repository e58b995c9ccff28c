//! [`Cell`]: what a [`Promise`](super::Promise) and its [`Job`](crate::Job) share. The rules are in the parent.

use std::collections::VecDeque;
use std::task::{Poll, Waker};

use super::Outcome;
use super::owner::Owner;
use crate::cancel_token::Askable;
use crate::caught::{drop_caught, run_caught};
use crate::error::JobError;
use crate::in_hand::{InHand, with_in_hand};
use crate::shim::atomic::{AtomicBool, Ordering};
use crate::shim::{Arc, Mutex};

type Callback<T> = Box<dyn FnOnce(&Outcome<T>) + Send>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
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
    owner: Owner,
}

impl<T> Cell<T> {
    pub(super) fn new(owner: Owner) -> Self {
        let inner = Inner {
            state: State::Pending,
            cancelled: false,
            failed: false,
            outcome: None,
            callbacks: VecDeque::new(),
            waiter: None,
            heeding: Vec::new(),
        };
        Cell { inner: Mutex::new(inner), asked_to_end: AtomicBool::new(false), owner }
    }

    /// One step out of *Pending*, if that is what it finds.
    #[must_use]
    pub(super) fn start(&self) -> State {
        let mut inner = self.inner.lock();
        let found = inner.state;
        if found == State::Pending {
            inner.state = State::Running;
        }
        found
    }

    /// Moves to *Settling* if the outcome is still open, and finishes the job. `count` is called in
    /// between, and only then (rule 6).
    pub(super) fn settle(
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
        self.owner.cancel_running()
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
        if self.owner.is_there() {
            with_in_hand(&Owned(self), || self.owner.note_cancelled_while_pending());
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
    pub(super) fn is_open(&self) -> bool {
        matches!(self.inner.lock().state, State::Pending | State::Running)
    }

    /// Whether it still waits for its turn.
    pub(crate) fn is_pending(&self) -> bool {
        self.inner.lock().state == State::Pending
    }

    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
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
