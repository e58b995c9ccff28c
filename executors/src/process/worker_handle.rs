//! [`WorkerHandle`]: the program's side of one worker. Whatever comes from the worker is checked here.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::death;
use super::evidence::Evidence;
use super::leash::Leash;
use super::policy::{Entry, Tenure};
use super::remote_job::{RemoteJob, Reply};
use super::tail::{Output, OutputPipe};
use super::transport::arena::Arena;
use super::transport::board::{self, ARGUMENTS, Board, MESSAGE_LIMIT};
use super::transport::body::{BoardResults, Body, Plan, ResultFile, Source};
use super::transport::files::Files;
use super::transport::foreign::JobSocket;
use super::transport::ring::SLOTS;
use super::transport::sealed::MOST_SEALED;
use super::transport::wire::{AnswerInSlot, Beside, Done, NEAR, Place, Task, ToWorker, Verdict};
use super::transport::{futex, socket};
use super::watchdog::Watched;
use super::window::{LONG, Window};
use crate::error::JobError;

/// A worker that rings so often in a row without an answer is killed.
const IDLE_RINGS: u32 = 2 * SLOTS;

/// Arguments begin at multiples of this, in bytes.
const ALIGN: u64 = 64;

/// [`AnswerInSlot::BySocket`], as it is sent.
const BY_SOCKET: u8 = 1;

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The fork server was asked for it.
    Asked,
    /// It is there and gets ready.
    Starting,
    /// It waits for a job.
    Idle,
    /// It runs one.
    Busy,
    /// It was killed, or has ended, and was not reaped yet.
    Dying,
}

pub(super) struct WorkerHandle {
    pub(super) phase: Phase,
    /// When the fork server was asked for it, and which one.
    pub(super) asked_at: Instant,
    pub(super) asked_of: u64,
    pub(super) socket: JobSocket,
    /// The kernel kills the worker when this is closed.
    _lifeline: Leash,
    pub(super) output: OutputPipe,
    pub(super) process: Option<Process>,
    /// The number it gave itself, for the case that the fork server can't tell.
    pub(super) claimed_pid: Option<i32>,
    /// It said that it is ready.
    pub(super) was_ready: bool,
    /// Its socket is not read any more.
    pub(super) is_silent: bool,
    /// It was killed by us, for a reason that was told already.
    pub(super) is_ours: bool,
    /// It was asked to end, and is killed then.
    pub(super) kill_at: Option<Instant>,
    pub(super) tenure: Tenure,
    pub(super) entry: Arc<Entry>,
    /// The memory, in bytes, that jobs had declared which it was taken from and may still have.
    pub(super) unpaid: u64,
    board: Board,
    /// What it rings when it has answered: an eventfd that is edge-triggered in the manager's epoll and never read.
    pub(super) bell: OwnedFd,
    idle_rings: u32,
    /// The jobs in the ring, the first of which it runs, or is about to.
    in_flight: VecDeque<InFlight>,
    /// How many slots have been filled, and how many answers taken, in all.
    sent: u32,
    taken: u32,
    /// Since when the first job in the ring is the first.
    pub(super) head_since: Instant,
    pub(super) window: Window,
    /// What waits behind the first job was taken back, as far as it could be.
    is_relieved: bool,
    /// The next job does not fit beside those that are there.
    pub(super) is_full: bool,
    /// Whether the job that it was given last could have waited in the ring: so may the next one, as it seems.
    last_may_lie_ahead: bool,
    /// Where on the board the next large argument goes.
    next_argument: u64,
    /// It has kept a blob of an argument on the board, where nothing may be written from now on.
    board_is_kept: bool,
    by_socket: VecDeque<AnswerBySocket>,
    /// Some that it sent could not be taken.
    pub(super) has_lost_files: bool,
    /// Where answers are copied to.
    slot: Vec<u8>,
    pub(super) evidence: Evidence,
    pub(super) watched: Watched,
    /// See [`Placement`](super::placement::Placement).
    pub(super) seat: u32,
    /// How many sealed blobs may go with a job.
    pub(super) most_sealed: usize,
    pub(super) last_words: Option<(String, Option<String>)>,
    arena: Option<Arena>,
    results: Option<ResultFile>,
}

pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
}

/// A slot of the ring that is in use.
struct InFlight {
    /// None when it was taken back.
    job: Option<RemoteJob>,
    beside: Beside,
    /// Its argument is still here.
    can_be_sent_again: bool,
}

/// An answer that did not fit into its slot.
pub(super) struct AnswerBySocket {
    /// Of the slot.
    pub(super) number: u32,
    pub(super) done: Done,
    pub(super) tail: Vec<u8>,
    /// The error says why they could not be taken.
    pub(super) files: Result<Files, String>,
}

/// Why a job could not be handed to a worker.
pub(super) enum SendError {
    /// Its argument found no room.
    NoRoom(io::Error),
    /// It will find room when the jobs before it are over.
    NotNow,
    /// The worker does not listen.
    Deaf,
}

impl WorkerHandle {
    pub(super) fn new(
        asked_of: u64,
        socket: OwnedFd,
        lifeline: Leash,
        output: OutputPipe,
        board: Board,
        bell: OwnedFd,
    ) -> Self {
        WorkerHandle {
            phase: Phase::Asked,
            asked_at: Instant::now(),
            asked_of,
            socket: socket.into(),
            _lifeline: lifeline,
            output,
            process: None,
            claimed_pid: None,
            was_ready: false,
            is_silent: false,
            is_ours: false,
            kill_at: None,
            tenure: Tenure::default(),
            entry: Arc::default(),
            unpaid: 0,
            board,
            bell,
            idle_rings: 0,
            in_flight: VecDeque::new(),
            sent: 0,
            taken: 0,
            head_since: Instant::now(),
            window: Window::new(),
            is_relieved: false,
            is_full: false,
            last_may_lie_ahead: true,
            next_argument: 0,
            board_is_kept: false,
            by_socket: VecDeque::new(),
            has_lost_files: false,
            slot: Vec::new(),
            evidence: Evidence::new(false),
            watched: Watched::default(),
            seat: 0,
            most_sealed: MOST_SEALED,
            last_words: None,
            arena: None,
            results: None,
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, |process| process.pid as u32)
    }

    /// Whether it is still to be ready, or has failed to be and that was not counted yet.
    pub(super) fn is_coming(&self) -> bool {
        match self.phase {
            Phase::Asked | Phase::Starting => true,
            Phase::Dying => !self.was_ready && !self.is_ours,
            Phase::Idle | Phase::Busy => false,
        }
    }

    /// How many jobs may be given to it now, of the kind that it was given last.
    pub(super) fn room(&self) -> usize {
        match self.phase {
            Phase::Idle | Phase::Busy if !self.is_full => {
                let window = if self.last_may_lie_ahead { self.window.size() } else { 1 };
                let most = window.min(self.tenure.left());
                most.saturating_sub(self.in_flight.len())
            }
            _ => 0,
        }
    }

    /// Whether this job may be given to it now.
    pub(super) fn takes(&self, job: &RemoteJob) -> bool {
        self.room() > 0 && (self.in_flight.is_empty() || self.may_lie_ahead(job))
    }

    /// Whether a job may wait in the ring, and be given to another if the worker says that it has not begun with it. One
    /// that has a sandbox is not believed: it might have run the job, which may be run once only.
    fn may_lie_ahead(&self, job: &RemoteJob) -> bool {
        !self.evidence.is_confined || job.terms.may_be_repeated()
    }

