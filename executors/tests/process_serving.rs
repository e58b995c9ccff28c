//! A pool of processes that a loop serves; the loop here is a thread that does nothing else.

use std::os::fd::{AsFd, AsRawFd};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use loopool_executors::engine::{Serving, Turn};
use loopool_executors::{Call, Executor, JobOptions, ProcessPoolExecutor, call};

const HANG: Duration = Duration::from_secs(60);

fn nap(millis: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(millis));
    millis
}

/// Serves the pool until it is over.
fn serve(pool: &ProcessPoolExecutor) -> JoinHandle<()> {
    let serving = Executor::<Call<u64, u64>>::serve(pool).expect("nobody serves yet");
    std::thread::spawn(move || {
        loop {
            match serving.turn() {
                Turn::Over => return,
                Turn::Again => {}
                Turn::Until(until) => sleep(&serving, until),
            }
        }
    })
}

fn sleep(serving: &Serving, until: Option<Instant>) {
    let millis = until.map_or(-1, |until| {
        let left = until.saturating_duration_since(Instant::now());
        i32::try_from(left.as_millis()).unwrap_or(i32::MAX - 1) + 1
    });
    let mut fd = libc::pollfd { fd: serving.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid structure.
    unsafe { libc::poll(&mut fd, 1, millis) };
}

#[test]
fn a_limit_is_kept_that_the_pools_thread_has_set_before_it_was_parked() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    assert_eq!(pool.submit(call(nap, 1)).unwrap().result(HANG).unwrap(), 1);
    let looping = serve(&pool);
    // So long that it is read by the pool's thread, which then gives out what comes next.
    let long = |millis: u64| {
        nap(millis);
        vec![1; 5 << 20]
    };
    let first = pool.submit(call(long, 200)).unwrap();
    let limited = pool.with(JobOptions::new().job_timeout(Duration::from_millis(300)));
    let mut second = limited.submit(call(nap, 20_000)).unwrap();
    // Looks only: who sleeps in `result` has the pool's thread turn.
    while !(first.done() && second.done()) {
        nap(2);
    }
    assert!(second.result(HANG).unwrap_err().is_timeout());
    pool.shutdown(true, true);
    looping.join().unwrap();
}

#[test]
fn limits_are_kept_after_somebody_has_slept_until_a_job_was_done() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    assert_eq!(pool.submit(call(nap, 1)).unwrap().result(HANG).unwrap(), 1);
    let looping = serve(&pool);
    let limited = pool.with(JobOptions::new().job_timeout(Duration::from_millis(20)));
    for _ in 0..80 {
        // While this thread sleeps the pool's turns, too; then it is parked.
        assert_eq!(pool.submit(call(nap, 2)).unwrap().result(None).unwrap(), 2);
        nap(3);
        let mut late = limited.submit(call(nap, 2000)).unwrap();
        while !late.done() {
            nap(1);
        }
        assert!(late.result(HANG).unwrap_err().is_timeout());
    }
    pool.shutdown(true, true);
    looping.join().unwrap();
}
