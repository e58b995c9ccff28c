//! The pool of cores: rayon inside jobs, panics, jobs that wait for jobs, shutdown from within, how many threads.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::Duration;

use loopool_executors::jobs::{ReturnWhen, as_completed, map, wait};
use loopool_executors::{CpuExecutor, Executor, Job, ThreadPoolExecutor};
use rayon::prelude::*;

/// No test comes near this unless something hangs.
const HANG: Duration = Duration::from_secs(30);

fn thread_name() -> String {
    std::thread::current().name().map(str::to_owned).unwrap_or_default()
}

/// What comes of work that must not need more threads than the pool has.
fn run<T: Send + 'static>(pool: &CpuExecutor, work: impl FnOnce() -> T + Send + 'static) -> T {
    pool.submit(work).unwrap().result(HANG).unwrap()
}

/// The calling thread's CPUs.
fn affinity() -> libc::cpu_set_t {
    // SAFETY: a set is plain numbers, for which zeros will do; the call fills at most its size.
    unsafe {
        let mut set = std::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set), 0);
        set
    }
}

#[test]
fn there_are_as_many_threads_as_cpus_that_may_be_used() {
    // On a thread of its own, which alone is kept on fewer CPUs.
    let pinned = || {
        let all = affinity();
        // SAFETY: as above; and every number asked about is one of a set.
        unsafe {
            let is_one = |&cpu: &usize| libc::CPU_ISSET(cpu, &all);
            let first = (0..libc::CPU_SETSIZE as usize).find(is_one).unwrap();
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(first, &mut one);
            assert_eq!(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &one), 0);
        }
        CpuExecutor::builder().build().unwrap().stats().workers
    };
    let may_use = std::thread::available_parallelism().unwrap().get();
    assert_eq!(CpuExecutor::builder().build().unwrap().stats().workers, may_use);
    assert_eq!(std::thread::spawn(pinned).join().unwrap(), 1);
    assert_eq!(CpuExecutor::builder().build().unwrap().stats().workers, may_use);
}

#[test]
fn what_a_job_gives_rayon_runs_on_the_pools_threads() {
    let pool = CpuExecutor::builder().threads(2).thread_name_prefix("core").build().unwrap();
    let names = run(&pool, || {
        let names = Mutex::new(HashSet::new());
        let note = || {
            names.lock().unwrap().insert(thread_name());
        };
        rayon::join(note, note);
        rayon::scope(|scope| (0..100).for_each(|_| scope.spawn(|_| note())));
        (0..1_000).into_par_iter().for_each(|_| note());
        rayon::broadcast(|_| note());
        (names.into_inner().unwrap(), rayon::current_num_threads())
    });
    let both = HashSet::from(["core-0".to_owned(), "core-1".to_owned()]);
    assert_eq!(names, (both, 2));
}

#[test]
fn a_panic_anywhere_in_a_job_is_the_jobs() {
    let pool = CpuExecutor::new(2).unwrap();
    // Without the hook, which would print.
    fn fail() {
        std::panic::resume_unwind(Box::new("on purpose"));
    }
    let works: [fn(); 4] = [
        fail,
        || {
            rayon::join(fail, fail);
        },
        || rayon::scope(|scope| scope.spawn(|_| fail())),
        || (0..100).into_par_iter().for_each(|_| fail()),
    ];
    for work in works {
        let error = pool.submit(work).unwrap().result(HANG).unwrap_err();
        assert_eq!(error.panic_message(), Some("on purpose"));
    }
    assert_eq!(run(&pool, rayon::current_num_threads), 2);
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("in a destructor"));
    }
}

#[test]
fn a_panic_that_belongs_to_no_job_does_not_end_the_program() {
    let pool = CpuExecutor::new(1).unwrap();
    let (done, is_done) = mpsc::channel();
    run(&pool, move || {
        rayon::spawn(|| std::panic::resume_unwind(Box::new("detached")));
        rayon::spawn_fifo(|| std::panic::resume_unwind(Box::new(Bomb)));
        rayon::spawn_broadcast(|_| std::panic::resume_unwind(Box::new("everywhere")));
        // The last of its kind that this thread comes to.
        rayon::spawn_broadcast(move |_| done.send(()).unwrap());
    });
    is_done.recv_timeout(HANG).unwrap();
    assert_eq!(run(&pool, || 5), 5);
    pool.shutdown(true, false);
}

