//! A loop that does not come round: who is to blame is said while it is stuck.
//!
//! Nobody reads a clock for a poll. The watch thread takes samples, marks who has not moved for a while, and
//! notes here what has not for longer than the threshold: it reports that, again after twice the time, and
//! so on. When the loop comes round it sees that there was a report and says how long it took. What is said
//! is as exact as the samples.

use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use loopool_executors::caught::tell;

use super::Shared;
use super::now::{What, address_of};
use crate::shim::Mutex;
use crate::shim::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a loop is stuck in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stuck {
    /// The task's [name](crate::Task::set_name), if it had one when the loop began to run it.
    pub task: Option<Arc<str>>,
    /// Where the task was made that does not return; `None` when it is a callback or a waker.
    pub spawned_at: Option<&'static Location<'static>>,
    /// For how long it has been seen stuck.
    pub duration: Duration,
}

/// The stalls of one loop.
pub(crate) struct Stall {
    /// What the loop had done when it was last found blocked. So the mark is gone as soon as it goes on.
    blocked_at: AtomicU64,
    reported: AtomicU64,
    /// There was a report of which the end was not reported. A hint, for the loop.
    open: AtomicBool,
    record: Mutex<Option<Record>>,
}

struct Record {
    /// What the loop had done when it got stuck: another count, another stall.
    progress: u64,
    since: Instant,
    culprit: Culprit,
    /// How long it has to last to be reported again.
    again: Duration,
}

/// What does not return.
#[derive(Clone)]
struct Culprit {
    what: &'static str,
    task: Option<Arc<str>>,
    spawned_at: Option<&'static Location<'static>>,
}

impl Stall {
    pub(super) fn new() -> Self {
        Stall {
            // No progress that is ever made.
            blocked_at: AtomicU64::new(u64::MAX),
            reported: AtomicU64::new(0),
            open: AtomicBool::new(false),
            record: Mutex::new(None),
        }
    }

    /// The loop has stood still at this progress. Relaxed, as what it is compared with: whoever acts on it
    /// may do so at any time.
    pub(super) fn mark(&self, progress: u64) {
        self.blocked_at.store(progress, Ordering::Relaxed);
    }

    /// How many were reported.
    pub(crate) fn reported(&self) -> u64 {
        self.reported.load(Ordering::Relaxed)
    }

    /// The present one, if it was reported and has not ended with this progress.
    pub(crate) fn present(&self, progress: u64) -> Option<Stuck> {
        let record = self.record.lock();
        let record = record.as_ref().filter(|record| record.progress == progress)?;
        let Culprit { task, spawned_at, .. } = record.culprit.clone();
        Some(Stuck { task, spawned_at, duration: record.since.elapsed() })
    }
}

impl Shared {
    /// Whether loop or spare `index` was found blocked and has not gone on since, or says that it blocks.
    pub(crate) fn is_blocked(&self, index: usize) -> bool {
        let half = &self.loops[index];
        // Relaxed: see `mark`.
        let marked = || half.stall.blocked_at.load(Ordering::Relaxed) == half.counters.progress();
        self.idle.is_blocking(index) || (!self.idle.is_parked(index) && marked())
    }

    /// Loop or spare `index` has made no progress since `since`: reports it, if that is long.
    pub(super) fn note_stuck(&self, index: usize, progress: u64, since: Instant, now: Instant) {
        if now - since < self.slow_poll_threshold {
            return;
        }
        let half = &self.loops[index];
        let what = half.now.read();
        if half.counters.progress() != progress {
            return;
        }
        let mut ended = None;
        let (lasted, culprit) = {
            let mut record = half.stall.record.lock();
            match &mut *record {
                Some(known) if known.progress == progress => {
                    let lasted = now.saturating_duration_since(known.since);
                    if lasted < known.again {
                        return;
                    }
                    known.again = lasted * 2;
                    (lasted, known.culprit.clone())
                }
                other => {
                    let (lasted, culprit) = (now - since, self.culprit(what));
                    let record =
                        Record { progress, since, culprit: culprit.clone(), again: lasted * 2 };
                    ended = other.replace(record);
                    half.stall.open.store(true, Ordering::Relaxed);
                    half.stall.reported.fetch_add(1, Ordering::Relaxed);
                    (lasted, culprit)
                }
            }
        };
        // What hears the reports is foreign code: not under the lock.
        if let Some(ended) = ended {
            self.report_end(index, &ended, since);
        }
        tell(|| {
            tracing::warn!(
                "loop" = %self.name_of(index),
                what = culprit.what,
                task = culprit.task.as_deref(),
                spawned_at = culprit.spawned_at.map(tracing::field::display),
                duration_ms = millis(lasted),
                "a loop is stuck: its callbacks and local tasks wait"
            );
        });
    }

    /// Loop or spare `index` is itself again: says so, if it was reported stuck. By its own thread.
    #[inline]
    pub(crate) fn came_round(&self, index: usize) {
        // Relaxed: the record is under the lock; who reports at this very moment is heard next time.
        if self.loops[index].stall.open.load(Ordering::Relaxed) {
            self.close_stall(index);
        }
    }

    #[cold]
    fn close_stall(&self, index: usize) {
        let stall = &self.loops[index].stall;
        stall.open.store(false, Ordering::Relaxed);
        let ended = stall.record.lock().take();
        if let Some(ended) = ended {
            self.report_end(index, &ended, Instant::now());
        }
    }

    fn report_end(&self, index: usize, ended: &Record, at: Instant) {
        let culprit = &ended.culprit;
        tell(|| {
            tracing::info!(
                "loop" = %self.name_of(index),
                what = culprit.what,
                task = culprit.task.as_deref(),
                spawned_at = culprit.spawned_at.map(tracing::field::display),
                duration_ms = millis(at.saturating_duration_since(ended.since)),
                "a loop that was stuck goes on"
            );
        });
    }

    /// Looks for the task if need be; takes the locks of the lists of tasks, one after the other.
    fn culprit(&self, what: What) -> Culprit {
        let mut culprit = Culprit { what: "a task", task: None, spawned_at: None };
        match what {
            What::Task(location) => culprit.spawned_at = Some(location),
            What::TaskAt(address) => {
                for half in &self.loops {
                    half.registry.with(|registry| {
                        registry.for_each(|task| {
                            if address_of(task) == address {
                                // SAFETY: in the registry, under its lock.
                                let task = unsafe { task.as_ref() };
                                culprit.task = task.name();
                                culprit.spawned_at = Some(task.location());
                            }
                        });
                    });
                }
            }
            What::Callback => culprit.what = "a callback",
            What::Other => culprit.what = "a waker",
        }
        culprit
    }

    fn name_of(&self, index: usize) -> Name {
        match index.checked_sub(self.loop_count) {
            None => Name::Loop(index),
            Some(number) => Name::Spare(number),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whom a report is about.
enum Name {
    Loop(usize),
    Spare(usize),
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Name::Loop(index) => write!(f, "{index}"),
            Name::Spare(number) => write!(f, "spare-{number}"),
        }
    }
}