    /// Puts a job into the ring. With [`SendError::NotNow`] there is no room for it before the others are over.
    #[allow(clippy::result_large_err, reason = "the error is the job, handed back as it came")]
    pub(super) fn send(
        &mut self,
        mut job: RemoteJob,
        now: Instant,
    ) -> Result<(), (RemoteJob, SendError)> {
        let is_first = self.in_flight.is_empty();
        let laid_out = match self.lay_out(&job.body, is_first, self.most_sealed) {
            // Of whatever the system is short, there may be enough to copy.
            Err(SendError::NoRoom(_)) if is_first => self.lay_out(&job.body, is_first, 0),
            laid_out => laid_out,
        };
        let (plan, beside, has_files) = match laid_out {
            Ok(parts) => parts,
            Err(error) => return Err((job, error)),
        };
        let task = Task {
            trampoline: job.target.trampoline.0,
            function: job.target.function.0,
            head: plan.place,
            beside,
            has_files,
        };
        let mut header = [0; MESSAGE_LIMIT - NEAR];
        let Ok(header) = postcard::to_slice(&task, &mut header) else {
            let error = io::Error::other("its header is too long");
            return Err((job, SendError::NoRoom(error)));
        };
        let tail = job.body.tail(&plan);
        self.board.put(board::job_of(self.sent), &[header, tail[0], tail[1]]);
        if is_first {
            self.head_since = now;
            // Nobody may be looking.
            self.board.ring().arm();
        }
        // Those behind the first are kept whole: they must not suffer for what it does.
        let may_lie_ahead = self.may_lie_ahead(&job);
        self.last_may_lie_ahead = may_lie_ahead;
        let can_be_sent_again = !is_first || (job.lighten() && !has_files && may_lie_ahead);
        self.in_flight.push_back(InFlight { job: Some(job), beside, can_be_sent_again });
        self.board.ring().offer(self.sent);
        self.sent = self.sent.wrapping_add(1);
        if self.board.ring().send(self.sent) {
            futex::wake(self.board.ring().worker_bed());
        }
        Ok(())
    }

    /// Puts what goes beside there. Says where that is, and whether descriptors were sent, which must not happen while
    /// other jobs are there that may be taken back.
    fn lay_out(
        &mut self,
        body: &Body,
        is_first: bool,
        most_sealed: usize,
    ) -> Result<(Plan, Beside, bool), SendError> {
        let plan = body.plan(NEAR, most_sealed);
        if is_first {
            self.next_argument = 0;
        }
        if plan.has_sealed() && !is_first {
            return Err(SendError::NotNow);
        }
        let (beside, has_new_arena) = match plan.len {
            0 => (Beside::File, false),
            len => match self.room_on_board(len) {
                Some(start) => {
                    body.place(&plan, &self.board, ARGUMENTS, start);
                    (Beside::Board(start), false)
                }
                None if !is_first => return Err(SendError::NotNow),
                None => (Beside::File, self.store(body, &plan)?),
            },
        };
        let has_files = has_new_arena || plan.has_sealed();
        if has_files {
            self.send_files(has_new_arena, &plan)?;
        }
        Ok((plan, beside, has_files))
    }

    /// Where so many bytes of an argument may go.
    fn room_on_board(&mut self, len: u64) -> Option<u64> {
        let start = self.next_argument;
        if self.board_is_kept {
            return None;
        }
        ARGUMENTS.part(start, len)?;
        self.next_argument = (start + len).next_multiple_of(ALIGN);
        Some(start)
    }

    /// Puts what goes beside into the arena; says whether that is a new one, of which the worker is to be told.
    fn store(&mut self, body: &Body, plan: &Plan) -> Result<bool, SendError> {
        let is_new = !self.arena.as_ref().is_some_and(|arena| arena.has_room_for(plan));
        if is_new {
            self.arena = None;
            self.arena = Some(Arena::with_room_for(plan.len).map_err(SendError::NoRoom)?);
        }
        let Some(arena) = &self.arena else { return Ok(false) };
        if let Err(error) = arena.store(body, plan) {
            // The worker does not know this arena; the next job gets another.
            self.arena = None;
            return Err(SendError::NoRoom(error));
        }
        Ok(is_new)
    }

