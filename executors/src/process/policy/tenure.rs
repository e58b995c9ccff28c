//! How long a worker stays: recycling without victims.
//!
//! 1. A worker is let go only between two jobs.
//! 2. One that has had its number of jobs takes no more. Its successor is started when it begins its last one.
//! 3. One that is too old or too large works on until its successor is ready. There is one such at a time; one that has
//!    a successor, and a job that does not end, holds up nobody.
//! 4. Both bounds are lowered by chance, for each worker by another bit, so that workers that were started together
//!    don't go together.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::process::manager::Manager;
use crate::process::policy::WorkerPhase;
use crate::process::worker_handle::{Phase, WorkerHandle};

/// Rule 4: bounds are lowered by up to one in so many.
const ONE_IN: u64 = 8;

/// How often a worker's memory is looked at, which takes some microseconds.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// When workers are replaced.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::process) struct Bounds {
    pub(in crate::process) jobs: Option<u64>,
    pub(in crate::process) age: Option<Duration>,
    /// In bytes.
    pub(in crate::process) memory: Option<u64>,
}

/// A worker's time in office, from the moment it is ready.
#[derive(Default)]
pub(in crate::process) struct Tenure {
    since: Option<Instant>,
    /// How many jobs it has done, and how many of them when its memory was last looked at, and when that was.
    pub(in crate::process) jobs: u64,
    looked_after: u64,
    looked_at: Option<Instant>,
    max_jobs: Option<u64>,
    until: Option<Instant>,
    /// Rule 3.
    is_leaving: bool,
    /// It gets no more jobs: its successor is there, or its state has been lost.
    is_discharged: bool,
}

impl Tenure {
    fn begin(&mut self, bounds: &Bounds) {
        let chance = RandomState::new().hash_one(0);
        let now = Instant::now();
        self.since = Some(now);
        self.max_jobs = bounds.jobs.map(|jobs| jobs - chance % (jobs / ONE_IN + 1));
        self.until = bounds.age.and_then(|age| {
            let by = age.as_nanos() as u64 / ONE_IN;
            now.checked_add(age - Duration::from_nanos(chance % (by + 1)))
        });
        self.looked_at = Some(now);
    }

    /// How many jobs it may have besides those that it has done.
    pub(in crate::process) fn left(&self) -> usize {
        match self.max_jobs {
            _ if self.is_discharged => 0,
            Some(most) => usize::try_from(most.saturating_sub(self.jobs)).unwrap_or(usize::MAX),
            None => usize::MAX,
        }
    }

    /// When its memory is to be looked at: some time after a job, if nobody has looked since.
    fn next_look(&self) -> Option<Instant> {
        self.looked_at.filter(|_| self.jobs > self.looked_after).map(|at| at + BETWEEN_LOOKS)
    }
}

impl WorkerHandle {
    /// Whether it is ready, and may go on for all that was decided.
    fn is_in_office(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Busy) && !self.tenure.is_discharged
    }

    /// Whether it waits for its successor, by rule 3, and works on.
    fn leaves(&self) -> bool {
        self.tenure.is_leaving && self.is_in_office()
    }

    /// Whether it has no future after the jobs that it has, so that a successor is due.
    pub(super) fn ends(&self) -> bool {
        self.tenure.is_leaving || self.in_flight() >= self.tenure.left()
    }

    /// It has done so many jobs.
    pub(in crate::process) fn note_answers(&mut self, jobs: u32, now: Instant) {
        self.tenure.jobs += u64::from(jobs);
        self.entry.note_answers(jobs);
        if let Some(first) = self.first() {
            self.entry.work(first.terms.name, first.terms.attempt(), now);
        }
    }
}

impl Manager {
    /// Whether a worker between two jobs goes on. If not, it was let go.
    pub(in crate::process) fn goes_on(&mut self, serial: u64) -> bool {
        let Some(worker) = self.workers.get_mut(&serial) else { return false };
        if worker.tenure.since.is_none() {
            worker.tenure.begin(&self.policy.bounds);
        }
        worker.entry.rest(WorkerPhase::Idle);
        let goes_on = worker.tenure.left() > 0;
        if !goes_on {
            self.recycle(serial);
        }
        goes_on
    }

    /// A worker is to have no more jobs than what it has begun.
    pub(in crate::process) fn discharge(&mut self, serial: u64) {
        if let Some(worker) = self.workers.get_mut(&serial) {
            worker.tenure.is_discharged = true;
            let back = worker.take_back(true);
            self.strand(back);
        }
    }

    fn recycle(&mut self, serial: u64) {
        self.shared.metrics.recycled.fetch_add(1, Relaxed);
        self.let_go(serial);
    }

