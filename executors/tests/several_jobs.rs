//! Waiting for several jobs. After CPython's `test_wait.py` and `test_as_completed.py`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures_core::Stream;
use loopool_executors::jobs::{AsCompleted, ReturnWhen, as_completed, wait};
use loopool_executors::{Executor, Job, JobError, Promise, ThreadPoolExecutor};

/// Only a hang lasts so long.
const PATIENCE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(1);

fn some<const N: usize>() -> ([Option<Promise<usize>>; N], Vec<Job<usize>>) {
    let mut jobs = Vec::new();
    let promises = std::array::from_fn(|_| {
        let (promise, job) = Promise::new();
        jobs.push(job);
        Some(promise)
    });
    (promises, jobs)
}

fn finish(promise: &mut Option<Promise<usize>>, value: usize) {
    promise.take().unwrap().set_result(value).unwrap();
}

fn fail(promise: &mut Option<Promise<usize>>) {
    promise.take().unwrap().set_exception(JobError::rejected("it was to fail"));
}

fn values(jobs: &mut [Job<usize>]) -> Vec<usize> {
    jobs.iter_mut().map(|job| job.result(MOMENT).unwrap()).collect()
}

#[test]
fn none_is_waited_for_without_blocking() {
    for when in [ReturnWhen::FirstCompleted, ReturnWhen::FirstException, ReturnWhen::AllCompleted] {
        let waited = wait(Vec::<Job<()>>::new(), None, when);
        assert!(waited.done.is_empty() && waited.not_done.is_empty());
    }
    assert!(as_completed(Vec::<Job<()>>::new()).into_iter().next().is_none());
}

#[test]
fn the_first_one_ends_the_wait() {
    let ([mut first, mut second, _third], jobs) = some();
    let other = thread::spawn(move || {
        finish(&mut second, 2);
        first
    });
    let mut waited = wait(jobs, PATIENCE, ReturnWhen::FirstCompleted);
    assert_eq!((waited.done.len(), waited.not_done.len()), (1, 2));
    assert_eq!(values(&mut waited.done), [2]);
    // What goes on can be waited for again.
    first = other.join().unwrap();
    finish(&mut first, 1);
    let mut again = wait(waited.not_done, PATIENCE, ReturnWhen::FirstCompleted);
    assert_eq!(values(&mut again.done), [1]);
    assert_eq!(again.not_done.len(), 1);
}

#[test]
fn all_that_are_done_by_then_are_given_in_the_order_of_the_jobs() {
    let ([mut first, mut second, _third, mut fourth], jobs) = some();
    for (promise, value) in [(&mut fourth, 4), (&mut first, 1), (&mut second, 2)] {
        finish(promise, value);
    }
    let mut waited = wait(jobs, None, ReturnWhen::FirstCompleted);
    assert_eq!(values(&mut waited.done), [1, 2, 4]);
    assert_eq!(waited.not_done.len(), 1);
}

#[test]
fn a_failure_ends_the_wait_for_one() {
    let ([mut first, mut second, _third], jobs) = some();
    let other = thread::spawn(move || {
        finish(&mut first, 1);
        fail(&mut second);
    });
    let mut waited = wait(jobs, PATIENCE, ReturnWhen::FirstException);
    other.join().unwrap();
    assert_eq!((waited.done.len(), waited.not_done.len()), (2, 1));
    assert!(waited.done[1].result(MOMENT).unwrap_err().is_rejected());
}

#[test]
fn one_that_has_failed_before_ends_the_wait_at_once() {
    let ([mut first, _second], jobs) = some();
    fail(&mut first);
    let waited = wait(jobs, None, ReturnWhen::FirstException);
    assert_eq!((waited.done.len(), waited.not_done.len()), (1, 1));
}

#[test]
fn a_cancelled_job_has_not_failed() {
    let ([_first, mut second], jobs) = some();
    assert!(jobs[0].cancel());
    let waited = wait(jobs, MOMENT, ReturnWhen::FirstException);
    assert_eq!((waited.done.len(), waited.not_done.len()), (1, 1));
    finish(&mut second, 2);
    let jobs = waited.done.into_iter().chain(waited.not_done);
    let waited = wait(jobs, None, ReturnWhen::FirstException);
    assert_eq!((waited.done.len(), waited.not_done.len()), (2, 0));
}

#[test]
fn all_are_waited_for_whatever_becomes_of_them() {
    let ([mut first, mut second, third, fourth], jobs) = some();
    finish(&mut first, 1);
    assert!(jobs[3].cancel());
    let other = thread::spawn(move || {
        fail(&mut second);
        drop((third, fourth));
    });
    let waited = wait(jobs, None, ReturnWhen::AllCompleted);
    other.join().unwrap();
    assert_eq!((waited.done.len(), waited.not_done.len()), (4, 0));
}

