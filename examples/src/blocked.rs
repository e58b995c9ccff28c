//! Loops that are blocked on purpose, so that one can see who answers meanwhile.
//!
//! What blocks is what blocks in real programs: a task that computes instead of awaiting. It belongs
//! into the CPU pool; here it is where it should not be.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use loopool::sync::Event;

/// How long loops are blocked if nothing else is asked for.
pub const DEFAULT: Duration = Duration::from_secs(2);

/// No longer than this.
pub const LONGEST: Duration = Duration::from_secs(60);

/// How long one waits for the others to be blocked, too.
const PATIENCE: Duration = Duration::from_secs(10);

/// Blocks so many loops at the same time, each with a task that computes for `time`. Gives how many
/// there were at once.
pub async fn block(loops: usize, time: Duration) -> usize {
    let begun = Arc::new(AtomicUsize::new(0));
    let named = Arc::new(Event::new());
    // One for each loop: what may move might be run by a spare worker instead.
    let tasks: Vec<_> = (0..loops)
        .filter_map(|index| {
            let (begun, named) = (begun.clone(), named.clone());
            let compute = move || async move {
                named.wait().await;
                compute_instead_of_awaiting(&begun, loops, time)
            };
            let task = loopool::spawn_on(index, compute).ok()?;
            task.set_name("blocks its loop");
            Some(task)
        })
        .collect();
    named.set();
    let mut at_once = 0;
    for task in tasks {
        at_once = at_once.max(task.await.unwrap_or(0));
    }
    at_once
}

/// Computes until all have begun, and for `time` after that.
fn compute_instead_of_awaiting(begun: &AtomicUsize, loops: usize, time: Duration) -> usize {
    // Statistics; nothing else is published by it.
    begun.fetch_add(1, Ordering::Relaxed);
    compute_until(Instant::now() + PATIENCE, || begun.load(Ordering::Relaxed) == loops);
    let at_once = begun.load(Ordering::Relaxed);
    compute_until(Instant::now() + time, || false);
    at_once
}

fn compute_until(end: Instant, done: impl Fn() -> bool) {
    let mut number = 1u64;
    while Instant::now() < end && !done() {
        for _ in 0..1000 {
            number = black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
}
