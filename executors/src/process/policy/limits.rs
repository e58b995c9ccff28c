//! A job that runs: since when, and by when it has to be done.

use std::time::{Duration, Instant};

use crate::error::JobError;
use crate::process::manager::Manager;
use crate::process::remote_job::{RemoteJob, Reply};
use crate::process::worker_handle::{Phase, WorkerHandle};

pub(in crate::process) struct Running {
    pub(in crate::process) job: RemoteJob,
    since: Instant,
    /// By when it has to be done, and how long that is.
    end: Option<(Instant, Duration)>,
}

impl Manager {
    /// A job that comes out of the queue, if it is still to be run.
    pub(in crate::process) fn admit(&mut self, mut job: RemoteJob) -> Option<RemoteJob> {
        match job.terms.leave_queue() {
            Ok(()) => self.hold(job).and_then(|job| self.keep(job)),
            Err(too_late) => {
                self.parked.left_room = true;
                self.finished.push((job, Reply::Error(too_late)));
                None
            }
        }
    }

    /// A worker has been given a job.
    pub(in crate::process) fn begin(&mut self, serial: u64, job: RemoteJob) {
        let now = Instant::now();
        self.shared.metrics.queue_time.record(now.saturating_duration_since(job.terms.queued));
        self.settle_at(serial, job.terms.affinity());
        let Some(worker) = self.workers.get_mut(&serial) else { return };
        worker.output.forget();
        worker.phase = Phase::Busy;
        worker.share = if job.terms.has_share { job.terms.memory() } else { 0 };
        worker.tenure.note_job();
        worker.seat.work(job.terms.name, job.terms.attempt(), now);
        let end = job.terms.limit(self.policy.job_timeout);
        worker.job = Some(Running { job: job.sent(), since: now, end });
        self.shared.counters.begin();
    }

    /// A job has ended in this way: that is its outcome, or it is tried again.
    pub(in crate::process) fn conclude(&mut self, serial: u64, running: Running, reply: Reply) {
        let panicked = matches!(&reply, Reply::Error(error) if error.is_panic());
        if panicked && running.job.terms.uses_state {
            self.discharge(serial);
        }
        self.shared.metrics.run_time.record(running.since.elapsed());
        self.shared.counters.end();
        self.settle_or_repeat(running.job, reply);
    }

    /// Ends jobs, and workers, whose time is up.
    pub(in crate::process) fn enforce_deadlines(&mut self) {
        let now = Instant::now();
        self.end_late_jobs(now);
        self.kill_the_reluctant(now);
        self.review_tenures(now);
    }

    fn end_late_jobs(&mut self, now: Instant) {
        let late = |worker: &WorkerHandle| {
            let (end, limit) = worker.job.as_ref()?.end?;
            (end <= now).then_some(limit)
        };
        let late = |(serial, worker): (&u64, &WorkerHandle)| Some((*serial, late(worker)?));
        let late: Vec<(u64, Duration)> = self.workers.iter().filter_map(late).collect();
        for (serial, limit) in late {
            self.end_job(serial, JobError::timed_out(limit));
        }
    }

    /// When [`enforce_deadlines`](Self::enforce_deadlines) will have something to do.
    pub(in crate::process) fn policy_deadline(&self) -> Option<Instant> {
        let jobs = self.workers.values().filter_map(|worker| Some(worker.job.as_ref()?.end?.0));
        let kills = self.workers.values().filter_map(|worker| worker.kill_at);
        let others = [self.parked.next(), self.tenure_deadline()];
        jobs.chain(kills).chain(others.into_iter().flatten()).min()
    }
}
