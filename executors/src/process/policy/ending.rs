//! How a job ends that a worker has: by being taken back, or with the worker, which is killed at once or asked first.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::limits::moves_until;
use super::snapshot::WorkerPhase;
use crate::error::JobError;
use crate::process::CrashCause;
use crate::process::death;
use crate::process::manager::Manager;
use crate::process::remote_job::{RemoteJob, Reply};
use crate::process::worker_handle::{Phase, WorkerHandle};

/// How long a worker may take to end whose socket is closed. A moment, unless it has not been ended at all.
const ENDS: Duration = Duration::from_secs(1);

impl Manager {
    /// Ends a job that a worker has: takes it back, or ends the worker if it has begun with it. The outcome does not
    /// wait for that: a large process takes a while to go, and one that is asked first even longer.
    pub(in crate::process) fn end_job(
        &mut self,
        serial: u64,
        id: u64,
        outcome: JobError,
        now: Instant,
    ) {
        let Some(worker) = self.workers.get_mut(&serial) else { return };
        if let Some(job) = worker.take_back_one(id) {
            return self.conclude(serial, job, Reply::Error(outcome));
        }
        // Nothing else begins there from now on. So if the job is not over by then, it is the one that runs.
        let back = worker.take_back(true);
        self.strand(back);
        self.take_answers_of(serial, now, false);
        let Some(worker) = self.workers.get_mut(&serial) else { return };
        if let Some(job) = worker.give_up(id) {
            self.finish(serial, job, outcome);
            if self.policy.cancel_grace.is_zero() || !self.ask_to_end(serial, now) {
                self.let_go(serial);
            }
        }
    }

    /// A job ends with its worker, or because of what that has done; its outcome is `error`. What memory it had is
    /// free when the worker is gone.
    pub(in crate::process) fn finish(&mut self, serial: u64, job: RemoteJob, error: JobError) {
        if let Some(worker) = self.workers.get_mut(&serial) {
            worker.unpaid = worker.unpaid.saturating_add(job.terms.share());
            let ran = worker.head_since.elapsed();
            self.note_ran(job.terms.name, ran);
        }
        self.conclude(serial, job, Reply::Error(error));
    }

    /// Asks a worker to end, which has a while to do so. It counts as dying from now on: its place is free.
    fn ask_to_end(&mut self, serial: u64, now: Instant) -> bool {
        let Some(worker) = self.workers.get_mut(&serial) else { return false };
        let Some(process) = worker.process.as_ref().filter(|_| worker.phase == Phase::Busy) else {
            return false;
        };
        if death::signal(process.pidfd.as_fd(), libc::SIGTERM).is_err() {
            return false;
        }
        worker.is_ours = true;
        worker.phase = Phase::Dying;
        worker.entry.rest(WorkerPhase::Dying);
        worker.kill_at = now.checked_add(self.policy.cancel_grace);
        self.silence(serial);
        true
    }

    /// Kills those from which all jobs were taken back and that have not moved since: nothing else would end them, and
    /// they keep a place.
    pub(super) fn kill_the_motionless(&mut self, now: Instant) {
        let is_motionless =
            |worker: &WorkerHandle| moves_until(worker).is_some_and(|until| until <= now);
        self.let_go_of_all(is_motionless);
    }

    /// A worker's socket was closed from its side. As a rule it is ending, and somebody has killed it perhaps, of which
    /// its status is to tell; so it is not killed at once.
    pub(in crate::process) fn let_it_end(&mut self, serial: u64, now: Instant) {
        self.retire(serial);
        if let Some(worker) = self.workers.get_mut(&serial) {
            worker.kill_at = Some(now + ENDS);
        }
    }

    /// Kills those that have not heeded that, or that have not ended.
    pub(super) fn kill_the_reluctant(&mut self, now: Instant) {
        for worker in self.workers.values_mut() {
            if worker.kill_at.take_if(|at| *at <= now).is_some() {
                if !worker.is_ours {
                    tracing::warn!(
                        pid = worker.pid(),
                        "a worker has closed its socket and is killed"
                    );
                    worker.evidence.verdict = Some(CrashCause::LostContact);
                }
                worker.kill();
            }
        }
    }
}
