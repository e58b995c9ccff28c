//! Promises and jobs: states, callbacks, cancellation, waiting.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use loopool_executors::{CancelToken, JobError, JobOwner, Promise};

#[derive(Default)]
struct CountWakes(AtomicUsize);

impl Wake for CountWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn an_outcome_is_taken_once() {
    let (promise, mut job) = Promise::new();
    assert!(!job.done() && !job.running());
    assert!(promise.start());
    assert!(job.running());
    promise.set_result("value").unwrap();
    assert!(job.done() && !job.running() && !job.cancelled());
    assert_eq!(job.result(None).unwrap(), "value");
    assert!(job.result(None).is_err());
}

#[test]
fn an_error_that_was_taken_looked_like_a_value() {
    let (promise, mut job) = Promise::<u8>::new();
    promise.set_exception(JobError::rejected("no"));
    assert!(job.exception(None).unwrap().is_some_and(|error| error.is_rejected()));
    for _ in 0..2 {
        let taken = job.exception(None).unwrap_err();
        assert!(!taken.is_rejected() && !taken.is_wait_timeout(), "{taken}");
        assert!(job.result(None).is_err());
    }

    let (promise, mut job) = Promise::new();
    promise.set_result(1).unwrap();
    assert!(job.exception(None).unwrap().is_none());
    assert_eq!(job.result(None).unwrap(), 1);
    assert!(job.exception(None).is_err());
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    job.add_done_callback(move |outcome| {
        count.fetch_add(usize::from(outcome.is_err()), Ordering::SeqCst);
    });
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    assert!(job.exception(None).is_err(), "as before");
}

#[test]
fn awaiting_registers_the_latest_waker_and_wakes_it_once() {
    let (promise, job) = Promise::new();
    let mut job = pin!(job);
    let (first, second) = (Arc::new(CountWakes::default()), Arc::new(CountWakes::default()));
    for wakes in [&first, &second] {
        let waker = Waker::from(wakes.clone());
        assert!(job.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    promise.set_result(1).unwrap();
    assert_eq!((first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)), (0, 1));
    let polled = job.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Ok(1))));
}

#[test]
fn a_pending_job_is_cancelled_at_once_and_the_late_value_comes_back() {
    let (promise, mut job) = Promise::new();
    assert!(job.cancel());
    assert!(job.cancel(), "again is true, too");
    assert!(job.cancelled() && job.done());
    assert!(!promise.start(), "a cancelled job must not be run");
    assert_eq!(promise.set_result(5), Err(5));
    assert!(job.result(None).unwrap_err().is_cancelled());
}

#[test]
fn a_running_job_without_owner_and_a_finished_one_cannot_be_cancelled() {
    let (promise, job) = Promise::new();
    assert!(promise.start());
    assert!(!job.cancel());
    promise.set_result(()).unwrap();
    assert!(!job.cancel() && !job.cancelled());
}

#[test]
fn a_promise_that_is_dropped_fails_its_job() {
    let (promise, mut job) = Promise::<u8>::new();
    drop(promise);
    let error = job.result(None).unwrap_err();
    assert!(!error.is_cancelled() && !error.is_panic());
    assert!(error.to_string().contains("went away"), "{error}");
}

#[test]
fn callbacks_run_in_order_even_if_one_panics() {
    let (promise, mut job) = Promise::new();
    let log = Arc::new(Mutex::new(Vec::new()));
    for number in 0..4 {
        let log = log.clone();
        job.add_done_callback(move |outcome| {
            assert_eq!(*outcome.as_ref().unwrap(), 9);
            log.lock().unwrap().push(number);
            if number == 1 {
                // Not an assertion, which would poison the log.
                std::panic::resume_unwind(Box::new("the second one panics"));
            }
        });
    }
    promise.set_result(9).unwrap();
    assert_eq!(*log.lock().unwrap(), [0, 1, 2, 3]);
    assert_eq!(job.result(None).unwrap(), 9);
}

#[test]
fn a_late_callback_runs_at_once_in_the_adding_thread() {
    for finish in [true, false] {
        let (promise, job) = Promise::new();
        if finish {
            promise.set_result(2).unwrap();
        } else {
            job.cancel();
        }
        let here = std::thread::current().id();
        let seen = Arc::new(Mutex::new(None));
        let note = seen.clone();
        job.add_done_callback(move |outcome| {
            *note.lock().unwrap() = Some((std::thread::current().id(), outcome.is_ok()));
        });
        assert_eq!(*seen.lock().unwrap(), Some((here, finish)));
        assert!(job.done());
    }
}

#[test]
fn waiting_ends_with_the_time_and_the_job_goes_on() {
    let (promise, mut job) = Promise::new();
    assert!(job.result(Duration::from_millis(2)).unwrap_err().is_wait_timeout());
    assert!(job.result(Duration::ZERO).unwrap_err().is_wait_timeout());
    let waiter = std::thread::spawn(move || job.result(None));
    promise.set_result(3).unwrap();
    assert_eq!(waiter.join().unwrap().unwrap(), 3);
}

#[test]
fn a_guard_cancels_when_it_is_dropped() {
    let (promise, job) = Promise::<()>::new();
    drop(job.cancel_on_drop());
    assert!(!promise.start());
    let (promise, job) = Promise::<()>::new();
    drop(job);
    assert!(promise.start(), "a plain job detaches");
}

