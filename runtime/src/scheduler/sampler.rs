//! Who does not come round: found by looking twice.

use std::time::{Duration, Instant};

use super::Shared;

/// A loop that has done nothing for so long is served. Shorter, and a loop whose thread was merely
/// descheduled for a slice would be served for nothing; longer shows in the tail of latencies.
const PATIENCE: Duration = Duration::from_millis(2);

/// What one watcher remembers of all loops and spares.
#[derive(Default)]
pub(crate) struct Sampler {
    seen: Vec<Seen>,
    looked: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Seen {
    progress: u64,
    asleep: bool,
    /// When it was first seen awake with this progress.
    since: Instant,
}

impl Sampler {
    /// Those other than `me` that have made no progress for some time, or run what is known to block.
    /// Looks at most every other [`PATIENCE`] / 2, and reports what has lasted too long.
    pub(crate) fn blocked(&mut self, shared: &Shared, me: usize, now: Instant) -> Vec<usize> {
        let mut blocked = Vec::new();
        if self.looked.is_some_and(|looked| now - looked < PATIENCE / 2) {
            return blocked;
        }
        self.looked = Some(now);
        if self.seen.is_empty() {
            self.seen = vec![Seen { progress: 0, asleep: true, since: now }; shared.loops.len()];
        }
        for (index, seen) in self.seen.iter_mut().enumerate() {
            let progress = shared.loops[index].counters.progress();
            let asleep = shared.idle.is_parked(index);
            // One that was asleep the last time may have been so until a moment ago.
            if progress != seen.progress || asleep || seen.asleep || index == me {
                *seen = Seen { progress, asleep, since: now };
            }
            if index == me || asleep {
                continue;
            }
            if shared.idle.is_blocking(index) {
                blocked.push(index);
            } else if now - seen.since >= PATIENCE {
                blocked.push(index);
                shared.note_stuck(index, progress, seen.since, now);
            }
        }
        blocked
    }
}
