//! Jobs that have been taken out of the queue and wait for something else than any worker.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crate::error::JobError;
use crate::options::Priority;
use crate::process::force::Force;
use crate::process::manager::Manager;
use crate::process::policy::terms::Verdict;
use crate::process::remote_job::{RemoteJob, Reply};
use crate::process::shared::Appetite;
use crate::queue::ONE_IN;

/// They are few: each that pauses has cost a worker, or a panic, and the others are bounded.
#[derive(Default)]
pub(in crate::process) struct Parked {
    /// Between two attempts, until then.
    pub(super) pausing: Vec<(Instant, RemoteJob)>,
    /// For a certain worker, which has another job.
    pub(super) kept: Vec<Kept>,
    /// For memory, the first one first.
    pub(super) held: VecDeque<RemoteJob>,
    /// Whether a job was put here, or has ended unrun, since that was last asked: it has left its worker to another.
    pub(in crate::process) left_room: bool,
    /// The pool was shut down, and what had not begun was cancelled: nothing is tried again.
    is_cancelled: bool,
    /// How many jobs, as the callers know, have places in the queue.
    told: usize,
}

/// A job that waits for the worker with this number, for so long.
pub(super) struct Kept {
    pub(super) serial: u64,
    pub(super) until: Instant,
    pub(super) job: RemoteJob,
}

impl Parked {
    pub(in crate::process) fn len(&self) -> usize {
        self.pausing.len() + self.kept.len() + self.held.len()
    }

    /// When time alone changes something.
    pub(super) fn next(&self) -> Option<Instant> {
        let pausing = self.pausing.iter().map(|(at, _)| *at);
        let kept = self.kept.iter().map(|kept| kept.until);
        let held = self.held.iter().filter_map(|job| job.terms.waits_until());
        pausing.chain(kept).chain(held).min()
    }

    /// Takes out the job with this number.
    pub(in crate::process) fn take(&mut self, id: u64) -> Option<RemoteJob> {
        if let Some(place) = self.pausing.iter().position(|(_, job)| job.id == id) {
            return Some(self.pausing.swap_remove(place).1);
        }
        if let Some(place) = self.kept.iter().position(|kept| kept.job.id == id) {
            return Some(self.kept.remove(place).job);
        }
        let place = self.held.iter().position(|job| job.id == id)?;
        self.held.remove(place)
    }

    /// Takes out all.
    fn take_all(&mut self) -> Vec<RemoteJob> {
        let pausing = std::mem::take(&mut self.pausing).into_iter().map(|(_, job)| job);
        let kept = std::mem::take(&mut self.kept).into_iter().map(|kept| kept.job);
        pausing.chain(kept).chain(std::mem::take(&mut self.held)).collect()
    }
}

impl Manager {
    /// What to take out of the queue. Those that wait before it have the first places, but for more urgent ones: as in the
    /// queue itself, the first of them is passed by so many at most.
    pub(in crate::process) fn appetite(&self) -> Appetite {
        let room = self.room();
        let jobs = room.saturating_sub(self.stranded.len());
        let first = self.stranded.front().filter(|_| jobs == 0).map(|job| &job.terms);
        let urgent = first.map_or((0, Priority::High), |first| {
            let most = (ONE_IN - 1).saturating_sub(first.passed_by) as usize;
            (most.min(room), first.priority())
        });
        Appetite { jobs, urgent, demanding: !self.is_crowded() }
    }

    /// More urgent jobs pass those that wait before the queue.
    pub(in crate::process) fn let_pass(&mut self, urgent: Vec<RemoteJob>) {
        if let Some(first) = self.stranded.front_mut() {
            first.terms.passed_by += urgent.len() as u32;
        }
        urgent.into_iter().rev().for_each(|job| self.stranded.push_front(job));
    }

    /// Tells the callers how many jobs wait that are not in the queue.
    pub(in crate::process) fn tell_who_waits(&mut self) {
        let all = self.parked.len() + self.stranded.len();
        // One that pauses waits for nobody, perhaps for hours.
        let elsewhere = all - self.parked.pausing.len();
        if std::mem::replace(&mut self.parked.told, elsewhere) != elsewhere {
            self.shared.note_elsewhere(elsewhere, &mut self.leftovers);
        }
        self.shared.metrics.parked.store(all, Relaxed);
    }

