//! The cell between a promise and its job, and both handles, as they ship.

#[allow(dead_code, unreachable_pub, reason = "the models use a part")]
#[path = "../../executors/src/promise/mod.rs"]
mod promise;

#[allow(dead_code, unreachable_pub, reason = "the models use a part")]
#[path = "../../executors/src/caught.rs"]
mod caught;

#[allow(dead_code, unreachable_pub, reason = "the models use a part")]
#[path = "../../executors/src/job.rs"]
mod job;

#[allow(dead_code, unreachable_pub, reason = "the models use a part")]
#[path = "../../executors/src/patience.rs"]
mod patience;

#[allow(dead_code, unreachable_pub, reason = "the models use a part")]
#[path = "../../executors/src/jobs/several.rs"]
mod several;

/// Stand-in: what goes on in a job's thread. The token is the cell itself.
mod cancel_token {
    use std::task::{Poll, Waker};

    use crate::promise::Cell;
    use crate::shim::Arc;

    #[allow(dead_code, reason = "the models use a part")]
    pub(crate) trait Askable: Send + Sync {
        fn is_asked(&self) -> bool;
        fn poll_asked(&self, waker: Option<&Waker>) -> Poll<bool>;
        fn forget(&self, waker: &Waker);
        fn abandon(&self);
    }

    pub(crate) struct Heeded;

    impl Heeded {
        pub(crate) fn is_for<T>(&self, _: &Cell<T>) -> bool {
            true
        }
    }

    pub(crate) fn while_current<T, R>(_: &Arc<Cell<T>>, work: impl FnOnce() -> R) -> R {
        work()
    }
}

/// Stand-in: a thread that is told to exits in the next foreign code, which unwinds here, and another one takes over
/// what it had in hand.
mod in_hand {
    use std::cell::Cell;
    use std::panic::resume_unwind;

    pub(crate) trait InHand: Sync {
        fn take_over(&self);
    }

    loom::thread_local! {
        static EXITS: Cell<bool> = Cell::new(false);
    }

    /// The calling thread.
    pub(crate) fn exit_next() {
        EXITS.with(|exits| exits.set(true));
    }

    pub(crate) fn with_in_hand<R>(what: &dyn InHand, work: impl FnOnce() -> R) -> R {
        if EXITS.with(|exits| exits.replace(false)) {
            what.take_over();
            resume_unwind(Box::new("it has exited"));
        }
        work()
    }
}

/// Stand-in: statistics.
mod counters {
    use crate::promise::Outcome;

    pub(crate) struct Counters;

    impl Counters {
        pub(crate) fn run(&self) -> impl Drop + use<> {
            struct Running;
            impl Drop for Running {
                fn drop(&mut self) {}
            }
            Running
        }

        pub(crate) fn record<T>(&self, _: &Outcome<T>) {}
    }
}

/// Stand-in: the reasons without what comes with them.
mod error {
    use std::any::Any;

    #[allow(unreachable_pub, reason = "its users are as public as in their own crate")]
    #[derive(Debug, PartialEq, Eq)]
    pub enum JobError {
        Cancelled,
        Panicked,
        Abandoned,
        AlreadyTaken,
        WaitTimedOut,
        TimedOut,
    }

    impl std::fmt::Display for JobError {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{self:?}")
        }
    }

    impl JobError {
        pub(crate) fn cancelled() -> Self {
            JobError::Cancelled
        }

        pub(crate) fn panicked(_: Box<dyn Any + Send>) -> Self {
            JobError::Panicked
        }

        pub(crate) fn abandoned() -> Self {
            JobError::Abandoned
        }

        pub(crate) fn already_taken() -> Self {
            JobError::AlreadyTaken
        }

        pub(crate) fn wait_timed_out() -> Self {
            JobError::WaitTimedOut
        }

        pub(crate) fn is_cancelled(&self) -> bool {
            *self == JobError::Cancelled
        }
    }

    pub(crate) fn panic_message(_: &(dyn Any + Send)) -> &str {
        "caught"
    }
}

use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};

use futures_core::Stream;
use loom::sync::Arc;
use loom::thread;
use loopool_loom_tests::{Alarm, Bounds, Drops, Token, model, shim};

use self::cancel_token::Askable;
use self::error::JobError;
use self::job::Job;
use self::promise::{Cell, JobOwner, Outcome, Promise};
use self::several::{AsCompleted, as_completed};

