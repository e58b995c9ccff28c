//! The pools of threads and of cores: reuse, limits, cancellation, panics, shutdown.

use std::cell::Cell;
use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use loopool_executors::{
    BoxedWork, CpuExecutor, Executor, Job, RejectReason, Rejected, ThreadPoolExecutor, call,
};

/// What both pools must do, on a pool of one thread with room for two waiting jobs.
fn bounded_pools() -> Vec<(&'static str, Arc<dyn Executor<BoxedWork>>)> {
    let threads = ThreadPoolExecutor::builder().max_workers(1).queue_limit(2).build();
    let cores = CpuExecutor::builder().threads(1).queue_limit(2).build().unwrap();
    vec![("threads", Arc::new(threads)), ("cores", Arc::new(cores))]
}

type Submitted = Result<Job<()>, Rejected<BoxedWork>>;

/// A job that runs until the sender is used, and has begun when this returns.
fn block(pool: &dyn Executor<BoxedWork>) -> (mpsc::Sender<()>, Job<()>) {
    let (release, released) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let work: BoxedWork = Box::new(move || {
        begin.send(()).unwrap();
        released.recv().unwrap();
    });
    let job = pool.submit(work).unwrap();
    begun.recv().unwrap();
    (release, job)
}

fn submit(pool: &dyn Executor<BoxedWork>, work: impl FnOnce() + Send + 'static) -> Submitted {
    pool.submit(Box::new(work))
}

#[test]
fn a_full_queue_hands_the_work_back() {
    for (name, pool) in bounded_pools() {
        let (release, mut blocker) = block(&*pool);
        let mut waiting = [submit(&*pool, || ()).unwrap(), submit(&*pool, || ()).unwrap()];
        let called = Arc::new(AtomicUsize::new(0));
        let count = called.clone();
        let work = move || {
            count.fetch_add(1, Ordering::SeqCst);
        };
        let rejected = submit(&*pool, work).unwrap_err();
        assert!(rejected.is_queue_full(), "{name}");
        rejected.into_work()();
        assert_eq!(called.load(Ordering::SeqCst), 1, "{name}: the work came back whole");
        release.send(()).unwrap();
        blocker.result(None).unwrap();
        for job in &mut waiting {
            job.result(None).unwrap();
        }
        submit(&*pool, || ()).unwrap().result(None).unwrap();
    }
}

#[test]
fn a_cancelled_job_is_never_run_and_gives_its_place_away() {
    for (name, pool) in bounded_pools() {
        let (release, mut blocker) = block(&*pool);
        let first = submit(&*pool, || panic!("cancelled, so never run")).unwrap();
        let mut second = submit(&*pool, || ()).unwrap();
        assert!(submit(&*pool, || ()).is_err(), "{name}");
        assert!(first.cancel(), "{name}");
        let mut third = submit(&*pool, || ()).unwrap();
        release.send(()).unwrap();
        blocker.result(None).unwrap();
        second.result(None).unwrap();
        third.result(None).unwrap();
    }
}

#[test]
fn a_running_job_cannot_be_cancelled() {
    for (name, pool) in bounded_pools() {
        let (release, mut blocker) = block(&*pool);
        assert!(!blocker.cancel() && blocker.running(), "{name}");
        release.send(()).unwrap();
        blocker.result(None).unwrap();
    }
}

#[test]
fn a_panic_is_the_jobs_and_the_thread_lives_on() {
    for (name, pool) in bounded_pools() {
        let error = submit(&*pool, || panic!("in the job")).unwrap().result(None).unwrap_err();
        assert_eq!(error.panic_message(), Some("in the job"), "{name}");
        submit(&*pool, || ()).unwrap().result(None).unwrap();
    }
}

