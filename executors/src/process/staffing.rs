//! How many workers there are: starting them, replacing them, and not doing so in a frenzy.
//!
//! Workers are started when jobs wait for them, up to the limit, and a worker that died is replaced.
//! Four things are held back by growing pauses:
//! 1. replacing workers that crash, while no job waits for one (when one does, at once);
//! 2. starting workers that die before they are ready: one at a time;
//! 3. starting workers that the system refuses: the same;
//! 4. starting the fork server again.
//!
//! After [`PATIENCE`] failures of 2, 3 or 4 in a row the jobs that wait fail, with the last failure as
//! their reason, unless there is a worker, which will come to them. A job that is submitted later is one more try; a
//! pool that has spares goes on trying for these. The first success ends that.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::death;
use super::fork_server::{ForkServer, News};
use super::hearing::Source;
use super::leash::Leash;
use super::manager::Manager;
use super::tail::{Output, OutputPipe, pipe};
use super::transport::board::Board;
use super::transport::socket;
use super::worker_handle::{Phase, Process, WorkerHandle};

/// How many failures in a row are borne before jobs fail for them.
const PATIENCE: u32 = 5;

const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long to wait after so many failures: 10 ms, 20 ms, … 1 s.
pub(super) fn pause(failures: u32) -> Duration {
    let doubled = 1u32 << failures.saturating_sub(1).min(10);
    (Duration::from_millis(10) * doubled).min(LONGEST_PAUSE)
}

/// Failures in a row, and when to try again.
#[derive(Default)]
struct BackOff {
    failures: u32,
    until: Option<Instant>,
}

impl BackOff {
    fn fail(&mut self) {
        self.failures += 1;
        self.until = Some(Instant::now() + pause(self.failures));
    }

    fn reset(&mut self) {
        *self = Self::default();
    }

    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    fn is_hopeless(&self) -> bool {
        self.failures >= PATIENCE
    }
}

pub(super) struct Staffing {
    /// The most workers.
    pub(super) limit: usize,
    /// How many there have been, or are to be from the start.
    reached: usize,
    next_serial: u64,
    crashes: BackOff,
    starts: BackOff,
    server: BackOff,
    /// Which fork server the present one is.
    server_number: u64,
    /// Until when it has to answer.
    greeting_until: Option<Instant>,
    /// Since when it is of use.
    serving_since: Instant,
}

impl Staffing {
    pub(super) fn new(limit: usize, eager: usize) -> Self {
        Staffing {
            limit,
            reached: eager.min(limit),
            next_serial: 1,
            crashes: BackOff::default(),
            starts: BackOff::default(),
            server: BackOff::default(),
            server_number: 0,
            greeting_until: None,
            serving_since: Instant::now(),
        }
    }

    /// How many there are to be.
    pub(super) fn complement(&self) -> usize {
        self.reached
    }

    /// A job has been answered.
    pub(super) fn note_success(&mut self) {
        self.crashes.reset();
    }

    /// A worker died that had been ready.
    pub(super) fn note_crash(&mut self) {
        self.crashes.fail();
    }
}

impl Manager {
    /// Starts what is missing.
    pub(super) fn staff(&mut self, now: Instant) {
        self.enforce_answers(now);
        if self.is_ending() {
            return;
        }
        if self.server.is_none() && self.wants_server() && self.staffing.server.is_over(now) {
            self.restart_server();
        }
        if !self.server.as_ref().is_some_and(ForkServer::is_ready) {
            return;
        }
        for _ in 0..self.missing(now) {
            if !self.start_worker() {
                return;
            }
        }
    }

    /// When [`staff`](Self::staff) will have something to do that no event announces.
    pub(super) fn staffing_deadline(&self, now: Instant) -> impl Iterator<Item = Instant> {
        let staffing = &self.staffing;
        let ending = self.is_ending();
        let server = staffing.server.until.filter(|_| self.server.is_none() && self.wants_server());
        let far = now + LONGEST_PAUSE * 2;
        let starts = staffing.starts.until.filter(|until| *until > now && self.missing(far) > 0);
        let crashes = staffing.crashes.until.filter(|until| *until > now && self.missing(far) > 0);
        let asked =
            |worker: &&WorkerHandle| worker.phase == Phase::Asked && !self.is_orphan(worker);
        let asked = self.workers.values().filter(asked);
        let answers = asked.filter_map(|worker| self.recipe.answers_until(worker.asked_at)).min();
        let all = [server, starts, crashes].map(|until| until.filter(|_| !ending));
        all.into_iter().chain([answers, staffing.greeting_until]).flatten()
    }