    /// Rule 3: finds who is too old or too large, and lets go of who has a successor.
    pub(super) fn review_tenures(&mut self, now: Instant) {
        let bounds = self.policy.bounds;
        if bounds.age.is_none() && bounds.memory.is_none() || self.is_ending() {
            return;
        }
        if !self.somebody_leaves() {
            self.find_one_to_leave(now, bounds.memory);
        }
        let leaver = self.workers.iter().find(|(_, worker)| worker.leaves()).map(|(it, _)| *it);
        if let Some(serial) = leaver
            && self.successors() >= self.staffing.complement()
        {
            self.discharge(serial);
            if self.workers.get(&serial).is_some_and(|worker| worker.phase == Phase::Idle) {
                self.recycle(serial);
            }
        }
    }

    fn find_one_to_leave(&mut self, now: Instant, memory: Option<u64>) {
        for worker in self.workers.values_mut() {
            if !worker.is_in_office() {
                continue;
            }
            let tenure = &mut worker.tenure;
            tenure.is_leaving = tenure.until.is_some_and(|until| until <= now);
            if let Some(most) = memory
                && tenure.next_look().is_some_and(|look| look <= now)
            {
                tenure.looked_after = tenure.jobs;
                tenure.looked_at = Some(now);
                tenure.is_leaving |= worker.watched.resident().is_some_and(|bytes| bytes > most);
            }
            if tenure.is_leaving {
                return;
            }
        }
    }

    fn somebody_leaves(&self) -> bool {
        self.workers.values().any(WorkerHandle::leaves)
    }

    /// Workers that are ready, and stay.
    fn successors(&self) -> usize {
        let stays = |worker: &&WorkerHandle| {
            matches!(worker.phase, Phase::Idle | Phase::Busy) && !worker.ends()
        };
        self.workers.values().filter(stays).count()
    }

    /// Workers that take up a place, and will go on doing so after their next job.
    pub(in crate::process) fn staying(&self) -> usize {
        let leaves = |worker: &&WorkerHandle| worker.phase != Phase::Dying && worker.ends();
        self.live().saturating_sub(self.workers.values().filter(leaves).count())
    }

    /// How many idle workers may be given jobs: no more work at a time than the pool has places, though there may be
    /// more workers while one waits for its successor.
    pub(super) fn may_wake(&self) -> usize {
        let busy = self.workers.values().filter(|worker| worker.phase == Phase::Busy).count();
        self.staffing.limit.saturating_sub(busy)
    }

    /// How many jobs can be given to workers now.
    pub(super) fn room(&self) -> usize {
        let busy = self.workers.values().filter(|worker| worker.phase == Phase::Busy);
        let idle = self.idle.iter().rev().filter_map(|serial| self.workers.get(serial));
        busy.chain(idle.take(self.may_wake())).map(WorkerHandle::room).sum()
    }

    /// When [`review_tenures`](Self::review_tenures) will have something to do that no event announces.
    pub(super) fn tenure_deadline(&self) -> Option<Instant> {
        let bounds = &self.policy.bounds;
        let unbounded = bounds.age.is_none() && bounds.memory.is_none();
        if unbounded || self.is_ending() || self.somebody_leaves() {
            return None;
        }
        let ready = self.workers.values().filter(|worker| worker.is_in_office());
        let times = |worker: &WorkerHandle| {
            let look = worker.tenure.next_look().filter(|_| bounds.memory.is_some());
            [worker.tenure.until, look]
        };
        ready.flat_map(times).flatten().min()
    }
}

/// How much memory of a process is in use, in bytes, if it is there.
pub(in crate::process) fn resident_memory(pid: u32) -> Option<u64> {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    // SAFETY: a plain system call.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * u64::try_from(size).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_lowered_a_little_and_small_ones_not_at_all() {
        let year = Duration::from_secs(365 * 86_400);
        for (jobs, least) in [(1, 1), (7, 7), (80, 70)] {
            let bounds = Bounds { jobs: Some(jobs), age: Some(year), memory: None };
            let mut seen = std::collections::HashSet::new();
            for _ in 0..200 {
                let mut tenure = Tenure::default();
                tenure.begin(&bounds);
                let (most, since) = (tenure.max_jobs.unwrap(), tenure.since.unwrap());
                assert!(most <= jobs && most >= least);
                let age = tenure.until.unwrap() - since;
                assert!(age <= year && age >= year - year / 8);
                seen.insert(most);
            }
            assert_eq!(seen.len() > 1, jobs >= 8);
        }
        let mut forever = Tenure::default();
        forever.begin(&Bounds::default());
        assert!(forever.left() == usize::MAX && forever.until.is_none());
    }

    #[test]
    fn memory_of_a_process_is_told_in_bytes() {
        let bytes = resident_memory(std::process::id()).unwrap();
        assert!(bytes > 100_000 && bytes < 1 << 40, "{bytes}");
        assert_eq!(resident_memory(u32::MAX), None);
    }
}
