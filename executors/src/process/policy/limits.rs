//! A job's way through the manager: let in, given to a worker, ended, and by when it has to be.

use std::time::{Duration, Instant};

use crate::error::JobError;
use crate::process::manager::Manager;
use crate::process::remote_job::{RemoteJob, Reply};
use crate::process::worker_handle::{Phase, WorkerHandle};

impl Manager {
    /// A job that comes out of the queue, or back from elsewhere, if it is to be given to a worker now.
    pub(in crate::process) fn admit(
        &mut self,
        mut job: RemoteJob,
        now: Instant,
    ) -> Option<RemoteJob> {
        match job.terms.leave_queue() {
            Ok(()) => self.hold(job).and_then(|job| self.keep(job, now)),
            Err(too_late) => {
                self.parked.left_room = true;
                self.finished.push((job, Reply::Error(too_late)));
                None
            }
        }
    }

    /// A worker has been given a job.
    pub(in crate::process) fn note_sent(&mut self, serial: u64, now: Instant) {
        let Some(worker) = self.workers.get_mut(&serial) else { return };
        let is_first = worker.in_flight() == 1;
        let Some(job) = worker.last_mut() else { return };
        let (name, attempt) = (job.terms.name, job.terms.attempt());
        let queued = job.terms.queued.take();
        let key = job.terms.affinity();
        if is_first {
            worker.entry.work(name, attempt, now);
            self.note_earlier_kills(serial, now);
        }
        self.settle_at(serial, key);
        if let Some(queued) = queued {
            self.note_waited(name, now.saturating_duration_since(queued));
        }
    }

    /// A job that a worker had has ended in this way: that is its outcome, or it is tried again.
    pub(in crate::process) fn conclude(&mut self, serial: u64, job: RemoteJob, reply: Reply) {
        let panicked = matches!(&reply, Reply::Error(error) if error.is_panic());
        if panicked && job.terms.uses_state {
            self.discharge(serial);
        }
        self.shared.counters.end();
        self.settle_or_repeat(job, reply);
    }

    /// Ends jobs, and workers, whose time is up.
    pub(in crate::process) fn enforce_deadlines(&mut self, now: Instant) {
        self.watch_memory(now);
        self.end_late_jobs(now);
        self.kill_the_reluctant(now);
        self.kill_the_motionless(now);
        self.review_tenures(now);
    }

    fn end_late_jobs(&mut self, now: Instant) {
        let everybodys = self.policy.job_timeout;
        let late = |(serial, worker): (&u64, &WorkerHandle)| {
            let (id, end) = end_of_first(worker, everybodys)?;
            let limit = end.saturating_duration_since(worker.head_since);
            (end <= now).then_some((*serial, id, limit))
        };
        let late: Vec<(u64, u64, Duration)> = self.workers.iter().filter_map(late).collect();
        for (serial, id, limit) in late {
            self.end_job(serial, id, JobError::timed_out(limit), now);
        }
    }

    /// When [`enforce_deadlines`](Self::enforce_deadlines) or [`unpark`](Self::unpark) will have something to do.
    pub(in crate::process) fn policy_deadline(&self) -> Option<Instant> {
        let everybodys = self.policy.job_timeout;
        let end = |worker: &WorkerHandle| end_of_first(worker, everybodys).map(|(_, end)| end);
        let ends = self.workers.values().filter_map(end);
        let kills = self.workers.values().filter_map(|worker| worker.kill_at);
        let moves = self.workers.values().filter_map(moves_until);
        let stranded = self.stranded.iter().filter_map(|job| job.terms.waits_until());
        let others = [self.parked.next(), self.tenure_deadline()];
        ends.chain(kills).chain(moves).chain(stranded).chain(others.into_iter().flatten()).min()
    }
}

/// How long a worker may take to pass over what was taken back from it. A moment, unless it is stopped, or is out to
/// keep its place.
const PASSES_OVER: Duration = Duration::from_secs(1);

/// Until when a worker has to move that has no job, but has not said so.
pub(super) fn moves_until(worker: &WorkerHandle) -> Option<Instant> {
    let waits = worker.phase == Phase::Busy && !worker.has_jobs();
    waits.then(|| worker.head_since + PASSES_OVER)
}

/// The first job of a worker, and by when it has to be done.
fn end_of_first(worker: &WorkerHandle, everybodys: Option<Duration>) -> Option<(u64, Instant)> {
    let first = worker.first()?;
    Some((first.id, first.terms.end(worker.head_since, everybodys)?))
}
