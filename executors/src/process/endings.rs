//! How workers end: by their own fault, by ours, and all of them at once.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::death;
use super::manager::Manager;
use super::orphans::WAITED_FOR;
use super::policy::WorkerPhase;
use super::report::CrashReport;
use super::staffing::pause;
use super::tail::last_line;
use super::worker_handle::{Phase, WorkerHandle};
use crate::error::JobError;

/// A worker that has ended and that somebody traces.
pub(super) struct Traced {
    serial: u64,
    asked: u32,
    next: Instant,
}

/// How much output is read of a worker that has died.
const LAST_OUTPUT: usize = 1 << 20;

impl Manager {
    /// Kills a worker for a reason of ours.
    pub(super) fn let_go(&mut self, serial: u64) {
        if let Some(worker) = self.workers.get_mut(&serial) {
            worker.is_ours = true;
        }
        self.put_down(serial);
    }

    /// Kills a worker and gives it no more jobs. It is reaped when it is dead; if it has not been
    /// heard of yet it is killed as soon as it is.
    pub(super) fn put_down(&mut self, serial: u64) {
        self.retire(serial);
        let Some(worker) = self.workers.get(&serial) else { return };
        worker.kill();
        // Of the others the answers count that they have sent.
        if worker.is_ours && worker.process.is_some() {
            self.silence(serial);
        }
    }

    pub(super) fn let_go_of_all(&mut self, which: impl Fn(&WorkerHandle) -> bool) {
        let serials: Vec<u64> =
            self.workers.iter().filter(|(_, worker)| which(worker)).map(|(id, _)| *id).collect();
        for serial in serials {
            self.let_go(serial);
        }
    }

    /// Gives a worker no more jobs, because it dies.
    pub(super) fn retire(&mut self, serial: u64) {
        self.idle.retain(|other| *other != serial);
        let Some(worker) = self.workers.get_mut(&serial) else { return };
        if worker.process.is_some() {
            worker.phase = Phase::Dying;
            worker.entry.rest(WorkerPhase::Dying);
        }
    }

    /// Kills a worker that sends nonsense.
    pub(super) fn convict(&mut self, serial: u64, why: &str) {
        let Some(worker) = self.workers.get_mut(&serial) else { return };
        let pid = worker.pid();
        tracing::warn!(pid, why, "a worker process sent nonsense and is killed");
        self.shared.metrics.convicted.fetch_add(1, Relaxed);
        let back = worker.take_back(false);
        let (first, rest) = worker.estate();
        self.strand(rest);
        self.strand(back);
        if let Some(job) = first {
            let error = format!("its worker process {pid} sent {why}, and was killed");
            self.finish(serial, job, JobError::codec("result", error));
        }
        self.let_go(serial);
    }

    /// A worker has ended: reaps it, and fails the job it had begun.
    pub(super) fn bury(&mut self, serial: u64) {
        // What it said before it died may still be on its way.
        self.hear_out(serial);
        self.idle.retain(|other| *other != serial);
        let Some(process) = self.workers.get(&serial).and_then(|it| it.process.as_ref()) else {
            self.workers.remove(&serial);
            return;
        };
        let Some(remains) = death::reap(process.pid, &process.pidfd) else {
            return self.keep_watch(serial);
        };
        let Some(mut worker) = self.workers.remove(&serial) else { return };
        let Some(process) = worker.process.take() else { return };
        let pid = process.pid as u32;
        let _ = worker.read_output(pid, LAST_OUTPUT);
        worker.output.tell(pid);
        self.orphans.take_over(process.pid, Instant::now());
        // Refused when it was watched.
        let _ = self.epoll.delete(&process.pidfd);
        let _ = self.epoll.delete(&worker.output.fd);
        if !worker.is_silent {
            let _ = self.epoll.delete(&worker.socket);
            let _ = self.epoll.delete(&worker.bell);
        }
        self.publish();
        let (first, rest) = worker.estate();
        self.strand(rest);
        self.judge(&mut worker, &remains);
        let mut report = remains.report(pid, &worker.evidence, worker.last_words_of_job());
        report.attempt = first.as_ref().map_or(1, |job| job.terms.attempt());
        if worker.is_ours {
            tracing::debug!(pid, "a worker process was let go");
        } else {
            tracing::warn!(
                pid,
                cause = ?report.cause,
                signal = report.signal,
                exit_code = report.exit_code,
                had_a_job = first.is_some(),
                last_line = last_line(&report.stderr_tail),
                "a worker process died"
            );
            self.note_death(worker.was_ready, &report);
        }
        if let Some(job) = first {
            let name = job.terms.name;
            self.note_ran(name, worker.head_since.elapsed());
            if !worker.is_ours {
                self.note_crashed(name);
            }
            let panic = worker.last_words.filter(|_| remains.may_be_an_abort());
            let error = match panic {
                Some((panic, location)) => JobError::panicked_elsewhere(panic, location),
                None => JobError::crashed(report),
            };
            self.finish(serial, job, error);
        }
    }

