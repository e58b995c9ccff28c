//! Pools of processes that an event loop serves, in place of the pool's thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use loopool::{
    Blob, Executor, JobOptions, ProcessPoolExecutor, Runtime, call, create_task, run_in_executor,
    sleep,
};

/// Only a hang lasts so long.
const HANG: Duration = Duration::from_secs(60);

fn add_one(n: u32) -> u32 {
    n + 1
}

fn pause(ms: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    ms
}

fn one_loop() -> Runtime {
    Runtime::builder().loops(1).build().unwrap()
}

/// How often the threads of this name have gone to sleep, in all.
fn sleeps_of(name: &str) -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let sleeps = threads.filter_map(|thread| {
        let read = |file: &str| std::fs::read_to_string(thread.path().join(file)).ok();
        (read("comm")?.trim_end() == name).then_some(())?;
        let status = read("status")?;
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    sleeps.sum()
}

/// One after the other, since threads are counted by their names.
#[test]
fn pools_that_are_served() {
    the_pools_thread_has_no_part_in_jobs_that_a_loop_awaits();
    the_pools_thread_goes_on_where_the_loop_ends();
    a_loops_thread_that_blocks_for_a_job_gets_its_outcome();
    callbacks_run_in_the_pools_thread();
    long_answers_and_errors_come_back_to_the_loop();
    limits_are_kept_while_a_loop_serves();
    several_loops_and_threads_share_a_pool();
    a_loop_that_is_blocked_holds_up_no_job_of_another_runtime();
}

fn the_pools_thread_has_no_part_in_jobs_that_a_loop_awaits() {
    let pool = ProcessPoolExecutor::new(2).unwrap();
    one_loop().run(async {
        // So that the workers are there.
        for n in 0..100 {
            assert_eq!(run_in_executor(&pool, call(add_one, n)).unwrap().await.unwrap(), n + 1);
        }
        let before = sleeps_of("loopool-procs");
        for n in 0..1000 {
            assert_eq!(run_in_executor(&pool, call(add_one, n)).unwrap().await.unwrap(), n + 1);
        }
        let jobs: Vec<_> =
            (0..1000).map(|n| run_in_executor(&pool, call(add_one, n)).unwrap()).collect();
        for (n, job) in jobs.into_iter().enumerate() {
            assert_eq!(job.await.unwrap(), n as u32 + 1);
        }
        let sleeps = sleeps_of("loopool-procs") - before;
        assert!(sleeps < 20, "the pool's thread was called {sleeps} times for 2000 jobs");
    });
}

fn the_pools_thread_goes_on_where_the_loop_ends() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let mut left = None;
    one_loop().run(async {
        run_in_executor(&pool, call(add_one, 1)).unwrap().await.unwrap();
        left = Some(pool.submit(call(pause, 20)).unwrap());
    });
    let mut job = left.unwrap();
    assert_eq!(job.result(HANG).unwrap(), 20);
    // And again, with another loop.
    let served = one_loop().run(async { run_in_executor(&pool, call(add_one, 2)).unwrap().await });
    assert_eq!(served.unwrap(), 3);
    assert_eq!(pool.shutdown(true, false).finished, 3);
}

fn a_loops_thread_that_blocks_for_a_job_gets_its_outcome() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    one_loop().run(async {
        run_in_executor(&pool, call(add_one, 1)).unwrap().await.unwrap();
        let mut job = pool.submit(call(pause, 50)).unwrap();
        assert_eq!(job.result(HANG).unwrap(), 50);
        assert_eq!(run_in_executor(&pool, call(add_one, 2)).unwrap().await.unwrap(), 3);
        // It waits for the pool's thread, too, and all its jobs.
        drop(pool.submit(call(pause, 10)).unwrap());
        assert_eq!(pool.shutdown(true, false).finished, 4);
    });
}

fn callbacks_run_in_the_pools_thread() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let called = Arc::new(AtomicU32::new(0));
    one_loop().run(async {
        run_in_executor(&pool, call(add_one, 1)).unwrap().await.unwrap();
        for n in 0..50 {
            let job = pool.submit(call(add_one, n)).unwrap();
            let called = called.clone();
            job.add_done_callback(move |outcome| {
                assert_eq!(*outcome.as_ref().unwrap(), n + 1);
                if std::thread::current().name() == Some("loopool-procs") {
                    called.fetch_add(1, Ordering::SeqCst);
                }
            });
            assert_eq!(job.await.unwrap(), n + 1);
        }
    });
    // One that was there before its callback was called in this thread.
    assert!(called.load(Ordering::SeqCst) > 0);
    pool.shutdown(true, false);
}

