//! Options of jobs in a pool of processes: priorities, limits of time, and how a running job is ended.

mod common;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{PATIENCE, take, until};
use loopool_executors::{
    CancelToken, Executor, Job, JobOptions, Priority, ProcessPoolExecutor, call,
};

const MOMENT: Duration = Duration::from_millis(1);

/// A file that processes write to, gone with the test.
struct Notes(PathBuf);

impl Notes {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("loopool-options-{}-{number}", std::process::id());
        Notes(std::env::temp_dir().join(name))
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }

    fn read(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap_or_default()
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn note((path, word): (String, String)) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(word.as_bytes()).unwrap();
}

fn block(_: ()) {
    loop {
        std::thread::park();
    }
}

/// Occupies the only worker until the job is cancelled.
fn occupy(pool: &ProcessPoolExecutor) -> Job<()> {
    let job = pool.submit(call(block, ())).unwrap();
    until("the job begins", || pool.stats().running == 1);
    job
}

#[test]
fn jobs_are_run_by_priority_and_within_one_in_their_order() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let blocker = occupy(&pool);
    let notes = Notes::new();
    let mut jobs = Vec::new();
    for (word, priority) in [
        ("1", Priority::Low),
        ("2", Priority::Normal),
        ("3", Priority::High),
        ("4", Priority::Normal),
        ("5", Priority::High),
    ] {
        let options = JobOptions::new().priority(priority);
        let work = call(note, (notes.path(), word.to_owned()));
        jobs.push(pool.with(options).submit(work).unwrap());
    }
    assert!(blocker.cancel());
    for job in &mut jobs {
        take(job).unwrap();
    }
    assert_eq!(notes.read(), "35241");
}

#[test]
fn a_job_that_waits_too_long_fails_unrun_though_every_worker_is_busy() {
    let pool = ProcessPoolExecutor::builder().workers(1).queue_limit(1).build().unwrap();
    let blocker = occupy(&pool);
    let notes = Notes::new();
    let work = call(note, (notes.path(), "ran".to_owned()));
    let briefly = pool.with(JobOptions::new().queue_timeout(MOMENT));
    for round in 1..=3 {
        let work = call(note, (notes.path(), "ran".to_owned()));
        let error = take(&mut briefly.submit(work).unwrap()).unwrap_err();
        assert!(error.is_queue_timeout() && !error.is_timeout(), "{error}");
        assert_eq!((pool.stats().waiting, pool.stats().timed_out), (0, round));
    }
    // One that is refused was never there.
    let mut waits = pool.submit(call(block, ())).unwrap();
    for _ in 0..20 {
        let work = call(note, (notes.path(), "ran".to_owned()));
        assert!(briefly.submit(work).unwrap_err().is_queue_full());
    }
    std::thread::sleep(10 * MOMENT);
    assert_eq!((pool.stats().waiting, pool.stats().timed_out), (1, 3));
    assert!(waits.cancel() && take(&mut waits).unwrap_err().is_cancelled());
    assert!(blocker.cancel());
    take(&mut pool.submit(work).unwrap()).unwrap();
    assert_eq!(notes.read(), "ran");
    let stats = pool.shutdown(true, false);
    assert_eq!((stats.submitted, stats.finished, stats.timed_out, stats.cancelled), (6, 1, 3, 2));
}

#[test]
fn of_the_limits_of_a_job_and_of_its_pool_the_shorter_one_counts() {
    let short = Duration::from_millis(30);
    for (pools, own) in
        [(None, Some(short)), (Some(PATIENCE), Some(short)), (Some(short), Some(PATIENCE))]
    {
        let mut builder = ProcessPoolExecutor::builder().workers(1);
        if let Some(limit) = pools {
            builder = builder.job_timeout(limit);
        }
        let pool = builder.build().unwrap();
        let options = own.map_or(JobOptions::new(), |limit| JobOptions::new().job_timeout(limit));
        let error = take(&mut pool.with(options).submit(call(block, ())).unwrap()).unwrap_err();
        assert!(error.is_timeout() && error.to_string().contains("30"), "{error}");
        assert_eq!(pool.stats().timed_out, 1);
    }
}

#[test]
fn a_deadline_counts_while_a_job_waits_and_while_it_runs() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let soon = JobOptions::new().deadline(Instant::now() + Duration::from_millis(100));
    let mut runs = pool.with(soon).submit(call(block, ())).unwrap();
    until("it begins", || runs.running() || runs.done());
    let mut waits = pool.with(soon).submit(call(block, ())).unwrap();
    let error = take(&mut waits).unwrap_err();
    assert!(error.is_queue_timeout() || error.is_timeout(), "{error}");
    let error = take(&mut runs).unwrap_err();
    assert!(error.is_timeout() || error.is_queue_timeout(), "{error}");
    // Shed: it is not begun any more.
    let notes = Notes::new();
    let past = JobOptions::new().deadline(Instant::now());
    let work = call(note, (notes.path(), "ran".to_owned()));
    assert!(take(&mut pool.with(past).submit(work).unwrap()).unwrap_err().is_queue_timeout());
    let stats = pool.shutdown(true, false);
    assert_eq!((stats.timed_out, stats.finished), (3, 0));
    assert_eq!(notes.read(), "");
}

#[test]
fn a_job_that_was_submitted_after_one_that_was_shed_woke_nobody() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    for round in 0..300 {
        let past = JobOptions::new().deadline(Instant::now());
        let mut shed = pool.with(past).submit(call(|()| 0, ())).unwrap();
        assert!(take(&mut shed).unwrap_err().is_queue_timeout());
        let mut next = pool.submit(call(|n| n, round)).unwrap();
        assert_eq!(take(&mut next).unwrap(), round);
    }
}

