//! Waiting for a place in a full queue, and waiting for jobs inside their own pool.

mod common;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;

use common::{PATIENCE, Wakes, block, boxed, take, until};
use loopool_executors::jobs::{ReturnWhen, as_completed, map, wait};
use loopool_executors::{
    CancelToken, CpuExecutor, Executor, Job, JobOptions, Priority, ProcessPoolExecutor,
    ThreadPoolExecutor, call,
};

const MOMENT: Duration = Duration::from_millis(1);

fn one_thread(places: usize) -> ThreadPoolExecutor {
    ThreadPoolExecutor::builder().max_workers(1).queue_limit(places).build()
}

fn one_core(places: usize) -> CpuExecutor {
    CpuExecutor::builder().threads(1).queue_limit(places).build().unwrap()
}

#[test]
fn who_waits_for_a_place_gets_one_when_a_job_is_begun_or_cancelled() {
    fn test(pool: impl Executor<common::BoxedJob>) {
        let (release, _blocker) = block(&pool);
        let first = pool.submit(boxed(|| 1)).unwrap();
        assert!(pool.submit(boxed(|| 2)).unwrap_err().is_queue_full());
        let refused = pool.submit_wait(boxed(|| 3), MOMENT).unwrap_err();
        assert!(refused.is_queue_full());
        assert_eq!(refused.into_work()(), 3, "the work came back whole");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pool.submit_wait(boxed(|| 4), None).unwrap());
            assert!(first.cancel());
            let mut second = waiting.join().unwrap();
            let waiting = scope.spawn(|| pool.submit_wait(boxed(|| 5), None).unwrap());
            drop(release);
            let mut third = waiting.join().unwrap();
            assert_eq!((take(&mut second).unwrap(), take(&mut third).unwrap()), (4, 5));
        });
    }
    test(one_thread(1));
    test(one_core(1));
}

#[test]
fn those_who_await_a_place_get_it_in_their_order_before_anybody_who_comes_later() {
    let pool = one_thread(1);
    let (release, _blocker) = block(&pool);
    let _waits = pool.submit(boxed(|| 0)).unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let wakes: Vec<_> = (0..4).map(|_| Arc::new(Wakes::default())).collect();
    let mut waiting: Vec<_> = (0..4)
        .map(|name| {
            let order = order.clone();
            Some(Box::pin(pool.submit_async(boxed(move || {
                order.lock().unwrap().push(name);
                name
            }))))
        })
        .collect();
    let mut poll = |name: usize| {
        let waker = wakes[name].clone().into();
        let mut context = Context::from_waker(&waker);
        waiting[name].as_mut().unwrap().as_mut().poll(&mut context).map(Result::unwrap)
    };
    for name in 0..4 {
        assert!(poll(name).is_pending());
    }
    drop(release);
    let mut jobs: Vec<Job<usize>> = Vec::new();
    for (name, wakes) in wakes.iter().enumerate() {
        until("it is woken", || wakes.count() == 1);
        match poll(name) {
            Poll::Ready(job) => jobs.push(job),
            Poll::Pending => panic!("{name} was woken without a place"),
        }
    }
    for job in &mut jobs {
        take(job).unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3]);
}

#[test]
fn a_submission_that_is_dropped_hands_its_place_on_and_submits_nothing() {
    let pool = one_thread(1);
    let (_release, _blocker) = block(&pool);
    let first = pool.submit(boxed(|| 1)).unwrap();
    let wakes = [(); 2].map(|()| Arc::new(Wakes::default()));
    let mut waiting = [(); 2].map(|()| Some(Box::pin(pool.submit_async(boxed(|| 2)))));
    for (one, wakes) in waiting.iter_mut().zip(&wakes) {
        let waker = wakes.clone().into();
        let one = one.as_mut().unwrap().as_mut();
        assert!(one.poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert!(first.cancel());
    assert_eq!(wakes.each_ref().map(|wakes| wakes.count()), [1, 0]);
    assert!(pool.submit(boxed(|| 3)).unwrap_err().is_queue_full(), "the place is promised");
    waiting[0] = None;
    assert_eq!(wakes.each_ref().map(|wakes| wakes.count()), [1, 1]);
    waiting[1] = None;
    let _job = pool.submit(boxed(|| 4)).unwrap();
    assert_eq!(pool.stats().submitted, 3);
}

#[test]
fn a_shutdown_tells_who_waits_for_a_place() {
    let pool = one_thread(1);
    let (release, _blocker) = block(&pool);
    let _waits = pool.submit(boxed(|| 0)).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.submit_wait(boxed(|| 1), None).map(|_| ()).unwrap_err());
        pool.shutdown(false, false);
        assert!(waiting.join().unwrap().is_shut_down());
    });
    drop(release);
    let stats = pool.shutdown(true, false);
    assert_eq!((stats.submitted, stats.finished), (2, 2));
}

