//! Further attempts at jobs of a pool of processes, by cause, and what is quarantined.

mod common;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{PATIENCE, take, until};
use loopool_executors::{CrashCause, Executor, JobOptions, ProcessPoolExecutor, Retry, call};

/// Counts attempts across processes: each adds a byte.
struct Attempts(PathBuf);

impl Attempts {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("loopool-attempts-{}-{number}", std::process::id());
        Attempts(std::env::temp_dir().join(name))
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }

    fn count(&self) -> usize {
        std::fs::read(&self.0).map_or(0, |bytes| bytes.len())
    }
}

impl Drop for Attempts {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Fails in one way after the other, one per attempt, and then tells how many attempts there were.
fn fail((path, ways): (String, Vec<String>)) -> usize {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
    let attempt = file.metadata().unwrap().len() as usize;
    file.write_all(b".").unwrap();
    match ways.get(attempt).map(String::as_str) {
        Some("abort") => std::process::abort(),
        Some("memory") => {
            let _ = std::io::stderr().write_all(b"memory allocation of 8 bytes failed\n");
            std::process::abort()
        }
        Some("hang") => loop {
            std::thread::park();
        },
        Some("panic") => panic!("attempt {attempt}"),
        Some(other) => panic!("{other}?"),
        None => attempt + 1,
    }
}

fn quickly(attempts: u32) -> Retry {
    Retry::new(attempts).pauses(Duration::from_millis(1), Duration::from_millis(4))
}

/// What becomes of a job that fails so, and how often it was tried.
fn outcome_of(retry: Retry, ways: &[&str]) -> (Result<usize, loopool_executors::JobError>, usize) {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let attempts = Attempts::new();
    let mut options = JobOptions::new().retry(retry.idempotent());
    if ways.contains(&"hang") {
        // Long enough for any attempt that does not.
        options = options.job_timeout(Duration::from_secs(2));
    }
    let ways = ways.iter().map(|way| way.to_string()).collect();
    let mut job = pool.with(options).submit(call(fail, (attempts.path(), ways))).unwrap();
    let outcome = take(&mut job);
    let stats = pool.shutdown(true, false);
    let ends = stats.finished + stats.failed + stats.crashed + stats.timed_out + stats.cancelled;
    assert_eq!((stats.submitted, ends, stats.running), (1, 1, 0), "one job, however often tried");
    (outcome, attempts.count())
}

#[test]
fn a_job_that_crashes_at_first_succeeds_later() {
    let (outcome, attempts) = outcome_of(quickly(3).on_crash(), &["abort", "abort"]);
    assert_eq!((outcome.unwrap(), attempts), (3, 3));
}

#[test]
fn each_cause_is_counted_by_itself() {
    let all = quickly(2).on_crash().on_error().on_timeout().on_out_of_memory();
    let (outcome, attempts) = outcome_of(all, &["abort", "panic", "hang", "memory"]);
    assert_eq!((outcome.unwrap(), attempts), (5, 5), "one failure of each kind is allowed");
    let (outcome, attempts) = outcome_of(all, &["abort", "panic", "abort", "panic"]);
    let error = outcome.unwrap_err();
    assert!(error.crash().is_some() && error.quarantine().is_none(), "{error}");
    assert_eq!((error.crash().unwrap().attempt, attempts), (3, 3));
}

#[test]
fn only_the_causes_that_were_named_are_tried_again() {
    for (retry, way) in [
        (quickly(5).on_error().on_timeout().on_out_of_memory(), "abort"),
        (quickly(5).on_crash().on_timeout().on_error(), "memory"),
        (quickly(5).on_crash().on_timeout().on_out_of_memory(), "panic"),
        (quickly(5).on_crash().on_error().on_out_of_memory(), "hang"),
    ] {
        let (outcome, attempts) = outcome_of(retry, &[way; 5]);
        let error = outcome.unwrap_err();
        assert_eq!(attempts, 1, "{error}");
        assert!(error.quarantine().is_none());
    }
}

#[test]
fn an_input_that_only_crashes_is_quarantined_with_all_reports() {
    let (outcome, attempts) = outcome_of(quickly(3).on_crash(), &["abort"; 9]);
    let error = outcome.unwrap_err();
    assert_eq!(attempts, 3);
    let reports = error.quarantine().unwrap();
    assert_eq!(reports.iter().map(|report| report.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(reports.iter().all(|report| report.cause == CrashCause::Abort));
    assert_eq!(error.crash().unwrap().pid, reports[2].pid);
    assert_ne!(reports[0].pid, reports[1].pid);
    assert!(error.to_string().contains("3 processes"), "{error}");
}

#[test]
fn an_argument_with_blobs_survives_until_the_last_attempt() {
    let crash_once = |(path, blob): (String, loopool_executors::Blob)| {
        if std::fs::File::create_new(&path).is_ok() {
            std::process::abort();
        }
        blob.iter().map(|byte| u64::from(*byte)).sum::<u64>()
    };
    let attempts = Attempts::new();
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let options = JobOptions::new().retry(quickly(2).on_crash().idempotent());
    let blob = loopool_executors::Blob::from(vec![2; 300_000]);
    let mut job = pool.with(options).submit(call(crash_once, (attempts.path(), blob))).unwrap();
    assert_eq!(take(&mut job).unwrap(), 600_000);
}

#[test]
fn a_job_that_pauses_can_be_cancelled_and_is_not_forgotten_by_a_shutdown() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let attempts = Attempts::new();
    let far = Retry::new(2).on_crash().pauses(2 * PATIENCE, 2 * PATIENCE).idempotent();
    let work = || call(fail, (attempts.path(), vec!["abort".to_owned(); 9]));
    let mut job = pool.with(JobOptions::new().retry(far)).submit(work()).unwrap();
    until("it has crashed", || attempts.count() == 1 && pool.stats().running == 0);
    assert!(!job.done() && job.cancel());
    assert!(take(&mut job).unwrap_err().is_cancelled());
    let near = quickly(3).on_crash().idempotent();
    let mut job = pool.with(JobOptions::new().retry(near)).submit(work()).unwrap();
    let stats = pool.shutdown(true, false);
    assert!(take(&mut job).unwrap_err().quarantine().is_some());
    assert_eq!((stats.submitted, stats.cancelled, stats.crashed), (2, 1, 1));
}

#[test]
fn nothing_is_tried_again_past_its_deadline() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let attempts = Attempts::new();
    let far = Retry::new(2).on_crash().pauses(2 * PATIENCE, 2 * PATIENCE).idempotent();
    let options = JobOptions::new().retry(far).deadline(Instant::now() + PATIENCE);
    let work = call(fail, (attempts.path(), vec!["abort".to_owned()]));
    let error = take(&mut pool.with(options).submit(work).unwrap()).unwrap_err();
    assert!(error.crash().is_some(), "the pause would not end in time: {error}");
    assert_eq!(attempts.count(), 1);
}

#[test]
fn jobs_without_retry_and_others_go_on_while_one_pauses() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let attempts = Attempts::new();
    let far = Retry::new(2).on_crash().pauses(2 * PATIENCE, 2 * PATIENCE).idempotent();
    let work = call(fail, (attempts.path(), vec!["abort".to_owned()]));
    let pausing = pool.with(JobOptions::new().retry(far)).submit(work).unwrap();
    let sums: u32 = (0..50).map(|n| take(&mut pool.submit(call(|n| n, n)).unwrap()).unwrap()).sum();
    assert_eq!(sums, 49 * 50 / 2);
    assert!(pausing.cancel());
}