fn long_answers_and_errors_come_back_to_the_loop() {
    fn many(n: usize) -> Vec<u8> {
        vec![7; n]
    }
    fn large(n: usize) -> Blob {
        vec![8; n].into()
    }
    fn fail(n: usize) {
        panic!("{}", "x".repeat(n));
    }
    let pool = ProcessPoolExecutor::new(2).unwrap();
    one_loop().run(async {
        for n in [100, 1 << 16, 5 << 20, 9 << 20] {
            let bytes = run_in_executor(&pool, call(many, n)).unwrap().await.unwrap();
            assert_eq!(bytes, vec![7; n]);
            let blob = run_in_executor(&pool, call(large, n)).unwrap().await.unwrap();
            assert_eq!(*blob, vec![8; n]);
        }
        let error = run_in_executor(&pool, call(fail, 5000)).unwrap().await.unwrap_err();
        assert_eq!(error.panic_message().map(str::len), Some(5000));
        let aborted: fn(()) = |()| std::process::abort();
        let error = run_in_executor(&pool, call(aborted, ())).unwrap().await.unwrap_err();
        assert_eq!(error.crash().unwrap().signal, Some(6));
    });
}

fn limits_are_kept_while_a_loop_serves() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let briefly = JobOptions::new().job_timeout(Duration::from_millis(100));
    one_loop().run(async {
        assert_eq!(run_in_executor(&pool, call(add_one, 1)).unwrap().await.unwrap(), 2);
        let brief = pool.with(briefly);
        let late = run_in_executor(&brief, call(pause, 60_000)).unwrap().await.unwrap_err();
        assert!(late.is_timeout());
        assert_eq!(run_in_executor(&pool, call(add_one, 2)).unwrap().await.unwrap(), 3);
    });
}

fn several_loops_and_threads_share_a_pool() {
    let pool = Arc::new(ProcessPoolExecutor::new(2).unwrap());
    std::thread::scope(|scope| {
        for thread in 0..2u32 {
            let pool = &pool;
            scope.spawn(move || {
                for n in 0..300 {
                    let mut job = pool.submit(call(add_one, thread * 1000 + n)).unwrap();
                    assert_eq!(job.result(HANG).unwrap(), thread * 1000 + n + 1);
                }
            });
        }
        for _ in 0..2 {
            let pool = pool.clone();
            scope.spawn(move || {
                Runtime::builder().loops(2).build().unwrap().run(async move {
                    let tasks: Vec<_> = (0..20u32)
                        .map(|task| {
                            let pool = pool.clone();
                            create_task(async move {
                                for n in 0..20 {
                                    let job = run_in_executor(&*pool, call(add_one, task + n));
                                    assert_eq!(job.unwrap().await.unwrap(), task + n + 1);
                                    if n == 10 {
                                        sleep(Duration::from_millis(1)).await;
                                    }
                                }
                            })
                        })
                        .collect();
                    for task in tasks {
                        task.await.unwrap();
                    }
                });
            });
        }
    });
    assert_eq!(pool.shutdown(true, false).finished, 600 + 800);
}

fn a_loop_that_is_blocked_holds_up_no_job_of_another_runtime() {
    let pool = Arc::new(ProcessPoolExecutor::new(2).unwrap());
    let theirs = pool.clone();
    one_loop().run(async {
        run_in_executor(&*pool, call(add_one, 1)).unwrap().await.unwrap();
        // So that this loop is asleep, and the pool's thread parked.
        sleep(Duration::from_millis(10)).await;
        let (outcomes, of_others) = std::sync::mpsc::channel();
        let other = std::thread::spawn(move || {
            let job = async { run_in_executor(&*theirs, call(pause, 20)).unwrap().await };
            outcomes.send(one_loop().run(job)).unwrap();
        });
        assert_eq!(of_others.recv_timeout(HANG).unwrap().unwrap(), 20);
        other.join().unwrap();
    });
    pool.shutdown(true, false);
}