#[test]
fn the_time_runs_out() {
    let ([mut first, _second], jobs) = some();
    finish(&mut first, 1);
    let waited = wait(jobs, MOMENT, ReturnWhen::AllCompleted);
    assert_eq!((waited.done.len(), waited.not_done.len()), (1, 1));
    let waited = wait(waited.not_done, Duration::ZERO, ReturnWhen::AllCompleted);
    assert_eq!((waited.done.len(), waited.not_done.len()), (0, 1));
}

#[test]
fn a_job_whose_outcome_was_taken_is_done() {
    let ([mut first], mut jobs) = some();
    finish(&mut first, 1);
    assert_eq!(values(&mut jobs), [1]);
    let mut waited = wait(jobs, None, ReturnWhen::AllCompleted);
    assert!(waited.done[0].result(None).is_err(), "it is taken once");
}

#[test]
fn they_come_in_the_order_in_which_they_are_done() {
    let ([first, mut second, mut third], jobs) = some();
    finish(&mut third, 3);
    let mut completed = as_completed(jobs).into_iter();
    assert_eq!(completed.len(), 3);
    let mut next = || completed.next().map(|mut job| job.result(MOMENT).unwrap());
    assert_eq!(next(), Some(3));
    let other = thread::spawn(move || {
        finish(&mut second, 2);
        first
    });
    assert_eq!(next(), Some(2));
    finish(&mut other.join().unwrap(), 1);
    assert_eq!((next(), next()), (Some(1), None));
}

#[test]
fn those_that_are_left_when_the_time_is_up_are_named_and_given_back() {
    let ([mut first, mut second, _third], jobs) = some();
    finish(&mut second, 2);
    let mut completed = as_completed(jobs).timeout(MOMENT);
    assert_eq!(completed.next().unwrap().unwrap().result(MOMENT).unwrap(), 2);
    let error = completed.next().unwrap().unwrap_err();
    assert_eq!((error.unfinished, error.all), (2, 3));
    assert_eq!(error.to_string(), "2 of 3 jobs unfinished");
    finish(&mut first, 1);
    assert!(completed.next().is_none(), "it is over");
    let left = completed.into_jobs();
    assert_eq!(left.iter().map(Job::done).collect::<Vec<_>>(), [true, false]);
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll(jobs: &mut AsCompleted<usize>, wakes: &Arc<Wakes>) -> Poll<Option<usize>> {
    let waker = Waker::from(wakes.clone());
    let next = Pin::new(jobs).poll_next(&mut Context::from_waker(&waker));
    next.map(|job| job.map(|mut job| job.result(MOMENT).unwrap()))
}

#[test]
fn a_stream_wakes_its_last_waker_once() {
    let ([mut first, mut second], jobs) = some();
    let mut completed = as_completed(jobs);
    let (old, new) = (Arc::<Wakes>::default(), Arc::<Wakes>::default());
    assert!(poll(&mut completed, &old).is_pending() && poll(&mut completed, &new).is_pending());
    finish(&mut second, 2);
    finish(&mut first, 1);
    assert_eq!((old.0.load(Ordering::SeqCst), new.0.load(Ordering::SeqCst)), (0, 1));
    assert_eq!(completed.size_hint(), (2, Some(2)));
    assert_eq!(poll(&mut completed, &new), Poll::Ready(Some(2)));
    assert_eq!(poll(&mut completed, &new), Poll::Ready(Some(1)));
    assert_eq!(poll(&mut completed, &new), Poll::Ready(None));
}

#[test]
fn who_waits_no_more_is_forgotten() {
    let ([mut first], jobs) = some();
    let wakes = Arc::<Wakes>::default();
    let mut completed = as_completed(jobs);
    assert!(poll(&mut completed, &wakes).is_pending());
    let mut jobs = completed.into_jobs();
    assert_eq!(Arc::strong_count(&wakes), 1);
    finish(&mut first, 1);
    assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
    assert_eq!(values(&mut jobs), [1]);
}

#[test]
fn many_jobs_of_a_pool_come_once_each() {
    let pool = ThreadPoolExecutor::new(4);
    let jobs: Vec<_> = (0..1000).map(|n| pool.submit(move || n).unwrap()).collect();
    let mut numbers: Vec<usize> =
        as_completed(jobs).into_iter().map(|mut job| job.result(None).unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..1000));
    pool.shutdown(true, false);
}