#[test]
fn a_job_may_wait_for_jobs_of_its_own_pool() {
    for threads in [1, 2, 4] {
        let pool = Arc::new(CpuExecutor::new(threads).unwrap());
        let inner = pool.clone();
        let sum = run(&pool, move || {
            let jobs: Vec<_> = (0..100u64).map(|n| inner.submit(move || n).unwrap()).collect();
            // The last one first: those before it still wait.
            jobs.into_iter().rev().map(|mut job| job.result(None).unwrap()).sum::<u64>()
        });
        assert_eq!(sum, 4_950, "{threads} threads");
        assert_eq!(pool.stats().finished, 101);
        assert_eq!((pool.stats().waiting, pool.stats().running), (0, 0));
    }
}

#[test]
fn a_job_may_wait_for_several_jobs_of_its_own_pool() {
    let pool = Arc::new(CpuExecutor::new(1).unwrap());
    let inner = pool.clone();
    run(&pool, move || {
        let submit = || (0..10).map(|n| inner.submit(move || n).unwrap()).collect::<Vec<_>>();
        let waited = wait(submit(), None, ReturnWhen::FirstCompleted);
        assert_eq!((waited.done.len(), waited.not_done.len()), (1, 9), "no more than is needed");
        let waited = wait(waited.not_done, None, ReturnWhen::AllCompleted);
        assert_eq!(waited.not_done.len(), 0);
        let given =
            as_completed(submit()).into_iter().map(|mut job| job.result(Duration::ZERO).unwrap());
        assert_eq!(given.collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        let mapped = map(&*inner, |n: u32| n + 1, 0..10).into_iter().map(Result::unwrap);
        assert_eq!(mapped.sum::<u32>(), 55);
    });
}

fn fibonacci(pool: &Arc<CpuExecutor>, n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let inner = pool.clone();
    let mut one = pool.submit(move || fibonacci(&inner, n - 1)).unwrap();
    let other = fibonacci(pool, n - 2);
    one.result(None).unwrap() + other
}

#[test]
fn jobs_wait_for_jobs_that_wait_for_jobs() {
    for threads in [1, 3] {
        let pool = Arc::new(CpuExecutor::new(threads).unwrap());
        let inner = pool.clone();
        assert_eq!(run(&pool, move || fibonacci(&inner, 15)), 610);
    }
}

#[test]
fn a_part_of_a_job_may_wait_for_jobs_too() {
    let pool = Arc::new(CpuExecutor::new(2).unwrap());
    let inner = pool.clone();
    let sum = run(&pool, move || {
        let wait = |n: u64| inner.submit(move || n).unwrap().result(None).unwrap();
        (0..200u64).into_par_iter().map(wait).sum::<u64>()
    });
    assert_eq!(sum, 19_900);
}

/// Run meanwhile, on top of the one that waits, it would have waited for that one for ever.
#[test]
fn while_a_job_waits_no_other_one_is_put_on_top_of_it() {
    let pool = Arc::new(CpuExecutor::new(2).unwrap());
    let (release, released) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let mut slow = pool
        .submit(move || {
            begin.send(()).unwrap();
            released.recv_timeout(HANG).unwrap();
        })
        .unwrap();
    begun.recv_timeout(HANG).unwrap();
    let (about, is_about) = mpsc::channel();
    let mut first = pool
        .submit(move || {
            about.send(()).unwrap();
            slow.result(HANG).unwrap();
            7
        })
        .unwrap();
    is_about.recv_timeout(HANG).unwrap();
    let mut second = pool.submit(move || first.result(HANG).unwrap() + 1).unwrap();
    // Now it has the time to do it wrong.
    std::thread::sleep(Duration::from_millis(20));
    release.send(()).unwrap();
    assert_eq!(second.result(HANG).unwrap(), 8);
}

#[test]
fn a_job_cannot_wait_for_itself() {
    let pool = CpuExecutor::new(1).unwrap();
    let (give, given) = mpsc::channel::<Job<bool>>();
    let job = pool
        .submit(move || {
            let mut myself = given.recv_timeout(HANG).unwrap();
            let error = myself.result(None).unwrap_err();
            assert!(myself.running(), "the job stays as it is");
            error.is_endless_wait()
        })
        .unwrap();
    let (tell, told) = mpsc::channel();
    job.add_done_callback(move |outcome| tell.send(*outcome.as_ref().unwrap()).unwrap());
    give.send(job).unwrap();
    assert!(told.recv_timeout(HANG).unwrap());
}

#[test]
fn a_wait_that_is_a_mere_look_runs_nothing() {
    let pool = Arc::new(CpuExecutor::new(1).unwrap());
    let inner = pool.clone();
    let mut left = run(&pool, move || {
        let mut other = inner.submit(|| ()).unwrap();
        assert!(other.result(Duration::ZERO).unwrap_err().is_wait_timeout());
        assert!(!other.done());
        other
    });
    left.result(HANG).unwrap();
}

#[test]
fn who_waits_for_a_cancelled_job_does_not_run_it() {
    let pool = Arc::new(CpuExecutor::new(1).unwrap());
    let inner = pool.clone();
    run(&pool, move || {
        let mut other = inner.submit(|| panic!("cancelled, so never run")).unwrap();
        assert!(other.cancel());
        assert!(other.result(None).unwrap_err().is_cancelled());
    });
    assert_eq!((pool.stats().finished, pool.stats().cancelled), (1, 1));
}

#[test]
fn the_panic_of_a_job_that_another_one_ran_is_its_own() {
    let pool = Arc::new(CpuExecutor::new(1).unwrap());
    let inner = pool.clone();
    let message = run(&pool, move || {
        let work = || std::panic::resume_unwind(Box::new("the inner one's"));
        let error: loopool_executors::JobError =
            inner.submit(work).map(|mut job: Job<()>| job.result(None)).unwrap().unwrap_err();
        error.panic_message().unwrap().to_owned()
    });
    assert_eq!(message, "the inner one's");
    assert_eq!((pool.stats().finished, pool.stats().failed), (1, 1));
}

#[test]
fn threads_of_other_pools_only_wait() {
    let cores =
        Arc::new(CpuExecutor::builder().threads(1).thread_name_prefix("core").build().unwrap());
    let threads = ThreadPoolExecutor::new(1);
    let inner = cores.clone();
    let work = move || inner.submit(thread_name).unwrap().result(HANG).unwrap();
    assert_eq!(threads.submit(work).unwrap().result(HANG).unwrap(), "core-0");
}

#[test]
fn a_job_may_shut_its_own_pool_down() {
    for threads in [1, 3] {
        for cancel in [false, true] {
            let pool = Arc::new(CpuExecutor::new(threads).unwrap());
            let inner = pool.clone();
            let (waiting, outcomes) = mpsc::channel();
            run(&pool, move || {
                let jobs: Vec<_> = (0..10).map(|_| inner.submit(|| ()).unwrap()).collect();
                inner.shutdown(true, cancel);
                waiting.send(jobs).unwrap();
            });
            for mut job in outcomes.recv_timeout(HANG).unwrap() {
                let outcome = job.result(HANG);
                assert!(outcome.is_ok() || cancel && outcome.unwrap_err().is_cancelled());
            }
            pool.shutdown(true, false);
            assert!(pool.submit(|| ()).unwrap_err().is_shut_down());
        }
    }
}

#[test]
fn a_job_that_shuts_its_pool_down_waits_for_the_others() {
    let pool = Arc::new(CpuExecutor::new(2).unwrap());
    let (release, released) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let over = Arc::<AtomicUsize>::default();
    let count = over.clone();
    let other = pool.submit(move || {
        begin.send(()).unwrap();
        released.recv_timeout(HANG).unwrap();
        count.fetch_add(1, Ordering::SeqCst);
    });
    begun.recv_timeout(HANG).unwrap();
    let inner = pool.clone();
    let (about, is_about) = mpsc::channel();
    let mut job = pool
        .submit(move || {
            about.send(()).unwrap();
            inner.shutdown(true, false);
            over.load(Ordering::SeqCst)
        })
        .unwrap();
    is_about.recv_timeout(HANG).unwrap();
    assert!(job.result(Duration::from_millis(30)).unwrap_err().is_wait_timeout());
    release.send(()).unwrap();
    assert_eq!(job.result(HANG).unwrap(), 1);
    other.unwrap().result(HANG).unwrap();
}

#[test]
fn jobs_that_shut_their_pool_down_do_not_wait_for_each_other() {
    let pool = Arc::new(CpuExecutor::new(3).unwrap());
    let together = Arc::new(Barrier::new(3));
    let jobs: Vec<_> = (0..3)
        .map(|_| {
            let (pool, together) = (pool.clone(), together.clone());
            move || {
                together.wait();
                pool.shutdown(true, false);
            }
        })
        .map(|work| pool.submit(work).unwrap())
        .collect();
    for mut job in jobs {
        job.result(HANG).unwrap();
    }
    pool.shutdown(true, false);
}

/// A job that is waited for, so that the one who waits runs it, shuts the pool down: both are on one thread. (On two, each
/// would wait for the other.)
#[test]
fn a_job_that_another_one_ran_may_shut_the_pool_down() {
    let pool = Arc::new(CpuExecutor::new(1).unwrap());
    let inner = pool.clone();
    run(&pool, move || {
        let innermost = inner.clone();
        inner.submit(move || innermost.shutdown(true, false)).unwrap().result(None).unwrap();
    });
    pool.shutdown(true, false);
}

/// Its only thread is busy with what is no job, so nobody takes out the job that waits, nor finds it gone.
#[test]
fn a_shutdown_that_waited_for_a_job_that_another_one_cancelled_did_not_return() {
    let pool = Arc::new(CpuExecutor::new(1).unwrap());
    let (release, released) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    run(&pool, move || {
        rayon::spawn(move || {
            begin.send(()).unwrap();
            released.recv_timeout(HANG).unwrap();
        });
    });
    begun.recv_timeout(HANG).unwrap();
    let job = pool.submit(|| ()).unwrap();
    let (tell, told) = mpsc::channel();
    let waiting = std::thread::spawn({
        let pool = pool.clone();
        move || tell.send(pool.shutdown(true, false)).unwrap()
    });
    // It has closed the pool, and has the time to begin to wait.
    while pool.submit(|| ()).is_ok() {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(20));
    pool.shutdown(false, true);
    assert!(told.recv_timeout(HANG).is_ok(), "nothing is left to wait for");
    assert!(job.cancelled());
    release.send(()).unwrap();
    waiting.join().unwrap();
}

#[test]
fn shutdown_waits_for_jobs_that_another_shutdown_cancels() {
    let pool = Arc::new(CpuExecutor::new(1).unwrap());
    let (release, released) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let blocker = pool.submit(move || {
        begin.send(()).unwrap();
        released.recv_timeout(HANG).unwrap();
    });
    begun.recv_timeout(HANG).unwrap();
    let seen = Arc::<AtomicUsize>::default();
    for _ in 0..100 {
        let seen = seen.clone();
        let job = pool.submit(|| ()).unwrap();
        job.add_done_callback(move |_| {
            seen.fetch_add(1, Ordering::SeqCst);
        });
    }
    let waiter = std::thread::spawn({
        let (pool, seen) = (pool.clone(), seen.clone());
        move || {
            pool.shutdown(true, false);
            seen.load(Ordering::SeqCst)
        }
    });
    pool.shutdown(false, true);
    release.send(()).unwrap();
    assert_eq!(waiter.join().unwrap(), 100);
    blocker.unwrap().result(HANG).unwrap();
}