    /// How many workers to start at `now`.
    pub(super) fn missing(&self, now: Instant) -> usize {
        let staying = self.staying();
        let coming = self.workers.values().filter(|worker| worker.is_coming()).count();
        let waiting = self.waiting + self.stranded.len();
        let staffing = &self.staffing;
        let room = staffing.limit.saturating_sub(staying);
        // Those that are dying slowly must not pile up without bound.
        let most = staffing.limit.saturating_mul(2).saturating_add(8);
        let room = room.min(most.saturating_sub(self.workers.len()));
        let wanted = waiting.saturating_sub(self.idle() + coming);
        let replacing = !self.shut_down && staffing.crashes.is_over(now);
        let lost = match staffing.starts.failures {
            0 if replacing => staffing.reached,
            // Somebody has to find out whether it has become better.
            1.. if !self.shut_down => self.policy.min_workers,
            _ => 0,
        };
        let lost = lost.saturating_sub(staying);
        let missing = wanted.max(lost).min(room);
        match staffing.starts.failures {
            0 => missing,
            _ if staffing.starts.is_over(now) => missing.min(1usize.saturating_sub(coming)),
            _ => 0,
        }
    }

    /// Asks for a worker; says whether to go on asking.
    fn start_worker(&mut self) -> bool {
        match self.ask_for_worker() {
            Ok(()) => true,
            // The fork server has more than enough to do, or has gone; we will hear of that.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => false,
            Err(error) => {
                self.start_failed(&format!("no worker process could be started: {error}"));
                false
            }
        }
    }

