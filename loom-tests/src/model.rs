//! Running a model, within bounds.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::Instant;

/// How many preemptions (switches away from a thread that could go on) one execution may have.
/// Switches away from a thread that waits are free.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// In an ordinary run.
    pub small: usize,
    /// With `LOOPOOL_LOOM_FULL=1`; `None` for no bound.
    pub full: Option<usize>,
}

/// Runs `body` in every interleaving, and with every value that each load may return, within the
/// bounds. Prints how many executions that were.
///
/// Any panic ends the process at once, even if the code under test would catch it: the code that is
/// checked here catches panics of users, and would catch loom's complaints as well.
pub fn model(bounds: Bounds, body: impl Fn() + Send + Sync + 'static) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| std::panic::set_hook(Box::new(|info| fail(&info.to_string()))));

    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = if is_full() { bounds.full } else { Some(bounds.small) };
    builder.max_branches = 20_000;
    let executions = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let counted = executions.clone();
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        body();
    });
    let executions = executions.load(Ordering::Relaxed);
    assert!(executions > 1, "the model has nothing to choose from: it shows nothing");
    say(&format!("{} executions in {:.1?}", executions, begun.elapsed()));
}

fn is_full() -> bool {
    std::env::var_os("LOOPOOL_LOOM_FULL").is_some_and(|value| value != "0")
}

fn fail(message: &str) {
    say(&format!("FAILED: {message}"));
    std::process::abort();
}

/// Past the test harness's capture, which an abort would lose.
fn say(message: &str) {
    let thread = std::thread::current();
    let line = format!("{}: {message}\n", thread.name().unwrap_or("model"));
    // Nothing is to be done about a closed stderr.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