#[test]
fn a_pool_of_processes_has_places_too() {
    fn nap(millis: u64) -> u64 {
        std::thread::sleep(Duration::from_millis(millis));
        millis
    }
    let pool = ProcessPoolExecutor::builder().workers(1).queue_limit(1).build().unwrap();
    let mut jobs: Vec<_> =
        (0..20).map(|n| pool.submit_wait(call(nap, n % 3), None).unwrap()).collect();
    for (n, job) in jobs.iter_mut().enumerate() {
        assert_eq!(take(job).unwrap(), n as u64 % 3);
    }
    let stats = pool.shutdown(true, false);
    assert_eq!((stats.submitted, stats.finished), (20, 20));
}

/// As CPython's executors hang for ever: one thread, and a job that waits for another one.
fn fib<E>(pool: &Arc<E>, n: usize) -> usize
where
    E: Executor<common::BoxedJob> + 'static,
{
    if n < 2 {
        return n;
    }
    let mut parts = [1, 2].map(|less| {
        let inner = pool.clone();
        pool.submit(boxed(move || fib(&inner, n - less))).unwrap()
    });
    parts.iter_mut().map(|part| part.result(None).unwrap()).sum()
}

#[test]
fn jobs_wait_for_jobs_of_their_own_pool_however_few_threads_there_are() {
    for threads in [1, 2, 3] {
        let pool = Arc::new(ThreadPoolExecutor::new(threads));
        let inner = pool.clone();
        let mut job = pool.submit(boxed(move || fib(&inner, 12))).unwrap();
        assert_eq!(take(&mut job).unwrap(), 144);
        let pool = Arc::new(CpuExecutor::new(threads).unwrap());
        let inner = pool.clone();
        let mut job = pool.submit(boxed(move || fib(&inner, 12))).unwrap();
        assert_eq!(take(&mut job).unwrap(), 144);
    }
}

#[test]
fn several_jobs_are_waited_for_inside_their_pool_too() {
    let pool = Arc::new(ThreadPoolExecutor::new(1));
    let inner = pool.clone();
    let work = move || {
        let submit = |n: usize| inner.submit(boxed(move || n)).unwrap();
        let waited = wait((0..3).map(submit), None, ReturnWhen::AllCompleted);
        assert_eq!((waited.done.len(), waited.not_done.len()), (3, 0));
        let waited = wait((0..3).map(submit), None, ReturnWhen::FirstCompleted);
        assert_eq!((waited.done.len(), waited.not_done.len()), (1, 2), "no more than is needed");
        let completed = as_completed((0..4).map(submit)).into_iter();
        let sum: usize = completed.map(|mut job| job.result(None).unwrap()).sum();
        let squares = map(&*inner, |n: usize| n * n, 0..5).into_iter();
        sum + squares.map(Result::unwrap).sum::<usize>()
    };
    assert_eq!(take(&mut pool.submit(work).unwrap()).unwrap(), 6 + 30);
}

#[test]
fn to_wait_for_oneself_is_a_clear_error() {
    let pool = ThreadPoolExecutor::new(2);
    let (send, handles) = mpsc::channel::<Job<usize>>();
    let outer = pool
        .submit(move || {
            let mut me = handles.recv_timeout(PATIENCE).unwrap();
            let error = me.result(None).unwrap_err();
            assert!(error.is_endless_wait(), "{error}");
            let waited = me.result(MOMENT).unwrap_err();
            assert!(waited.is_wait_timeout(), "with a limit there is an end");
            let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                wait([me], None, ReturnWhen::AllCompleted)
            }));
            assert!(panic.is_err());
            1
        })
        .unwrap();
    // The job has its own handle, and this is another one.
    let (promise, mut ended) = loopool_executors::Promise::new();
    outer.add_done_callback(move |outcome| promise.fulfil(|| assert!(outcome.is_ok())));
    send.send(outer).unwrap();
    take(&mut ended).unwrap();
}

