//! The worker: a copy of the fork server that runs jobs, one after the other, on its only thread.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::catch_unwind;
use std::sync::Arc;

use nix::sys::resource::Resource;

use super::desk::{Desk, Room};
use super::trampoline::{Answer, Trampoline};
use super::{child, cpu_limit, fault, panics};
use crate::blob::Blob;
use crate::caught::text_of;
use crate::process::image::Offset;
use crate::process::transport::body::{self, Body, Plan};
use crate::process::transport::foreign::Foreign;
use crate::process::transport::mapping::Mapping;
use crate::process::transport::sealed;
use crate::process::transport::socket;
use crate::process::transport::wire::{
    Beside, BlobPlace, Done, FromWorker, Place, ToWorker, Verdict, WorkerSettings, clip,
};
use crate::process::{policy, sandbox};

/// What a worker is given.
pub(crate) struct Belongings {
    pub(crate) socket: OwnedFd,
    pub(crate) lifeline: OwnedFd,
    pub(crate) output: OwnedFd,
    pub(crate) board: OwnedFd,
    pub(crate) bell: OwnedFd,
}

impl Belongings {
    /// As they come with the request.
    pub(crate) fn of(fds: Vec<OwnedFd>) -> Option<Self> {
        let [socket, lifeline, output, board, bell] = fds.try_into().ok()?;
        Some(Belongings { socket, lifeline, output, board, bell })
    }
}

/// The whole life of a worker, from the fork on.
pub(crate) fn live(belongings: Belongings, settings: &WorkerSettings, seat: u32) -> ! {
    let ended = catch_unwind(|| {
        let Belongings { socket, lifeline, output, board, bell } = belongings;
        let ready = get_ready(&socket, &lifeline, output, (board, bell), settings, seat);
        match ready {
            Ok(desk) => desk.work(&mut Worker::new(socket, settings.most_sealed())),
            Err(error) => {
                // While the socket is open: the program kills who has closed it.
                complain(&error);
                child::end(child::FAILED)
            }
        }
    });
    match ended {
        Ok(Ok(never)) => match never {},
        Ok(Err(error)) => {
            complain(&error);
            child::end(child::FAILED)
        }
        Err(_) => child::end(child::FAILED),
    }
}

fn complain(error: &io::Error) {
    let _ = writeln!(io::stderr(), "loopool worker: {error}");
}

/// Everything before the first job.
fn get_ready(
    socket: &OwnedFd,
    lifeline: &OwnedFd,
    output: OwnedFd,
    (board, bell): (OwnedFd, OwnedFd),
    settings: &WorkerSettings,
    seat: u32,
) -> io::Result<Desk> {
    // First of all, for the case that the fork server can't tell of us any more.
    let hello = FromWorker::Hello { pid: std::process::id() as i32 };
    socket::send(socket.as_fd(), &hello, [&[], &[]], &[])?;
    let desk = Desk::new(board.into(), bell)?;
    let keep = [socket.as_raw_fd(), lifeline.as_raw_fd(), desk.bell.as_raw_fd()];
    settle_in(keep, lifeline, output, settings, seat)?;
    // SAFETY: the descriptor is closed by nobody: the process ends with it open.
    let forever = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
    panics::watch(forever);
    fault::watch(forever)?;
    policy::settle(settings.policy)?;
    initialize(socket, settings)?;
    Ok(desk)
}

fn settle_in(
    keep: [RawFd; 3],
    lifeline: &OwnedFd,
    output: OwnedFd,
    settings: &WorkerSettings,
    seat: u32,
) -> io::Result<()> {
    child::lead_a_group();
    child::become_standard(output.as_fd(), libc::STDOUT_FILENO)?;
    child::become_standard(output.as_fd(), libc::STDERR_FILENO)?;
    drop(output);
    child::close_others(keep);
    child::die_together_with(lifeline.as_fd())?;
    child::set_name(c"loopool-worker");
    child::reset_signals();
    crate::os::lower_priority_of_this_thread(settings.nice);
    // With 0 a handler of core files (`core_pattern` with a pipe) is started all the same; 1 means none at all (core(5)).
    child::limit(Resource::RLIMIT_CORE, 1)?;
    if let Some(bytes) = settings.memory_limit {
        child::limit(Resource::RLIMIT_AS, bytes)?;
    }
    if let Some(descriptors) = settings.open_files {
        child::limit(Resource::RLIMIT_NOFILE, descriptors)?;
    }
    cpu_limit::prepare(settings.cpu_limit)?;
    settings.placement.take(seat)?;
    Ok(())
}