#[test]
fn without_a_grace_there_is_no_token_and_with_one_there_is() {
    let has_token = |()| CancelToken::current().is_some();
    let pool = ProcessPoolExecutor::new(1).unwrap();
    assert!(!take(&mut pool.submit(call(has_token, ())).unwrap()).unwrap());
    let pool = ProcessPoolExecutor::builder().workers(1).cancel_grace(PATIENCE).build().unwrap();
    for _ in 0..3 {
        assert!(take(&mut pool.submit(call(has_token, ())).unwrap()).unwrap());
    }
    assert_eq!(pool.worker_pids().len(), 1);
}

/// Says that it has begun, and after that, in some way or other, that it was asked.
fn heed((path, how): (String, u8)) {
    struct OnUnwind(String);
    impl Drop for OnUnwind {
        fn drop(&mut self) {
            note((self.0.clone(), "dropped".to_owned()));
        }
    }
    note((path.clone(), "begun ".to_owned()));
    let token = CancelToken::current().unwrap();
    match how {
        0 => {
            while !token.is_cancelled() {
                std::thread::sleep(MOMENT);
            }
        }
        1 => assert!(token.wait(None)),
        2 => {
            let _guard = OnUnwind(path.clone());
            loop {
                token.check();
                std::thread::sleep(MOMENT);
            }
        }
        _ => {
            let other = std::thread::spawn(move || token.wait(None));
            assert!(other.join().unwrap());
        }
    }
    note((path, "asked".to_owned()));
}

#[test]
fn a_job_that_is_asked_to_end_may_do_so_in_its_own_time() {
    let pool = ProcessPoolExecutor::builder().workers(1).cancel_grace(PATIENCE).build().unwrap();
    for how in 0..4 {
        let notes = Notes::new();
        let mut job = pool.submit(call(heed, (notes.path(), how))).unwrap();
        until("it begins", || notes.read() == "begun ");
        assert!(job.cancel());
        assert!(take(&mut job).unwrap_err().is_cancelled());
        let expected = if how == 2 { "begun dropped" } else { "begun asked" };
        until("it is asked", || notes.read() == expected);
        let mut next = pool.submit(call(|()| 1, ())).unwrap();
        assert_eq!(take(&mut next).unwrap(), 1);
    }
    let stats = pool.shutdown(true, false);
    assert_eq!((stats.cancelled, stats.finished, stats.crashed), (4, 4, 0));
}

#[test]
fn a_job_whose_time_is_up_is_asked_first_too() {
    let pool = ProcessPoolExecutor::builder().workers(1).cancel_grace(PATIENCE).build().unwrap();
    // On a busy machine it may not have begun by then; and then it is not asked.
    let begun = [1, 5, 25].into_iter().any(|seconds| {
        let notes = Notes::new();
        let limited = pool.with(JobOptions::new().job_timeout(Duration::from_secs(seconds)));
        let mut job = limited.submit(call(heed, (notes.path(), 1))).unwrap();
        assert!(take(&mut job).unwrap_err().is_timeout());
        let begun = !notes.read().is_empty();
        if begun {
            until("it is asked", || notes.read() == "begun asked");
        }
        begun
    });
    assert!(begun);
}

#[test]
fn a_job_that_does_not_heed_it_is_killed_after_its_grace() {
    let grace = Duration::from_millis(100);
    let pool = ProcessPoolExecutor::builder().workers(1).cancel_grace(grace).build().unwrap();
    let notes = Notes::new();
    let stubborn = |path: String| {
        note((path, "begun".to_owned()));
        block(())
    };
    let mut stubborn = pool.submit(call(stubborn, notes.path())).unwrap();
    until("it has begun", || notes.read() == "begun");
    let [pid] = pool.worker_pids()[..] else { panic!("one worker") };
    assert!(stubborn.cancel() && take(&mut stubborn).unwrap_err().is_cancelled());
    let process = format!("/proc/{pid}");
    until("it is killed", || !std::path::Path::new(&process).exists());
    pool.shutdown(true, false);
}

#[test]
fn a_worker_that_has_its_grace_holds_nobody_up() {
    let pool = ProcessPoolExecutor::builder().workers(1).cancel_grace(PATIENCE).build().unwrap();
    let notes = Notes::new();
    let stubborn = |path: String| {
        note((path, "begun".to_owned()));
        block(())
    };
    let stubborn = pool.submit(call(stubborn, notes.path())).unwrap();
    // One that has not begun would die at once.
    until("it has begun", || notes.read() == "begun");
    let [pid] = pool.worker_pids()[..] else { panic!("one worker") };
    assert!(stubborn.cancel());
    assert_eq!(take(&mut pool.submit(call(|()| 2, ())).unwrap()).unwrap(), 2);
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "it has time until then");
    // SAFETY: it was not reaped: it is still there, and nobody else ends it.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
    pool.shutdown(true, false);
}

#[test]
fn a_signal_from_elsewhere_is_told_as_one_with_a_grace_too() {
    let pool = ProcessPoolExecutor::builder().workers(1).cancel_grace(PATIENCE).build().unwrap();
    let terminate = |in_job: bool| {
        if in_job {
            // SAFETY: plain system calls.
            unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
        }
        std::process::id()
    };
    let pid = take(&mut pool.submit(call(terminate, false)).unwrap()).unwrap();
    // SAFETY: it idles, and nobody ends it.
    unsafe { libc::kill(pid as i32, libc::SIGTERM) };
    until("it dies", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
    let error = take(&mut pool.submit(call(terminate, true)).unwrap()).unwrap_err();
    assert_eq!(error.crash().unwrap().signal, Some(libc::SIGTERM));
    assert_ne!(take(&mut pool.submit(call(terminate, false)).unwrap()).unwrap(), pid);
}