const BOUNDS: Bounds = Bounds { small: 3, full: None };

fn poll<T>(job: &mut Job<T>, waker: &Waker) -> Poll<Outcome<T>> {
    Pin::new(job).poll(&mut Context::from_waker(waker))
}

/// Awaits a job.
fn join<T>(job: &mut Job<T>) -> Outcome<T> {
    let alarm = Alarm::new();
    let waker = Alarm::waker(&alarm);
    loop {
        match poll(job, &waker) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending => alarm.wait(),
        }
    }
}

/// Counts what it is told.
#[derive(Default)]
struct Owner {
    pending: AtomicUsize,
    running: AtomicUsize,
}

impl JobOwner for Owner {
    fn cancelled_while_pending(&self, id: u64) {
        assert_eq!(id, 7);
        self.pending.fetch_add(1, Relaxed);
    }

    fn cancel_running(&self, id: u64) -> bool {
        assert_eq!(id, 7);
        self.running.fetch_add(1, Relaxed);
        false
    }
}

/// A counter that loom knows nothing of.
#[derive(Clone, Default)]
struct Count(std::sync::Arc<AtomicUsize>);

impl Count {
    fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Relaxed)
    }
}

#[test]
fn the_one_who_awaits_is_woken() {
    model(BOUNDS, || {
        let (promise, mut job) = Promise::new();
        let drops = Drops::default();
        let token = drops.token();
        let settling = thread::spawn(move || assert!(promise.set_result(token).is_ok()));
        assert!(join(&mut job).is_ok());
        assert!(join(&mut job).is_err_and(|error| error == JobError::AlreadyTaken));
        settling.join().unwrap();
        assert_eq!(drops.count(), 1);
    });
}

/// Only the latest waker counts, and the one before is dropped.
#[test]
fn the_last_one_to_poll_is_woken() {
    model(BOUNDS, || {
        let (promise, mut job) = Promise::new();
        let settling = thread::spawn(move || assert!(promise.set_result(()).is_ok()));
        let (first, second) = (Alarm::new(), Alarm::new());
        let before = poll(&mut job, &Alarm::waker(&first));
        if before.is_pending() && poll(&mut job, &Alarm::waker(&second)).is_pending() {
            second.wait();
            assert!(matches!(poll(&mut job, &Alarm::waker(&second)), Poll::Ready(Ok(()))));
        }
        settling.join().unwrap();
        assert!(first.rings() + second.rings() <= 1);
    });
}

#[test]
fn a_job_that_nobody_wants_drops_its_value_once() {
    model(BOUNDS, || {
        let (promise, job) = Promise::new();
        let drops = Drops::default();
        let token = drops.token();
        let settling = thread::spawn(move || assert!(promise.set_result(token).is_ok()));
        drop(job);
        settling.join().unwrap();
        assert_eq!(drops.count(), 1);
    });
}

#[test]
fn a_promise_that_is_dropped_fails_its_job() {
    model(BOUNDS, || {
        let (promise, mut job) = Promise::<()>::new();
        let dropping = thread::spawn(move || drop(promise));
        assert_eq!(join(&mut job), Err(JobError::Abandoned));
        dropping.join().unwrap();
    });
}

/// The executor starts the job, or two cancellations keep it from that: never both, and the owner
/// hears of it once.
#[test]
fn a_job_is_started_or_cancelled() {
    model(BOUNDS, || {
        let owner = std::sync::Arc::new(Owner::default());
        let (promise, job) = Promise::owned_by(owner.clone(), 7);
        let (mut job, drops, ran) = (job, Drops::default(), Count::default());
        let (token, calls) = (drops.token(), Count::default());
        job.add_done_callback({
            let calls = calls.clone();
            move |_: &Outcome<Token>| calls.add()
        });
        let executor = thread::spawn({
            let ran = ran.clone();
            move || {
                if promise.start() {
                    ran.add();
                    // Nobody can cancel it any more.
                    assert!(promise.set_result(token).is_ok());
                } else {
                    assert!(promise.is_cancelled());
                    assert!(promise.set_result(token).is_err());
                }
            }
        });
        let first = job.cancel();
        let second = job.cancel();
        let outcome = join(&mut job);
        executor.join().unwrap();
        match ran.get() {
            0 => {
                assert!(first && second);
                assert_eq!(owner.pending.load(Relaxed), 1);
                assert!(outcome.as_ref().is_err_and(|error| error.is_cancelled()));
            }
            _ => {
                assert!(!first && !second);
                assert_eq!(owner.pending.load(Relaxed), 0);
                assert!(owner.running.load(Relaxed) <= 2);
                assert!(outcome.is_ok());
            }
        }
        drop((job, outcome));
        assert_eq!(calls.get(), 1);
        assert_eq!(drops.count(), 1);
    });
}