#[test]
fn shutdown_runs_what_waits_or_cancels_it_and_refuses_the_rest() {
    for cancel in [false, true] {
        for (name, pool) in bounded_pools() {
            let (release, mut blocker) = block(&*pool);
            let mut waiting = [submit(&*pool, || ()).unwrap(), submit(&*pool, || ()).unwrap()];
            pool.shutdown(false, cancel);
            assert!(submit(&*pool, || ()).unwrap_err().is_shut_down(), "{name}");
            release.send(()).unwrap();
            pool.shutdown(true, cancel);
            assert!(blocker.result(Duration::ZERO).is_ok(), "{name}: what runs is finished");
            for job in &mut waiting {
                let outcome = job.result(Duration::ZERO);
                assert_eq!(outcome.is_err_and(|error| error.is_cancelled()), cancel, "{name}");
            }
        }
    }
}

#[test]
fn dropping_a_pool_lets_its_jobs_run() {
    for (name, pool) in bounded_pools() {
        let (release, mut blocker) = block(&*pool);
        let mut waiting = submit(&*pool, || ()).unwrap();
        drop(pool);
        release.send(()).unwrap();
        blocker.result(None).unwrap();
        assert!(waiting.result(None).is_ok(), "{name}");
    }
}

#[test]
fn a_job_may_shut_its_own_thread_pool_down() {
    let pool = Arc::new(ThreadPoolExecutor::new(2));
    let inner = pool.clone();
    let mut job = pool.submit(move || inner.shutdown(true, true)).unwrap();
    job.result(Duration::from_secs(30)).unwrap();
}

#[test]
fn calls_run_in_every_pool() {
    let threads = ThreadPoolExecutor::new(1);
    let cores = CpuExecutor::new(1).unwrap();
    assert_eq!(threads.submit(call(str::len, "four")).unwrap().result(None).unwrap(), 4);
    assert_eq!(cores.submit(call(|n: i32| n + 1, 4)).unwrap().result(None).unwrap(), 5);
}

#[test]
fn an_idle_thread_is_used_again() {
    let pool = ThreadPoolExecutor::builder().max_workers(8).thread_name_prefix("reuse").build();
    let mut names = HashSet::new();
    for _ in 0..50 {
        let mut job = pool.submit(|| std::thread::current().name().map(str::to_owned)).unwrap();
        names.insert(job.result(None).unwrap());
        while pool.idle_workers() == 0 {
            std::thread::yield_now();
        }
    }
    assert_eq!(pool.stats().workers, 1);
    assert_eq!(names, HashSet::from([Some("reuse-0".to_owned())]));
}

#[test]
fn there_are_never_more_threads_than_allowed() {
    let pool = ThreadPoolExecutor::new(3);
    let at_once = Arc::new(Barrier::new(3));
    let mut jobs: Vec<_> = (0..30)
        .map(|_| {
            let at_once = at_once.clone();
            pool.submit(move || at_once.wait().is_leader()).unwrap()
        })
        .collect();
    for job in &mut jobs {
        job.result(None).unwrap();
    }
    assert_eq!(pool.stats().workers, 3);
    assert_eq!(pool.stats().finished, 30);
}

#[test]
fn idle_threads_end() {
    let pool = ThreadPoolExecutor::builder().keep_alive(Duration::from_millis(5)).build();
    pool.submit(|| ()).unwrap().result(None).unwrap();
    let limit = Instant::now() + Duration::from_secs(30);
    while pool.stats().workers > 0 && Instant::now() < limit {
        std::thread::yield_now();
    }
    assert_eq!(pool.stats().workers, 0);
    assert_eq!(pool.submit(|| 5).unwrap().result(None).unwrap(), 5);
}

#[test]
fn rayon_works_inside_a_cpu_job_on_the_same_threads() {
    let pool = CpuExecutor::builder().threads(2).thread_name_prefix("core").build().unwrap();
    let work = || {
        let name = || std::thread::current().name().map(str::to_owned).unwrap_or_default();
        rayon::join(name, name)
    };
    let (left, right) = pool.submit(work).unwrap().result(None).unwrap();
    assert!(left.starts_with("core-") && right.starts_with("core-"), "{left} {right}");
}

