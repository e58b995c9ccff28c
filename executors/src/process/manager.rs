//! The manager: one thread per pool that hears from everybody and keeps the books.
//!
//! It waits in one place, for sockets, output pipes, pidfds and callers alike, and nowhere else:
//! everything it reads or writes is in non-blocking mode, so no worker can hold it up. When nothing
//! happens it makes no system call and has no timer.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::death;
use super::fork_server::{ForkServer, Recipe};
use super::policy::{Homes, Parked, Policy, WorkerPhase};
use super::remote_job::{RemoteJob, Reply};
use super::shared::Shared;
use super::socket::{self, FRAME_LIMIT, Received};
use super::staffing::Staffing;
use super::tail::{Output, last_line};
use super::wire::{FromWorker, clip};
use super::worker_handle::{Phase, SendError, WorkerHandle};
use crate::caught::run_caught;
use crate::error::JobError;
use crate::own_pool;

/// How many frames of one worker are taken before the others get their turn.
const FRAMES_A_TURN: usize = 16;

/// How much output of one worker is read before the others get their turn.
const OUTPUT_A_TURN: usize = 64 * 1024;

/// How much output is read of a worker that has died.
const LAST_OUTPUT: usize = 1 << 20;

/// What an epoll event is about; the rest of the token is the worker's serial number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Wake,
    Control,
    ServerOutput,
    Socket,
    Output,
    Process,
}

const SOURCES: [Source; 6] = [
    Source::Wake,
    Source::Control,
    Source::ServerOutput,
    Source::Socket,
    Source::Output,
    Source::Process,
];

const SOURCE_BITS: u32 = 3;

fn token(source: Source, serial: u64) -> u64 {
    serial << SOURCE_BITS | source as u64
}

fn source(token: u64) -> Option<(Source, u64)> {
    let source = SOURCES.get((token & ((1 << SOURCE_BITS) - 1)) as usize)?;
    Some((*source, token >> SOURCE_BITS))
}

pub(super) struct Manager {
    pub(super) shared: Arc<Shared>,
    pub(super) recipe: Recipe,
    pub(super) epoll: Epoll,
    pub(super) server: Option<ForkServer>,
    pub(super) workers: BTreeMap<u64, WorkerHandle>,
    /// The serial numbers of those that wait for a job, the warmest last.
    pub(super) idle: Vec<u64>,
    /// Jobs that were on their way to a worker that turned out to be dead.
    pub(super) stranded: VecDeque<RemoteJob>,
    /// Outcomes to be delivered once the workers have their next jobs.
    pub(super) finished: Vec<(RemoteJob, Reply)>,
    pub(super) staffing: Staffing,
    pub(super) policy: Policy,
    pub(super) parked: Parked,
    pub(super) homes: Homes,
    /// Jobs that wait in the queue, as of the last look.
    pub(super) waiting: usize,
    pub(super) shut_down: bool,
    /// The initializer failed: nothing runs any more.
    pub(super) is_broken: bool,
    is_closing: bool,
    buffer: Box<[u8]>,
}

