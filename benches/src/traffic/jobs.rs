//! What a server computes while it serves.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::runtimes::Peer;
use crate::workloads::spin;

/// About three milliseconds of work, the same for all: not of time, in which a job that is disturbed
/// would do less.
const STEPS: u64 = 1_500_000;

/// Jobs that have ended.
static DONE: AtomicU64 = AtomicU64::new(0);

/// So many jobs at a time, for ever.
pub(super) fn start<P: Peer>(jobs: usize) {
    for _ in 0..jobs {
        P::spawn_detached(async {
            loop {
                P::compute(|| spin(STEPS)).await;
                // Relaxed: a mere count, here and below.
                DONE.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}

/// How many have ended.
pub(super) fn done() -> u64 {
    DONE.load(Ordering::Relaxed)
}
