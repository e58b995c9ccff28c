//! What the loops are doing, in numbers.
//!
//! Each loop counts for itself in cells of its own cache line: a plain load and store, no
//! read-modify-write, since only its thread writes them (`wakes_sent` excepted).

mod poll_times;

pub(crate) use self::poll_times::PollTimeCounters;
pub use self::poll_times::PollTimes;
use crate::scheduler::{LoopShared, Shared, Stuck};
use crate::shim::atomic::{AtomicU64, Ordering::Relaxed};

/// A moment's view of a runtime. Empty in a [fork](crate::Forked) of the process, where nothing can be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeMetrics {
    /// One entry per loop; none in a fork.
    pub loops: Vec<LoopMetrics>,
    /// Tasks that are not done.
    pub tasks: usize,
    /// Spare workers that are there, at work or waiting for the next time that every loop is blocked.
    pub spare_workers: usize,
    /// Polls of tasks by spare workers.
    pub spare_polls: u64,
}

/// A moment's view of one loop. Counts are since the runtime was made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoopMetrics {
    /// Polls of tasks.
    pub polls: u64,
    /// Times the loop was seen stuck, in a task or callback, for longer than
    /// [`slow_poll_threshold`](crate::RuntimeBuilder::slow_poll_threshold).
    pub stalls: u64,
    /// What it is stuck in, while it is.
    pub stuck: Option<Stuck>,
    /// Times the loop took tasks from another one.
    pub steals: u64,
    /// Times the loop looked after the reactor and timers of one that did not come round.
    pub serves: u64,
    /// Times the loop went to sleep.
    pub parks: u64,
    /// Times somebody woke it.
    pub wakes_sent: u64,
    /// Times somebody woke it from its sleep and it found nothing to do: nothing of its own was ready, no
    /// message had come, nothing was to be taken from other loops, and the runtime had not come to its end.
    /// Some are normal: another loop was faster, or a timer was set that is not due yet.
    pub spurious_wakes: u64,
    /// Times the reactor was asked.
    pub reactor_turns: u64,
    /// Tasks and callbacks that were ready at the end of the last turn.
    pub queue_depth: u64,
    /// Timers that are outstanding.
    pub timers: u64,
    /// Descriptors that are registered.
    pub sources: u64,
    /// How long polls of tasks took, by samples.
    pub poll_times: PollTimes,
}

#[derive(Default)]
#[repr(C)]
pub(crate) struct Counters {
    /// What was run: tasks and callbacks.
    runs: AtomicU64,
    callbacks: AtomicU64,
    blocks: AtomicU64,
    steals: AtomicU64,
    serves: AtomicU64,
    parks: AtomicU64,
    wakes: AtomicU64,
    turns: AtomicU64,
    queue_depth: AtomicU64,
    spurious_wakes: AtomicU64,
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
    /// A task or callback was run.
    #[inline]
    pub(crate) fn ran(&self) {
        count(&self.runs);
    }

    /// What was run is a callback; before it counts as run.
    pub(crate) fn called(&self) {
        count(&self.callbacks);
    }

    pub(crate) fn stolen(&self) {
        count(&self.steals);
    }

    /// Begin or end of something that is known to block.
    pub(crate) fn blocked(&self) {
        count(&self.blocks);
    }

    pub(crate) fn runs(&self) -> u64 {
        self.runs.load(Relaxed)
    }

    /// Polls of tasks.
    pub(crate) fn polls(&self) -> u64 {
        // Saturating: the two are not read at the same moment.
        self.runs().saturating_sub(self.callbacks.load(Relaxed))
    }

    /// Changes with everything that the loop does.
    pub(crate) fn progress(&self) -> u64 {
        [&self.runs, &self.turns, &self.parks, &self.blocks]
            .iter()
            .fold(0, |sum: u64, counter| sum.wrapping_add(counter.load(Relaxed)))
    }

    pub(crate) fn served(&self) {
        count(&self.serves);
    }

    pub(crate) fn parked(&self) {
        count(&self.parks);
    }

    /// After it was woken by somebody.
    pub(crate) fn woken_in_vain(&self) {
        count(&self.spurious_wakes);
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
            polls: self.counters.polls(),
            stalls: self.stall.reported(),
            stuck: self.stall.present(self.counters.progress()),
            steals: self.counters.steals.load(Relaxed),
            serves: self.counters.serves.load(Relaxed),
            parks: self.counters.parks.load(Relaxed),
            wakes_sent: self.counters.wakes.load(Relaxed),
            spurious_wakes: self.counters.spurious_wakes.load(Relaxed),
            reactor_turns: self.counters.turns.load(Relaxed),
            queue_depth: self.counters.queue_depth.load(Relaxed),
            timers: self.timers.with(|wheel| wheel.len()) as u64,
            sources: self.reactor.registered() as u64,
            poll_times: self.poll_times.read(),
        }
    }
}

impl Shared {
    pub(crate) fn metrics(&self) -> RuntimeMetrics {
        if self.is_forked() {
            // Locks may be held for ever.
            return RuntimeMetrics::default();
        }
        let (loops, spares) = self.loops.split_at(self.loop_count);
        RuntimeMetrics {
            loops: loops.iter().map(|half| half.metrics()).collect(),
            tasks: self.live(),
            spare_workers: self.spares_alive.load(Relaxed),
            spare_polls: spares.iter().map(|half| half.counters.polls()).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use crate::context;
    use crate::sync::oneshot;

    #[test]
    fn a_wake_is_spurious_that_comes_with_nothing_to_do() {
        let runtime = crate::Runtime::builder().loops(1).build().unwrap();
        let (sender, receiver) = oneshot::channel();
        let waker = runtime.run_until_complete(async {
            let shared = context::current_core().unwrap().shared_arc();
            let waker = thread::spawn(move || {
                let wait = |done: &dyn Fn() -> bool| {
                    while !done() {
                        thread::yield_now();
                    }
                };
                wait(&|| shared.idle.is_parked(0));
                shared.wake_loop(0);
                wait(&|| shared.loops[0].metrics().spurious_wakes > 0);
                // Else what is sent needs no wake.
                wait(&|| shared.idle.is_parked(0));
                sender.send(()).unwrap();
            });
            receiver.await.unwrap();
            waker
        });
        waker.join().unwrap();
        let of_loop = &runtime.metrics().loops[0];
        assert_eq!((of_loop.wakes_sent, of_loop.spurious_wakes), (2, 1));
    }
}