impl Manager {
    pub(super) fn new(
        shared: Arc<Shared>,
        recipe: Recipe,
        server: ForkServer,
        workers: usize,
        policy: Policy,
    ) -> nix::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let wake = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
        epoll.add(&shared.wake, wake)?;
        let mut manager = Manager {
            shared,
            recipe,
            epoll,
            server: None,
            workers: BTreeMap::new(),
            idle: Vec::new(),
            stranded: VecDeque::new(),
            finished: Vec::new(),
            staffing: Staffing::new(workers, policy.min_workers),
            policy,
            parked: Parked::default(),
            homes: Homes::default(),
            waiting: 0,
            shut_down: false,
            is_broken: false,
            is_closing: false,
            buffer: vec![0; FRAME_LIMIT].into_boxed_slice(),
        };
        manager.adopt_server(server)?;
        manager.publish();
        Ok(manager)
    }

    /// The life of the manager's thread.
    pub(super) fn run(mut self) {
        let shared = self.shared.clone();
        own_pool::work_for(&*shared);
        run_caught("the manager of a process pool, whose jobs fail now,", || self.work());
        // Dropping it kills what is left and fails the jobs that ran.
        run_caught("the end of the manager of a process pool", || drop(self));
        shared.end();
    }

    fn work(&mut self) {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            self.take_orders();
            let now = Instant::now();
            self.staff(now);
            self.deliver();
            if self.is_over() {
                return;
            }
            let count = match self.epoll.wait(&mut events, self.timeout(now)) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => {
                    tracing::error!(%error, "the manager of a process pool cannot wait");
                    return;
                }
            };
            for event in &events[..count] {
                match source(event.data()) {
                    Some((Source::Control, _)) => self.hear_server(),
                    Some((Source::ServerOutput, _)) => self.read_server_output(),
                    Some((Source::Socket, serial)) => self.hear(serial),
                    Some((Source::Output, serial)) => self.read_output(serial),
                    Some((Source::Process, serial)) => self.bury(serial),
                    Some((Source::Wake, _)) | None => {}
                }
            }
            self.enforce_deadlines();
        }
    }

    fn take_orders(&mut self) {
        self.unpark();
        let ready = self.appetite();
        let could_start = !self.is_broken && self.staying() < self.staffing.limit;
        let orders = self.shared.orders(ready, could_start);
        self.waiting = orders.waiting;
        self.shut_down = orders.shut_down;
        while self.takers() > 0
            && let Some(job) = self.stranded.pop_front()
        {
            self.dispatch(job);
        }
        for job in orders.jobs {
            self.dispatch(job);
        }
        for id in orders.cancels {
            self.cancel(id);
        }
        if orders.cancels_parked {
            self.end_parked(JobError::cancelled);
        }
        if self.could_take_more() {
            self.take_orders();
        }
    }

    /// Gives a job to the worker that was busy last.
    fn dispatch(&mut self, job: RemoteJob) {
        let Some(job) = self.admit(job) else { return };
        let serial = self.pick(&job);
        let worker = serial.and_then(|serial| self.workers.get_mut(&serial));
        let (Some(serial), Some(worker)) = (serial, worker) else {
            self.stranded.push_back(job);
            return;
        };
        // What is in the pipe by now was written by an earlier job.
        let _ = worker.output.read(worker.pid(), LAST_OUTPUT);
        match worker.send(&job) {
            Ok(()) => self.begin(serial, job),
            Err(SendError::NoRoom(error)) => {
                self.idle.push(serial);
                self.parked.left_room = true;
                let why = JobError::codec("argument", format!("there is no room for it: {error}"));
                self.finished.push((job, Reply::Error(why)));
            }
            Err(SendError::Deaf) => {
                self.shared.metrics.taken_back.fetch_add(1, Relaxed);
                self.stranded.push_back(job);
                self.put_down(serial);
            }
        }
    }

    /// Delivers outcomes. Foreign code runs here: destructors, decoders, callbacks, wakers.
    fn deliver(&mut self) {
        for (job, reply) in std::mem::take(&mut self.finished) {
            let deliver = || job.settle(reply, &self.shared.counters);
            run_caught("whoever waits for a job", deliver);
        }
    }

    /// Takes the job off a worker; its outcome is `reply`.
    pub(super) fn finish(&mut self, serial: u64, reply: Reply) {
        let running = self.workers.get_mut(&serial).and_then(|worker| worker.job.take());
        if let Some(running) = running {
            self.conclude(serial, running, reply);
        }
    }

    fn cancel(&mut self, id: u64) {
        let runs_it =
            |worker: &WorkerHandle| worker.job.as_ref().is_some_and(|running| running.job.id == id);
        let serial = self.workers.iter().find(|(_, worker)| runs_it(worker)).map(|(id, _)| *id);
        if let Some(serial) = serial {
            self.end_job(serial, JobError::cancelled());
        } else if let Some(at) = self.stranded.iter().position(|job| job.id == id)
            && let Some(job) = self.stranded.remove(at)
        {
            self.finished.push((job, Reply::Error(JobError::cancelled())));
        } else if let Some(job) = self.parked.take(id) {
            self.finished.push((job, Reply::Error(JobError::cancelled())));
        }
    }

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
        self.idle.retain(|other| *other != serial);
        let Some(worker) = self.workers.get_mut(&serial) else { return };
        if worker.process.is_some() {
            worker.phase = Phase::Dying;
            worker.seat.rest(WorkerPhase::Dying);
            worker.kill();
            self.silence(serial);
        }
    }

    /// Stops listening to a worker's socket, so that it can't keep us busy.
    pub(super) fn silence(&mut self, serial: u64) {
        if let Some(worker) = self.workers.get_mut(&serial)
            && !std::mem::replace(&mut worker.is_silent, true)
        {
            // It is registered until this flag is set, so this can't fail.
            let _ = self.epoll.delete(&worker.socket);
        }
    }

    /// Listens to something of a worker.
    pub(super) fn listen(&self, fd: impl AsFd, source: Source, serial: u64) -> nix::Result<()> {
        self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token(source, serial)))
    }

    /// Takes a worker's frames.
    fn hear(&mut self, serial: u64) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..FRAMES_A_TURN {
            let Some(worker) = self.workers.get(&serial).filter(|worker| !worker.is_silent) else {
                break;
            };
            match socket::receive(worker.socket.as_fd(), &mut buffer) {
                Ok(Some(received)) => {
                    if let Err(why) = self.take_frame(serial, &buffer, received) {
                        self.convict(serial, &why);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                // It ends, or pretends to.
                Ok(None) | Err(_) => {
                    self.silence(serial);
                    self.lost_contact(serial);
                }
            }
        }
        self.buffer = buffer;
    }

    /// The error says in what way the frame makes no sense.
    fn take_frame(&mut self, serial: u64, buffer: &[u8], received: Received) -> Result<(), String> {
        if !received.whole {
            return Err("a message that is too long".to_owned());
        }
        let frame = postcard::take_from_bytes::<FromWorker>(&buffer[..received.len]);
        let (frame, tail) = frame.map_err(|error| format!("a message that is none: {error}"))?;
        let Some(worker) = self.workers.get_mut(&serial) else { return Ok(()) };
        match frame {
            FromWorker::Hello { pid } if worker.claimed_pid.is_none() && pid > 0 => {
                worker.claimed_pid = Some(pid);
                self.adopt_orphan(serial);
            }
            FromWorker::Ready if !worker.was_ready => {
                worker.was_ready = true;
                self.note_ready();
                self.make_idle(serial);
            }
            FromWorker::InitializerFailed { why } if !worker.was_ready => {
                tracing::error!(
                    why,
                    "the initializer of a process pool failed; the pool is broken"
                );
                self.break_down(&format!("the initializer of its workers failed: {}", clip(why)));
            }
            FromWorker::Overflowed if worker.was_ready => worker.overflowed = true,
            FromWorker::Dying { panic, location } if worker.was_ready => {
                worker.last_words = Some((panic, location));
            }
            FromWorker::Done { id, verdict, keeps_arena } if worker.was_ready => {
                let file = received.fds.into_iter().next();
                let answer = worker.answer(id, verdict, keeps_arena, tail, file)?;
                if let Some((running, reply)) = answer {
                    self.staffing.note_success();
                    self.conclude(serial, running, reply);
                    self.make_idle(serial);
                }
            }
            _ => return Err("a message that is not its turn".to_owned()),
        }
        Ok(())
    }

    /// Kills a worker that sends nonsense.
    fn convict(&mut self, serial: u64, why: &str) {
        let pid = self.workers.get(&serial).map_or(0, WorkerHandle::pid);
        tracing::warn!(pid, why, "a worker process sent nonsense and is killed");
        let error = format!("its worker process {pid} sent {why}, and was killed");
        self.finish(serial, Reply::Error(JobError::codec("result", error)));
        self.let_go(serial);
    }

    /// A worker is ready for its next job.
    pub(super) fn make_idle(&mut self, serial: u64) {
        let Some(worker) = self.workers.get_mut(&serial) else { return };
        if worker.phase == Phase::Dying || worker.process.is_none() {
            return;
        }
        worker.phase = Phase::Idle;
        if self.is_broken || self.is_closing {
            self.let_go(serial);
        } else if self.goes_on(serial) {
            self.idle.push(serial);
        }
    }

    fn read_output(&mut self, serial: u64) {
        let Some(worker) = self.workers.get_mut(&serial) else { return };
        let pid = worker.pid();
        if worker.output.read(pid, OUTPUT_A_TURN) == Output::Closed {
            let _ = self.epoll.delete(&worker.output.fd);
        }
    }

    /// A worker has ended: reaps it, and fails the job it had.
    fn bury(&mut self, serial: u64) {
        // What it said before it died may still be on its way.
        self.hear_out(serial);
        self.idle.retain(|other| *other != serial);
        let Some(mut worker) = self.workers.remove(&serial) else { return };
        let Some(process) = worker.process.take() else { return };
        let pid = process.pid as u32;
        let _ = worker.output.read(pid, LAST_OUTPUT);
        let remains = death::reap(process.pid, &process.pidfd);
        let _ = self.epoll.delete(&process.pidfd);
        let _ = self.epoll.delete(&worker.output.fd);
        if !worker.is_silent {
            let _ = self.epoll.delete(&worker.socket);
        }
        self.publish();
        if worker.is_ours {
            tracing::debug!(pid, "a worker process was let go");
            return;
        }
        let mut report = remains.report(pid, worker.overflowed, worker.output.text());
        report.attempt = worker.job.as_ref().map_or(1, |running| running.job.terms.attempt());
        tracing::warn!(
            pid,
            cause = ?report.cause,
            signal = report.signal,
            exit_code = report.exit_code,
            had_a_job = worker.job.is_some(),
            last_line = last_line(&report.stderr_tail),
            "a worker process died"
        );
        if worker.was_ready {
            self.staffing.note_crash();
            self.shared.metrics.record_crash(report.cause);
        } else {
            let said = report.stderr_tail.trim_end();
            let code = (report.signal, report.exit_code);
            self.start_failed(&format!(
                "a worker process died before it was ready ({}): {said}",
                match code {
                    (Some(signal), _) => format!("signal {signal}"),
                    (None, code) => format!("exit code {}", code.unwrap_or_default()),
                }
            ));
        }
        if let Some(running) = worker.job {
            let panic = worker.last_words.filter(|_| remains.may_be_an_abort());
            let error = match panic {
                Some((panic, location)) => JobError::panicked_elsewhere(panic, location),
                None => JobError::crashed(report),
            };
            self.conclude(serial, running, Reply::Error(error));
        }
    }

    /// Takes what a dead worker had sent, up to a limit.
    fn hear_out(&mut self, serial: u64) {
        for _ in 0..FRAMES_A_TURN {
            match self.workers.get(&serial) {
                Some(worker) if !worker.is_silent => self.hear(serial),
                _ => return,
            }
        }
    }

    /// Fails everything that waits, now and in future.
    fn break_down(&mut self, why: &str) {
        self.is_broken = true;
        self.fail_stranded(why);
        self.shared.break_down(why);
        self.let_go_of_all(|worker| worker.phase != Phase::Busy);
    }

    pub(super) fn let_go_of_all(&mut self, which: impl Fn(&WorkerHandle) -> bool) {
        let serials: Vec<u64> =
            self.workers.iter().filter(|(_, worker)| which(worker)).map(|(id, _)| *id).collect();
        for serial in serials {
            self.let_go(serial);
        }
    }

    pub(super) fn fail_stranded(&mut self, why: &str) {
        self.end_parked(|| JobError::rejected(why));
        for job in std::mem::take(&mut self.stranded) {
            self.finished.push((job, Reply::Error(JobError::rejected(why))));
        }
    }

    /// Lets the workers go when the last job is over, and says whether they have gone.
    fn is_over(&mut self) -> bool {
        let is_busy = self.workers.values().any(|worker| worker.job.is_some());
        let jobs = self.waiting + self.stranded.len() + self.parked.len() + self.finished.len();
        if !self.shut_down || is_busy || jobs > 0 {
            return false;
        }
        if !std::mem::replace(&mut self.is_closing, true) {
            self.let_go_of_all(|worker| worker.phase != Phase::Dying);
        }
        self.workers.is_empty()
    }

    pub(super) fn is_ending(&self) -> bool {
        self.is_broken || self.is_closing
    }

    /// Workers that take up a place: all but those that are dying and whose death says nothing about
    /// the next one.
    pub(super) fn live(&self) -> usize {
        let lives = |worker: &&WorkerHandle| worker.phase != Phase::Dying || worker.is_coming();
        self.workers.values().filter(lives).count()
    }

    pub(super) fn idle(&self) -> usize {
        self.idle.len()
    }

    /// Shows the world who is there.
    pub(super) fn publish(&self) {
        let there =
            |worker: &&WorkerHandle| worker.process.is_some() && worker.phase != Phase::Dying;
        let pids = self.workers.values().filter(there).map(WorkerHandle::pid).collect();
        self.shared.publish(pids, self.server.as_ref().map(ForkServer::pid));
    }

    /// How long to sleep. The staff was last seen to at `staffed`.
    fn timeout(&self, staffed: Instant) -> EpollTimeout {
        let policy = self.policy_deadline().into_iter();
        let Some(next) = policy.chain(self.staffing_deadline(staffed)).min() else {
            return EpollTimeout::NONE;
        };
        // Rounded up: waking too early would only mean to wait again.
        let millis = next.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
        EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::MAX)
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
                death::reap(process.pid, &process.pidfd);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_their_source() {
        for (index, kind) in SOURCES.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            assert_eq!(source(token(kind, 12_345)), Some((kind, 12_345)));
        }
        assert_eq!(source(7), None);
    }
}
