//! What jobs write, as the program hears of it. In a program of its own, which listens to more than the others.

use std::fmt::{Debug, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use loopool_executors::{Executor, ProcessPoolExecutor, call};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

const HANG: Duration = Duration::from_secs(120);

static LINES: Mutex<Vec<(Level, String)>> = Mutex::new(Vec::new());

/// Writes everything down.
struct Notebook;

impl Subscriber for Notebook {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        LINES.lock().unwrap().push((*event.metadata().level(), line.0));
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

fn speak(_: ()) -> u32 {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "to the standard output");
    let _ = writeln!(std::io::stderr(), "to the standard error");
    let _ = write!(std::io::stderr(), "a line without an end");
    std::process::id()
}

#[test]
fn each_line_that_a_job_writes_is_an_event() {
    tracing::subscriber::set_global_default(Notebook).unwrap();
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let pid = pool.submit(call(speak, ())).unwrap().result(HANG).unwrap();
    let said = ["to the standard output", "to the standard error"];
    let has = |part: &str| {
        let lines = LINES.lock().unwrap();
        let found = lines.iter().filter(|(_, line)| line.contains(part)).cloned();
        found.collect::<Vec<_>>()
    };
    let since = Instant::now();
    while said.iter().any(|part| has(part).is_empty()) {
        assert!(since.elapsed() < HANG, "{:?}", LINES.lock().unwrap());
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