/// Runs the initializer, if there is one, puts the sandbox on, and says how it went.
fn initialize(socket: &OwnedFd, settings: &WorkerSettings) -> io::Result<()> {
    let failed = settings.initializer.and_then(|offset| {
        let Some(address) = Offset(offset).resolve() else {
            return Some("the initializer is not in the main program".to_owned());
        };
        // SAFETY: the program sent the place of a `fn() -> Result<(), String>`, this is the same
        // build, and there is code there.
        let initializer =
            unsafe { std::mem::transmute::<*const (), fn() -> Result<(), String>>(address) };
        match catch_unwind(initializer) {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(why),
            Err(payload) => Some(format!("it panicked: {}", text_of(payload))),
        }
    });
    let failed = failed.or_else(|| policy::prepare(settings.policy).err());
    let say = |frame: &FromWorker| socket::send(socket.as_fd(), frame, [&[], &[]], &[]);
    if let Some(why) = failed {
        say(&FromWorker::InitializerFailed { why: clip(why) })?;
        child::end(child::FAILED)
    }
    match sandbox::enter(settings.sandbox.as_ref()) {
        Ok(enforced) => say(&FromWorker::Confined(enforced))?,
        Err(why) => {
            say(&FromWorker::NotConfined { why: clip(why) })?;
            child::end(child::FAILED)
        }
    }
    say(&FromWorker::Ready)
}

pub(crate) struct Worker {
    socket: OwnedFd,
    arena: Option<Arc<Mapping>>,
    results: Option<File>,
    /// The sealed blobs of the next argument.
    sealed: Vec<Blob>,
    /// How many of them may go with an answer.
    most_sealed: usize,
}

/// An answer that is ready to be told of.
pub(crate) struct Told {
    pub(crate) done: Done,
    /// The value, and where its parts go.
    value: Option<(Body, Plan)>,
    new_file: Option<File>,
}

impl Told {
    /// Whether there are descriptors to be sent with it.
    pub(crate) fn has_files(&self) -> bool {
        self.new_file.is_some() || self.value.as_ref().is_some_and(|(_, plan)| plan.has_sealed())
    }

    /// What goes into the frame or slot after the [`Done`].
    pub(crate) fn tail(&self) -> [&[u8]; 2] {
        self.value.as_ref().map_or([&[], &[]], |(body, plan)| body.tail(plan))
    }
}

impl Worker {
    pub(crate) fn new(socket: OwnedFd, most_sealed: usize) -> Self {
        Worker { socket, arena: None, results: None, sealed: Vec::new(), most_sealed }
    }

    /// What lies in the result file may not have been read: the next result that needs one gets another.
    pub(crate) fn leave_results(&mut self) {
        self.results = None;
    }

    /// Takes the descriptors that come over the socket.
    pub(crate) fn receive_files(&mut self) -> Result<(), String> {
        let mut buffer = [0; 64];
        let received = socket::receive(self.socket.as_fd(), &mut buffer);
        let mut received =
            received.map_err(|error| error.to_string())?.ok_or("the program has gone")?;
        let fds = received.trusted_fds();
        let ToWorker::Files { arena } = postcard::from_bytes(&buffer[..received.len])
            .map_err(|error| format!("a frame from the program: {error}"))?;
        if received.lost_some {
            return Err("there are too few descriptors left for its blobs".to_owned());
        }
        self.take_files(arena, fds)
    }

    /// Takes the descriptor of an arena of this length, if there is a new one, and those of sealed blobs.
    pub(crate) fn take_files(
        &mut self,
        arena: Option<u64>,
        fds: Vec<OwnedFd>,
    ) -> Result<(), String> {
        let mut fds = fds.into_iter();
        if let Some(len) = arena {
            // The old one first, so that both need not fit into the memory limit.
            self.arena = None;
            let file = fds.next().ok_or("the arena is missing")?;
            let mapping = Mapping::of(&file.into(), 0, len)
                .map_err(|error| format!("its arena could not be mapped: {error}"))?;
            self.arena = Some(Arc::new(mapping));
        }
        self.sealed = sealed::receive(fds.map(Foreign::from))?;
        Ok(())
    }