/// As above, for an executor that leaves it to the promise to start the job.
#[test]
fn a_job_is_run_or_cancelled() {
    model(BOUNDS, || {
        let (promise, mut job) = Promise::new();
        let ran = Count::default();
        let executor = thread::spawn({
            let ran = ran.clone();
            move || promise.fulfil(move || ran.add())
        });
        let cancelled = job.cancel();
        let outcome = join(&mut job);
        executor.join().unwrap();
        assert_eq!(ran.get(), usize::from(!cancelled));
        assert_eq!(outcome.is_err_and(|error| error.is_cancelled()), cancelled);
    });
}

/// As above, with the cancellations in two threads.
#[test]
fn two_who_cancel_tell_the_owner_once() {
    model(BOUNDS, || {
        let owner = std::sync::Arc::new(Owner::default());
        let (promise, job) = Promise::<()>::owned_by(owner.clone(), 7);
        let job = std::sync::Arc::new(job);
        let executor = thread::spawn(move || {
            let started = promise.start();
            promise.set_exception(JobError::Panicked);
            started
        });
        let cancelling = thread::spawn({
            let job = job.clone();
            move || job.cancel()
        });
        let first = job.cancel();
        let second = cancelling.join().unwrap();
        let started = executor.join().unwrap();
        assert_eq!(owner.pending.load(Relaxed), usize::from(!started));
        assert!((first, second) == (!started, !started));
        assert_eq!(job.cancelled(), !started);
        assert!(job.done());
    });
}

/// A job that is settled without having been started, as by a shutdown, against a cancellation.
#[test]
fn one_of_two_outcomes_wins() {
    model(BOUNDS, || {
        let (promise, mut job) = Promise::new();
        let drops = Drops::default();
        let token = drops.token();
        let settling = thread::spawn(move || promise.set_result(token).map_err(drop).is_ok());
        let cancelled = job.cancel();
        let outcome = join(&mut job);
        let settled = settling.join().unwrap();
        assert!(settled != cancelled);
        assert_eq!(outcome.is_ok(), settled);
        drop(outcome);
        assert_eq!(drops.count(), 1);
    });
}

/// A job that is asked to end, by one who cancels it, hears of that wherever it is: before it looks, or while it
/// waits.
#[test]
fn a_running_job_that_is_asked_to_end_is_woken() {
    model(BOUNDS, || {
        let (promise, job) = Promise::<()>::new();
        assert!(promise.start());
        let cancelling = thread::spawn(move || assert!(!job.cancel()));
        let alarm = Alarm::new();
        let waker = Alarm::waker(&alarm);
        let mut to_leave = Some(&waker);
        while promise.cell().poll_asked(to_leave.take()).is_pending() {
            alarm.wait();
        }
        assert!(promise.cell().is_asked());
        promise.set_exception(JobError::Cancelled);
        cancelling.join().unwrap();
    });
}

/// Who waits for that elsewhere hears when the job is over without.
#[test]
fn whoever_heeds_a_job_hears_of_its_end() {
    model(BOUNDS, || {
        let (promise, job) = Promise::<()>::new();
        assert!(promise.start());
        let cell = promise.cell().clone();
        let ending = thread::spawn(move || assert!(promise.set_result(()).is_ok()));
        let alarm = Alarm::new();
        let waker = Alarm::waker(&alarm);
        let mut to_leave = Some(&waker);
        let asked = loop {
            match cell.poll_asked(to_leave.take()) {
                Poll::Ready(asked) => break asked,
                Poll::Pending => alarm.wait(),
            }
        };
        assert!(!asked);
        ending.join().unwrap();
        drop(job);
    });
}

