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
    Set(Chosen),
    /// The one that was set, if there was one.
    Closed(Option<Chosen>),
}

#[derive(Clone)]
enum Chosen {
    /// The runtime's own, which takes work of any type as it is.
    Own(Arc<ThreadPoolExecutor>),
    /// Somebody's, behind `dyn`: it takes boxes.
    Given(Arc<dyn Executor<BoxedWork>>),
}

impl Chosen {
    /// An executor is foreign code.
    fn shut_down(&self, cancel: bool) {
        run_caught("an executor that was shut down", || {
            let _stats = match self {
                Chosen::Own(executor) => executor.shutdown(false, cancel),
                Chosen::Given(executor) => executor.shutdown(false, cancel),
            };
        });
    }
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
            other => std::mem::replace(other, State::Set(Chosen::Given(executor))),
        };
        drop(state);
        drop(previous);
    }

    fn get(&self) -> Option<Chosen> {
        let mut state = self.state.lock();
        if let State::Unset = *state {
            *state = State::Set(Chosen::Own(Arc::default()));
        }
        match &*state {
            State::Set(chosen) => Some(chosen.clone()),
            _ => None,
        }
    }

    /// Runs `work`; whatever is in the way becomes the job's error.
    pub(crate) fn submit<W: Work>(&self, work: W) -> Job<W::Output> {
        let Some(chosen) = self.get() else { return refused(RejectReason::ShutDown) };
        self.jobs.lock().waiting += 1;
        let work = Counted { work: Some(work), jobs: self.jobs.clone() };
        let executor = match chosen {
            Chosen::Own(executor) => {
                let submitted = executor.submit(work);
                return submitted.unwrap_or_else(|rejected| refused(rejected.reason().clone()));
            }
            Chosen::Given(executor) => executor,
        };
        let carrier = Arc::new(Carrier::default());
        let (promise, job) = Promise::owned_by(carrier.clone(), 0);
        let mut cargo = Cargo(Some((promise, work)));
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
        let chosen = {
            let mut state = self.state.lock();
            let chosen = match std::mem::replace(&mut *state, State::Closed(None)) {
                State::Set(chosen) => Some(chosen),
                State::Closed(chosen) => chosen,
                State::Unset => None,
            };
            *state = State::Closed(chosen.clone());
            chosen
        };
        if let Some(chosen) = chosen {
            chosen.shut_down(!finish);
        }
    }

    /// Whether every job has ended.
    pub(crate) fn is_idle(&self) -> bool {
        let jobs = self.jobs.lock();
        jobs.waiting + jobs.running == 0
    }

    /// After [`close`](Self::close): nobody waits any longer. What still waits is cancelled.
    pub(crate) fn give_up(&self) -> ShutdownJobs {
        let chosen = match &mut *self.state.lock() {
            State::Closed(chosen) => chosen.take(),
            _ => None,
        };
        if let Some(chosen) = chosen {
            chosen.shut_down(true);
        }
        let mut jobs = self.jobs.lock();
        let waker = jobs.on_idle.take();
        let Jobs { waiting, running, done, cancelled, .. } = *jobs;
        drop(jobs);
        drop(waker);
        // One that waits after all that has been taken out of its queue and not begun yet.
        ShutdownJobs { done, cancelled, running: running + waiting }
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

/// Work that is noted in the counts. Dropped without having been run, it was cancelled.
struct Counted<W: Work> {
    work: Option<W>,
    jobs: Arc<Mutex<Jobs>>,
}

impl<W: Work> Work for Counted<W> {
    type Output = W::Output;

    fn run(mut self) -> W::Output {
        let work = self.work.take().expect("it is run once");
        note(&self.jobs, |jobs| {
            jobs.waiting -= 1;
            jobs.running += 1;
        });
        // Noted before anybody can see the outcome.
        let _running = Running(&self.jobs);
        work.run()
    }
}

impl<W: Work> Drop for Counted<W> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            drop_caught("a cancelled job", work);
            note(&self.jobs, |jobs| {
                jobs.waiting -= 1;
                jobs.cancelled += 1;
            });
        }
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

/// Work with its promise, in the closure that an executor takes. Dropped without having been called,
/// it was cancelled.
struct Cargo<W: Work>(Option<(Promise<W::Output>, Counted<W>)>);

impl<W: Work> Cargo<W> {
    fn deliver(&mut self) {
        if let Some((promise, work)) = self.0.take_if(|(promise, _)| promise.start()) {
            promise.fulfil(|| work.run());
        }
    }
}

impl<W: Work> Drop for Cargo<W> {
    fn drop(&mut self) {
        if let Some((promise, _work)) = self.0.take() {
            promise.set_exception(JobError::cancelled());
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