/// Says that there is an attempt, and fails once there is a file for that.
fn crash_when_told(path: String) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
    file.write_all(b".").unwrap();
    while !std::fs::exists(format!("{path}.go")).unwrap() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::process::abort()
}

fn block(_: ()) {
    loop {
        std::thread::park();
    }
}

#[test]
fn the_deadline_of_a_job_that_waited_for_another_attempt_was_not_watched() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let attempts = Attempts::new();
    let pause = Duration::from_millis(500);
    let retry = Retry::new(100).on_crash().pauses(pause, pause).idempotent();
    let options = JobOptions::new().retry(retry).deadline(Instant::now() + 6 * pause);
    let mut job = pool.with(options).submit(call(crash_when_told, attempts.path())).unwrap();
    until("it has begun", || attempts.count() == 1);
    let hog = pool.submit(call(block, ())).unwrap();
    let go = format!("{}.go", attempts.path());
    std::fs::write(&go, "").unwrap();
    let error = take(&mut job).unwrap_err();
    assert!(error.is_timeout() && !error.is_queue_timeout(), "{error}");
    assert!(!hog.done() && hog.cancel());
    std::fs::remove_file(go).unwrap();
    let stats = pool.shutdown(true, false);
    assert_eq!((stats.submitted, stats.timed_out, stats.cancelled), (2, 1, 1));
}

#[test]
fn a_shutdown_that_cancels_did_not_end_further_attempts() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let attempts = Attempts::new();
    let options = JobOptions::new().retry(quickly(3).on_crash().idempotent());
    let mut job = pool.with(options).submit(call(crash_when_told, attempts.path())).unwrap();
    until("it has begun", || attempts.count() == 1);
    pool.shutdown(false, true);
    let go = format!("{}.go", attempts.path());
    std::fs::write(&go, "").unwrap();
    let error = take(&mut job).unwrap_err();
    let stats = pool.shutdown(true, false);
    std::fs::remove_file(go).unwrap();
    // Cancelled if it crashed before the pool had heard of the shutdown.
    assert!(error.quarantine().is_none(), "{error}");
    assert_eq!((attempts.count(), stats.crashed + stats.cancelled), (1, 1));
}
