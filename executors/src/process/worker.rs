//! The worker: a copy of the fork server that runs jobs, one after the other, on its only thread.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic::catch_unwind;
use std::sync::Arc;

use nix::sys::resource::Resource;

use super::body::{self, Body, Plan};
use super::image::Offset;
use super::mapping::Mapping;
use super::socket::{self, FRAME_LIMIT};
use super::trampoline::{Answer, Trampoline};
use super::wire::{FromWorker, Place, ToWorker, Verdict, WorkerSettings, clip};
use super::{child, fault, panics, policy};
use crate::blob::Blob;
use crate::caught::text_of;

/// The whole life of a worker, from the fork on.
pub(super) fn live(fds: [OwnedFd; 3], settings: WorkerSettings) -> ! {
    let ended = catch_unwind(|| {
        let [socket, lifeline, output] = fds;
        // First of all, for the case that the fork server can't tell of us any more.
        let hello = FromWorker::Hello { pid: std::process::id() as i32 };
        socket::send(socket.as_fd(), &hello, [&[], &[]], &[])?;
        settle_in(&socket, &lifeline, output, settings)?;
        // SAFETY: the descriptor is closed by nobody: the process ends with it open.
        let forever = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
        panics::watch(forever);
        fault::watch(forever)?;
        policy::settle(settings.policy)?;
        initialize(&socket, settings)?;
        Worker::new(socket).work()
    });
    match ended {
        Ok(Ok(())) => child::end(0),
        Ok(Err(error)) => {
            let _ = writeln!(io::stderr(), "loopool worker: {error}");
            child::end(child::FAILED)
        }
        Err(_) => child::end(child::FAILED),
    }
}

fn settle_in(
    socket: &OwnedFd,
    lifeline: &OwnedFd,
    output: OwnedFd,
    settings: WorkerSettings,
) -> io::Result<()> {
    child::lead_a_group();
    child::become_standard(output.as_fd(), libc::STDOUT_FILENO)?;
    child::become_standard(output.as_fd(), libc::STDERR_FILENO)?;
    drop(output);
    child::close_others([socket.as_raw_fd(), lifeline.as_raw_fd()]);
    child::die_with(lifeline.as_fd())?;
    child::set_name(c"loopool-worker");
    child::reset_signals();
    crate::os::lower_priority_of_this_thread(settings.nice);
    child::limit(Resource::RLIMIT_CORE, 0)?;
    if let Some(bytes) = settings.memory_limit {
        child::limit(Resource::RLIMIT_AS, bytes)?;
    }
    Ok(())
}

/// Runs the initializer, if there is one, and says how it went.
fn initialize(socket: &OwnedFd, settings: WorkerSettings) -> io::Result<()> {
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
    let Some(why) = failed else {
        return socket::send(socket.as_fd(), &FromWorker::Ready, [&[], &[]], &[]);
    };
    let frame = FromWorker::InitializerFailed { why: clip(why) };
    socket::send(socket.as_fd(), &frame, [&[], &[]], &[])?;
    child::end(child::FAILED)
}

pub(super) struct Worker {
    socket: OwnedFd,
    arena: Option<Arc<Mapping>>,
    results: Option<File>,
}

impl Worker {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Worker { socket, arena: None, results: None }
    }

    /// Runs jobs until the program closes the socket.
    fn work(mut self) -> io::Result<()> {
        let mut buffer = vec![0; FRAME_LIMIT];
        while let Some(received) = socket::receive(self.socket.as_fd(), &mut buffer)? {
            let (frame, tail) = postcard::take_from_bytes(&buffer[..received.len])
                .map_err(|error| io::Error::other(format!("a frame from the program: {error}")))?;
            let ToWorker::Job { id, trampoline, function, head, new_arena } = frame;
            let taken = self.take_arena(new_arena, received.fds);
            let answer = taken.and_then(|()| self.run(trampoline, function, head, tail));
            self.answer(id, answer.unwrap_or_else(Answer::BadArgument))?;
        }
        Ok(())
    }

    pub(super) fn take_arena(&mut self, len: Option<u64>, fds: Vec<OwnedFd>) -> Result<(), String> {
        let Some(len) = len else { return Ok(()) };
        // The old one first, so that both need not fit into the memory limit.
        self.arena = None;
        let file = fds.into_iter().next().ok_or("the arena is missing")?;
        let mapping = Mapping::of(&file.into(), len)
            .map_err(|error| format!("its arena could not be mapped: {error}"))?;
        self.arena = Some(Arc::new(mapping));
        Ok(())
    }

    pub(super) fn run(
        &self,
        trampoline: i64,
        function: i64,
        head: Place,
        tail: &[u8],
    ) -> Result<Answer, String> {
        let head = match head {
            Place::Tail => Some(tail),
            Place::File(span) => self.arena.as_ref().and_then(|arena| {
                let start = usize::try_from(span.offset).ok()?;
                arena.get(start..usize::try_from(span.end()?).ok()?)
            }),
        };
        let (spans, argument) = body::open(head.ok_or("it does not lie in the arena")?)?;
        let blob = |span: &super::wire::Span| {
            self.arena.as_ref().and_then(|arena| Blob::mapped(arena, span.offset, span.len))
        };
        let blobs: Option<Vec<Blob>> = spans.iter().map(blob).collect();
        let blobs = blobs.ok_or("a blob does not lie in the arena")?;
        let (Some(trampoline), Some(function)) =
            (Offset(trampoline).resolve(), Offset(function).resolve())
        else {
            return Err("the function is not in the main program".to_owned());
        };
        // SAFETY: the program sent the places of a trampoline and of the function it is for, paired by
        // `RemoteJob::new`; this is the same build, and both are code of it.
        Ok(unsafe {
            let trampoline = std::mem::transmute::<*const (), Trampoline>(trampoline);
            trampoline(function, argument, blobs)
        })
    }

    pub(super) fn answer(&mut self, id: u64, answer: Answer) -> io::Result<()> {
        let mut new_file = None;
        let mut value = None;
        let verdict = match answer {
            Answer::Value(mut body) => {
                let plan = body.plan();
                match self.store(&body, &plan) {
                    Ok(file) => {
                        new_file = file;
                        let place = plan.place;
                        // They were copied out. If they were the argument's, the arena is free again.
                        body.drop_blobs();
                        value = Some((body, plan));
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
        let tail = value.as_ref().map_or([&[][..], &[]], |(body, plan)| body.tail(plan));
        let new_file: Vec<BorrowedFd<'_>> = new_file.iter().map(AsFd::as_fd).collect();
        let frame = FromWorker::Done { id, verdict, keeps_arena: self.let_go_of_kept_arena() };
        socket::send(self.socket.as_fd(), &frame, tail, &new_file)
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

    /// Puts what does not travel in the frame into the result file; returns it when it is new.
    fn store(&mut self, body: &Body, plan: &Plan) -> io::Result<Option<File>> {
        if plan.file_len == 0 {
            return Ok(None);
        }
        let (file, is_new) = match self.results.take() {
            Some(file) => (file, false),
            None => (body::new_file("loopool-results")?, true),
        };
        body.store(plan, &file)?;
        if body::is_worth_keeping(&file) {
            self.results = Some(file.try_clone()?);
        }
        Ok(is_new.then_some(file))
    }
}