    fn ask_for_worker(&mut self) -> io::Result<()> {
        let Some(server) = &self.server else { return Ok(()) };
        let (ours, theirs) = socket::pair()?;
        socket::never_block(&ours)?;
        let (output, output_end) = pipe()?;
        let (lifeline_end, lifeline) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        let lifeline = Leash::new(lifeline);
        let serial = self.staffing.next_serial;
        self.staffing.next_serial += 1;
        let (board, file) = Board::new()?;
        let bell =
            OwnedFd::from(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        self.listen(&ours, Source::Socket, serial)?;
        self.listen(&output, Source::Output, serial)?;
        self.listen_for_edges(&bell, Source::Bell, serial)?;
        let fds = [&theirs, &lifeline_end, &output_end].map(AsFd::as_fd);
        let [socket, lifeline_end, output_end] = fds;
        let seat = self.free_seat();
        server.ask(serial, seat, [socket, lifeline_end, output_end, file.as_fd(), bell.as_fd()])?;
        let number = self.staffing.server_number;
        let output = OutputPipe::new(output);
        let mut worker = WorkerHandle::new(number, ours, lifeline, output, board, bell);
        worker.seat = seat;
        worker.most_sealed = self.recipe.most_sealed();
        worker.evidence.is_confined = self.recipe.confines();
        self.shared.metrics.table.add(&worker.entry);
        self.workers.insert(serial, worker);
        Ok(())
    }

    /// A worker could not be started, or died before it was ready.
    pub(super) fn start_failed(&mut self, why: &str) {
        let starts = &mut self.staffing.starts;
        starts.fail();
        let (failures, is_open) = (starts.failures, starts.is_hopeless());
        self.shared.metrics.record_starts(failures, is_open, Some(why));
        match failures {
            PATIENCE => tracing::error!(why, failures, "no worker process can be started"),
            ..PATIENCE => tracing::warn!(why, failures, "a worker process did not start"),
            _ => tracing::debug!(why, failures, "a worker process did not start"),
        }
        if is_open {
            self.give_up_jobs(why);
        }
    }

    /// A worker is ready.
    pub(super) fn note_ready(&mut self) {
        let failures = std::mem::take(&mut self.staffing.starts).failures;
        if failures > 0 {
            self.shared.metrics.record_starts(0, false, None);
            tracing::info!(failures, "worker processes can be started again");
        }
    }

    /// Fails what waits if nobody is there who could do it. (While there is somebody more are tried to be started; if he
    /// goes, that fails once more.)
    fn give_up_jobs(&mut self, why: &str) {
        let works = |worker: &WorkerHandle| matches!(worker.phase, Phase::Idle | Phase::Busy);
        if self.workers.values().any(works) {
            return;
        }
        self.fail_stranded(why);
        let waiting = self.shared.drain(&mut self.leftovers);
        self.refuse(waiting, why);
        self.waiting = 0;
    }

    /// Listens to a fork server that was just started or has just answered.
    pub(super) fn adopt_server(&mut self, server: ForkServer) -> nix::Result<()> {
        self.listen(&server.control, Source::Control, 0)?;
        self.listen(&server.output.fd, Source::ServerOutput, 0)?;
        self.server = Some(server);
        self.staffing.server_number += 1;
        Ok(())
    }

    /// Whether a fork server that is missing is to be started: not for ever without a job that needs
    /// it, or a worker that is to be there without.
    fn wants_server(&self) -> bool {
        let waiting = self.waiting + self.stranded.len() > 0;
        let is_worth_trying = self.policy.min_workers > 0 || !self.staffing.server.is_hopeless();
        waiting || (!self.shut_down && is_worth_trying)
    }

    fn restart_server(&mut self) {
        let started = self.recipe.start();
        let started =
            started.and_then(|server| Ok(self.adopt_server(server).map_err(io::Error::from)?));
        match started {
            Ok(()) => {
                tracing::warn!("the fork server of a process pool is started again");
                self.staffing.greeting_until = self.recipe.answers_until(Instant::now());
            }
            Err(error) => self.server_failed(&error.to_string()),
        }
    }

    pub(super) fn read_server_output(&mut self) {
        if let Some(server) = &mut self.server
            && server.read_output() == Output::Closed
        {
            let _ = self.epoll.delete(&server.output.fd);
        }
    }

    /// Something came from the fork server.
    pub(super) fn hear_server(&mut self) {
        let Some(server) = &mut self.server else { return };
        if !server.is_ready() {
            match server.advance(self.recipe.build()) {
                Ok(()) if server.is_ready() => {
                    self.staffing.greeting_until = None;
                    self.staffing.serving_since = Instant::now();
                    self.publish();
                }
                Ok(()) => {}
                Err(error) => self.server_failed(&error.to_string()),
            }
            return;
        }
        while let Some(news) = self.server.as_mut().and_then(ForkServer::news) {
            match news {
                News::Spawned { serial, pid, pidfd } => {
                    let pidfd = pidfd.map_or_else(|| death::pidfd_of(pid), Ok);
                    self.introduce(serial, pid, pidfd);
                }
                News::SpawnFailed { serial, error } => {
                    self.forget(serial);
                    self.start_failed(&format!("no worker process could be started: {error}"));
                }
                News::Lost => self.server_failed("it ended"),
            }
        }
    }

    /// The fork server has gone or is of no use.
    fn server_failed(&mut self, why: &str) {
        tracing::warn!(why, "the fork server of a process pool was lost");
        if let Some(server) = self.server.take() {
            if server.is_ready() && self.staffing.serving_since.elapsed() > LONGEST_PAUSE {
                self.staffing.server.reset();
            }
            let _ = self.epoll.delete(&server.control);
            let _ = self.epoll.delete(&server.output.fd);
        }
        self.staffing.greeting_until = None;
        self.staffing.server.fail();
        if self.staffing.server.failures == 1 {
            // The first time is not held against it.
            self.staffing.server.until = None;
        }
        self.publish();
        // Workers that were asked for may be there all the same: they introduce themselves, or their
        // sockets close.
        let orphans: Vec<(u64, bool)> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.phase == Phase::Asked)
            .map(|(serial, worker)| (*serial, worker.is_silent))
            .collect();
        for (serial, is_silent) in orphans {
            self.adopt_orphan(serial);
            if is_silent {
                self.lost_contact(serial);
            }
        }
        if self.staffing.server.is_hopeless() {
            self.give_up_jobs(&format!("the fork server cannot be started again: {why}"));
        }
    }

