//! What the process pool tells an operator.

#[path = "common/notebook.rs"]
mod notebook;

use std::io::Write as _;
use std::time::Duration;

use loopool_executors::{Executor, Job, ProcessPoolExecutor, call};
use notebook::{lines, listen};
use tracing::Level;

fn warnings() -> Vec<String> {
    lines().into_iter().map(|(_, line)| line).collect()
}

#[test]
fn events_of_jobs_are_events_of_the_program() {
    listen(Level::WARN);
    let speak = |n: u32| {
        tracing::info!("nobody listens to this");
        let _ = std::io::stderr().write_all(b"no line ends here");
        tracing::warn!(n, path = "a\tb", "told by a job\nin two lines");
        tracing::error!(target: "elsewhere", "{}", "long ".repeat(1000));
        n
    };
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let mut job = pool.submit(call(speak, 7)).unwrap();
    assert_eq!(job.result(Duration::from_secs(120)).unwrap(), 7);
    pool.shutdown(true, false);
    let lines = warnings();
    let warning = lines.iter().find(|line| line.contains("told by a job")).unwrap();
    for part in
        ["told by a job\nin two lines", "n=7", r#"path="a\tb""#, "job_target=\"process_logs"]
    {
        assert!(warning.contains(part), "{part} is missing: {warning}");
    }
    let error = lines.iter().find(|line| line.contains("job_target=\"elsewhere\"")).unwrap();
    assert!(error.contains("long long") && error.len() < 1100, "{}", error.len());
    assert!(!lines.iter().any(|line| line.contains("nobody listens")));
}

#[test]
fn the_warning_of_a_crash_quoted_eight_kibibytes() {
    listen(Level::WARN);
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let abort = |n: u32| -> u32 {
        let mut stderr = std::io::stderr();
        for line in 0..100 * n {
            let _ = writeln!(stderr, "line {line} {}", "-".repeat(100));
        }
        let _ = writeln!(stderr, "the last {}", "é".repeat(500));
        std::process::abort()
    };
    let mut job: Job<u32> = pool.submit(call(abort, 1)).unwrap();
    let error = job.result(Duration::from_secs(120)).unwrap_err();
    let report = error.crash().unwrap();
    assert!(report.stderr_tail.len() > 4096, "the report has all of it");
    let lines = warnings();
    let warning = lines.iter().find(|line| line.contains("a worker process died")).unwrap();
    assert!(warning.len() < 512, "{} bytes: {warning}", warning.len());
    let pid = report.pid.to_string();
    for part in ["cause=Abort", "signal=6", &pid, "had_a_job=true", "the last é"] {
        assert!(warning.contains(part), "{part} is missing: {warning}");
    }
    assert!(!warning.contains("line 99"), "{warning}");
}

#[test]
fn why_an_initializer_failed_is_written_down() {
    listen(Level::WARN);
    let fails: fn() -> Result<(), String> = || Err("no model called lobster".to_owned());
    let pool = ProcessPoolExecutor::builder().workers(1).initializer(fails).build().unwrap();
    let mut job = pool.submit(call(|n: u32| n, 1)).unwrap();
    assert!(job.result(Duration::from_secs(120)).unwrap_err().is_rejected());
    let lines = warnings();
    assert!(lines.iter().any(|line| line.contains("no model called lobster")), "{lines:?}");
}
