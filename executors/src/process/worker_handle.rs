//! [`WorkerHandle`]: the program's side of one worker. Whatever comes from the worker is checked here.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use super::arena::Arena;
use super::body::ResultFile;
use super::death;
use super::policy::{Running, Seat, Tenure};
use super::remote_job::{RemoteJob, Reply};
use super::socket;
use super::tail::OutputPipe;
use super::wire::{Place, ToWorker, Verdict};
use crate::error::JobError;

/// Answers to jobs that are not running are ignored; a worker that gives more than this is killed.
const STALE_ANSWERS: u32 = 64;

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
    pub(super) socket: OwnedFd,
    /// The kernel kills the worker when this is closed.
    _lifeline: OwnedFd,
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
    pub(super) seat: Arc<Seat>,
    /// The memory that its job has declared, in bytes.
    pub(super) share: u64,
    pub(super) job: Option<Running>,
    pub(super) overflowed: bool,
    pub(super) last_words: Option<(String, Option<String>)>,
    arena: Option<Arena>,
    results: Option<ResultFile>,
    stale_answers: u32,
}

pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
}

/// Why a job could not be handed to a worker.
pub(super) enum SendError {
    /// Its argument found no room.
    NoRoom(io::Error),
    /// The worker does not listen.
    Deaf,
}

impl WorkerHandle {
    pub(super) fn new(
        asked_of: u64,
        socket: OwnedFd,
        lifeline: OwnedFd,
        output: OutputPipe,
    ) -> Self {
        WorkerHandle {
            phase: Phase::Asked,
            asked_at: Instant::now(),
            asked_of,
            socket,
            _lifeline: lifeline,
            output,
            process: None,
            claimed_pid: None,
            was_ready: false,
            is_silent: false,
            is_ours: false,
            kill_at: None,
            tenure: Tenure::default(),
            seat: Arc::default(),
            share: 0,
            job: None,
            overflowed: false,
            last_words: None,
            arena: None,
            results: None,
            stale_answers: 0,
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

    /// Sends a job. The worker is idle, so it has taken in everything before it, and there is room for
    /// one frame.
    pub(super) fn send(&mut self, job: &RemoteJob) -> Result<(), SendError> {
        let plan = job.body.plan();
        let mut is_new = false;
        if plan.file_len > 0 {
            if !self.arena.as_ref().is_some_and(|arena| arena.has_room_for(&plan)) {
                self.arena = None;
                let arena = Arena::with_room_for(plan.file_len).map_err(SendError::NoRoom)?;
                self.arena = Some(arena);
                is_new = true;
            }
            if let Some(arena) = &self.arena
                && let Err(error) = arena.store(&job.body, &plan)
            {
                // The worker may not know this arena; the next job gets another.
                self.arena = None;
                return Err(SendError::NoRoom(error));
            }
        }
        let new_arena = self.arena.as_ref().filter(|_| is_new);
        let frame = ToWorker::Job {
            id: job.id,
            trampoline: job.target.trampoline.0,
            function: job.target.function.0,
            head: plan.place,
            new_arena: new_arena.map(|arena| arena.len),
        };
        let fds: Vec<BorrowedFd<'_>> = new_arena.iter().map(|arena| arena.file.as_fd()).collect();
        let sent = socket::send(self.socket.as_fd(), &frame, job.body.tail(&plan), &fds);
        sent.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::WouldBlock => {
                SendError::Deaf
            }
            // The system is short of something.
            _ => {
                if is_new {
                    self.arena = None;
                }
                SendError::NoRoom(error)
            }
        })
    }

    /// Takes the answer to a job: none when it is not the answer to the running one. The error says in
    /// what way it makes no sense.
    pub(super) fn answer(
        &mut self,
        id: u64,
        verdict: Verdict,
        keeps_arena: bool,
        tail: &[u8],
        file: Option<OwnedFd>,
    ) -> Result<Option<(Running, Reply)>, String> {
        if self.job.as_ref().is_none_or(|running| running.job.id != id) {
            self.stale_answers += 1;
            if self.stale_answers > STALE_ANSWERS {
                return Err("too many answers that nobody asked for".to_owned());
            }
            return Ok(None);
        }
        let reply = match verdict {
            Verdict::Value(place) => self.value(place, tail, file)?,
            Verdict::Panicked { message, location } => {
                Reply::Error(JobError::panicked_elsewhere(message, location))
            }
            Verdict::BadArgument(why) => Reply::Error(JobError::codec("argument", why)),
            Verdict::BadResult(why) => Reply::Error(JobError::codec("result", why)),
        };
        if keeps_arena || self.arena.as_ref().is_some_and(|arena| !arena.is_worth_keeping()) {
            self.arena = None;
        }
        Ok(self.job.take().map(|running| (running, reply)))
    }

    fn value(&mut self, place: Place, tail: &[u8], file: Option<OwnedFd>) -> Result<Reply, String> {
        if let Some(file) = file {
            self.results = Some(ResultFile::check(file)?);
        }
        let reply = Reply::read(place, tail, self.results.as_ref())?;
        if self.results.as_ref().is_some_and(|file| !file.is_worth_keeping()) {
            self.results = None;
        }
        Ok(reply)
    }

    /// Kills it, as soon as it is known.
    pub(super) fn kill(&self) {
        if let Some(process) = &self.process {
            death::kill(process.pid, process.pidfd.as_fd());
        }
    }
}
