//! The jobs that requests wait for, so that somebody else can see and cancel them.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Instant;

use loopool::{CancelOnDrop, JobError};
use serde::Serialize;

use crate::pools::Which;

/// The jobs that somebody waits for.
#[derive(Default)]
pub struct Jobs {
    last: AtomicU64,
    all: Mutex<BTreeMap<u64, Entry>>,
}

struct Entry {
    name: &'static str,
    which: Which,
    since: Instant,
    job: Arc<dyn Handle>,
}

/// One of the jobs, for who looks on.
#[derive(Debug, Serialize)]
pub struct JobView {
    /// Its number, which no other job ever has.
    pub id: u64,
    /// What it is called.
    pub name: &'static str,
    /// The executor that has it.
    pub pool: &'static str,
    /// Whether it has been started.
    pub running: bool,
    /// For how many seconds it has been there, its time in the queue included.
    pub seconds: f64,
}

/// What came of cancelling a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Cancelling {
    /// It will never run, or was killed.
    Done,
    /// It runs in a thread, or has just ended.
    NotPossible,
    /// No job that somebody waits for has that number.
    Unknown,
}

/// A job, whatever it gives.
trait Handle: Send + Sync {
    fn is_running(&self) -> bool;
    fn cancel(&self) -> bool;
}

impl<R: Send> Handle for Mutex<CancelOnDrop<R>> {
    fn is_running(&self) -> bool {
        lock(self).job().running()
    }

    fn cancel(&self) -> bool {
        lock(self).job().cancel()
    }
}

impl Jobs {
    /// Lists a job for as long as what this gives is awaited. When that is dropped, the job is cancelled.
    pub fn watch<R: Send + 'static>(
        &self,
        which: Which,
        name: &'static str,
        job: CancelOnDrop<R>,
    ) -> Watched<'_, R> {
        let job = Arc::new(Mutex::new(job));
        // Only to be different from all others.
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let entry = Entry { name, which, since: Instant::now(), job: job.clone() };
        lock(&self.all).insert(id, entry);
        Watched { jobs: self, id, job }
    }

    /// The jobs that are there, the oldest first.
    pub fn list(&self) -> Vec<JobView> {
        let view = |(id, entry): (&u64, &Entry)| JobView {
            id: *id,
            name: entry.name,
            pool: entry.which.name(),
            running: entry.job.is_running(),
            seconds: entry.since.elapsed().as_secs_f64(),
        };
        lock(&self.all).iter().map(view).collect()
    }

    /// Cancels a job. Who waits for it is told.
    pub fn cancel(&self, id: u64) -> Cancelling {
        let job = lock(&self.all).get(&id).map(|entry| entry.job.clone());
        match job.map(|job| job.cancel()) {
            Some(true) => Cancelling::Done,
            Some(false) => Cancelling::NotPossible,
            None => Cancelling::Unknown,
        }
    }
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Jobs").field(&self.list()).finish()
    }
}

/// A job that is listed; awaited, it gives the outcome.
#[must_use = "dropping it cancels the job"]
pub struct Watched<'a, R> {
    jobs: &'a Jobs,
    id: u64,
    job: Arc<Mutex<CancelOnDrop<R>>>,
}

impl<R> Future for Watched<'_, R> {
    type Output = Result<R, JobError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut *lock(&self.job)).poll(cx)
    }
}

impl<R> Drop for Watched<'_, R> {
    fn drop(&mut self) {
        // The last one who holds the job cancels it, without this lock.
        let entry = lock(&self.jobs.all).remove(&self.id);
        drop(entry);
    }
}

/// Nothing is left half done when somebody panics here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use loopool::{Executor, ThreadPoolExecutor};

    use super::*;

    #[test]
    fn a_job_is_listed_while_it_is_waited_for() {
        let (jobs, pool) = (Jobs::default(), ThreadPoolExecutor::new(1));
        let (go_on, gate) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let work = move || {
            let _ = begun.send(());
            gate.recv().is_ok()
        };
        let running = pool.submit(work).unwrap().cancel_on_drop();
        let running = jobs.watch(Which::Threads, "running", running);
        has_begun.recv().unwrap();
        let waiting = pool.submit(|| ()).unwrap().cancel_on_drop();
        let waiting = jobs.watch(Which::Threads, "waiting", waiting);

        let list = jobs.list();
        let listed: Vec<_> = list.iter().map(|it| (it.id, it.name, it.pool, it.running)).collect();
        assert_eq!(listed, [(1, "running", "threads", true), (2, "waiting", "threads", false)]);
        assert_eq!(jobs.cancel(1), Cancelling::NotPossible, "a thread can't be stopped");
        assert_eq!(jobs.cancel(2), Cancelling::Done);
        assert_eq!(jobs.cancel(3), Cancelling::Unknown);
        let outcome = futures_lite::future::block_on(waiting);
        assert!(outcome.unwrap_err().is_cancelled());
        go_on.send(()).unwrap();
        assert!(futures_lite::future::block_on(running).unwrap());
        assert!(jobs.list().is_empty());
    }

    #[test]
    fn a_job_that_nobody_waits_for_any_more_is_cancelled() {
        let (jobs, pool) = (Jobs::default(), ThreadPoolExecutor::new(1));
        let (go_on, gate) = mpsc::channel::<()>();
        let mut busy = pool.submit(move || gate.recv().is_ok()).unwrap();
        let job = pool.submit(|| ()).unwrap().cancel_on_drop();
        drop(jobs.watch(Which::Threads, "forgotten", job));
        assert!(jobs.list().is_empty());
        go_on.send(()).unwrap();
        assert!(busy.result(None).unwrap());
        assert_eq!(pool.shutdown(true, false).cancelled, 1);
    }
}
