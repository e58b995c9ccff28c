//! The executor that [`to_thread`](crate::to_thread) uses.

use std::sync::Arc;

use loopool_executors::{
    BoxedWork, Executor, Job, JobError, Promise, RejectReason, ThreadPoolExecutor, Work,
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
        let (promise, job) = Promise::new();
        let reason = match self.get() {
            None => RejectReason::ShutDown,
            Some(executor) => {
                let boxed: BoxedWork = Box::new(move || {
                    if promise.start() {
                        promise.fulfil(|| work.run());
                    }
                });
                match executor.submit(boxed) {
                    Ok(carrier) => {
                        // Its only outcome is that the closure has run.
                        drop(carrier);
                        return job;
                    }
                    Err(rejected) => rejected.reason().clone(),
                }
            }
        };
        let (promise, job) = Promise::new();
        promise.set_exception(JobError::rejected(reason));
        job
    }

    /// No new work; what waits is cancelled, what runs is not waited for.
    pub(crate) fn close(&self) {
        let state = std::mem::replace(&mut *self.0.lock(), State::Closed);
        if let State::Set(executor) = state {
            executor.shutdown(false, true);
        }
    }
}
