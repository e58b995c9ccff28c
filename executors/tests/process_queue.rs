//! A long queue, in a program of its own so that descriptors can be counted.

use std::time::{Duration, Instant};

use loopool_executors::{Executor, Job, ProcessPoolExecutor, call};

const HANG: Duration = Duration::from_secs(60);

const JOBS: u32 = 100_000;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The pool opens files of the kernel's for a moment, to look at its counts.
#[track_caller]
fn wait_for_at_most(before: usize) {
    let start = Instant::now();
    while descriptors() > before {
        assert!(start.elapsed() < HANG, "there are {} descriptors, not {before}", descriptors());
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn add_one(n: u32) -> u32 {
    n + 1
}

/// Waits until the file is gone.
fn hold(path: String) {
    while std::fs::exists(&path).unwrap() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_hundred_thousand_jobs_wait_without_a_descriptor() {
    let file = std::env::temp_dir().join(format!("loopool-queue-{}", std::process::id()));
    let file = file.into_os_string().into_string().unwrap();
    std::fs::write(&file, "").unwrap();
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let held = pool.submit(call(hold, file.clone())).unwrap();
    let start = Instant::now();
    while pool.stats().running < 1 || pool.worker_pids().is_empty() {
        assert!(start.elapsed() < HANG, "it does not start");
        std::thread::sleep(Duration::from_millis(1));
    }
    let before = descriptors();
    let jobs: Vec<Job<u32>> = (0..JOBS)
        .map(|n| {
            if n % 10_000 == 0 {
                wait_for_at_most(before);
            }
            pool.submit(call(add_one, n)).unwrap()
        })
        .collect();
    wait_for_at_most(before);
    std::fs::remove_file(&file).unwrap();
    for (n, mut job) in jobs.into_iter().enumerate() {
        assert_eq!(job.result(HANG).unwrap(), n as u32 + 1);
        if n % 10_000 == 0 {
            wait_for_at_most(before);
        }
    }
    drop(held);
    assert_eq!(pool.shutdown(true, false).finished, u64::from(JOBS) + 1);
}
