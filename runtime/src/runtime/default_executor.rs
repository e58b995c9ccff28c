//! The executor that [`to_thread`](crate::to_thread) uses.

use std::sync::{Arc, OnceLock};

use loopool_executors::caught::drop_caught;
use loopool_executors::{
    BoxedWork, Executor, Job, JobError, JobOwner, Promise, RejectReason, ThreadPoolExecutor, Work,
};

use crate::shim::Mutex;

/// Made when it is first needed, unless one was set.
pub(crate) struct DefaultExecutor(Mutex<State>);

enum State {
    Unset,
    Set(Arc<dyn Executor<BoxedWork>>),
    Closed,
}

impl DefaultExecutor {
    pub(crate) fn new() -> Self {
        DefaultExecutor(Mutex::new(State::Unset))
    }

    /// The one that was set before goes on with what it has.
    pub(crate) fn set(&self, executor: Arc<dyn Executor<BoxedWork>>) {
        let mut state = self.0.lock();
        let previous = match &mut *state {
            State::Closed => return,
            other => std::mem::replace(other, State::Set(executor)),
        };
        drop(state);
        drop(previous);
    }

    fn get(&self) -> Option<Arc<dyn Executor<BoxedWork>>> {
        let mut state = self.0.lock();
        if let State::Unset = *state {
            *state = State::Set(Arc::new(ThreadPoolExecutor::default()));
        }
        match &*state {
            State::Set(executor) => Some(executor.clone()),
            _ => None,
        }
    }

    /// Runs `work`; whatever is in the way becomes the job's error.
    pub(crate) fn submit<W: Work>(&self, work: W) -> Job<W::Output> {
        let Some(executor) = self.get() else { return refused(RejectReason::ShutDown) };
        let carrier = Arc::new(Carrier::default());
        let (promise, job) = Promise::owned_by(carrier.clone(), 0);
        let cargo = Cargo(Some((promise, work)));
        match executor.submit(Box::new(move || cargo.deliver())) {
            Ok(submitted) => {
                carrier.set(submitted, &job);
                job
            }
            Err(rejected) => refused(rejected.reason().clone()),
        }
    }

    /// No new work; what waits is cancelled, what runs is not waited for.
    pub(crate) fn close(&self) {
        let state = std::mem::replace(&mut *self.0.lock(), State::Closed);
        if let State::Set(executor) = state {
            executor.shutdown(false, true);
        }
    }
}

/// A job that was never taken.
fn refused<T>(reason: RejectReason) -> Job<T> {
    let (promise, job) = Promise::new();
    promise.set_exception(JobError::rejected(reason));
    job
}

/// Work with its promise, in the closure that an executor takes. Dropped without having been called,
/// it was cancelled.
struct Cargo<W: Work>(Option<(Promise<W::Output>, W)>);

impl<W: Work> Cargo<W> {
    fn deliver(mut self) {
        if let Some((promise, work)) = self.0.take()
            && promise.start()
        {
            promise.fulfil(|| work.run());
        }
    }
}

impl<W: Work> Drop for Cargo<W> {
    fn drop(&mut self) {
        if let Some((promise, work)) = self.0.take() {
            promise.set_exception(JobError::cancelled());
            drop_caught("a cancelled job", work);
        }
    }
}

/// The executor's own job, which is cancelled with the one that the caller has, so that it gives its
/// place in the queue away.
#[derive(Default)]
struct Carrier(OnceLock<Job<()>>);

impl Carrier {
    fn set<T>(&self, submitted: Job<()>, job: &Job<T>) {
        // Set once, here.
        let _ = self.0.set(submitted);
        if job.cancelled() {
            self.cancelled_while_pending(0);
        }
    }
}

impl JobOwner for Carrier {
    fn cancelled_while_pending(&self, _id: u64) {
        if let Some(submitted) = self.0.get() {
            submitted.cancel();
        }
    }

    fn cancel_running(&self, _id: u64) -> bool {
        false
    }
}