#[test]
fn the_owner_hears_of_a_cancellation_once() {
    #[derive(Default)]
    struct Owner(Mutex<Vec<(&'static str, u64)>>);
    impl JobOwner for Owner {
        fn cancelled_while_pending(&self, id: u64) {
            self.0.lock().unwrap().push(("pending", id));
        }
        fn cancel_running(&self, id: u64) -> bool {
            self.0.lock().unwrap().push(("running", id));
            true
        }
        fn dropped(&self, id: u64) {
            self.0.lock().unwrap().push(("dropped", id));
        }
    }
    let owner = Arc::new(Owner::default());
    let (_waiting, job) = Promise::<()>::owned_by(owner.clone(), 1);
    job.cancel();
    job.cancel();
    drop(job);
    let (running, job) = Promise::<()>::owned_by(owner.clone(), 2);
    assert!(running.start());
    assert!(job.cancel(), "the owner says that it will be tried");
    running.set_exception(JobError::cancelled());
    assert!(job.cancelled());
    assert_eq!(*owner.0.lock().unwrap(), [("pending", 1), ("dropped", 1), ("running", 2)]);
}

#[test]
fn a_job_that_was_not_said_to_start_was_cancelled_while_it_ran() {
    let (promise, job) = Promise::new();
    let job = Arc::new(job);
    let seen = Arc::new(Mutex::new(None));
    let (inner, note) = (job.clone(), seen.clone());
    promise.fulfil(move || {
        let (running, cancelled) = (inner.running(), inner.cancel());
        let asked = CancelToken::current().unwrap().is_cancelled();
        *note.lock().unwrap() = Some((running, cancelled, asked));
    });
    assert_eq!(*seen.lock().unwrap(), Some((true, false, true)));
    assert!(job.done() && !job.cancelled());

    let (promise, job) = Promise::new();
    assert!(promise.start());
    promise.fulfil(|| ());
    assert!(job.done() && !job.cancelled(), "whoever has started it may say so");

    let (promise, job) = Promise::new();
    assert!(job.cancel());
    let dropped = Arc::new(());
    let work = dropped.clone();
    promise.fulfil(move || {
        drop(work);
        unreachable!("a cancelled job is not run")
    });
    assert_eq!(Arc::strong_count(&dropped), 1);
}

#[test]
fn a_panic_keeps_its_payload() {
    let (promise, mut job) = Promise::<()>::new();
    promise.fulfil(|| std::panic::panic_any(41_u8));
    let payload = job.result(None).unwrap_err().into_panic().unwrap();
    assert_eq!(payload.downcast_ref::<u8>(), Some(&41));
}

/// Panics when it is dropped, and so does what it panics with, as often as its number says.
struct Bomb(u32);

impl Drop for Bomb {
    fn drop(&mut self) {
        if let Some(left) = self.0.checked_sub(1) {
            std::panic::resume_unwind(Box::new(Bomb(left)));
        }
    }
}

#[test]
fn a_panic_of_the_owner_kept_a_cancelled_job_from_being_done() {
    struct Careless;
    impl JobOwner for Careless {
        fn cancelled_while_pending(&self, _: u64) {
            std::panic::resume_unwind(Box::new(Bomb(2)));
        }
        fn cancel_running(&self, _: u64) -> bool {
            false
        }
    }
    let (_promise, mut job) = Promise::<()>::owned_by(Arc::new(Careless), 1);
    assert!(job.cancel());
    assert!(job.done());
    assert!(job.result(Duration::ZERO).unwrap_err().is_cancelled());
}

#[test]
fn a_waker_that_panics_took_the_settling_thread_with_it() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    }
    let (promise, job) = Promise::new();
    let mut job = pin!(job);
    let waker = Waker::from(Arc::new(Panics));
    assert!(job.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    promise.set_result(3).unwrap();
    let polled = job.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Ok(3))));
}

#[test]
fn the_payload_of_a_callbacks_panic_panicked_in_turn() {
    let (promise, mut job) = Promise::new();
    let called = Arc::new(AtomicUsize::new(0));
    for _ in 0..2 {
        let called = called.clone();
        job.add_done_callback(move |_| {
            called.fetch_add(1, Ordering::SeqCst);
            std::panic::resume_unwind(Box::new(Bomb(2)));
        });
    }
    promise.set_result(3).unwrap();
    assert_eq!(called.load(Ordering::SeqCst), 2);
    assert_eq!(job.result(Duration::ZERO).unwrap(), 3);
}

#[test]
fn an_outcome_that_nobody_took_panicked_where_the_cell_was_freed() {
    for job_goes_first in [true, false] {
        let (promise, job) = Promise::new();
        let mut job = Some(job);
        if job_goes_first {
            job = None;
        }
        assert!(promise.set_result(Bomb(2)).is_ok());
        drop(job);
        let (promise, job) = Promise::<()>::new();
        promise.set_exception(JobError::panicked(Box::new(Bomb(2))));
        drop(job);
    }
}

#[test]
fn a_late_callback_made_a_job_look_undone() {
    let (promise, job) = Promise::new();
    let job = Arc::new(job);
    promise.set_result(5).unwrap();
    let seen = Arc::new(Mutex::new(None));
    job.add_done_callback({
        let (job, seen) = (job.clone(), seen.clone());
        move |_| *seen.lock().unwrap() = Some((job.done(), job.running(), job.cancel()))
    });
    assert_eq!(*seen.lock().unwrap(), Some((true, false, false)));
    assert!(job.done());
}
