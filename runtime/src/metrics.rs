//! What the loops are doing, in numbers.
//!
//! Each loop counts for itself in cells of its own cache line: a plain load and store, no
//! read-modify-write, since only its thread writes them (`wakes_sent` excepted).

use crate::scheduler::{LoopShared, Shared};
use crate::shim::atomic::{AtomicU64, Ordering::Relaxed};

/// A moment's view of a runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeMetrics {
    /// One entry per loop.
    pub loops: Vec<LoopMetrics>,
    /// Tasks that are not done.
    pub tasks: usize,
}

/// A moment's view of one loop. Counts are since the runtime was made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoopMetrics {
    /// Polls of tasks.
    pub polls: u64,
    /// Times the loop took tasks from another one.
    pub steals: u64,
    /// Times the loop looked after the reactor and timers of one that did not come round.
    pub serves: u64,
    /// Times the loop went to sleep.
    pub parks: u64,
    /// Times somebody woke it.
    pub wakes_sent: u64,
    /// Times the reactor was asked.
    pub reactor_turns: u64,
    /// Tasks and callbacks that were ready at the end of the last turn.
    pub queue_depth: u64,
    /// Timers that are outstanding.
    pub timers: u64,
    /// Descriptors that are registered.
    pub sources: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    polls: AtomicU64,
    steals: AtomicU64,
    serves: AtomicU64,
    parks: AtomicU64,
    wakes: AtomicU64,
    turns: AtomicU64,
    queue_depth: AtomicU64,
}

/// What a loop tells of itself at the end of a turn.
pub(crate) struct LoopGauges {
    pub(crate) queue_depth: usize,
}

/// One more, by the only thread that writes the counter.
#[inline]
fn count(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
}

impl Counters {
    #[inline]
    pub(crate) fn polled(&self) {
        count(&self.polls);
    }

    pub(crate) fn stolen(&self) {
        count(&self.steals);
    }

    pub(crate) fn polls(&self) -> u64 {
        self.polls.load(Relaxed)
    }

    /// Grows with everything that the loop does.
    pub(crate) fn progress(&self) -> u64 {
        self.polls.load(Relaxed).wrapping_add(self.turns.load(Relaxed))
    }

    pub(crate) fn served(&self) {
        count(&self.serves);
    }

    pub(crate) fn parked(&self) {
        count(&self.parks);
    }

    pub(crate) fn turned(&self) {
        count(&self.turns);
    }

    /// By any thread.
    pub(crate) fn woken(&self) {
        self.wakes.fetch_add(1, Relaxed);
    }

    pub(crate) fn publish(&self, gauges: &LoopGauges) {
        self.queue_depth.store(gauges.queue_depth as u64, Relaxed);
    }
}

impl LoopShared {
    fn metrics(&self) -> LoopMetrics {
        LoopMetrics {
            polls: self.counters.polls.load(Relaxed),
            steals: self.counters.steals.load(Relaxed),
            serves: self.counters.serves.load(Relaxed),
            parks: self.counters.parks.load(Relaxed),
            wakes_sent: self.counters.wakes.load(Relaxed),
            reactor_turns: self.counters.turns.load(Relaxed),
            queue_depth: self.counters.queue_depth.load(Relaxed),
            timers: self.timers.lock().len() as u64,
            sources: self.reactor.registered() as u64,
        }
    }
}

impl Shared {
    pub(crate) fn metrics(&self) -> RuntimeMetrics {
        RuntimeMetrics {
            loops: self.loops.iter().map(|half| half.metrics()).collect(),
            tasks: self.live(),
        }
    }
}