    /// Sends the descriptors that come with a job.
    fn send_files(&mut self, has_new_arena: bool, plan: &Plan) -> Result<(), SendError> {
        let arena = self.arena.as_ref().filter(|_| has_new_arena);
        let frame = ToWorker::Files { arena: arena.map(|arena| arena.len) };
        let arena = arena.map(|arena| arena.file.as_fd());
        let fds: Vec<BorrowedFd<'_>> = arena.into_iter().chain(plan.sealed()).collect();
        let sent = socket::send(self.socket.as_fd(), &frame, [&[], &[]], &fds);
        if sent.is_err() && has_new_arena {
            self.arena = None;
        }
        sent.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::WouldBlock => {
                SendError::Deaf
            }
            // The system is short of something.
            _ => SendError::NoRoom(error),
        })
    }

    /// Whether there are answers to be taken.
    pub(super) fn has_answers(&self) -> bool {
        !self.is_ours && self.board.ring().answered() != self.taken
    }

    /// Takes the next answer: none when there is none, or when the job had been taken back. The error says in what way
    /// it makes no sense.
    pub(super) fn next_answer(&mut self) -> Result<Option<(RemoteJob, Reply)>, String> {
        loop {
            let there = self.board.ring().answered().wrapping_sub(self.taken);
            if there == 0 {
                return Ok(None);
            }
            if there as usize > self.in_flight.len() {
                return Err("answers to jobs that it was not given".to_owned());
            }
            let was_asked = self.in_flight.front().is_some_and(|first| first.job.is_some());
            let reply = if was_asked { Some(self.read_answer()?) } else { None };
            let number = self.taken;
            self.taken = number.wrapping_add(1);
            self.board.ring().take(self.taken);
            let answered = self.in_flight.pop_front();
            self.is_full = false;
            self.is_relieved = false;
            self.idle_rings = 0;
            // Who has answered has not died of it.
            self.last_words = None;
            if let (Some(job), Some(reply)) = (answered.and_then(|answered| answered.job), reply) {
                return Ok(Some((job, reply)));
            }
        }
    }

    /// Reads the answer in the slot whose turn it is.
    fn read_answer(&mut self) -> Result<Reply, String> {
        let mut slot = std::mem::take(&mut self.slot);
        if self.board.get(board::answer_of(self.taken), &mut slot).is_none() {
            return Err("an answer that is too long".to_owned());
        }
        let by_socket = self.take_by_socket();
        let reply = match (postcard::take_from_bytes::<AnswerInSlot>(&slot), by_socket) {
            (Ok((AnswerInSlot::Here(done), tail)), None) => {
                self.reply(done, tail, Ok(Files::default()))
            }
            (Ok((AnswerInSlot::BySocket, _)), Some(answer)) => {
                self.reply(answer.done, &answer.tail, answer.files)
            }
            (Ok((AnswerInSlot::BySocket, _)), None) => Err("an answer that never came".to_owned()),
            (Ok((AnswerInSlot::Here(_), _)), Some(_)) => Err("two answers to one job".to_owned()),
            (Err(error), _) => Err(format!("an answer that is none: {error}")),
        };
        self.slot = slot;
        reply
    }

    /// What came by the socket for the slot whose turn it is.
    fn take_by_socket(&mut self) -> Option<AnswerBySocket> {
        let is_here = self.by_socket.front().is_some_and(|answer| answer.number == self.taken);
        if is_here { self.by_socket.pop_front() } else { None }
    }

    /// Whether the next answer comes by the socket, as it seems: it may become something else when it is read again.
    pub(super) fn next_is_long(&self) -> bool {
        self.board.peek(board::answer_of(self.taken)) == BY_SOCKET
    }

    /// Whether the next answer, which comes by the socket, has not come yet.
    pub(super) fn misses_an_answer(&self) -> bool {
        self.by_socket.is_empty()
    }

    /// Keeps what came by the socket until its slot is answered.
    pub(super) fn keep_answer(&mut self, answer: AnswerBySocket) -> Result<(), String> {
        let place = |number: u32| number.wrapping_sub(self.taken);
        let after_last =
            self.by_socket.back().is_none_or(|last| place(last.number) < place(answer.number));
        if !after_last || place(answer.number) as usize >= self.in_flight.len() {
            return Err("an answer that nobody asked for".to_owned());
        }
        self.by_socket.push_back(answer);
        Ok(())
    }

    fn reply(
        &mut self,
        done: Done,
        tail: &[u8],
        files: Result<Files, String>,
    ) -> Result<Reply, String> {
        let files = match files {
            Ok(files) => files,
            Err(why) => {
                self.has_lost_files = true;
                return Ok(Reply::Error(JobError::codec("result", why)));
            }
        };
        if matches!(done.verdict, Verdict::BadArgument(_)) {
            // It may not have got the arena.
            self.arena = None;
        }
        let reply = match done.verdict {
            Verdict::Value(place) => self.value(place, done.beside, tail, files)?,
            _ if !files.sealed.is_empty() => return Err("blobs that belong to nothing".to_owned()),
            Verdict::Panicked { message, location } => {
                Reply::Error(JobError::panicked_elsewhere(message, location))
            }
            Verdict::BadArgument(why) => Reply::Error(JobError::codec("argument", why)),
            Verdict::BadResult(why) => Reply::Error(JobError::codec("result", why)),
        };
        match self.in_flight.front().map(|first| first.beside) {
            Some(Beside::Board(_)) => self.board_is_kept |= done.keeps_argument,
            _ if done.keeps_argument => self.arena = None,
            _ => {}
        }
        if self.arena.as_ref().is_some_and(|arena| !arena.is_worth_keeping()) {
            self.arena = None;
        }
        Ok(reply)
    }

    fn value(
        &mut self,
        place: Place,
        beside: Beside,
        tail: &[u8],
        files: Files,
    ) -> Result<Reply, String> {
        if let Some(file) = files.results {
            self.results = Some(ResultFile::of(file)?);
        }
        let on_board;
        let source = match beside {
            Beside::Board(start) => {
                on_board = BoardResults { board: &self.board, start };
                Some(&on_board as &dyn Source)
            }
            Beside::File => self.results.as_ref().map(|file| file as &dyn Source),
        };
        let reply = Reply::read(place, tail, source, &files.sealed)?;
        if self.results.as_ref().is_some_and(|file| !file.is_worth_keeping()) {
            self.results = None;
        }
        Ok(reply)
    }

    /// Takes back the jobs that it has not begun with, in their order. `first` says whether the first one is to be
    /// taken back, too.
    pub(super) fn take_back(&mut self, first: bool) -> Vec<RemoteJob> {
        let mut back = Vec::new();
        for index in (usize::from(!first)..self.in_flight.len()).rev() {
            let number = self.taken.wrapping_add(index as u32);
            let entry = &mut self.in_flight[index];
            if entry.can_be_sent_again && entry.job.is_some() && self.board.ring().revoke(number) {
                back.extend(entry.job.take());
            }
        }
        back.reverse();
        back
    }

    /// Takes one job back, if it has not begun with it.
    pub(super) fn take_back_one(&mut self, id: u64) -> Option<RemoteJob> {
        let index = self.position(id)?;
        let number = self.taken.wrapping_add(index as u32);
        let entry = &mut self.in_flight[index];
        if entry.can_be_sent_again && self.board.ring().revoke(number) {
            entry.job.take()
        } else {
            None
        }
    }

    /// The first job and the others, but for those that were taken back.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &RemoteJob> {
        self.in_flight.iter().filter_map(|entry| entry.job.as_ref())
    }

    /// The job that was given to it last.
    pub(super) fn last_mut(&mut self) -> Option<&mut RemoteJob> {
        self.in_flight.back_mut().and_then(|last| last.job.as_mut())
    }

    /// Where in the ring the job is.
    pub(super) fn position(&self, id: u64) -> Option<usize> {
        let is_it = |entry: &InFlight| entry.job.as_ref().is_some_and(|job| job.id == id);
        self.in_flight.iter().position(is_it)
    }

    /// The first job, unless it was taken back.
    pub(super) fn first(&self) -> Option<&RemoteJob> {
        self.in_flight.front().and_then(|first| first.job.as_ref())
    }

    /// Waits no more for the answer to a job.
    pub(super) fn give_up(&mut self, id: u64) -> Option<RemoteJob> {
        let index = self.position(id)?;
        self.in_flight[index].job.take()
    }

    /// When it is dead: the job it died in, and those that can be given to another, in their order.
    pub(super) fn estate(&mut self) -> (Option<RemoteJob>, Vec<RemoteJob>) {
        let was_claimed = self.board.ring().was_claimed(self.taken);
        let first_was_begun = self.in_flight.front_mut().is_some_and(|first| {
            let is_to_blame = |job: &mut RemoteJob| job.note_lost_worker();
            was_claimed || !first.can_be_sent_again || first.job.as_mut().is_some_and(is_to_blame)
        });
        let mut jobs = std::mem::take(&mut self.in_flight).into_iter();
        let victim = if first_was_begun { jobs.next().and_then(|first| first.job) } else { None };
        (victim, jobs.filter_map(|entry| entry.job).collect())
    }

    /// Whether it has a job, begun or not.
    pub(super) fn has_jobs(&self) -> bool {
        self.in_flight.iter().any(|entry| entry.job.is_some())
    }

    /// Reads what it has written, in the name of process `pid`, up to about `limit` bytes.
    pub(super) fn read_output(&mut self, pid: u32, limit: usize) -> Output {
        let ring = self.board.ring();
        ring.note_output(true, self.output.position());
        let output = self.output.read(pid, limit);
        ring.note_output(false, self.output.position());
        output
    }

    /// When it is dead: the last that it wrote while it had the job that it died in.
    pub(super) fn last_words_of_job(&self) -> String {
        self.output.text_since(self.board.ring().output_before())
    }

    /// For how long it, which is idle, has been waiting for its next job, if it has had one.
    pub(super) fn rested(&self, now: Instant) -> Option<Duration> {
        (self.tenure.jobs > 0).then(|| now.saturating_duration_since(self.head_since))
    }

    /// How many slots are in use.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Takes what it does as a measure of what it will. `jobs` were answered since the head became the head.
    pub(super) fn note_pace(&mut self, jobs: u32, now: Instant) {
        self.window.note(now.saturating_duration_since(self.head_since), jobs);
        self.head_since = now;
    }

    /// Takes back what waits behind the head, once: it may have begun with the next one already, or say so.
    pub(super) fn relieve(&mut self) -> Vec<RemoteJob> {
        self.window.close();
        self.is_relieved = true;
        self.take_back(false)
    }

    /// When jobs that wait behind the head are to be taken back.
    pub(super) fn relief(&self) -> Option<Instant> {
        if self.is_relieved {
            return None;
        }
        let waits = |entry: &InFlight| entry.job.is_some() && entry.can_be_sent_again;
        self.in_flight.iter().skip(1).any(waits).then(|| self.head_since + LONG)
    }

    /// It has rung. False when it has done so too often for nothing.
    pub(super) fn note_ring(&mut self) -> bool {
        self.idle_rings += 1;
        self.idle_rings <= IDLE_RINGS
    }

    /// Wants to be rung for answers. False when there are some already.
    pub(super) fn arm(&self) -> bool {
        if !self.in_flight.is_empty() {
            self.board.ring().arm();
        }
        !self.has_answers()
    }

    /// Kills it, as soon as it is known.
    pub(super) fn kill(&self) {
        if let Some(process) = &self.process {
            death::kill(process.pid, process.pidfd.as_fd());
        }
    }
}

#[cfg(test)]
#[path = "worker_handle_tests.rs"]
mod tests;