    /// Runs a job. What of its argument lies beside is in `beside`, from `start` on; without that, in the arena.
    pub(crate) fn run(
        &mut self,
        trampoline: i64,
        function: i64,
        head: Place,
        tail: &[u8],
        beside: Option<(&Arc<Mapping>, u64)>,
    ) -> Result<Answer, String> {
        let sealed = std::mem::take(&mut self.sealed);
        let beside = beside.or(self.arena.as_ref().map(|arena| (arena, 0)));
        let head = match head {
            Place::Tail => Some(tail),
            Place::Beside(span) => beside.and_then(|(mapping, start)| {
                let first = usize::try_from(start.checked_add(span.offset)?).ok()?;
                mapping.get(first..first.checked_add(usize::try_from(span.len).ok()?)?)
            }),
        };
        let (places, argument) = body::open(head.ok_or("it does not lie where it should")?)?;
        let blob = |place: &BlobPlace| match place {
            BlobPlace::Beside(span) => {
                let (mapping, start) = beside?;
                Blob::mapped(mapping, start.checked_add(span.offset)?, span.len)
            }
            BlobPlace::Sealed(number) => sealed.get(*number as usize).cloned(),
        };
        let blobs: Option<Vec<Blob>> = places.iter().map(blob).collect();
        let blobs = blobs.ok_or("a blob does not lie where it should")?;
        drop(sealed);
        let (Some(trampoline), Some(function)) =
            (Offset(trampoline).resolve(), Offset(function).resolve())
        else {
            return Err("the function is not in the main program".to_owned());
        };
        let _time = cpu_limit::count();
        // SAFETY: the program sent the places of a trampoline and of the function it is for, paired by
        // `RemoteJob::new`; this is the same build, and both are code of it.
        Ok(unsafe {
            let trampoline = std::mem::transmute::<*const (), Trampoline>(trampoline);
            trampoline(function, argument, blobs)
        })
    }

    /// Gets an answer ready: a value's head of at most `near` bytes travels with it, and what lies beside is put there.
    pub(crate) fn tell(
        &mut self,
        answer: Answer,
        near: usize,
        room: Option<&mut Room<'_>>,
    ) -> Told {
        let mut told = Told {
            done: Done::new(Verdict::BadResult(String::new())),
            value: None,
            new_file: None,
        };
        told.done.verdict = match answer {
            Answer::Value(mut body) => {
                let plan = body.plan(near, self.most_sealed);
                match self.store(&body, &plan, room) {
                    Ok((beside, file)) => {
                        told.done.beside = beside;
                        told.new_file = file;
                        let place = plan.place;
                        // They were copied out, or are in the plan. If they were the argument's, its memory is free again.
                        body.drop_blobs();
                        told.value = Some((body, plan));
                        Verdict::Value(place)
                    }
                    Err(error) => Verdict::BadResult(format!("there is no room for it: {error}")),
                }
            }
            Answer::Panicked { message, location } => {
                Verdict::Panicked { message: clip(message), location: location.map(clip) }
            }
            Answer::BadArgument(why) => Verdict::BadArgument(clip(why)),
            Answer::BadResult(why) => Verdict::BadResult(clip(why)),
        };
        told.done.keeps_argument = self.let_go_of_kept_arena();
        told
    }

    /// Tells the program over the socket what became of the job in slot `number`.
    pub(crate) fn send(&self, number: u32, told: Told) -> io::Result<()> {
        let sealed = told.value.iter().flat_map(|(_, plan)| plan.sealed());
        let fds: Vec<BorrowedFd<'_>> =
            told.new_file.iter().map(AsFd::as_fd).chain(sealed).collect();
        let has_new_file = told.new_file.is_some();
        let tail = told.value.as_ref().map_or([&[][..], &[]], |(body, plan)| body.tail(plan));
        let frame = FromWorker::Done { number, done: told.done, has_new_file };
        socket::send(self.socket.as_fd(), &frame, tail, &fds)
    }

    /// Whether somebody (a static, a thread the job started) still has a blob of the arena. If not,
    /// nobody ever will: there is no reference left to clone.
    fn let_go_of_kept_arena(&mut self) -> bool {
        let kept = self.arena.as_mut().is_some_and(|arena| Arc::get_mut(arena).is_none());
        if kept {
            // It is unmapped when its last blob goes.
            self.arena = None;
        }
        kept
    }

    /// Puts what does not travel with the answer beside; the result file is returned when it is new.
    fn store(
        &mut self,
        body: &Body,
        plan: &Plan,
        room: Option<&mut Room<'_>>,
    ) -> io::Result<(Beside, Option<File>)> {
        if plan.len == 0 {
            return Ok((Beside::File, None));
        }
        if let Some(start) = room.and_then(|room| room.place(body, plan)) {
            return Ok((Beside::Board(start), None));
        }
        let (file, is_new) = match self.results.take() {
            Some(file) => (file, false),
            None => (body::new_file("loopool-results")?, true),
        };
        body.store(plan, &file)?;
        if body::is_worth_keeping(&file) {
            self.results = Some(file.try_clone()?);
        }
        Ok((Beside::File, is_new.then_some(file)))
    }
}
