//! Priorities, limits of time and cancel tokens, in pools of threads and of cores.

mod common;

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use common::{PATIENCE, block, boxed, take, until};
use loopool_executors::{
    CancelToken, CpuExecutor, Executor, ExecutorStats, JobOptions, Priority, ThreadPoolExecutor,
};

const MOMENT: Duration = Duration::from_millis(1);

/// Runs a test on pools of one worker.
macro_rules! on_each_pool {
    ($test:ident) => {
        $test(&ThreadPoolExecutor::new(1), |pool| pool.stats());
        $test(&CpuExecutor::new(1).unwrap(), |pool| pool.stats());
    };
}

/// What the tests want of a pool, in a form that both have.
trait Pool: Executor<common::BoxedJob> + Sized {
    fn treat(&self, options: JobOptions) -> impl Executor<common::BoxedJob>;
}

impl Pool for ThreadPoolExecutor {
    fn treat(&self, options: JobOptions) -> impl Executor<common::BoxedJob> {
        self.with(options)
    }
}

impl Pool for CpuExecutor {
    fn treat(&self, options: JobOptions) -> impl Executor<common::BoxedJob> {
        self.with(options)
    }
}

#[test]
fn jobs_are_run_by_priority_and_within_one_in_their_order() {
    fn test<P: Pool>(pool: &P, _: fn(&P) -> ExecutorStats) {
        let (release, _blocker) = block(pool);
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut jobs = Vec::new();
        for (name, priority) in [
            (1, Priority::Low),
            (2, Priority::Normal),
            (3, Priority::High),
            (4, Priority::Normal),
            (5, Priority::High),
        ] {
            let order = order.clone();
            let work = boxed(move || {
                order.lock().unwrap().push(name);
                name
            });
            let options = JobOptions::new().priority(priority);
            jobs.push(pool.treat(options).submit(work).unwrap());
        }
        drop(release);
        for job in &mut jobs {
            take(job).unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [3, 5, 2, 4, 1]);
    }
    on_each_pool!(test);
}

#[test]
fn a_job_that_waits_too_long_fails_unrun_though_every_worker_is_blocked() {
    fn test<P: Pool>(pool: &P, stats: fn(&P) -> ExecutorStats) {
        let (release, mut blocker) = block(pool);
        let ran = Arc::new(AtomicUsize::new(0));
        let run = ran.clone();
        let work = boxed(move || run.fetch_add(1, Ordering::SeqCst));
        let mut job = pool.treat(JobOptions::new().queue_timeout(MOMENT)).submit(work).unwrap();
        let error = take(&mut job).unwrap_err();
        assert!(error.is_queue_timeout() && !error.is_timeout() && !error.is_cancelled());
        assert_eq!(
            Arc::strong_count(&ran),
            2,
            "what it holds is freed with its place in the queue"
        );
        assert_eq!((stats(pool).waiting, stats(pool).timed_out), (0, 1));
        drop(release);
        take(&mut blocker).unwrap();
        // The one that is gone is taken out, and another one is run.
        take(&mut pool.submit(boxed(|| 1)).unwrap()).unwrap();
        assert_eq!((ran.load(Ordering::SeqCst), Arc::strong_count(&ran)), (0, 1));
    }
    on_each_pool!(test);
}

#[test]
fn a_job_that_runs_too_long_fails_at_once_and_is_asked_to_end() {
    fn test<P: Pool>(pool: &P, stats: fn(&P) -> ExecutorStats) {
        let (ended, end) = mpsc::channel();
        let work = boxed(move || {
            let asked = CancelToken::current().unwrap().wait(PATIENCE);
            ended.send(asked).unwrap();
            7
        });
        let mut job = pool.treat(JobOptions::new().job_timeout(MOMENT)).submit(work).unwrap();
        let error = take(&mut job).unwrap_err();
        assert!(error.is_timeout() && !error.is_queue_timeout());
        assert!(end.recv_timeout(PATIENCE).unwrap(), "the token told it");
        take(&mut pool.submit(boxed(|| 1)).unwrap()).unwrap();
        let stats = stats(pool);
        assert_eq!((stats.submitted, stats.timed_out, stats.finished), (2, 1, 1));
    }
    on_each_pool!(test);
}

#[test]
fn a_deadline_counts_while_a_job_waits_and_while_it_runs() {
    fn test<P: Pool>(pool: &P, _: fn(&P) -> ExecutorStats) {
        let past = JobOptions::new().deadline(Instant::now());
        let (release, _blocker) = block(pool);
        let mut waiting = pool.treat(past).submit(boxed(|| 1)).unwrap();
        assert!(take(&mut waiting).unwrap_err().is_queue_timeout());
        drop(release);
        let soon = JobOptions::new().deadline(Instant::now() + Duration::from_millis(20));
        let work = boxed(|| usize::from(CancelToken::current().unwrap().wait(PATIENCE)));
        let mut running = pool.treat(soon).submit(work).unwrap();
        let error = take(&mut running).unwrap_err();
        assert!(error.is_timeout() || error.is_queue_timeout());
    }
    on_each_pool!(test);
}

