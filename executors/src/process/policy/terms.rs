//! [`Terms`]: what was said about one job, and what has become of its attempts.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::JobError;
use crate::options::{JobOptions, Priority};
use crate::process::CrashReport;
use crate::process::shared::Shared;
use crate::promise::{Cell, Promise};
use crate::retry::Cause;
use crate::timekeeper::{self, Alarm, Call};

/// Goes with a job from its submission to its outcome.
pub(in crate::process) struct Terms {
    /// When it began to wait, for the first time or for another attempt, until a worker has it.
    pub(in crate::process) queued: Option<Instant>,
    /// What it is called.
    pub(in crate::process) name: &'static str,
    /// It is given the worker's state.
    pub(in crate::process) uses_state: bool,
    /// The memory that it has declared is reserved for it.
    pub(super) has_share: bool,
    /// How many jobs were taken out of the queue that passed it while it was the first of those before the queue.
    pub(super) passed_by: u32,
    /// What not every job has.
    special: Option<Box<Special>>,
}

#[derive(Default)]
struct Special {
    options: JobOptions,
    /// How long it could have waited: for the first time, or for another attempt.
    may_wait: Duration,
    /// Until when.
    waits_until: Option<Instant>,
    /// What is to be called when it has waited too long; and while it waits for the first time, that this will be.
    too_late: Option<(Instant, Call)>,
    alarm: Option<Alarm>,
    /// It has waited for its worker.
    was_kept: bool,
    failures: [u32; Cause::COUNT],
    /// Of the attempts that crashed.
    reports: Vec<CrashReport>,
}

/// What is to become of a job that has failed.
pub(in crate::process) enum Verdict {
    /// Another attempt, at this time.
    Again(Instant),
    /// This is its outcome.
    Failed(JobError),
}