    /// Whether the fork server that was asked for a worker has gone, so that nobody will tell of it.
    fn is_orphan(&self, worker: &WorkerHandle) -> bool {
        worker.phase == Phase::Asked
            && (self.server.is_none() || worker.asked_of != self.staffing.server_number)
    }

    /// Takes in a worker whose fork server died before it could tell of it.
    pub(super) fn adopt_orphan(&mut self, serial: u64) {
        let orphan = self.workers.get(&serial).filter(|worker| self.is_orphan(worker));
        if let Some(pid) = orphan.and_then(|worker| worker.claimed_pid) {
            self.introduce(serial, pid, death::pidfd_of(pid));
        }
    }

    /// A worker is known by its process from now on.
    fn introduce(&mut self, serial: u64, pid: i32, pidfd: io::Result<std::os::fd::OwnedFd>) {
        let listening = pidfd.and_then(|pidfd| {
            self.listen(&pidfd, Source::Process, serial)?;
            Ok(pidfd)
        });
        let Some(worker) = self.workers.get_mut(&serial).filter(|it| it.phase == Phase::Asked)
        else {
            return;
        };
        let pidfd = match listening {
            Ok(pidfd) => pidfd,
            Err(error) => {
                self.forget(serial);
                death::kill_and_wait(pid);
                self.start_failed(&format!("a worker process cannot be watched: {error}"));
                return;
            }
        };
        worker.process = Some(Process { pid, pidfd });
        worker.entry.begin(pid as u32);
        worker.phase = Phase::Starting;
        if let Err(error) = self.watch(serial) {
            self.let_go(serial);
            self.start_failed(&format!("a worker's memory cannot be watched: {error}"));
            return;
        }
        let Some(worker) = self.workers.get(&serial) else { return };
        let (was_ready, is_silent, is_ours) = (worker.was_ready, worker.is_silent, worker.is_ours);
        self.staffing.reached = self.staffing.reached.max(self.staying());
        self.publish();
        if is_ours || self.is_ending() {
            self.let_go(serial);
        } else if is_silent {
            self.let_it_end(serial, Instant::now());
        } else if was_ready {
            self.make_idle(serial);
        }
    }

    /// A worker's socket was closed from its side.
    pub(super) fn lost_contact(&mut self, serial: u64) {
        let Some(worker) = self.workers.get(&serial) else { return };
        if worker.phase == Phase::Dying {
            // It was killed, and this is what comes of it.
        } else if worker.process.is_some() {
            self.let_it_end(serial, Instant::now());
        } else if self.is_orphan(worker) {
            // It would have said a word first: it was never there.
            self.forget(serial);
        }
    }

    /// Strikes a worker off that has no process.
    fn forget(&mut self, serial: u64) {
        if let Some(worker) = self.workers.remove(&serial) {
            let fds = [worker.socket.as_fd(), worker.output.fd.as_fd(), worker.bell.as_fd()];
            for fd in fds {
                let _ = self.epoll.delete(fd);
            }
        }
    }

    /// Replaces a fork server that does not answer.
    fn enforce_answers(&mut self, now: Instant) {
        let is_past = |asked_at| self.recipe.answers_until(asked_at).is_some_and(|end| end <= now);
        let late = |worker: &WorkerHandle| {
            worker.phase == Phase::Asked && !self.is_orphan(worker) && is_past(worker.asked_at)
        };
        let silent = self.staffing.greeting_until.is_some_and(|until| until <= now)
            || self.workers.values().any(late);
        if silent {
            self.server_failed("it did not answer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        assert_eq!(pause(1), Duration::from_millis(10));
        assert_eq!(pause(2), Duration::from_millis(20));
        assert_eq!(pause(8), LONGEST_PAUSE);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
