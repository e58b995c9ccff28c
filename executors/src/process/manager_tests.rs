use std::time::{Duration, Instant};

use super::*;
use crate::process::{CrashCause, ProcessPoolExecutor};
use crate::{Executor, call};

/// Only a hang lasts so long.
const HANG: Duration = Duration::from_secs(60);

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < HANG, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Says that it has been begun.
fn block(path: String) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(b".").unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_worker_that_was_killed_for_its_memory_took_the_answer_of_the_job_before_with_it() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    pool.submit(call(|n: u32| n, 1)).unwrap().result(HANG).unwrap();
    let shared = pool.shared().clone();
    let serving = shared.clone().serve().unwrap();
    until("nobody turns from now on", || shared.helm.is_parked());
    let with_worker = |f: &mut dyn FnMut(&mut Manager, u64)| {
        let mut turn = shared.turn();
        let manager = turn.as_mut().unwrap();
        let (&serial, _) = manager.workers.first_key_value().unwrap();
        f(manager, serial);
    };
    with_worker(&mut |manager, serial| {
        // As after many short jobs: the next ones are given ahead.
        let worker = manager.workers.get_mut(&serial).unwrap();
        (0..50).for_each(|_| worker.window.note(Duration::from_micros(1), 1));
    });
    let path = std::env::temp_dir().join(format!("loopool-manager-{}", std::process::id()));
    let long = |n: u8| vec![n; 5 << 20];
    let mut long = pool.submit(call(long, 7)).unwrap();
    let mut greedy = pool.submit(call(block, path.display().to_string())).unwrap();
    // Not only that the file is there: it is made before it is written.
    until("the second one begins", || std::fs::metadata(&path).is_ok_and(|it| it.len() > 0));
    with_worker(&mut |manager, serial| {
        let worker = manager.workers.get_mut(&serial).unwrap();
        assert!(worker.has_answers() && worker.next_is_long());
        worker.evidence.verdict = Some(CrashCause::OutOfMemory);
        manager.put_down(serial);
    });
    drop(serving);
    assert_eq!(long.result(HANG).unwrap(), vec![7; 5 << 20]);
    let error = greedy.result(HANG).unwrap_err();
    assert_eq!(error.crash().map(|it| it.cause), Some(CrashCause::OutOfMemory), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b".", "it was run once");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_callback_that_came_in_the_last_moment_waited_for_the_thread_that_called_it() {
    let pool = Arc::new(ProcessPoolExecutor::new(1).unwrap());
    pool.submit(call(|n: u32| n, 1)).unwrap().result(HANG).unwrap();
    let shared = pool.shared().clone();
    let serving = shared.clone().serve().unwrap();
    until("nobody turns from now on", || shared.helm.is_parked());
    let job = pool.submit(call(|n: u32| n, 2)).unwrap();
    until("there is an answer", || shared.turn().as_ref().unwrap().has_answers());
    let finished = {
        let mut turn = shared.turn();
        let manager = turn.as_mut().unwrap();
        manager.turn(true);
        manager.hand_out(true)
    };
    assert_eq!(finished.outcomes.len(), 1, "nobody is to be called");
    let other = pool.submit(call(|n: u32| n, 3)).unwrap();
    let (told, tells) = std::sync::mpsc::channel();
    let (also, mut awaited) = (pool.clone(), other);
    job.add_done_callback(move |_| {
        told.send(awaited.result(None).unwrap_err().is_endless_wait()).unwrap();
        told.send(also.shutdown(true, false).submitted == 3).unwrap();
    });
    let delivers = std::thread::spawn(move || drop(shared.deliver(finished)));
    for _ in 0..2 {
        assert!(tells.recv_timeout(HANG).unwrap());
    }
    delivers.join().unwrap();
    drop(serving);
    assert_eq!(pool.shutdown(true, false).finished, 3);
}

#[test]
fn a_job_that_had_just_failed_was_tried_again_though_it_was_cancelled() {
    use crate::{JobOptions, Retry};
    let pool = ProcessPoolExecutor::new(1).unwrap();
    pool.submit(call(|n: u32| n, 1)).unwrap().result(HANG).unwrap();
    let shared = pool.shared().clone();
    let serving = shared.clone().serve().unwrap();
    until("nobody turns from now on", || shared.helm.is_parked());
    let retry = Retry::new(3).on_error().idempotent();
    let panics = |n: u32| -> u32 { panic!("number {n}") };
    let mut job = pool.with(JobOptions::new().retry(retry)).submit(call(panics, 1)).unwrap();
    until("it has failed", || shared.turn().as_ref().unwrap().has_answers());
    assert!(job.cancel());
    // Takes the orders, and with them the cancellation, before anybody has taken the answer.
    let mut other = pool.submit(call(|n: u32| n, 2)).unwrap();
    drop(serving);
    assert!(job.result(HANG).unwrap_err().is_cancelled());
    assert_eq!(other.result(HANG).unwrap(), 2);
    assert_eq!(pool.stats().cancelled, 1);
}
