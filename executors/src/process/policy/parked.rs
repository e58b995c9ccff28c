//! Jobs that have been taken out of the queue and wait for something else than a worker.

use std::time::Instant;

use crate::process::manager::Manager;
use crate::process::policy::terms::Verdict;
use crate::process::remote_job::{RemoteJob, Reply};

/// Jobs between two attempts. They are few: each has cost a worker, or a panic.
#[derive(Default)]
pub(in crate::process) struct Parked {
    jobs: Vec<(Instant, RemoteJob)>,
}

impl Parked {
    pub(in crate::process) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// When the next one is to be tried again.
    pub(in crate::process) fn next(&self) -> Option<Instant> {
        self.jobs.iter().map(|(at, _)| *at).min()
    }

    /// Takes out the job with this number.
    pub(in crate::process) fn take(&mut self, id: u64) -> Option<RemoteJob> {
        let place = self.jobs.iter().position(|(_, job)| job.id == id)?;
        Some(self.jobs.swap_remove(place).1)
    }

    /// Takes out all that are due, the one first that was due first.
    fn take_due(&mut self, now: Instant) -> Vec<RemoteJob> {
        let mut due: Vec<_> = self.jobs.extract_if(.., |(at, _)| *at <= now).collect();
        due.sort_by_key(|(at, _)| *at);
        due.into_iter().map(|(_, job)| job).collect()
    }

    /// Takes out all.
    pub(in crate::process) fn take_all(&mut self) -> Vec<RemoteJob> {
        std::mem::take(&mut self.jobs).into_iter().map(|(_, job)| job).collect()
    }
}

impl Manager {
    /// A job has ended in this way: that is its outcome, or it is tried again.
    pub(super) fn settle_or_repeat(&mut self, mut job: RemoteJob, reply: Reply) {
        let reply = match reply {
            Reply::Error(error) if !self.is_ending() => match job.terms.judge(error) {
                Verdict::Again(at) => {
                    tracing::debug!(
                        job = job.terms.name,
                        attempt = job.terms.attempt(),
                        "a job is tried again"
                    );
                    self.parked.jobs.push((at, job));
                    return;
                }
                Verdict::Failed(error) => Reply::Error(error),
            },
            other => other,
        };
        self.finished.push((job, reply));
    }

    /// Jobs whose pause is over go where jobs wait for a worker, before the queue.
    pub(super) fn bring_back(&mut self, now: Instant) {
        if self.parked.next().is_some_and(|next| next <= now) {
            self.stranded.extend(self.parked.take_due(now));
        }
    }
}