/// What was done before somebody asks is seen by who hears of it.
#[test]
fn who_heeds_sees_what_was_done_before() {
    model(BOUNDS, || {
        let (promise, job) = Promise::<()>::new();
        assert!(promise.start());
        let why = Arc::new(shim::UnsafeCell::new(0));
        let asking = thread::spawn({
            let why = why.clone();
            move || {
                // SAFETY: it is read only by who has heard of the cancellation that follows.
                why.with_mut(|why| unsafe { *why = 1 });
                job.cancel();
            }
        });
        if promise.cell().is_asked() {
            // SAFETY: nobody writes after the cancellation.
            assert_eq!(why.with(|why| unsafe { *why }), 1);
        }
        asking.join().unwrap();
    });
}

/// The time to wait is up while the executor begins the job: it is run or has expired, and is counted once.
#[test]
fn a_job_is_started_or_expires() {
    model(BOUNDS, || {
        let (promise, mut job) = Promise::new();
        let (drops, expired) = (Drops::default(), Count::default());
        let token = drops.token();
        let cell = promise.cell().clone();
        let timekeeper = thread::spawn({
            let expired = expired.clone();
            move || {
                let count = || expired.add();
                Cell::expire(&cell, false, JobError::TimedOut, count, || (), |rest| rest());
            }
        });
        let started = promise.start();
        if started {
            assert!(!promise.cell().is_asked());
            assert!(promise.set_result(token).is_ok());
        } else {
            drop((promise, token));
        }
        let outcome = join(&mut job);
        timekeeper.join().unwrap();
        assert_eq!(outcome.is_ok(), started);
        assert_eq!(expired.get(), usize::from(!started));
        drop(outcome);
        assert_eq!(drops.count(), 1);
    });
}

/// The time to run is up while the job ends: one of the two is its outcome, the other goes nowhere.
#[test]
fn a_running_job_ends_or_expires() {
    model(BOUNDS, || {
        let (promise, mut job) = Promise::new();
        assert!(promise.start());
        let (drops, expired) = (Drops::default(), Count::default());
        let token = drops.token();
        let cell = promise.cell().clone();
        let timekeeper = thread::spawn({
            let expired = expired.clone();
            move || {
                let count = || expired.add();
                Cell::expire(&cell, true, JobError::TimedOut, count, || (), |rest| rest());
            }
        });
        let in_time = promise.set_result(token).map_err(drop).is_ok();
        let outcome = join(&mut job);
        timekeeper.join().unwrap();
        assert_eq!(outcome.is_ok(), in_time);
        assert_eq!(expired.get(), usize::from(!in_time));
        drop(outcome);
        assert_eq!(drops.count(), 1);
    });
}

/// Each callback sees the outcome before it is taken, and may ask the job things.
#[test]
fn callbacks_run_once_and_first() {
    model(BOUNDS, || {
        let (promise, mut job) = Promise::new();
        let (drops, calls) = (Drops::default(), Count::default());
        let token = drops.token();
        let settling = thread::spawn(move || assert!(promise.set_result(token).is_ok()));
        for _ in 0..2 {
            let calls = calls.clone();
            job.add_done_callback(move |outcome: &Outcome<Token>| {
                assert!(outcome.is_ok());
                calls.add();
            });
        }
        assert!(join(&mut job).is_ok());
        assert_eq!(calls.get(), 2);
        settling.join().unwrap();
        assert_eq!(drops.count(), 1);
    });
}

/// The thread that settles a job exits in a callback: whoever awaits the job goes on, and the other callbacks run, once.
#[test]
fn a_job_whose_callback_exits_is_done() {
    model(BOUNDS, || {
        let (promise, job) = Promise::new();
        let (drops, calls) = (Drops::default(), Count::default());
        let token = drops.token();
        let add = |job: &Job<Token>| {
            let calls = calls.clone();
            job.add_done_callback(move |outcome: &Outcome<Token>| {
                assert!(outcome.as_ref().is_err_and(|error| *error == JobError::Abandoned));
                calls.add();
            });
        };
        job.add_done_callback(|_| unreachable!("the thread exits instead"));
        add(&job);
        let settling = thread::spawn(move || {
            in_hand::exit_next();
            let settle = std::panic::AssertUnwindSafe(|| promise.set_result(token).is_ok());
            std::panic::catch_unwind(settle).unwrap_err();
        });
        let mut job = job;
        add(&job);
        assert!(join(&mut job).is_err_and(|error| error == JobError::Abandoned));
        settling.join().unwrap();
        assert_eq!((calls.get(), drops.count()), (2, 1));
    });
}