#[test]
fn pool_threads_run_at_lower_priority() {
    fn nice() -> i32 {
        // SAFETY: a plain system call on the calling thread.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, libc::gettid() as libc::id_t) }
    }
    let here = nice();
    let cores = CpuExecutor::builder().threads(1).nice(5).build().unwrap();
    let threads = ThreadPoolExecutor::builder().nice(7).build();
    assert_eq!(cores.submit(nice).unwrap().result(None).unwrap(), (here + 5).min(19));
    assert_eq!(threads.submit(nice).unwrap().result(None).unwrap(), (here + 7).min(19));
    assert_eq!(nice(), here);
}

#[test]
fn every_job_of_a_storm_is_accounted_for() {
    for (name, pool) in [
        ("threads", Arc::new(ThreadPoolExecutor::new(4)) as Arc<dyn Executor<BoxedWork>>),
        ("cores", Arc::new(CpuExecutor::new(4).unwrap())),
    ] {
        let ran = Arc::new(AtomicUsize::new(0));
        let submitters: Vec<_> = (0..4)
            .map(|seed| {
                let (pool, ran) = (pool.clone(), ran.clone());
                std::thread::spawn(move || storm(&*pool, &ran, seed))
            })
            .collect();
        let tallies: Vec<_> = submitters.into_iter().map(|thread| thread.join().unwrap()).collect();
        let sum = |kind: usize| tallies.iter().map(|tally| tally[kind]).sum::<usize>();
        assert_eq!(sum(0) + sum(1) + sum(2), 8_000, "{name}");
        assert_eq!(sum(0) + sum(1), ran.load(Ordering::Relaxed), "{name}");
    }
}

/// Submits, cancels and waits; how many had a value, a panic, a cancellation.
fn storm(pool: &dyn Executor<BoxedWork>, ran: &Arc<AtomicUsize>, seed: usize) -> [usize; 3] {
    let mut tally = [0; 3];
    let mut jobs = Vec::new();
    for n in 0..2_000 {
        let ran = ran.clone();
        let panics = (n * 7 + seed).is_multiple_of(5);
        let job = submit(pool, move || {
            ran.fetch_add(1, Ordering::Relaxed);
            if panics {
                // Without the hook, which would print thousands of messages.
                std::panic::resume_unwind(Box::new("on purpose"));
            }
        });
        let job = job.unwrap();
        if (n + seed).is_multiple_of(3) {
            job.cancel();
        }
        jobs.push(job);
    }
    for mut job in jobs {
        match job.result(None) {
            Ok(()) => tally[0] += 1,
            Err(error) if error.is_panic() => tally[1] += 1,
            Err(error) if error.is_cancelled() => tally[2] += 1,
            Err(error) => panic!("{error}"),
        }
    }
    tally
}

/// Panics when it is dropped, and so does what it panics with, as often as its number says.
struct Bomb(u32);

impl Drop for Bomb {
    fn drop(&mut self) {
        if let Some(left) = self.0.checked_sub(1) {
            // Without the hook, which would print.
            std::panic::resume_unwind(Box::new(Bomb(left)));
        }
    }
}

/// No test comes near this unless something hangs.
const HANG: Duration = Duration::from_secs(30);

/// What a pool of one thread must still do after `damage` was done while the thread was busy.
fn survives<P: Executor<BoxedWork> + 'static>(pool: &P, damage: impl FnOnce(&P)) {
    let (release, mut blocker) = block(pool);
    damage(pool);
    release.send(()).unwrap();
    blocker.result(HANG).unwrap();
    for _ in 0..3 {
        submit(pool, || ()).unwrap().result(HANG).unwrap();
    }
    pool.shutdown(true, false);
}

