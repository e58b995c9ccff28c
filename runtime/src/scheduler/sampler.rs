//! Who does not come round: found by looking twice.

use std::time::{Duration, Instant};

use super::Shared;
use crate::shim::atomic::Ordering;

/// A loop that has done nothing for so long is served. Shorter, and a loop whose thread was merely
/// descheduled for a slice would be served for nothing; longer shows in the tail of latencies.
const PATIENCE: Duration = Duration::from_millis(2);

/// After so long it is not the system that lets others have the processor, most likely.
const LONG: Duration = Duration::from_millis(9);

/// One that does not come round.
pub(crate) struct Blocked {
    pub(crate) index: usize,
    /// It has not for long, or says that it blocks.
    pub(crate) for_long: bool,
}

/// What the watch thread remembers of all loops and spares.
#[derive(Default)]
pub(crate) struct Sampler {
    seen: Vec<Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    progress: u64,
    asleep: bool,
    /// When it was first seen awake with this progress.
    since: Instant,
}

impl Sampler {
    /// Those that have made no progress for some time, or run what is known to block. Marks them for the
    /// others, and reports what has lasted too long.
    pub(crate) fn blocked(&mut self, shared: &Shared, now: Instant) -> Vec<Blocked> {
        let mut blocked = Vec::new();
        if self.seen.is_empty() {
            self.seen = vec![Seen { progress: 0, asleep: true, since: now }; shared.loops.len()];
        }
        for (index, seen) in self.seen.iter_mut().enumerate() {
            let progress = shared.loops[index].counters.progress();
            let asleep = shared.idle.is_parked(index);
            // One that was asleep the last time may have been so until a moment ago.
            if progress != seen.progress || asleep || seen.asleep {
                *seen = Seen { progress, asleep, since: now };
            }
            if asleep {
                continue;
            }
            if shared.idle.is_blocking(index) {
                blocked.push(Blocked { index, for_long: true });
            } else if now - seen.since >= PATIENCE {
                blocked.push(Blocked { index, for_long: now - seen.since >= LONG });
                shared.loops[index].stall.mark(progress);
                shared.note_stuck(index, progress, seen.since, now);
            }
        }
        // Relaxed: a hint, for those who would look for the marks.
        shared.blocked.store(blocked.len(), Ordering::Relaxed);
        blocked
    }
}