#[test]
fn limits_that_are_kept_change_nothing() {
    fn test<P: Pool>(pool: &P, stats: fn(&P) -> ExecutorStats) {
        let far = JobOptions::new()
            .queue_timeout(PATIENCE)
            .job_timeout(PATIENCE)
            .deadline(Instant::now() + PATIENCE);
        let mut jobs: Vec<_> =
            (0..100).map(|n| pool.treat(far).submit(boxed(move || n)).unwrap()).collect();
        for (n, job) in jobs.iter_mut().enumerate() {
            assert_eq!(take(job).unwrap(), n);
        }
        assert_eq!((stats(pool).finished, stats(pool).timed_out), (100, 0));
    }
    on_each_pool!(test);
}

/// A callback that takes its time stops the limits of nobody else.
#[test]
fn a_slow_callback_of_a_late_job_delays_no_other_limit() {
    let pool = ThreadPoolExecutor::new(1);
    let (_release, _blocker) = block(&pool);
    let late = pool.with(JobOptions::new().queue_timeout(20 * MOMENT));
    let (go_on, may_go_on) = mpsc::channel();
    let (call, is_called) = mpsc::channel();
    // Long enough for its callback to be there before.
    let slow = pool.with(JobOptions::new().queue_timeout(Duration::from_secs(1)));
    let slow = slow.submit(boxed(|| 1)).unwrap();
    slow.add_done_callback(move |outcome| {
        assert!(outcome.as_ref().is_err_and(|error| error.is_queue_timeout()));
        call.send(()).unwrap();
        may_go_on.recv_timeout(PATIENCE).unwrap();
    });
    is_called.recv_timeout(PATIENCE).unwrap();
    let mut other = late.submit(boxed(|| 1)).unwrap();
    assert!(take(&mut other).unwrap_err().is_queue_timeout());
    assert!(!slow.done(), "its callback has not returned");
    go_on.send(()).unwrap();
    until("the callback has returned", || slow.done());
}

#[test]
fn a_job_ends_where_it_checks_its_token() {
    fn test<P: Pool>(pool: &P, stats: fn(&P) -> ExecutorStats) {
        let dropped = Arc::new(AtomicBool::new(false));
        struct Guard(Arc<AtomicBool>);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let guard = Guard(dropped.clone());
        let (begin, begun) = mpsc::channel();
        let work = boxed(move || {
            let _guard = guard;
            begin.send(()).unwrap();
            let token = CancelToken::current().unwrap();
            loop {
                token.check();
                std::thread::yield_now();
            }
        });
        let mut job = pool.submit(work).unwrap();
        begun.recv_timeout(PATIENCE).unwrap();
        assert!(!job.cancel(), "nobody can say whether it will heed that");
        assert!(take(&mut job).unwrap_err().is_cancelled());
        assert!(job.cancelled() && dropped.load(Ordering::SeqCst));
        assert_eq!((stats(pool).cancelled, stats(pool).failed), (1, 0));
    }
    on_each_pool!(test);
}

#[test]
fn a_job_that_does_not_heed_its_token_has_its_value() {
    let pool = ThreadPoolExecutor::new(1);
    let (release, mut job) = block(&pool);
    assert!(!job.cancel());
    drop(release);
    assert_eq!(take(&mut job).unwrap(), 0);
    assert!(!job.cancelled());
}

#[test]
fn a_guard_that_is_dropped_asks_the_job_to_end() {
    let pool = ThreadPoolExecutor::new(1);
    let (begin, begun) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    let job = pool.submit(move || {
        let token = CancelToken::current().unwrap();
        begin.send(token.clone()).unwrap();
        end.send(token.wait(None)).unwrap();
    });
    let guard = job.unwrap().cancel_on_drop();
    let token = begun.recv_timeout(PATIENCE).unwrap();
    assert!(!token.is_cancelled() && !token.wait(MOMENT));
    drop(guard);
    assert!(ended.recv_timeout(PATIENCE).unwrap() && token.is_cancelled());
}

#[test]
fn a_token_can_be_awaited_and_wakes_each_who_does() {
    let pool = ThreadPoolExecutor::new(1);
    let (send, tokens) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let job = pool
        .submit(move || {
            send.send(CancelToken::current().unwrap()).unwrap();
            let _ = released.recv();
        })
        .unwrap();
    let token = tokens.recv_timeout(PATIENCE).unwrap();
    let wakes = [(); 2].map(|()| Arc::new(common::Wakes::default()));
    let mut waiting = [(); 2].map(|()| Box::pin(token.cancelled()));
    let mut poll = |index: usize| {
        let waker = wakes[index].clone().into();
        waiting[index].as_mut().poll(&mut Context::from_waker(&waker))
    };
    for index in [0, 1, 0, 1] {
        assert!(poll(index).is_pending());
    }
    job.cancel();
    assert_eq!(wakes.each_ref().map(|wakes| wakes.count()), [1, 1], "once, however often polled");
    assert_eq!([poll(0), poll(1)], [Poll::Ready(true); 2]);
    drop(release);
}

