//! Memory that jobs have declared: they run at the same time only as far as the sum fits into the pool's budget.
//!
//! 1. A job has its share from the moment at which it is let through until its answer is there, or its worker is gone:
//!    what a killed worker had is not free before.
//! 2. A job that does not fit waits, and every one that comes later and has declared some waits behind it: so it has
//!    its turn after those that ran before it, however small the others are. Jobs that have declared none pass.
//! 3. No more than so many wait here; the rest stays in the queue, out of which only such are taken then that have
//!    declared none.

use crate::process::manager::Manager;
use crate::process::remote_job::RemoteJob;
use crate::process::worker_handle::WorkerHandle;

/// Rule 3: as many as there are workers, and so many more.
const MORE: usize = 16;

impl Manager {
    /// Rule 2.
    pub(super) fn hold(&mut self, mut job: RemoteJob) -> Option<RemoteJob> {
        let Some(budget) = self.policy.memory_budget else { return Some(job) };
        let wants = job.terms.memory();
        if wants == 0 || job.terms.has_share {
            return Some(job);
        }
        if self.parked.held.is_empty() && self.shares().saturating_add(wants) <= budget {
            job.terms.has_share = true;
            return Some(job);
        }
        self.parked.held.push_back(job);
        self.parked.left_room = true;
        None
    }

    pub(super) fn bring_back_held(&mut self) {
        while self.first_held_fits()
            && let Some(mut job) = self.parked.held.pop_front()
        {
            job.terms.has_share = true;
            self.stranded.push_back(job);
        }
    }

    /// Whether there is memory for the job whose turn it is.
    pub(super) fn first_held_fits(&self) -> bool {
        let fits = |budget| {
            let first = self.parked.held.front()?;
            Some(self.shares().saturating_add(first.terms.memory()) <= budget)
        };
        self.policy.memory_budget.and_then(fits).unwrap_or(false)
    }

    /// Rule 1: what is not to be given away.
    fn shares(&self) -> u64 {
        let given = |worker: &WorkerHandle| {
            worker.jobs().map(|job| job.terms.share()).fold(worker.unpaid, u64::saturating_add)
        };
        let given = self.workers.values().map(given);
        let kept = self.parked.kept.iter().map(|kept| &kept.job);
        let coming = self.stranded.iter().chain(kept).map(|job| job.terms.share());
        given.chain(coming).fold(0, u64::saturating_add)
    }

    /// Rule 3.
    pub(super) fn is_crowded(&self) -> bool {
        self.parked.held.len() >= self.staffing.limit.saturating_add(MORE)
    }
}
