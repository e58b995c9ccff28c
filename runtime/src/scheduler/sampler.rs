//! Who does not come round: found by looking twice.

use std::time::{Duration, Instant};

use super::Shared;
use super::thrift::LONG_POLL;
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
    backlogs: Vec<Option<Backlog>>,
}

/// Tasks were queued at a loop.
#[derive(Clone, Copy)]
struct Backlog {
    runs: u64,
    at: Instant,
}

#[derive(Clone, Copy)]
struct Seen {
    progress: u64,
    asleep: bool,
    /// When it was first seen awake with this progress.
    since: Instant,
}

impl Sampler {
    /// Calls somebody for loops whose backlog they do not get through because what they run takes long. They
    /// would notice that themselves by the few polls that they time, and only between two polls.
    pub(crate) fn offer_backlogs(&mut self, shared: &Shared, now: Instant) {
        self.backlogs.resize(shared.loop_count, None);
        for (index, before) in self.backlogs.iter_mut().enumerate() {
            let half = &shared.loops[index];
            let runs = half.counters.runs();
            let queued = shared.idle.is_running(index) && half.has_stealable();
            let before = std::mem::replace(before, queued.then_some(Backlog { runs, at: now }));
            let Some(before) = before.filter(|_| queued) else { continue };
            let runs = u32::try_from(runs.wrapping_sub(before.runs)).unwrap_or(u32::MAX);
            if now - before.at >= Duration::from_nanos(LONG_POLL).saturating_mul(runs) {
                shared.wake_any();
            }
        }
    }

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