#[test]
fn a_job_that_fills_its_own_queue_runs_what_has_no_place_itself() {
    fn test<E: Executor<common::BoxedJob> + 'static>(pool: E) {
        let pool = Arc::new(pool);
        let inner = pool.clone();
        let work = boxed(move || {
            let here = std::thread::current().id();
            let ran_here = Arc::new(AtomicUsize::new(0));
            let jobs: Vec<_> = (0..10)
                .map(|_| {
                    let ran_here = ran_here.clone();
                    let work = boxed(move || {
                        let same = usize::from(std::thread::current().id() == here);
                        ran_here.fetch_add(same, Ordering::SeqCst)
                    });
                    inner.submit_wait(work, None).unwrap()
                })
                .collect();
            assert!(inner.submit(boxed(|| 0)).unwrap_err().is_queue_full());
            assert_eq!(ran_here.load(Ordering::SeqCst), 8);
            let waited = wait(jobs, None, ReturnWhen::AllCompleted);
            waited.done.len()
        });
        assert_eq!(take(&mut pool.submit(work).unwrap()).unwrap(), 10);
    }
    test(one_thread(2));
    test(one_core(2));
}

/// A priority goes with a place, too.
#[test]
fn options_and_places_go_together() {
    let pool = one_thread(1);
    let (release, _blocker) = block(&pool);
    let urgent = pool.with(JobOptions::new().priority(Priority::High));
    let _waits = urgent.submit(boxed(|| 0)).unwrap();
    let mut submission = Box::pin(urgent.submit_async(boxed(|| 9)));
    let wakes = Arc::new(Wakes::default());
    let waker = wakes.clone().into();
    let mut context = Context::from_waker(&waker);
    assert!(Pin::as_mut(&mut submission).poll(&mut context).is_pending());
    drop(release);
    until("it is woken", || wakes.count() == 1);
    let Poll::Ready(job) = submission.as_mut().poll(&mut context) else { panic!("no place") };
    assert_eq!(take(&mut job.unwrap()).unwrap(), 9);
}

/// A place in one pool's queue is none in another's.
#[test]
fn a_place_of_another_pool_is_no_place() {
    let (here, there) = (one_thread(1), one_thread(1));
    let (release, _blocker) = block(&here);
    let mut place = Executor::<common::BoxedJob>::place(&here);
    assert!(place.poll_free(std::task::Waker::noop()).is_ready());
    assert!(here.submit(boxed(|| 1)).unwrap_err().is_queue_full(), "it is taken");
    let mut job = there.submit_to(place, boxed(|| 2)).unwrap();
    assert_eq!(take(&mut job).unwrap(), 2);
    let mut job = here.submit(boxed(|| 3)).expect("it was given back");
    drop(release);
    assert_eq!(take(&mut job).unwrap(), 3);
}

/// What has no place and is run at once is a job like any other: limits, numbers and counts.
#[test]
fn a_job_without_a_place_was_run_without_having_been_started() {
    fn test<E, S>(pool: Arc<E>, submit_late: S)
    where
        E: Executor<common::BoxedJob> + 'static,
        S: Fn(&E, common::BoxedJob) -> Job<usize> + Send + 'static,
    {
        let inner = pool.clone();
        let work = boxed(move || {
            let waiting = inner.submit(boxed(|| 0)).unwrap();
            let heed = || CancelToken::current().unwrap().wait(PATIENCE);
            let mut late = submit_late(&inner, boxed(move || usize::from(heed())));
            assert!(late.result(None).unwrap_err().is_timeout());
            let nested = inner.clone();
            let outer = boxed(move || {
                assert!(waiting.cancel());
                let mut next = nested.submit(boxed(|| 5)).unwrap();
                next.result(None).unwrap()
            });
            let mut outer = inner.submit_wait(outer, None).unwrap();
            outer.result(None).unwrap()
        });
        assert_eq!(take(&mut pool.submit(work).unwrap()).unwrap(), 5);
        let stats = pool.shutdown(true, false);
        assert_eq!((stats.submitted, stats.finished), (5, 3));
        assert_eq!((stats.timed_out, stats.cancelled), (1, 1));
    }
    let limit = JobOptions::new().job_timeout(MOMENT);
    test(Arc::new(one_thread(1)), move |pool: &ThreadPoolExecutor, work| {
        pool.with(limit).submit_wait(work, None).unwrap()
    });
    test(Arc::new(one_core(1)), move |pool: &CpuExecutor, work| {
        pool.with(limit).submit_wait(work, None).unwrap()
    });
}