    /// A worker has ended and can't be reaped yet: somebody traces it. It is asked for again and again, but nobody
    /// listens to it any more: it would never be silent.
    fn keep_watch(&mut self, serial: u64) {
        self.retire(serial);
        let Some(worker) = self.workers.get(&serial) else { return };
        if let Some(process) = &worker.process {
            // Refused the second time.
            let _ = self.epoll.delete(&process.pidfd);
        }
        let traced = self.traced.iter().position(|traced| traced.serial == serial);
        let mut traced = traced.map_or(Traced { serial, asked: 0, next: Instant::now() }, |at| {
            self.traced.swap_remove(at)
        });
        traced.asked = traced.asked.saturating_add(1);
        traced.next = Instant::now() + pause(traced.asked);
        self.traced.push(traced);
    }

    /// Reaps those that were traced and are no more.
    pub(super) fn bury_traced(&mut self, now: Instant) {
        let due = |traced: &&Traced| traced.next <= now;
        let due: Vec<u64> = self.traced.iter().filter(due).map(|traced| traced.serial).collect();
        for serial in due {
            self.bury(serial);
            if !self.workers.contains_key(&serial) {
                self.traced.retain(|traced| traced.serial != serial);
            }
        }
    }

    /// When to do so.
    pub(super) fn next_burial(&self) -> Option<Instant> {
        self.traced.iter().map(|traced| traced.next).min()
    }

    /// Whether all workers that are there have ended, and have been traced for so long that nobody waits for it.
    pub(super) fn only_traced_are_left(&self) -> bool {
        let given_up = |serial: &u64| {
            let is_this = |traced: &&Traced| traced.serial == *serial;
            self.traced.iter().find(is_this).is_some_and(|traced| traced.asked >= WAITED_FOR)
        };
        self.workers.keys().all(given_up)
    }

    /// A worker died that we did not kill.
    fn note_death(&mut self, was_ready: bool, report: &CrashReport) {
        if was_ready {
            self.shared.metrics.record_crash(report.cause);
            return self.staffing.note_crash();
        }
        let said = report.stderr_tail.trim_end();
        let code = match (report.signal, report.exit_code) {
            (Some(signal), _) => format!("signal {signal}"),
            (None, code) => format!("exit code {}", code.unwrap_or_default()),
        };
        self.start_failed(&format!("a worker process died before it was ready ({code}): {said}"));
    }

    /// Fails everything that waits, now and in future.
    pub(super) fn break_down(&mut self, why: &str) {
        self.is_broken = true;
        self.fail_stranded(why);
        let waiting = self.shared.break_down(why, &mut self.leftovers);
        self.refuse(waiting, why);
        self.let_go_of_all(|worker| worker.phase != Phase::Busy);
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // Only after a panic or a failed wait is anybody left.
        for worker in self.workers.values() {
            worker.kill();
            if let Some(process) = &worker.process {
                // The kill can't be caught, so this waits only for the memory to be given back.
                let mut poll =
                    [nix::poll::PollFd::new(process.pidfd.as_fd(), nix::poll::PollFlags::POLLIN)];
                let _ = nix::poll::poll(&mut poll, nix::poll::PollTimeout::NONE);
                // One that is traced stays a zombie.
                let _ = death::reap(process.pid, &process.pidfd);
            }
        }
    }
}
