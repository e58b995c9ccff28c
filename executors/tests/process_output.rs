//! What jobs write, as the program hears of it. In a program of its own, which listens to more than the others.

#[path = "common/notebook.rs"]
mod notebook;

use std::time::{Duration, Instant};

use loopool_executors::{Executor, ProcessPoolExecutor, call};
use notebook::{lines, listen};
use tracing::Level;

const HANG: Duration = Duration::from_secs(120);

fn speak(_: ()) -> u32 {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "to the standard output");
    let _ = writeln!(std::io::stderr(), "to the standard error");
    let _ = write!(std::io::stderr(), "a line without an end");
    std::process::id()
}

#[test]
fn each_line_that_a_job_writes_is_an_event() {
    listen(Level::INFO);
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let pid = pool.submit(call(speak, ())).unwrap().result(HANG).unwrap();
    let said = ["to the standard output", "to the standard error"];
    let has = |part: &str| -> Vec<(Level, String)> {
        lines().into_iter().filter(|(_, line)| line.contains(part)).collect()
    };
    let since = Instant::now();
    while said.iter().any(|part| has(part).is_empty()) {
        assert!(since.elapsed() < HANG, "{:?}", lines());
        std::thread::yield_now();
    }
    pool.shutdown(true, false);
    for part in said {
        let found = has(part);
        let [(level, line)] = &found[..] else { panic!("once: {found:?}") };
        assert!(*level == Level::INFO && line.contains(&format!("pid={pid} ")), "{level} {line}");
        assert!(!line.contains("to the standard output") || !line.contains("error"), "{line}");
    }
    // What has no end is a line when the worker has gone.
    assert_eq!(has("a line without an end").len(), 1);
}
