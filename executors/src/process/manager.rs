//! The manager: hears from everybody and keeps the books.
//!
//! It is a machine without a thread of its own, under a lock, and whoever has something for it or wants something of it
//! may turn it (`turning`): the pool's thread, a thread that submits a job, one that waits for a job. Everything it reads
//! or writes is in non-blocking mode, so no worker can hold it up, and no foreign code runs in it: outcomes are handed
//! out to be delivered without the lock. When nothing happens it makes no system call and has no timer.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::death;
use super::files::Files;
use super::fork_server::{ForkServer, Recipe};
use super::orphans::Orphans;
use super::policy::{Homes, Parked, Policy, WorkerPhase};
use super::remote_job::{RemoteJob, Reply};
use super::report::CrashReport;
use super::shared::Shared;
use super::socket::{self, FRAME_LIMIT, Received};
use super::staffing::Staffing;
use super::tail::{Output, last_line};
use super::watchdog::MemoryWatch;
use super::wire::{FromWorker, clip};
use super::worker_handle::{AnswerBySocket, Phase, SendError, WorkerHandle};
use crate::error::JobError;

/// How many frames of one worker are taken before the others get their turn.
const FRAMES_A_TURN: usize = 16;

/// How many answers of one worker are taken before the others get their turn.
const ANSWERS_A_TURN: u32 = 64;

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
    Bell,
}

const SOURCES: [Source; 7] = [
    Source::Wake,
    Source::Control,
    Source::ServerOutput,
    Source::Socket,
    Source::Output,
    Source::Process,
    Source::Bell,
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
    pub(super) epoll: Arc<Epoll>,
    pub(super) server: Option<ForkServer>,
    pub(super) workers: BTreeMap<u64, WorkerHandle>,
    /// The serial numbers of those that wait for a job, the warmest last.
    pub(super) idle: Vec<u64>,
    /// Jobs that were on their way to a worker that turned out to be dead, or were taken back.
    pub(super) stranded: VecDeque<RemoteJob>,
    /// Outcomes to be delivered once the workers have their next jobs.
    pub(super) finished: Vec<(RemoteJob, Reply)>,
    /// Lists of outcomes that are being delivered.
    delivering: usize,
    pub(super) staffing: Staffing,
    orphans: Orphans,
    pub(super) memory: MemoryWatch,
    pub(super) policy: Policy,
    pub(super) parked: Parked,
    pub(super) homes: Homes,
    /// Jobs that wait in the queue, as of the last look.
    pub(super) waiting: usize,
    pub(super) shut_down: bool,
    /// The initializer failed: nothing runs any more.
    pub(super) is_broken: bool,
    is_closing: bool,
    /// Until when the pool's thread means to sleep: [`Sleep::Awake`] while it does not.
    sleep: Sleep,
    /// Somebody else has left something behind for that thread.
    is_wanted: bool,
    buffer: Box<[u8]>,
}

/// What the pool's thread does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sleep {
    Awake,
    Until(Option<Instant>),
}

/// Outcomes that were handed out, to be delivered without the manager's lock.
pub(super) type Finished = Vec<(RemoteJob, Reply)>;