impl Terms {
    /// Those of a job with these options whose outcome `promise` brings.
    pub(in crate::process) fn new<T: Send + 'static>(
        options: &JobOptions,
        name: &'static str,
        uses_state: bool,
        shared: &Arc<Shared>,
        promise: &Promise<T>,
    ) -> Self {
        let name = options.name.unwrap_or(name);
        let mut terms = Terms {
            queued: Some(Instant::now()),
            name,
            uses_state,
            has_share: false,
            passed_by: 0,
            special: None,
        };
        let is_special = options.has_limits()
            || options.retry.is_some()
            || options.priority != Priority::default()
            || options.affinity.is_some()
            || options.memory > 0;
        if !is_special {
            return terms;
        }
        let mut special = Special { options: *options, ..Special::default() };
        if let Some((at, limit)) = options.end_of(options.queue_timeout) {
            let (cell, shared) = (promise.cell().clone(), shared.clone());
            special.may_wait = limit;
            special.waits_until = Some(at);
            let fail = move || {
                let error = JobError::queue_timed_out(limit);
                let count = || shared.counters.record_timed_out();
                let free = || shared.note_late();
                Cell::expire(&cell, false, error, count, free, timekeeper::elsewhere);
                timekeeper::let_go("a job's outcome", cell);
                timekeeper::let_go("a pool of processes", shared);
            };
            special.too_late = Some((at, Box::new(fail)));
        }
        terms.special = Some(Box::new(special));
        terms
    }

    pub(in crate::process) fn priority(&self) -> Priority {
        self.special.as_ref().map_or_else(Priority::default, |special| special.options.priority)
    }

    /// The job begins to wait: in the critical section in which it gets its place, so that it can't be too late for
    /// one that it has not.
    ///
    /// # Errors
    /// When nobody would see to its limits.
    pub(in crate::process) fn enter_queue(&mut self) -> std::io::Result<()> {
        let Some(special) = &mut self.special else { return Ok(()) };
        if let Some((at, call)) = special.too_late.take() {
            special.alarm = Some(timekeeper::call_at(at, call)?);
        }
        Ok(())
    }

    /// The job is about to run: the error says that it is too late for that.
    pub(in crate::process) fn leave_queue(&mut self) -> Result<(), JobError> {
        let Some(special) = &mut self.special else { return Ok(()) };
        special.alarm = None;
        let is_past = special.options.is_past_deadline();
        if is_past { Err(self.too_late()) } else { Ok(()) }
    }

    /// By when the job has to be done if it began then. `limit` is everybody's.
    pub(super) fn end(&self, since: Instant, limit: Option<Duration>) -> Option<Instant> {
        let options = self.special.as_ref().map(|special| &special.options);
        let own = options.and_then(|options| options.job_timeout);
        let shorter = own.into_iter().chain(limit).min();
        let end = shorter.and_then(|limit| since.checked_add(limit));
        end.into_iter().chain(options.and_then(|options| options.deadline)).min()
    }

    /// Until when it may wait to be begun, for the first time or for another attempt.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        self.special.as_ref()?.waits_until
    }

    /// What becomes of it when it has waited for longer. One that has been run has used up its time.
    pub(super) fn too_late(&self) -> JobError {
        let may_wait = self.special.as_ref().map_or(Duration::MAX, |special| special.may_wait);
        match self.attempt() {
            1 => JobError::queue_timed_out(may_wait),
            _ => JobError::timed_out(may_wait),
        }
    }

    pub(super) fn affinity(&self) -> Option<u64> {
        self.special.as_ref()?.options.affinity
    }

    pub(super) fn was_kept(&self) -> bool {
        self.special.as_ref().is_some_and(|special| special.was_kept)
    }

    pub(super) fn note_kept(&mut self) {
        if let Some(special) = &mut self.special {
            special.was_kept = true;
        }
    }

    /// How many bytes it will need.
    pub(in crate::process) fn memory(&self) -> u64 {
        self.special.as_ref().map_or(0, |special| special.options.memory)
    }

    /// How many of those bytes are reserved for it.
    pub(super) fn share(&self) -> u64 {
        if self.has_share { self.memory() } else { 0 }
    }

    /// Whether the argument may be needed once more.
    pub(in crate::process) fn may_be_repeated(&self) -> bool {
        self.special.as_ref().is_some_and(|special| special.options.retry.is_some())
    }

    /// Which attempt this is; the first one is 1.
    pub(in crate::process) fn attempt(&self) -> u32 {
        self.special.as_ref().map_or(1, |special| special.failures() + 1)
    }

    /// Notes that an attempt has failed.
    pub(in crate::process) fn judge(&mut self, error: JobError) -> Verdict {
        let Some(special) = &mut self.special else { return Verdict::Failed(error) };
        let (Some(retry), Some(cause)) = (special.options.retry, Cause::of(&error)) else {
            return Verdict::Failed(error);
        };
        special.failures[cause as usize] += 1;
        special.reports.extend(error.crash().filter(|_| cause == Cause::Crash).cloned());
        let failures = special.failures();
        let pause = retry.pause(failures, RandomState::new().hash_one(failures));
        let now = Instant::now();
        let at = now.checked_add(pause);
        let in_time = |at: &Instant| special.options.deadline.is_none_or(|end| *at < end);
        let allowed = retry.allows(cause, special.failures[cause as usize]);
        if let Some(at) = at.filter(in_time).filter(|_| allowed) {
            self.queued = Some(at);
            self.has_share = false;
            special.was_kept = false;
            special.waits_until = special.options.deadline;
            let left = special.options.deadline.map(|end| end.saturating_duration_since(now));
            special.may_wait = left.unwrap_or(Duration::MAX);
            return Verdict::Again(at);
        }
        let all_crashed = special.reports.len() == failures as usize && failures > 1;
        if all_crashed && !allowed {
            return Verdict::Failed(JobError::quarantined(std::mem::take(&mut special.reports)));
        }
        Verdict::Failed(error)
    }
}

impl Special {
    fn failures(&self) -> u32 {
        self.failures.iter().sum()
    }
}