#[test]
fn a_detached_outcome_that_panics_in_drop_took_the_thread() {
    let threads = ThreadPoolExecutor::new(1);
    survives(&threads, |pool| drop(pool.submit(|| Bomb(2))));
    assert_eq!(threads.stats().workers, 0);
    survives(&CpuExecutor::new(1).unwrap(), |pool| drop(pool.submit(|| Bomb(2))));
}

#[test]
fn a_panic_payload_that_panics_in_drop_took_the_thread() {
    fn work() {
        std::panic::resume_unwind(Box::new(Bomb(2)));
    }
    survives(&ThreadPoolExecutor::new(1), |pool| drop(pool.submit(work)));
    survives(&CpuExecutor::new(1).unwrap(), |pool| drop(pool.submit(work)));
}

/// Cancels jobs whose captures panic, few enough that the queue keeps them.
fn cancel_bombs(pool: &dyn Executor<BoxedWork>) {
    for _ in 0..3 {
        let bomb = Bomb(2);
        let job = submit(pool, move || drop(bomb)).unwrap();
        assert!(job.cancel());
    }
}

#[test]
fn a_cancelled_closure_that_panics_in_drop_took_the_thread() {
    survives(&ThreadPoolExecutor::new(1), |pool| cancel_bombs(pool));
    survives(&CpuExecutor::new(1).unwrap(), |pool| cancel_bombs(pool));
}

/// Cancels so many that the last cancellation frees them all, in the cancelling thread.
fn cancel_many(pool: &dyn Executor<BoxedWork>) {
    let jobs: Vec<_> = (0..40)
        .map(|_| {
            let bomb = Bomb(2);
            submit(pool, move || drop(bomb)).unwrap()
        })
        .collect();
    for mut job in jobs {
        assert!(job.cancel());
        assert!(job.done());
        assert!(job.result(Duration::ZERO).unwrap_err().is_cancelled());
    }
}

#[test]
fn other_jobs_garbage_kept_a_cancelled_job_from_being_done() {
    survives(&ThreadPoolExecutor::new(1), |pool| cancel_many(pool));
    survives(&CpuExecutor::new(1).unwrap(), |pool| cancel_many(pool));
}

#[test]
fn shutdown_stopped_at_a_closure_that_panics_in_drop() {
    for (name, pool) in bounded_pools() {
        let (release, mut blocker) = block(&*pool);
        let waiting = [(); 2].map(|()| {
            let bomb = Bomb(2);
            submit(&*pool, move || drop(bomb)).unwrap()
        });
        pool.shutdown(false, true);
        assert!(waiting.iter().all(|job| job.done() && job.cancelled()), "{name}");
        release.send(()).unwrap();
        blocker.result(HANG).unwrap();
        pool.shutdown(true, false);
    }
}

#[test]
fn a_waker_that_panics_took_the_thread() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    }
    fn poll_once(job: Result<Job<()>, Rejected<impl FnOnce()>>) {
        let mut job = job.unwrap();
        let waker = Waker::from(Arc::new(Panics));
        assert!(Pin::new(&mut job).poll(&mut Context::from_waker(&waker)).is_pending());
        // Kept alive, so that it is the waker that the thread meets.
        std::mem::forget(job);
    }
    survives(&ThreadPoolExecutor::new(1), |pool| poll_once(pool.submit(|| ())));
    survives(&CpuExecutor::new(1).unwrap(), |pool| poll_once(pool.submit(|| ())));
}

#[test]
fn stats_lagged_behind_the_outcome_of_jobs_that_shutdown_cancels() {
    fn check<P: Executor<BoxedWork> + 'static>(pool: P, cancelled: fn(&P) -> u64) {
        let pool = Arc::new(pool);
        let (release, mut blocker) = block(&*pool);
        let job = submit(&*pool, || ()).unwrap();
        let seen = Arc::new(AtomicUsize::new(0));
        job.add_done_callback({
            let (pool, seen) = (pool.clone(), seen.clone());
            move |_| seen.store(cancelled(&pool) as usize, Ordering::SeqCst)
        });
        pool.shutdown(false, true);
        assert_eq!(seen.load(Ordering::SeqCst), 1);
        assert_eq!(cancelled(&pool), 1);
        release.send(()).unwrap();
        blocker.result(HANG).unwrap();
    }
    check(ThreadPoolExecutor::new(1), |pool| pool.stats().cancelled);
    check(CpuExecutor::new(1).unwrap(), |pool| pool.stats().cancelled);
}

