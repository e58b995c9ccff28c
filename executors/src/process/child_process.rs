//! [`Process`]: one function in a process of its own.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::death;
use super::environment::Environment;
use super::evidence::Evidence;
use super::fork_server::Recipe;
use super::inside::takeover;
use super::leash::Leash;
use super::offspring::Offspring;
use super::pool::check_this_process;
use super::pool_error::ProcessPoolError;
use super::remote_job::{Reply, Target};
use super::transport::arena::Arena;
use super::transport::body::{Body, ResultFile, Source, TAIL_LIMIT};
use super::transport::files::Files;
use super::transport::foreign::JobSocket;
use super::transport::sealed::MOST_SEALED;
use super::transport::socket::{self, FRAME_LIMIT};
use super::transport::wire::{FromWorker, Order, Place, ToServer, Verdict, WorkerSettings};
use crate::error::JobError;
use crate::exit;
use crate::job::deadline_after;
use crate::not_started::{NotStarted, StartError};
use crate::promise::Outcome;

/// How long a new process may take for its first answer; it takes about a millisecond. A machine that reads programs back
/// from a disk that is busy, too, may need seconds.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(30);

/// The most frames that are read of a process that has ended. It sends three at most.
const FRAMES: usize = 16;

/// A process that has not been started: one function, its argument, and a say in when the program ends.
///
/// [`start`](Self::start) gives a [`ProcessHandle`], whose [`join`](ProcessHandle::join) gives the value.
/// Argument and value cross as bytes, by serde, and large buffers as [`Blob`](crate::Blob)s. The function is
/// a `fn` item or a closure that captures nothing, as for [`call`](crate::call).
///
/// ```
/// use loopool_executors::Process;
///
/// let mut process = Process::new(|n: u64| n * 2, 21).start()?;
/// assert_eq!(process.join(None)?, 42);
/// assert_eq!(process.exitcode(), Some(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Daemon or not
/// When the program ends it waits for its non-daemon processes; a *daemon* is asked to end then (SIGTERM) and
/// killed after a second. A daemon dies with the program also when that is killed; a process that is none
/// survives it. A daemon, as a worker of a pool, has no child processes and no process pool; a process that
/// is none may start whatever the program may, and before it ends it waits for what it has started, in the
/// same way as the program.
///
/// # What the function finds
/// The same program, started again, in which `main` has not run and never will: what is said of the jobs of
/// a [process pool](crate::ProcessPoolExecutor) is true here, but for the standard streams. Output and error
/// are the program's; standard input is empty. Environment, working directory and umask are those of the
/// start. The process leads a group of its own, so Ctrl-C in a terminal reaches only the program.
///
/// # What cannot be done
/// To start a process twice:
///
/// ```compile_fail,E0382
/// let process = loopool_executors::Process::new(|_: ()| (), ());
/// process.start();
/// process.start();
/// ```
///
/// to join one that was not started:
///
/// ```compile_fail,E0599
/// let process = loopool_executors::Process::new(|_: ()| (), ());
/// process.join(None);
/// ```
///
/// to make a running one a daemon:
///
/// ```compile_fail,E0599
/// let process = loopool_executors::Process::new(|_: ()| (), ()).start().unwrap();
/// process.daemon(true);
/// ```
#[must_use = "it runs only when it is started"]
pub struct Process<A, R> {
    function: fn(A) -> R,
    argument: A,
    name: Option<String>,
    is_daemon: bool,
}