    /// Whether there is room for others because jobs of the last orders did not go to a worker, or were ended. To be
    /// acted on: nobody who submits one knows of it, and nothing else announces it.
    pub(in crate::process) fn could_take_more(&mut self) -> bool {
        self.tell_who_waits();
        std::mem::take(&mut self.parked.left_room)
            && (self.room() > self.stranded.len() || self.first_held_fits())
    }

    /// What callers of the pool have ended; and, when the pool is broken, what nobody will ever run.
    pub(in crate::process) fn end_what_is_to_end(
        &mut self,
        cancels: &[u64],
        all: Option<Force>,
        all_parked: bool,
        now: Instant,
    ) {
        for id in cancels {
            self.cancel(*id, now);
        }
        if let Some(force) = all {
            self.end_all(force, now);
        }
        if all_parked {
            self.parked.is_cancelled = true;
            self.end_parked(JobError::cancelled);
            let unbegun = self.workers.values_mut().flat_map(|worker| worker.take_back(false));
            let unbegun = unbegun.collect();
            self.strand(unbegun);
            let stranded = std::mem::take(&mut self.stranded).into_iter();
            let cancelled = |job| (job, Reply::Error(JobError::cancelled()));
            self.finished.extend(stranded.map(cancelled));
        }
        // What was taken back from a worker after the others had failed.
        if self.is_broken && self.stranded.len() + self.parked.len() > 0 {
            let why = self.shared.why_broken();
            self.fail_stranded(&why);
        }
        self.parked.left_room |= !cancels.is_empty() || all.is_some() || all_parked;
    }

    /// Ends all that are parked.
    pub(in crate::process) fn end_parked(&mut self, error: impl Fn() -> JobError) {
        let jobs = self.parked.take_all();
        self.finished.extend(jobs.into_iter().map(|job| (job, Reply::Error(error()))));
    }

    /// Jobs that have got what they waited for go where jobs wait for a worker, before the queue; those that have waited
    /// for too long fail.
    pub(in crate::process) fn unpark(&mut self, now: Instant) {
        if self.parked.len() > 0 {
            self.bring_back_pausing(now);
            self.bring_back_kept(now);
        }
        self.end_late_waiters(now);
        if self.parked.len() > 0 {
            self.bring_back_held();
        }
    }

    fn end_late_waiters(&mut self, now: Instant) {
        let is_late = |job: &RemoteJob| job.terms.waits_until().is_some_and(|until| until <= now);
        for jobs in [&mut self.parked.held, &mut self.stranded] {
            while let Some(place) = jobs.iter().position(is_late)
                && let Some(job) = jobs.remove(place)
            {
                let error = job.terms.too_late();
                self.finished.push((job, Reply::Error(error)));
            }
        }
    }

    fn bring_back_pausing(&mut self, now: Instant) {
        let mut due: Vec<_> = self.parked.pausing.extract_if(.., |(at, _)| *at <= now).collect();
        due.sort_by_key(|(at, _)| *at);
        self.stranded.extend(due.into_iter().map(|(_, job)| job));
    }

    /// A job has ended in this way: that is its outcome, or it is tried again.
    pub(super) fn settle_or_repeat(&mut self, mut job: RemoteJob, reply: Reply) {
        let may_go_on = !self.is_ending() && !self.parked.is_cancelled;
        let reply = match reply {
            Reply::Error(error) if may_go_on => match job.terms.judge(error) {
                Verdict::Again(at) => {
                    let (job_name, attempt) = (job.terms.name, job.terms.attempt());
                    tracing::debug!(job = job_name, attempt, "a job is tried again");
                    self.shared.metrics.retries.fetch_add(1, Relaxed);
                    self.parked.pausing.push((at, job));
                    return;
                }
                Verdict::Failed(error) => Reply::Error(error),
            },
            other => other,
        };
        self.finished.push((job, reply));
    }
}