#[test]
fn the_second_of_two_shutdowns_did_not_wait() {
    let pool = Arc::new(ThreadPoolExecutor::new(2));
    let (release, blocker) = block(&*pool);
    let waiters = [(); 2].map(|()| {
        let pool = pool.clone();
        let waiter = std::thread::spawn(move || {
            pool.shutdown(true, false);
            pool.stats().workers
        });
        // Time for it to get where it waits.
        std::thread::sleep(Duration::from_millis(30));
        waiter
    });
    assert!(waiters.iter().all(|waiter| !waiter.is_finished()), "a job still runs");
    release.send(()).unwrap();
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), 0);
    }
    drop(blocker);
}

#[test]
fn a_shutdown_from_a_worker_hid_that_worker_from_the_next_one() {
    let pool = Arc::new(ThreadPoolExecutor::new(2));
    let (release, released) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let inner = pool.clone();
    let job = pool
        .submit(move || {
            inner.shutdown(true, false);
            begin.send(()).unwrap();
            released.recv().unwrap();
        })
        .unwrap();
    begun.recv_timeout(HANG).unwrap();
    let waiter = std::thread::spawn({
        let pool = pool.clone();
        move || pool.shutdown(true, false)
    });
    std::thread::sleep(Duration::from_millis(30));
    assert!(!waiter.is_finished(), "the worker still runs its job");
    release.send(()).unwrap();
    waiter.join().unwrap();
    assert_eq!(pool.stats().workers, 0);
    assert!(job.done());
}

#[test]
fn workers_that_shut_their_pool_down_do_not_wait_for_each_other() {
    let pool = Arc::new(ThreadPoolExecutor::new(3));
    let together = Arc::new(Barrier::new(3));
    let jobs: Vec<_> = (0..3)
        .map(|_| {
            let (pool, together) = (pool.clone(), together.clone());
            move || {
                together.wait();
                pool.shutdown(true, true);
            }
        })
        .map(|work| pool.submit(work).unwrap())
        .collect();
    for mut job in jobs {
        job.result(HANG).unwrap();
    }
    pool.shutdown(true, false);
    assert_eq!(pool.stats().workers, 0);
}