impl Manager {
    pub(super) fn new(
        shared: Arc<Shared>,
        recipe: Recipe,
        server: ForkServer,
        workers: usize,
        memory: MemoryWatch,
        policy: Policy,
    ) -> nix::Result<Self> {
        let epoll = shared.epoll.clone();
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
            delivering: 0,
            staffing: Staffing::new(workers, policy.min_workers),
            orphans: Orphans::default(),
            memory,
            policy,
            parked: Parked::default(),
            homes: Homes::default(),
            waiting: 0,
            shut_down: false,
            is_broken: false,
            is_closing: false,
            sleep: Sleep::Awake,
            is_wanted: false,
            buffer: vec![0; FRAME_LIMIT].into_boxed_slice(),
        };
        manager.adopt_server(server)?;
        manager.publish();
        Ok(manager)
    }

    /// Everything there is to do, in the pool's thread or a loop; in a loop (`light`) all but long answers. Says whether
    /// there are such.
    pub(super) fn turn(&mut self, light: bool) -> bool {
        let now = Instant::now();
        self.is_wanted = false;
        let left = self.take_answers(now, light);
        self.enforce_deadlines(now);
        self.relieve(now);
        self.take_orders(now);
        self.staff(now);
        self.orphans.reap(now);
        left
    }

    /// Takes in what epoll says.
    pub(super) fn take_events(&mut self, events: &[EpollEvent]) {
        // Who has heard nothing may be parked next, while another one rests.
        if !events.is_empty() {
            self.sleep = Sleep::Awake;
        }
        for event in events {
            match source(event.data()) {
                Some((Source::Control, _)) => self.hear_server(),
                Some((Source::ServerOutput, _)) => self.read_server_output(),
                Some((Source::Socket, serial)) => self.hear(serial),
                Some((Source::Output, serial)) => self.read_output(serial),
                Some((Source::Process, serial)) => self.bury(serial),
                Some((Source::Bell, serial)) => self.hear_bell(serial),
                Some((Source::Wake, _)) | None => {}
            }
        }
    }

    /// Until when whoever turns may sleep, if he may: not while there are answers, other than the long ones that were
    /// `left` to another. From now on it is rung for them.
    pub(super) fn may_rest(&mut self, left: bool) -> Option<Option<Instant>> {
        let calm = |worker: &WorkerHandle| worker.arm() || (left && worker.next_is_long());
        // Every bell is armed, whatever the others say.
        let restless = self.workers.values().filter(|worker| !calm(worker)).count() > 0;
        if restless || self.is_wanted || (!self.finished.is_empty() && !left) {
            return None;
        }
        let until = self.next_time(Instant::now());
        self.sleep = Sleep::Until(until);
        Some(until)
    }

    /// Whether somebody sleeps, or may, and has left nothing behind.
    #[cfg(test)]
    pub(super) fn thread_rests(&self) -> bool {
        self.sleep != Sleep::Awake && !self.is_wanted
    }

    /// Whether outcomes wait to be handed out.
    pub(super) fn has_outcomes(&self) -> bool {
        !self.finished.is_empty()
    }

    /// Whether answers will come.
    pub(super) fn has_jobs(&self) -> bool {
        self.workers.values().any(WorkerHandle::has_jobs)
    }

    /// Somebody has submitted a job and gives it to a worker himself, if one can have it. Whether the pool's thread is
    /// needed besides.
    pub(super) fn assist(&mut self) -> bool {
        let now = Instant::now();
        self.take_orders(now);
        self.needs_its_thread(now)
    }

    /// Somebody waits for a job and takes in answers himself. None when there are none; else whether long ones are left.
    pub(super) fn glance(&mut self, light: bool) -> Option<bool> {
        if !self.has_answers() {
            return None;
        }
        let now = Instant::now();
        let left = self.take_answers(now, light);
        self.take_orders(now);
        Some(left)
    }

    /// Whether the pool's thread has to be woken for what was left behind. One that is awake looks at it before it sleeps.
    pub(super) fn needs_its_thread(&mut self, now: Instant) -> bool {
        let asleep = match self.sleep {
            Sleep::Awake => None,
            Sleep::Until(until) => Some(until),
        };
        let comes_late = |until: Option<Instant>| {
            let earlier = |next: Instant| until.is_none_or(|until| next < until);
            self.next_time(now).is_some_and(earlier)
        };
        self.is_wanted = !self.finished.is_empty()
            || self.is_due()
            || self.missing(now) > 0
            || asleep.is_some_and(comes_late);
        self.is_wanted && asleep.is_some()
    }

    pub(super) fn has_answers(&self) -> bool {
        self.workers.values().any(WorkerHandle::has_answers)
    }

    fn take_orders(&mut self, now: Instant) {
        self.take_some_orders(now);
        while self.could_take_more() {
            self.take_some_orders(now);
        }
    }

    fn take_some_orders(&mut self, now: Instant) {
        self.unpark(now);
        let appetite = self.appetite();
        let could_start = !self.is_broken && self.staying() < self.staffing.limit;
        let orders = self.shared.orders(appetite, could_start);
        self.waiting = orders.waiting;
        self.shut_down = orders.shut_down;
        self.let_pass(orders.urgent);
        self.stranded.extend(orders.jobs);
        // First, because that gives jobs back and makes room.
        self.end_what_is_to_end(&orders.cancels, orders.kill_all, orders.cancels_parked, now);
        while let Some(job) = self.stranded.pop_front() {
            let Some(job) = self.admit(job, now) else { continue };
            if let Some(job) = self.dispatch(job, now) {
                self.stranded.push_front(job);
                break;
            }
        }
    }

    /// Gives a job to a worker. Gives it back when none can have it now.
    fn dispatch(&mut self, mut job: RemoteJob, now: Instant) -> Option<RemoteJob> {
        while let Some((serial, was_idle)) = self.choose(&job) {
            let Some(worker) = self.workers.get_mut(&serial) else { continue };
            let (back, error) = match worker.send(job, now) {
                Ok(()) => {
                    worker.phase = Phase::Busy;
                    self.shared.counters.begin();
                    self.note_sent(serial, now);
                    return None;
                }
                Err(refused) => refused,
            };
            job = back;
            match error {
                SendError::NotNow => worker.is_full = true,
                SendError::Deaf => self.put_down(serial),
                SendError::NoRoom(error) => {
                    if was_idle {
                        self.idle.push(serial);
                    }
                    self.parked.left_room = true;
                    let why = format!("there is no room for it: {error}");
                    self.finished.push((job, Reply::Error(JobError::codec("argument", why))));
                    return None;
                }
            }
        }
        Some(job)
    }

    /// The home of the job, or the idle worker that was busy last; without one, that which has the fewest jobs. And
    /// whether it is idle.
    fn choose(&mut self, job: &RemoteJob) -> Option<(u64, bool)> {
        if let Some(choice) = self.pick(job) {
            return Some(choice);
        }
        let has_room = |worker: &WorkerHandle| worker.phase == Phase::Busy && worker.takes(job);
        let with_room = self.workers.iter().filter(|(_, worker)| has_room(worker));
        let fewest = with_room.min_by_key(|(_, worker)| worker.in_flight());
        fewest.map(|(serial, _)| (*serial, false))
    }

    /// Takes what answers there are; with `light`, leaves the long ones, and says whether there were any.
    fn take_answers(&mut self, now: Instant, light: bool) -> bool {
        let mut from = 0;
        let mut left = false;
        while let Some((&serial, _)) =
            self.workers.range(from..).find(|(_, worker)| worker.has_answers())
        {
            left |= self.take_answers_of(serial, now, light);
            from = serial + 1;
        }
        left
    }

    pub(super) fn take_answers_of(&mut self, serial: u64, now: Instant, light: bool) -> bool {
        let mut taken = 0;
        let mut left = false;
        loop {
            let Some(worker) = self.workers.get_mut(&serial) else { return false };
            if taken == ANSWERS_A_TURN || !worker.has_answers() {
                break;
            }
            if worker.next_is_long() {
                if light {
                    left = true;
                    break;
                }
                if worker.misses_an_answer() {
                    self.hear(serial);
                }
            }
            let Some(worker) = self.workers.get_mut(&serial) else { return false };
            match worker.next_answer() {
                Ok(None) => break,
                Ok(Some((job, reply))) => {
                    taken += 1;
                    self.conclude(serial, job, reply);
                }
                Err(why) => {
                    self.convict(serial, &why);
                    return false;
                }
            }
        }
        let Some(worker) = self.workers.get_mut(&serial) else { return left };
        if taken > 0 {
            self.shared.metrics.run_time.record_several(now - worker.head_since, taken);
            worker.note_pace(taken, now);
            worker.note_answers(taken, now);
            self.staffing.note_success();
        }
        if worker.phase == Phase::Busy && worker.in_flight() == 0 {
            self.make_idle(serial);
        }
        left
    }

    /// Hands out what is to be delivered: for a thread that is not the pool's only what calls nobody. (Foreign code runs
    /// when it is delivered: destructors, decoders, callbacks, wakers.) To be followed by [`delivered`](Self::delivered).
    pub(super) fn hand_out(&mut self, only_quiet: bool) -> Finished {
        let mut finished = std::mem::take(&mut self.finished);
        if only_quiet {
            let (quiet, rest) = finished.into_iter().partition(|(job, _)| job.is_quiet());
            self.finished = rest;
            finished = quiet;
        }
        self.delivering += 1;
        finished
    }

    /// What was handed out has been delivered.
    pub(super) fn delivered(&mut self) {
        self.delivering -= 1;
    }

    /// Puts jobs that were taken back in front of all others.
    pub(super) fn strand(&mut self, jobs: Vec<RemoteJob>) {
        for job in jobs.into_iter().rev() {
            self.shared.counters.end();
            self.shared.metrics.taken_back.fetch_add(1, Relaxed);
            self.stranded.push_front(job);
        }
    }

    pub(super) fn cancel(&mut self, id: u64, now: Instant) {
        let has_it = |(_, worker): &(&u64, &WorkerHandle)| worker.position(id).is_some();
        let serial = self.workers.iter().find(has_it).map(|(serial, _)| *serial);
        if let Some(serial) = serial {
            self.end_job(serial, id, JobError::cancelled(), now);
        } else if let Some(at) = self.stranded.iter().position(|job| job.id == id)
            && let Some(job) = self.stranded.remove(at)
        {
            self.finished.push((job, Reply::Error(JobError::cancelled())));
        } else if let Some(job) = self.parked.take(id) {
            self.finished.push((job, Reply::Error(JobError::cancelled())));
        }
    }

    /// Takes back what waits behind jobs that take long.
    fn relieve(&mut self, now: Instant) {
        let mut from = 0;
        let is_late = |worker: &WorkerHandle| worker.relief().is_some_and(|time| time <= now);
        while let Some((&serial, worker)) =
            self.workers.range_mut(from..).find(|(_, worker)| is_late(worker))
        {
            let back = worker.relieve();
            self.strand(back);
            from = serial + 1;
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
        self.retire(serial);
        let Some(worker) = self.workers.get(&serial) else { return };
        worker.kill();
        // Of the others the answers count that they have sent.
        if worker.is_ours && worker.process.is_some() {
            self.silence(serial);
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

    /// Stops listening to a worker's socket and bell, so that it can't keep us busy.
    pub(super) fn silence(&mut self, serial: u64) {
        if let Some(worker) = self.workers.get_mut(&serial)
            && !std::mem::replace(&mut worker.is_silent, true)
        {
            // They are registered until this flag is set, so this can't fail.
            let _ = self.epoll.delete(&worker.socket);
            let _ = self.epoll.delete(&worker.bell);
        }
    }

    /// Listens to something of a worker.
    pub(super) fn listen(&self, fd: impl AsFd, source: Source, serial: u64) -> nix::Result<()> {
        self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token(source, serial)))
    }

    /// Listens to something that is never read.
    pub(super) fn listen_for_edges(
        &self,
        fd: impl AsFd,
        source: Source,
        serial: u64,
    ) -> nix::Result<()> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        self.epoll.add(fd, EpollEvent::new(flags, token(source, serial)))
    }

    /// A worker has rung. The answers are taken in the turn that follows.
    fn hear_bell(&mut self, serial: u64) {
        let worker = self.workers.get_mut(&serial).filter(|worker| !worker.is_silent);
        if worker.is_some_and(|worker| !worker.note_ring()) {
            self.convict(serial, "rings for nothing");
        }
    }

    /// Takes a worker's frames.
    fn hear(&mut self, serial: u64) {
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.is_empty() {
            // Whoever listens to `tracing` has panicked, and it was lost.
            buffer = vec![0; FRAME_LIMIT].into_boxed_slice();
        }
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
                worker.evidence.tells_of_faults = true;
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
            FromWorker::Faulted(fault) => worker.evidence.fault = Some(fault),
            FromWorker::Denied { call } => {
                worker.evidence.denied = Some(u32::from_le_bytes(call));
            }
            FromWorker::Confined(enforced) if !worker.was_ready => {
                self.shared.note_enforced(enforced, self.memory.guard());
            }
            FromWorker::NotConfined { why } if !worker.was_ready => {
                tracing::error!(why, "a worker's sandbox can't be put on; the pool is broken");
                self.break_down(&format!("its workers' sandbox can't be put on: {}", clip(why)));
            }
            FromWorker::Dying { panic, location } if worker.was_ready => {
                worker.last_words = Some((panic, location));
            }
            FromWorker::Done { number, done, has_new_file } if worker.was_ready => {
                let files = Files::of(has_new_file, received.fds)?;
                let tail = tail.to_vec();
                worker.keep_answer(AnswerBySocket { number, done, tail, files })?;
            }
            _ => return Err("a message that is not its turn".to_owned()),
        }
        Ok(())
    }

    /// Kills a worker that sends nonsense.
    fn convict(&mut self, serial: u64, why: &str) {
        let Some(worker) = self.workers.get_mut(&serial) else { return };
        let pid = worker.pid();
        tracing::warn!(pid, why, "a worker process sent nonsense and is killed");
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
        if worker.read_output(pid, OUTPUT_A_TURN) == Output::Closed {
            let _ = self.epoll.delete(&worker.output.fd);
        }
    }

    /// A worker has ended: reaps it, and fails the job it had begun.
    fn bury(&mut self, serial: u64) {
        // What it said before it died may still be on its way.
        self.hear_out(serial);
        self.idle.retain(|other| *other != serial);
        let Some(mut worker) = self.workers.remove(&serial) else { return };
        let Some(process) = worker.process.take() else { return };
        let pid = process.pid as u32;
        let _ = worker.read_output(pid, LAST_OUTPUT);
        let remains = death::reap(process.pid, &process.pidfd);
        self.orphans.take_over(process.pid, Instant::now());
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
            self.shared.metrics.run_time.record(worker.head_since.elapsed());
            let panic = worker.last_words.filter(|_| remains.may_be_an_abort());
            let error = match panic {
                Some((panic, location)) => JobError::panicked_elsewhere(panic, location),
                None => JobError::crashed(report),
            };
            self.finish(serial, job, error);
        }
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

    /// Takes what a dead worker had sent, up to a limit.
    fn hear_out(&mut self, serial: u64) {
        for _ in 0..FRAMES_A_TURN {
            match self.workers.get(&serial) {
                Some(worker) if !worker.is_silent => self.hear(serial),
                _ => break,
            }
        }
        self.take_answers_of(serial, Instant::now(), false);
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
        self.tell_who_waits();
    }

    /// Whether only the workers' end is missing, or nothing.
    fn is_due(&self) -> bool {
        let is_busy = self.workers.values().any(WorkerHandle::has_jobs);
        let jobs = self.waiting + self.stranded.len() + self.parked.len();
        let jobs = jobs + self.finished.len() + self.delivering;
        self.shut_down && !is_busy && jobs == 0
    }

    /// Lets the workers go when the last job is over, and says whether they have gone.
    pub(super) fn is_over(&mut self) -> bool {
        if !self.is_due() {
            return false;
        }
        if !std::mem::replace(&mut self.is_closing, true) {
            self.let_go_of_all(|worker| worker.phase != Phase::Dying);
        }
        self.workers.is_empty() && !self.orphans.are_dying()
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

    /// When there is something to do that nothing announces.
    fn next_time(&self, now: Instant) -> Option<Instant> {
        let policy = self.policy_deadline().into_iter();
        let relief = self.workers.values().filter_map(WorkerHandle::relief);
        let looks = self.staffing_deadline(now).chain(self.next_look(now));
        policy.chain(relief).chain(looks).chain(self.orphans.next()).min()
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
#[path = "manager_tests.rs"]
mod tests;