impl<A, R> Process<A, R>
where
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    /// A process that will call `function` with `argument`.
    pub fn new(function: fn(A) -> R, argument: A) -> Self {
        Process { function, argument, name: None, is_daemon: takeover::is_daemonic() }
    }

    /// Its name, for logs and `top`, which shows the first 15 bytes. Default: `Process-1` and so on. NUL
    /// characters are left out.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().replace('\0', ""));
        self
    }

    /// Whether it is ended with the program instead of being waited for. Default: as the process that makes
    /// it; the program itself is none.
    pub fn daemon(mut self, is_daemon: bool) -> Self {
        self.is_daemon = is_daemon;
        self
    }

    /// Whether it will be a daemon.
    pub fn is_daemon(&self) -> bool {
        self.is_daemon
    }

    /// The argument, unused.
    pub fn into_argument(self) -> A {
        self.argument
    }

    /// Starts it, and waits for its first answer (about a millisecond; at most 30 seconds).
    ///
    /// # Errors
    /// Hands the process back when this process is a daemonic one ([`is_nested`](NotStarted::is_nested)),
    /// when the program is ending and has waited for its last non-daemon thread
    /// ([`is_shutting_down`](NotStarted::is_shutting_down)), when the argument cannot be encoded, or when the
    /// system refuses a process.
    pub fn start(self) -> Result<ProcessHandle<R>, NotStarted<Process<A, R>>> {
        let name = self.name.clone().unwrap_or_else(default_name);
        match self.launch(name) {
            Ok((offspring, control)) => {
                Ok(ProcessHandle { offspring, control: Some(control.into()), value: PhantomData })
            }
            Err(reason) => Err(NotStarted::new(self, reason)),
        }
    }

    fn launch(&self, name: String) -> Result<(Arc<Offspring>, OwnedFd), StartError> {
        check_this_process(true).map_err(StartError::Process)?;
        // Until it is on the list, the end of the program waits for us.
        let Some(_ticket) = exit::enter(&name) else { return Err(StartError::ShuttingDown) };
        let target = Target::of(self.function).ok_or(StartError::ForeignFunction)?;
        let body = Body::encode(&self.argument).map_err(StartError::Argument)?;
        let environment = Environment::default();
        let recipe = Recipe::new(None, false, &environment, WorkerSettings::default(), HANDSHAKE);
        let server = recipe.start_and_wait().map_err(StartError::Process)?;
        let pid = server.pid() as i32;
        let plan = body.plan(TAIL_LIMIT, MOST_SEALED);
        let go = || {
            let arena = match plan.len {
                0 => None,
                len => Some(Arena::with_room_for(len)?),
            };
            if let Some(arena) = &arena {
                arena.store(&body, &plan)?;
            }
            let (lifeline_end, lifeline) = if self.is_daemon {
                let (end, ours) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
                (Some(end), Some(Leash::new(ours)))
            } else {
                (None, None)
            };
            let order = ToServer::Run(Order {
                is_daemon: self.is_daemon,
                name: name.clone(),
                trampoline: target.trampoline.0,
                function: target.function.0,
                head: plan.place,
                arena: arena.as_ref().map(|arena| arena.len),
            });
            let (stdout, stderr) = (io::stdout(), io::stderr());
            let standard = [stdout.as_fd(), stderr.as_fd()];
            let lifeline_end = lifeline_end.as_ref().map(AsFd::as_fd);
            let arena = arena.as_ref().map(|arena| arena.file.as_fd());
            let fds: Vec<BorrowedFd<'_>> = standard
                .into_iter()
                .chain(lifeline_end)
                .chain(arena)
                .chain(plan.sealed())
                .collect();
            let pidfd = death::pidfd_of(pid)?;
            let control = server.control.try_clone()?;
            // The last thing that may fail: after it the process runs.
            socket::send(server.control.as_fd(), &order, body.tail(&plan), &fds)?;
            Ok((pidfd, lifeline, control))
        };
        let started: io::Result<_> = go();
        // One that was not told what to do is killed here.
        let refused = |error| StartError::Process(ProcessPoolError::Spawn(error));
        let (pidfd, lifeline, control) = started.map_err(refused)?;
        server.release();
        Ok((Offspring::adopt(pid, pidfd, name, lifeline), control))
    }
}

impl<A, R> fmt::Debug for Process<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("function", &std::any::type_name::<fn(A) -> R>())
            .field("name", &self.name)
            .field("is_daemon", &self.is_daemon)
            .finish_non_exhaustive()
    }
}

fn default_name() -> String {
    /// Only has to be different each time, so relaxed accesses pair with nothing.
    static LAST: AtomicU64 = AtomicU64::new(0);
    format!("Process-{}", LAST.fetch_add(1, Relaxed) + 1)
}

/// A [`Process`] that was started.
///
/// Dropping it lets the process go on; the program's end waits for it, or ends it, all the same. Its
/// descriptor ([`AsFd`], the *sentinel*) becomes readable when the process has ended, for `poll` and event
/// loops; it is not to be read.
pub struct ProcessHandle<R> {
    offspring: Arc<Offspring>,
    /// What it had to say is in here, until it is asked for.
    control: Option<JobSocket>,
    value: PhantomData<fn() -> R>,
}

impl<R> ProcessHandle<R> {
    /// Its process id. It stays the process's own until the process has ended and a join, a question or
    /// the start of another process has noticed that; signals are best sent by [`terminate`](Self::terminate)
    /// and [`kill`](Self::kill), which cannot hit another.
    pub fn pid(&self) -> u32 {
        self.offspring.pid()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.offspring.name
    }

    /// Whether it is ended with the program.
    pub fn is_daemon(&self) -> bool {
        self.offspring.is_daemon()
    }

    /// Whether it has not ended.
    pub fn is_alive(&self) -> bool {
        self.offspring.remains().is_none()
    }

    /// How it ended: its exit code, or minus the signal it died of. None while it lives, or when the program
    /// ignores SIGCHLD or has waited for children that are not its own.
    ///
    /// A function that returns gives 0, one that panics 1.
    pub fn exitcode(&self) -> Option<i32> {
        self.offspring.remains().and_then(|remains| remains.exit_code())
    }

