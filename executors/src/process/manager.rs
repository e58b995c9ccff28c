//! The manager: keeps the books. What it hears is in `hearing`, how workers end in `endings`, how many there are in
//! `staffing`.
//!
//! It is a machine without a thread of its own, under a lock, and whoever has something for it or wants something of it
//! may turn it (`turning`): the pool's thread, a thread that submits a job, one that waits for a job. Everything it reads
//! or writes is in non-blocking mode, so no worker can hold it up, and no foreign code runs in it: outcomes are handed
//! out to be delivered without the lock. When nothing happens it makes no system call and has no timer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::apart::Apart;
use super::endings::Traced;
use super::fork_server::{ForkServer, Recipe};
use super::orphans::Orphans;
use super::policy::{Homes, Parked, Policy, TaskIndex};
use super::remote_job::{RemoteJob, Reply};
use super::shared::Shared;
use super::staffing::Staffing;
use super::transport::socket::FRAME_LIMIT;
use super::watchdog::MemoryWatch;
use super::worker_handle::{Phase, SendError, WorkerHandle};
use crate::error::JobError;
use crate::queue::Leftovers;

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
    /// As in [`Finished`].
    pub(super) refused: Vec<(RemoteJob, JobError)>,
    pub(super) leftovers: Leftovers<RemoteJob>,
    /// Lists of outcomes that are being delivered.
    delivering: usize,
    pub(super) staffing: Staffing,
    pub(super) orphans: Orphans,
    pub(super) traced: Vec<Traced>,
    pub(super) memory: MemoryWatch,
    pub(super) policy: Policy,
    pub(super) parked: Parked,
    pub(super) homes: Homes,
    pub(super) apart: Apart,
    pub(super) tasks: TaskIndex,
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
    /// For messages.
    pub(super) buffer: Box<[u8]>,
}

/// What the pool's thread does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sleep {
    Awake,
    Until(Option<Instant>),
}

/// What was handed out, to be delivered without the manager's lock.
#[derive(Default)]
pub(super) struct Finished {
    pub(super) outcomes: Vec<(RemoteJob, Reply)>,
    /// Jobs that waited in the queue, were counted, and fail.
    pub(super) refused: Vec<(RemoteJob, JobError)>,
    pub(super) leftovers: Leftovers<RemoteJob>,
}

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
            refused: Vec::new(),
            leftovers: Leftovers::new(),
            delivering: 0,
            staffing: Staffing::new(workers, policy.min_workers),
            orphans: Orphans::default(),
            traced: Vec::new(),
            memory,
            policy,
            parked: Parked::default(),
            homes: Homes::default(),
            apart: Apart::new(),
            tasks: TaskIndex::default(),
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
        self.bury_traced(now);
        left
    }

    /// Whoever was to sleep has something to do.
    pub(super) fn note_awake(&mut self) {
        self.sleep = Sleep::Awake;
    }

    /// Until when whoever turns may sleep, if he may: not while there are answers, other than the long ones that were
    /// `left` to another. From now on it is rung for them.
    pub(super) fn may_rest(&mut self, left: bool) -> Option<Option<Instant>> {
        let calm = |worker: &WorkerHandle| worker.arm() || (left && worker.next_is_long());
        // Every bell is armed, whatever the others say.
        let restless = self.workers.values().filter(|worker| !calm(worker)).count() > 0;
        if restless || self.is_wanted || (self.has_outcomes() && !left) {
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
        !self.finished.is_empty() || !self.refused.is_empty()
    }

    /// Whether answers will come.
    pub(super) fn has_jobs(&self) -> bool {
        self.workers.values().any(WorkerHandle::has_jobs)
    }

    /// Somebody has submitted a job and gives it to a worker himself, if one can have it. Whether the pool's thread is
    /// needed besides, and what the caller is to drop without the lock.
    pub(super) fn assist(&mut self) -> (bool, Leftovers<RemoteJob>) {
        let now = Instant::now();
        self.take_orders(now);
        (self.needs_its_thread(now), std::mem::take(&mut self.leftovers))
    }

    /// Somebody waits for a job and takes in answers himself. None when there are none; else whether long ones are left.
    pub(super) fn glance(&mut self, light: bool) -> Option<bool> {
        if !self.has_answers() {
            return None;
        }
        let now = Instant::now();
        self.forget_suspect();
        let left = self.take_answers(now, light);
        self.keep_apart(now);
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
        self.is_wanted = self.has_outcomes()
            || self.is_due()
            || self.missing(now) > 0
            || asleep.is_some_and(comes_late);
        self.is_wanted && asleep.is_some()
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
        let orders = self.shared.orders(appetite, could_start, &mut self.leftovers);
        self.waiting = orders.waiting;
        self.shut_down = orders.shut_down;
        self.let_pass(orders.urgent);
        self.stranded.extend(orders.jobs);
        // First, because that gives jobs back and makes room.
        self.end_what_is_to_end(&orders.cancels, orders.force, orders.cancels_parked, now);
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
            let rested = was_idle.then(|| worker.rested(now)).flatten();
            let (back, error) = match worker.send(job, now) {
                Ok(()) => {
                    worker.phase = Phase::Busy;
                    if let Some(rested) = rested {
                        self.shared.metrics.idle_time.record(rested);
                    }
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

    /// Hands out what is to be delivered: for a thread that is not the pool's only what calls nobody. (Foreign code runs
    /// when it is delivered: destructors, decoders, callbacks, wakers.) To be followed by [`delivered`](Self::delivered).
    pub(super) fn hand_out(&mut self, only_quiet: bool) -> Finished {
        let mut outcomes = std::mem::take(&mut self.finished);
        let mut refused = std::mem::take(&mut self.refused);
        if only_quiet {
            (outcomes, self.finished) = outcomes.into_iter().partition(|(job, _)| job.is_quiet());
            (refused, self.refused) = refused.into_iter().partition(|(job, _)| job.is_quiet());
        }
        self.delivering += 1;
        Finished { outcomes, refused, leftovers: std::mem::take(&mut self.leftovers) }
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
        }
        // Also if its worker had it, and the attempt had just failed, to be followed by another one.
        if let Some(at) = self.stranded.iter().position(|job| job.id == id)
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

    /// Fails the jobs that waited in the queue.
    pub(super) fn refuse(&mut self, waiting: Vec<RemoteJob>, why: &str) {
        self.refused.extend(waiting.into_iter().map(|job| (job, JobError::rejected(why))));
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
        let jobs = jobs + self.finished.len() + self.refused.len() + self.delivering;
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
        self.only_traced_are_left() && !self.orphans.are_dying()
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
        let dead = self.orphans.next().into_iter().chain(self.next_burial());
        policy.chain(relief).chain(looks).chain(dead).min()
    }
}

#[cfg(test)]
#[path = "manager_tests.rs"]
mod tests;