#[test]
fn a_shutdown_that_waits_told_those_who_wait_for_a_place_too_late() {
    fn test(pool: impl Executor<common::BoxedJob>) {
        let (release, _blocker) = block(&pool);
        let _waits = pool.submit(boxed(|| 0)).unwrap();
        std::thread::scope(|scope| {
            let pool = &pool;
            let refused = scope.spawn(move || {
                let refused = pool.submit_wait(boxed(|| 1), None).map(drop).unwrap_err();
                // Only now can the pool end.
                drop(release);
                refused
            });
            let stats = pool.shutdown(true, false);
            assert!(refused.join().unwrap().is_shut_down());
            assert_eq!((stats.submitted, stats.finished), (2, 2));
        });
    }
    test(one_thread(1));
    test(one_core(1));
}

/// The last of them who came left first, and the others waited for its end.
#[test]
fn jobs_that_shut_their_pool_down_go_on_together() {
    fn test<E: Executor<common::BoxedJob> + 'static>(pool: E) {
        let pool = Arc::new(pool);
        let (before, after) = (Arc::new(Barrier::new(3)), Arc::new(Barrier::new(3)));
        let mut jobs: Vec<_> = (0..3)
            .map(|n| {
                let (own, before, after) = (pool.clone(), before.clone(), after.clone());
                let pool = own.clone();
                let work = boxed(move || {
                    before.wait();
                    pool.shutdown(true, false);
                    after.wait();
                    n
                });
                own.submit(work).unwrap()
            })
            .collect();
        for (n, job) in jobs.iter_mut().enumerate() {
            assert_eq!(take(job).unwrap(), n);
        }
    }
    test(ThreadPoolExecutor::new(3));
    test(CpuExecutor::new(3).unwrap());
}

#[test]
fn to_wait_for_oneself_and_others_is_an_error_once_the_others_are_done() {
    let pool = Arc::new(ThreadPoolExecutor::new(1));
    let (send, handles) = mpsc::channel::<Job<usize>>();
    let inner = pool.clone();
    let outer = pool
        .submit(boxed(move || {
            let me = handles.recv_timeout(PATIENCE).unwrap();
            let other = inner.submit(boxed(|| 1)).unwrap();
            wait([me, other], None, ReturnWhen::AllCompleted).done.len()
        }))
        .unwrap();
    let (promise, mut ended) = loopool_executors::Promise::new();
    outer.add_done_callback(move |outcome| {
        let panicked = outcome.as_ref().is_err_and(|error| error.is_panic());
        promise.fulfil(move || assert!(panicked));
    });
    send.send(outer).unwrap();
    take(&mut ended).unwrap();
}

#[test]
fn a_callback_of_a_pool_of_processes_can_not_wait_for_the_thread_it_is_in() {
    /// Long enough for its callback to be there before.
    fn double(n: u64) -> u64 {
        std::thread::sleep(Duration::from_millis(300));
        2 * n
    }
    let pool = Arc::new(ProcessPoolExecutor::builder().workers(1).queue_limit(1).build().unwrap());
    let (send, errors) = mpsc::channel();
    let inner = pool.clone();
    let mut job = pool.submit(call(double, 1)).unwrap();
    job.add_done_callback(move |_| {
        let mut waits = inner.submit(call(double, 2)).unwrap();
        let waited = waits.result(None).unwrap_err();
        // One is in the worker, one in the queue.
        let queued = inner.submit(call(double, 2)).unwrap();
        let placed = inner.submit_wait(call(double, 3), None).unwrap_err();
        drop(queued);
        send.send(waited.is_endless_wait() && placed.is_queue_full()).unwrap();
    });
    assert_eq!(take(&mut job).unwrap(), 2);
    assert!(errors.recv_timeout(PATIENCE).unwrap());
}