#[test]
fn outside_of_a_job_there_is_no_token() {
    assert!(CancelToken::current().is_none());
    let pool = ThreadPoolExecutor::new(1);
    take(&mut pool.submit(|| assert!(CancelToken::current().is_some())).unwrap()).unwrap();
    assert!(CancelToken::current().is_none());
}

/// Such as one that tells a server of the end, and checks on the way.
#[test]
fn a_check_in_a_destructor_ended_the_program() {
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            CancelToken::current().unwrap().check();
        }
    }
    let pool = ThreadPoolExecutor::new(1);
    let (begin, begun) = mpsc::channel();
    let mut job = pool
        .submit(move || {
            let _guard = Guard;
            begin.send(()).unwrap();
            let token = CancelToken::current().unwrap();
            token.wait(PATIENCE);
            token.check();
        })
        .unwrap();
    begun.recv_timeout(PATIENCE).unwrap();
    job.cancel();
    assert!(take(&mut job).unwrap_err().is_cancelled());
}

#[test]
fn who_waits_for_a_cancellation_no_more_left_the_waker_behind() {
    let pool = ThreadPoolExecutor::new(1);
    let mut job = pool
        .submit(|| {
            let token = CancelToken::current().unwrap();
            let wakes = Arc::new(common::Wakes::default());
            for _ in 0..3 {
                let waker = wakes.clone().into();
                let mut waiting = Box::pin(token.cancelled());
                let other = Arc::new(common::Wakes::default());
                let before = std::task::Waker::from(other.clone());
                assert!(waiting.as_mut().poll(&mut Context::from_waker(&before)).is_pending());
                assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                drop(before);
                assert_eq!(Arc::strong_count(&other), 1, "only the last one counts");
            }
            Arc::strong_count(&wakes)
        })
        .unwrap();
    assert_eq!(take(&mut job).unwrap(), 1);
}

#[test]
fn a_helper_that_waits_for_a_cancellation_hears_of_the_jobs_end() {
    let pool = ThreadPoolExecutor::new(1);
    let mut job = pool
        .submit(|| {
            let token = CancelToken::current().unwrap();
            std::thread::spawn(move || token.wait(None))
        })
        .unwrap();
    let helper = take(&mut job).unwrap();
    assert!(!helper.join().unwrap());
}

#[test]
fn a_check_in_a_function_over_items_ends_the_job() {
    let pool = ThreadPoolExecutor::new(1);
    let began = Arc::new(AtomicUsize::new(0));
    let count = began.clone();
    let heed = move |_: usize| {
        count.fetch_add(1, Ordering::SeqCst);
        let token = CancelToken::current().unwrap();
        assert!(token.wait(PATIENCE));
        token.check();
    };
    let late = pool.with(JobOptions::new().job_timeout(MOMENT));
    let results = loopool_executors::jobs::map(&late, heed, 0..3).chunksize(3);
    let errors: Vec<_> = results.into_iter().map(Result::unwrap_err).collect();
    assert!(errors[0].is_timeout() && errors.len() == 3);
    pool.shutdown(true, false);
    assert_eq!(
        began.load(Ordering::SeqCst),
        1,
        "the rest of the chunk is not for one that has to end"
    );
}

/// Two that wait in one task have the same waker, and one of them goes away.
#[test]
fn one_who_waits_for_a_cancellation_no_more_took_the_others_waker_along() {
    let pool = ThreadPoolExecutor::new(1);
    let (send, tokens) = mpsc::channel();
    let (_release, released) = mpsc::channel::<()>();
    let job = pool
        .submit(move || {
            send.send(CancelToken::current().unwrap()).unwrap();
            let _ = released.recv();
        })
        .unwrap();
    let token = tokens.recv_timeout(PATIENCE).unwrap();
    let wakes = Arc::new(common::Wakes::default());
    let waker = wakes.clone().into();
    let mut context = Context::from_waker(&waker);
    let mut stays = Box::pin(token.cancelled());
    let mut goes = Box::pin(token.cancelled());
    assert!(stays.as_mut().poll(&mut context).is_pending());
    assert!(goes.as_mut().poll(&mut context).is_pending());
    drop(goes);
    job.cancel();
    assert_eq!(wakes.count(), 1);
    assert!(stays.as_mut().poll(&mut context).is_ready());
}
