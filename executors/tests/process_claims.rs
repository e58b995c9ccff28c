//! Workers that say they have not begun with a job, and have.

use std::io::Write;

use loopool_executors::{Executor, JobOptions, ProcessPoolExecutor, Retry, Sandbox, call};

#[allow(dead_code, unreachable_pub, reason = "other attacks use the rest")]
#[path = "hostile_worker/board.rs"]
mod board;
mod common;

use board::Board;
use common::take;

/// What the worker exits with.
const OVER: i32 = 77;

/// Adds a byte to a file, takes its claim back, and dies.
fn run_and_deny_it(path: String) {
    let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(b".").unwrap();
    Board::find().unwrap().unclaim();
    // SAFETY: no more than a system call.
    unsafe { libc::_exit(OVER) }
}

/// How often that was run, in a pool like this.
fn runs(name: &str, sandbox: Option<Sandbox>, options: JobOptions) -> u64 {
    let path = std::env::temp_dir().join(format!("loopool-{name}-{}", std::process::id()));
    std::fs::write(&path, "").unwrap();
    let builder = ProcessPoolExecutor::builder().workers(2);
    let builder = match sandbox {
        Some(sandbox) => builder.sandbox(sandbox.best_effort()),
        None => builder,
    };
    let pool = builder.build().unwrap();
    let job = pool.with(options).submit(call(run_and_deny_it, path.display().to_string()));
    let error = take(&mut job.unwrap()).unwrap_err();
    assert_eq!(error.crash().expect("a crash").exit_code, Some(OVER));
    assert_eq!(pool.shutdown(true, false).crashed, 1);
    let runs = std::fs::metadata(&path).unwrap().len();
    std::fs::remove_file(path).unwrap();
    runs
}

#[test]
fn a_job_whose_workers_deny_it_was_run_for_ever() {
    assert_eq!(runs("denied", None, JobOptions::new()), 4);
}

#[test]
fn a_worker_with_a_sandbox_is_not_believed() {
    assert_eq!(runs("disbelieved", Some(Sandbox::no_network()), JobOptions::new()), 1);
    let twice = JobOptions::new().retry(Retry::new(1).idempotent());
    assert_eq!(runs("repeatable", Some(Sandbox::no_network()), twice), 4);
}

#[test]
fn a_worker_with_a_sandbox_was_given_jobs_ahead_that_may_run_once() {
    let builder = ProcessPoolExecutor::builder().workers(1);
    let pool = builder.sandbox(Sandbox::no_network().best_effort()).build().unwrap();
    for _ in 0..20 {
        let jobs: Vec<_> =
            (0..200u32).map(|n| pool.submit(call(|n: u32| n + 1, n)).unwrap()).collect();
        for (n, mut job) in (1..).zip(jobs) {
            assert!(pool.stats().running <= 1);
            assert_eq!(take(&mut job).unwrap(), n);
        }
    }
    assert_eq!(pool.snapshot().taken_back, 0);
}
