//! The executor that [`to_thread`](crate::to_thread) uses.

use std::sync::{Arc, OnceLock};
use std::task::Waker;

use loopool_executors::caught::{drop_caught, run_caught};
use loopool_executors::{
    BoxedWork, Executor, Job, JobError, JobOwner, Promise, RejectReason, ThreadPoolExecutor, Work,
};

use super::shutdown::ShutdownJobs;
use crate::shim::Mutex;

/// Made when it is first needed, unless one was set.
pub(crate) struct DefaultExecutor {
    state: Mutex<State>,
    jobs: Arc<Mutex<Jobs>>,
}

enum State {
    Unset,
    Set(Arc<dyn Executor<BoxedWork>>),
    /// The one that was set, if there was one.
    Closed(Option<Arc<dyn Executor<BoxedWork>>>),
}

/// What becomes of the jobs. Under a lock, which is little against what a job costs.
#[derive(Default)]
struct Jobs {
    waiting: usize,
    running: usize,
    done: usize,
    cancelled: usize,
    /// Woken with the last one, once no more are taken.
    on_idle: Option<Waker>,
}

impl DefaultExecutor {
    pub(crate) fn new() -> Self {
        DefaultExecutor { state: Mutex::new(State::Unset), jobs: Arc::default() }
    }

    /// The one that was set before goes on with what it has.
    pub(crate) fn set(&self, executor: Arc<dyn Executor<BoxedWork>>) {
        let mut state = self.state.lock();
        let previous = match &mut *state {
            State::Closed(_) => return,
            other => std::mem::replace(other, State::Set(executor)),
        };
        drop(state);
        drop(previous);
    }

    fn get(&self) -> Option<Arc<dyn Executor<BoxedWork>>> {
        let mut state = self.state.lock();
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
        self.jobs.lock().waiting += 1;
        let mut cargo = Cargo { load: Some((promise, work)), jobs: self.jobs.clone() };
        match executor.submit(Box::new(move || cargo.deliver())) {
            Ok(submitted) => {
                carrier.set(submitted, &job);
                job
            }
            Err(rejected) => refused(rejected.reason().clone()),
        }
    }

    /// No new work. What waits is cancelled, unless it is to be finished. `on_idle` is woken with the last
    /// job that ends after this.
    pub(crate) fn close(&self, finish: bool, on_idle: Waker) {
        {
            let mut jobs = self.jobs.lock();
            (jobs.done, jobs.cancelled, jobs.on_idle) = (0, 0, Some(on_idle));
        }
        let executor = {
            let mut state = self.state.lock();
            let executor = match std::mem::replace(&mut *state, State::Closed(None)) {
                State::Set(executor) => Some(executor),
                State::Closed(executor) => executor,
                State::Unset => None,
            };
            *state = State::Closed(executor.clone());
            executor
        };
        shut_down(executor, !finish);
    }

    /// Whether every job has ended.
    pub(crate) fn is_idle(&self) -> bool {
        let jobs = self.jobs.lock();
        jobs.waiting + jobs.running == 0
    }

    /// After [`close`](Self::close): nobody waits any longer. What still waits is cancelled.
    pub(crate) fn give_up(&self) -> ShutdownJobs {
        let executor = match &mut *self.state.lock() {
            State::Closed(executor) => executor.take(),
            _ => None,
        };
        shut_down(executor, true);
        let mut jobs = self.jobs.lock();
        let waker = jobs.on_idle.take();
        let Jobs { waiting, running, done, cancelled, .. } = *jobs;
        drop(jobs);
        drop(waker);
        // One that waits after all that has been taken out of its queue and not begun yet.
        ShutdownJobs { done, cancelled, running: running + waiting }
    }
}

/// An executor is foreign code.
fn shut_down(executor: Option<Arc<dyn Executor<BoxedWork>>>, cancel: bool) {
    if let Some(executor) = executor {
        run_caught("an executor that was shut down", || {
            executor.shutdown(false, cancel);
        });
    }
}

/// Notes what a job has come to; wakes who waits if it was the last one.
fn note(jobs: &Mutex<Jobs>, change: impl FnOnce(&mut Jobs)) {
    let mut jobs = jobs.lock();
    change(&mut jobs);
    let idle = jobs.waiting + jobs.running == 0;
    let waker = if idle { jobs.on_idle.take() } else { None };
    drop(jobs);
    if let Some(waker) = waker {
        waker.wake();
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
struct Cargo<W: Work> {
    load: Option<(Promise<W::Output>, W)>,
    jobs: Arc<Mutex<Jobs>>,
}

impl<W: Work> Cargo<W> {
    fn deliver(&mut self) {
        let Some((promise, work)) = self.load.take() else { return };
        if !promise.start() {
            self.load = Some((promise, work));
            return;
        }
        note(&self.jobs, |jobs| {
            jobs.waiting -= 1;
            jobs.running += 1;
        });
        // Counted before anybody can see the outcome.
        let running = Running(&self.jobs);
        promise.fulfil(|| {
            let _running = running;
            work.run()
        });
    }
}

/// A job that is being run, until its code has returned or panicked.
struct Running<'a>(&'a Mutex<Jobs>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        note(self.0, |jobs| {
            jobs.running -= 1;
            jobs.done += 1;
        });
    }
}

impl<W: Work> Drop for Cargo<W> {
    fn drop(&mut self) {
        if let Some((promise, work)) = self.load.take() {
            promise.set_exception(JobError::cancelled());
            drop_caught("a cancelled job", work);
            note(&self.jobs, |jobs| {
                jobs.waiting -= 1;
                jobs.cancelled += 1;
            });
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