#[test]
fn every_thread_is_initialized_once_before_its_jobs() {
    thread_local!(static READY: Cell<usize> = const { Cell::new(0) });
    let times = Arc::<AtomicUsize>::default();
    let count = times.clone();
    let pool = ThreadPoolExecutor::builder()
        .max_workers(3)
        .initializer(move || {
            READY.set(READY.get() + 1);
            count.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
        .build();
    assert_eq!(times.load(Ordering::SeqCst), 0, "no thread is started without a job");
    let all = Arc::new(Barrier::new(3));
    for _ in 0..2 {
        let meet = |all: Arc<Barrier>| {
            move || {
                all.wait();
                READY.get()
            }
        };
        let jobs: Vec<_> = (0..3).map(|_| pool.submit(meet(all.clone())).unwrap()).collect();
        for mut job in jobs {
            assert_eq!(job.result(HANG).unwrap(), 1);
        }
    }
    assert_eq!(times.load(Ordering::SeqCst), 3);
}

#[test]
fn an_initializer_that_fails_breaks_the_pool_with_its_reason() {
    type Fails = fn() -> Result<(), String>;
    let fails: [(Fails, &str); 2] = [
        (|| Err("no such device".to_owned()), "failed: no such device"),
        (|| panic!("it is cold"), "panicked: it is cold"),
    ];
    for (initializer, reason) in fails {
        let (begin, may_begin) = mpsc::channel::<()>();
        let may_begin = Mutex::new(may_begin);
        let pool = ThreadPoolExecutor::builder()
            .max_workers(1)
            .initializer(move || {
                may_begin.lock().unwrap().recv_timeout(HANG).unwrap();
                initializer()
            })
            .build();
        let waiting: Vec<_> = (0..3).map(|_| pool.submit(|| ()).unwrap()).collect();
        let cancelled = pool.submit(|| ()).unwrap();
        assert!(cancelled.cancel());
        begin.send(()).unwrap();
        for mut job in waiting {
            let error = job.result(HANG).unwrap_err();
            assert!(error.is_rejected() && error.to_string().contains(reason), "{error}");
        }
        let refused = pool.submit(|| ()).unwrap_err();
        assert!(matches!(refused.reason(), RejectReason::Broken(why) if why.contains(reason)));
        assert_eq!((pool.stats().failed, pool.stats().cancelled), (3, 1));
        // The thread is gone.
        pool.shutdown(true, false);
        assert_eq!(pool.stats().workers, 0);
    }
}

#[test]
fn a_pool_that_breaks_lets_running_jobs_end() {
    let threads = Arc::<AtomicUsize>::default();
    let pool = ThreadPoolExecutor::builder()
        .max_workers(2)
        .initializer(move || match threads.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(()),
            _ => Err("one is enough".to_owned()),
        })
        .build();
    let (release, mut running) = block(&pool);
    let mut second = pool.submit(|| ()).unwrap();
    assert!(second.result(HANG).unwrap_err().is_rejected());
    release.send(()).unwrap();
    running.result(HANG).unwrap();
    pool.shutdown(true, false);
}

/// Three jobs that need each other, and nobody submits again.
#[test]
fn workers_that_are_all_blocked_are_noticed() {
    let pool = ThreadPoolExecutor::new(3);
    let barrier = Arc::new(Barrier::new(3));
    let mut jobs: Vec<_> = (0..3)
        .map(|_| {
            let barrier = barrier.clone();
            pool.submit(move || _ = barrier.wait()).unwrap()
        })
        .collect();
    for job in &mut jobs {
        job.result(Duration::from_secs(60)).unwrap();
    }
    assert_eq!(pool.stats().workers, 3);
}

/// A hundred jobs that need each other need a hundred threads, and there are never more than may be.
#[test]
fn as_many_workers_as_may_be_come_to_jobs_that_block() {
    let pool = ThreadPoolExecutor::new(100);
    let barrier = Arc::new(Barrier::new(100));
    let mut jobs: Vec<_> = (0..150)
        .map(|n| {
            let barrier = barrier.clone();
            pool.submit(move || _ = (n < 100).then(|| barrier.wait())).unwrap()
        })
        .collect();
    for job in &mut jobs {
        job.result(Duration::from_secs(60)).unwrap();
    }
    assert!(pool.stats().workers <= 100);
    assert_eq!(pool.shutdown(true, false).finished, 150);
}

/// One job, and an initializer that takes its time: that is no reason for another thread.
#[test]
fn a_slow_initializer_brought_a_thread_for_every_look() {
    let count = Arc::new(AtomicUsize::new(0));
    let initialized = count.clone();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let pool = ThreadPoolExecutor::builder()
        .max_workers(8)
        .initializer(move || {
            initialized.fetch_add(1, Ordering::SeqCst);
            let _ = released.lock().unwrap().recv();
            Ok(())
        })
        .build();
    let mut job = pool.submit(|| ()).unwrap();
    while count.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    // More than enough looks.
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!((count.load(Ordering::SeqCst), pool.stats().workers), (1, 1));
    drop(release);
    job.result(Duration::from_secs(60)).unwrap();
}
