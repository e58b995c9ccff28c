//! The smallest program with a process pool whose jobs end in four ways. `tests/starting` builds it for
//! other targets, and in other ways, than the tests themselves are built.

#![allow(clippy::print_stdout, reason = "what comes of the jobs is all that it is about")]

use loopool_executors::{CrashCause, Executor, Job, ProcessPoolExecutor, call};

fn deeper(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 100]);
    if n == u64::MAX { 0 } else { deeper(frame[0] + 1) + frame[99] }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = ProcessPoolExecutor::new(2)?;
    let jobs: [fn(u64) -> u64; 4] =
        [|n| n + 1, |n| panic!("number {n}"), |_| std::process::abort(), deeper];
    let jobs: Result<Vec<Job<u64>>, _> =
        jobs.map(|job| pool.submit(call(job, 1))).into_iter().collect();
    for mut job in jobs? {
        match job.result(None) {
            Ok(number) => println!("{number}"),
            Err(error) => match (error.panic_message(), error.crash().map(|report| report.cause)) {
                (Some(message), _) => println!("panicked: {message}"),
                (None, Some(CrashCause::Abort)) => println!("aborted"),
                (None, Some(CrashCause::StackOverflow)) => println!("overflowed"),
                _ => println!("{error}"),
            },
        }
    }
    Ok(())
}
