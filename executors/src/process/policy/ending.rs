//! How a worker ends that has a job which is to end: at once, or asked first.

use std::os::fd::AsFd;
use std::time::Instant;

use crate::error::JobError;
use crate::process::death;
use crate::process::manager::Manager;
use crate::process::policy::WorkerPhase;
use crate::process::remote_job::Reply;
use crate::process::worker_handle::Phase;

impl Manager {
    /// Ends a running job by ending its worker. The outcome does not wait for that: a large process takes a while to
    /// go, and one that is asked first even longer.
    pub(in crate::process) fn end_job(&mut self, serial: u64, outcome: JobError) {
        self.finish(serial, Reply::Error(outcome));
        if self.policy.cancel_grace.is_zero() || !self.ask_to_end(serial) {
            self.let_go(serial);
        }
    }

    /// Asks a worker to end, which has a while to do so. It counts as dying from now on: its place is free.
    fn ask_to_end(&mut self, serial: u64) -> bool {
        let Some(worker) = self.workers.get_mut(&serial) else { return false };
        let Some(process) = worker.process.as_ref().filter(|_| worker.phase == Phase::Busy) else {
            return false;
        };
        if death::signal(process.pidfd.as_fd(), libc::SIGTERM).is_err() {
            return false;
        }
        worker.is_ours = true;
        worker.phase = Phase::Dying;
        worker.seat.rest(WorkerPhase::Dying);
        worker.kill_at = Instant::now().checked_add(self.policy.cancel_grace);
        self.silence(serial);
        true
    }

    /// Kills those that have not heeded that.
    pub(super) fn kill_the_reluctant(&mut self, now: Instant) {
        for worker in self.workers.values_mut() {
            if worker.kill_at.take_if(|at| *at <= now).is_some() {
                worker.kill();
            }
        }
    }
}
