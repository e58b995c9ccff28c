//! What the tests of the pools have in common.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Wake;
use std::time::{Duration, Instant};

use loopool_executors::{Executor, Job, JobError, ProcessPoolExecutor, Work, call};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Only a hang lasts so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An executor of whatever closures the tests have.
pub trait AnyPool: Executor<BoxedJob> {}
impl<E: Executor<BoxedJob>> AnyPool for E {}

/// A closure that gives a number.
pub type BoxedJob = Box<dyn FnOnce() -> usize + Send>;

/// A job that runs until the sender is used or dropped, and has begun when this returns.
pub fn block<E>(pool: &E) -> (mpsc::Sender<()>, Job<usize>)
where
    E: Executor<BoxedJob> + ?Sized,
{
    let (begin, begun) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let work: BoxedJob = Box::new(move || {
        begin.send(()).unwrap();
        // An error, too, is an end.
        let _ = released.recv();
        0
    });
    let job = pool.submit(work).unwrap();
    begun.recv_timeout(PATIENCE).expect("the job begins");
    (release, job)
}

/// Tries until it is so, letting others run.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Counts wakes.
#[derive(Default)]
pub struct Wakes(AtomicUsize);

impl Wakes {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// What comes of a job whose end is near.
pub fn outcome<T>(mut job: Job<T>) -> Result<T, JobError> {
    take(&mut job)
}

/// What a function gives in a worker of this pool.
pub fn run<A, R>(pool: &ProcessPoolExecutor, function: fn(A) -> R, argument: A) -> R
where
    A: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    outcome(pool.submit(call(function, argument)).unwrap()).unwrap()
}

/// Takes a job's outcome, whose end is near.
pub fn take<T>(job: &mut Job<T>) -> Result<T, JobError> {
    let outcome = job.result(PATIENCE);
    assert!(!outcome.as_ref().is_err_and(|error| error.is_wait_timeout()), "the job ends");
    outcome
}

/// Work in a box.
pub fn boxed(work: impl FnOnce() -> usize + Send + 'static) -> BoxedJob {
    let work: BoxedJob = Box::new(work);
    let _: fn(BoxedJob) -> usize = Work::run;
    work
}