    /// Asks it to end (SIGTERM), which kills it unless it has installed a handler. Its own children stay.
    ///
    /// ```
    /// use loopool_executors::Process;
    ///
    /// fn wait_for_ever(_: ()) {
    ///     loop {
    ///         std::thread::park();
    ///     }
    /// }
    ///
    /// let mut process = Process::new(wait_for_ever, ()).start()?;
    /// process.terminate()?;
    /// assert_eq!(process.join(None).unwrap_err().crash().unwrap().signal, Some(15));
    /// assert_eq!(process.exitcode(), Some(-15));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the system refuses it, for a process that has other rights now. On one that has ended it does
    /// nothing.
    pub fn terminate(&self) -> io::Result<()> {
        self.offspring.signal(libc::SIGTERM)
    }

    /// Kills it (SIGKILL). Its own children stay.
    ///
    /// # Errors
    /// As for [`terminate`](Self::terminate).
    pub fn kill(&self) -> io::Result<()> {
        self.offspring.signal(libc::SIGKILL)
    }
}

impl<R: DeserializeOwned> ProcessHandle<R> {
    /// Waits until the process has ended, at most so long, and gives what its function returned. The value
    /// can be had once.
    ///
    /// # Errors
    /// | the error | when |
    /// |---|---|
    /// | [`is_panic`](JobError::is_panic) | the function panicked; the message has crossed |
    /// | [`is_wait_timeout`](JobError::is_wait_timeout) | the time is over; ask again when you like |
    /// | [`crash`](JobError::crash) | the process was killed, died or exited before the function returned |
    /// | [`is_codec`](JobError::is_codec) | serde cannot carry the argument or the value |
    /// | another | an earlier call took the value |
    pub fn join(&mut self, timeout: impl Into<Option<Duration>>) -> Outcome<R> {
        if !self.offspring.wait_until(deadline_after(timeout.into())) {
            return Err(JobError::wait_timed_out());
        }
        let Some(control) = self.control.take() else { return Err(JobError::already_taken()) };
        self.last_words(&control)
    }

    /// What it had to say. Believes nothing: it may be anything that was sent.
    fn last_words(&self, control: &JobSocket) -> Outcome<R> {
        let remains = self.offspring.remains().unwrap_or_default();
        let mut buffer = vec![0; FRAME_LIMIT];
        let mut evidence = Evidence { tells_of_faults: true, ..Evidence::new(false) };
        evidence.since = self.offspring.since;
        let mut panic = None;
        for _ in 0..FRAMES {
            let Ok(Some(received)) = socket::receive(control.as_fd(), &mut buffer) else { break };
            let frame = postcard::take_from_bytes::<FromWorker>(&buffer[..received.len]);
            match frame {
                Ok((FromWorker::Faulted(fault), _)) => evidence.fault = Some(fault),
                Ok((FromWorker::Dying { panic: message, location }, _)) => {
                    panic = Some((message, location));
                }
                Ok((FromWorker::Done { done, has_new_file, .. }, tail)) if received.whole => {
                    let fds = received.foreign_fds();
                    let files = fds.and_then(|fds| Files::of(has_new_file, fds));
                    return reply(done.verdict, tail, files).outcome();
                }
                _ => return Err(JobError::codec("result", "the process sent nonsense")),
            }
        }
        match panic.filter(|_| remains.may_be_an_abort()) {
            Some((message, location)) => Err(JobError::panicked_elsewhere(message, location)),
            None => Err(JobError::crashed(remains.report(self.pid(), &evidence, String::new()))),
        }
    }
}

fn reply(verdict: Verdict, tail: &[u8], files: Result<Files, String>) -> Reply {
    Reply::Error(match verdict {
        Verdict::Value(place) => match files.and_then(|files| value(place, tail, files)) {
            Ok(reply) => return reply,
            Err(why) => JobError::codec("result", why),
        },
        Verdict::Panicked { message, location } => JobError::panicked_elsewhere(message, location),
        Verdict::BadArgument(why) => JobError::codec("argument", why),
        Verdict::BadResult(why) => JobError::codec("result", why),
    })
}

fn value(place: Place, tail: &[u8], files: Files) -> Result<Reply, String> {
    let results = files.results.map(ResultFile::of).transpose()?;
    let results = results.as_ref().map(|file| file as &dyn Source);
    Reply::read(place, tail, results, &files.sealed)
}

impl<R> AsFd for ProcessHandle<R> {
    /// The sentinel: readable when the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.offspring.pidfd()
    }
}

impl<R> fmt::Debug for ProcessHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessHandle")
            .field("name", &self.name())
            .field("pid", &self.pid())
            .field("is_daemon", &self.is_daemon())
            .finish_non_exhaustive()
    }
}