/// A callback that comes late borrows the outcome from the one who awaits, and gives it back. The job
/// is done all the while.
#[test]
fn a_late_callback_does_not_take_the_outcome() {
    model(Bounds { small: 3, full: Some(5) }, || {
        let (promise, job) = Promise::new();
        let (drops, calls) = (Drops::default(), Count::default());
        assert!(promise.set_result(drops.token()).is_ok());
        let job = std::sync::Arc::new(job);
        let adding = [(); 2].map(|()| {
            let (job, calls) = (job.clone(), calls.clone());
            thread::spawn(move || {
                job.add_done_callback(move |outcome: &Outcome<Token>| {
                    let taken = outcome.as_ref().is_err_and(|e| *e == JobError::AlreadyTaken);
                    assert!(outcome.is_ok() || taken);
                    calls.add();
                });
                assert!(job.done() && !job.running());
            })
        });
        let taken = join(&mut alias(&job));
        assert!(taken.is_ok(), "the value went to nobody");
        for thread in adding {
            thread.join().unwrap();
        }
        assert_eq!(calls.get(), 2);
        drop(taken);
        assert_eq!(drops.count(), 1);
    });
}

/// No foreign code runs under the lock: wakers and callbacks that ask the job would hang.
#[test]
fn wakers_and_callbacks_may_ask_the_job() {
    model(BOUNDS, || {
        let (promise, job) = Promise::new();
        let job = std::sync::Arc::new(job);
        job.add_done_callback({
            let job = job.clone();
            move |_: &Outcome<()>| assert!(job.running())
        });
        let settling = thread::spawn(move || assert!(promise.set_result(()).is_ok()));
        let alarm = Alarm::new();
        let waker = || Waker::from(std::sync::Arc::new(Asking(job.clone(), alarm.clone())));
        // The second replaces the first, which is dropped.
        let mut handle = alias(&job);
        if poll(&mut handle, &waker()).is_pending() && poll(&mut handle, &waker()).is_pending() {
            alarm.wait();
            assert!(poll(&mut handle, &waker()).is_ready());
        }
        settling.join().unwrap();
    });
}

/// The same job once more. The cell's protocol promises more than its handles, which are polled
/// exclusively, can ask for.
fn alias<T>(job: &std::sync::Arc<Job<T>>) -> ManuallyDrop<Job<T>> {
    // SAFETY: a second owner of the same count, which is not given up; the models keep the first.
    ManuallyDrop::new(unsafe { std::ptr::read(&raw const **job) })
}

/// A waker that looks at the job whenever it can.
struct Asking(std::sync::Arc<Job<()>>, Arc<Alarm>);

impl Wake for Asking {
    fn wake(self: std::sync::Arc<Self>) {
        assert!(self.0.done());
        Alarm::waker(&self.1).wake();
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.cancelled();
    }
}

/// The next job that is done.
fn next<T>(jobs: &mut AsCompleted<T>) -> Option<Job<T>> {
    let alarm = Alarm::new();
    let waker = Alarm::waker(&alarm);
    loop {
        match Pin::new(&mut *jobs).poll_next(&mut Context::from_waker(&waker)) {
            Poll::Ready(job) => return job,
            Poll::Pending => alarm.wait(),
        }
    }
}

#[test]
fn of_several_jobs_each_one_comes_once_when_it_is_done() {
    model(BOUNDS, || {
        let (first, one) = Promise::new();
        let (second, two) = Promise::new();
        let settling = thread::spawn(move || assert!(first.set_result(1).is_ok()));
        let mut jobs = as_completed([one, two]);
        assert!(second.set_result(2).is_ok());
        let mut sum = 0;
        while let Some(mut job) = next(&mut jobs) {
            let outcome = poll(&mut job, Waker::noop());
            assert!(matches!(&outcome, Poll::Ready(Ok(1 | 2))), "it is done");
            if let Poll::Ready(Ok(value)) = outcome {
                sum += value;
            }
        }
        settling.join().unwrap();
        assert_eq!(sum, 3);
    });
}

/// Who waits no more is not woken later than that, and leaves the jobs as they are.
#[test]
fn a_job_that_is_watched_no_more_can_be_awaited() {
    model(BOUNDS, || {
        let (promise, job) = Promise::new();
        let settling = thread::spawn(move || assert!(promise.set_result(1).is_ok()));
        let mut left = as_completed([job]).into_jobs();
        assert!(matches!(join(&mut left[0]), Ok(1)));
        settling.join().unwrap();
    });
}
