//! The program's side of the fork server: starting it, greeting it, asking it for workers.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::environment::Environment;
use super::image;
use super::inside::takeover;
use super::leash::Leash;
use super::pool_error::ProcessPoolError;
use super::tail::{Output, OutputPipe, pipe};
use super::transport::socket::{self, FRAME_LIMIT};
use super::transport::wire::{FromServer, MAGIC, PROTOCOL, ToServer, WorkerSettings};

/// Who says this much before it answers is none of ours.
const CHATTER_LIMIT: usize = 64 * 1024;

/// Everything that a fork server is started with, taken when the pool is made, so that one that is
/// started again later is the same.
pub(super) struct Recipe {
    executable: Option<PathBuf>,
    /// What comes before the nonce in its first argument.
    name: &'static str,
    environment: Vec<(OsString, OsString)>,
    directory: Option<OwnedFd>,
    umask: Option<u32>,
    build: String,
    settings: WorkerSettings,
    limit: Duration,
}

impl Recipe {
    pub(super) fn new(
        executable: Option<PathBuf>,
        explicit_entry: bool,
        environment: &Environment,
        settings: WorkerSettings,
        limit: Duration,
    ) -> Self {
        Recipe {
            executable,
            name: if explicit_entry { takeover::NAME_FOR_MAIN } else { takeover::NAME },
            environment: environment.of_now(),
            // Where it can't be opened, the workers are where the program is.
            directory: open_directory().ok(),
            umask: image::umask(),
            build: image::build(),
            settings,
            limit,
        }
    }

    /// Until when a fork server may take for an answer to what it was asked at that time; none when that is too far for
    /// the clock.
    pub(super) fn answers_until(&self, asked_at: Instant) -> Option<Instant> {
        asked_at.checked_add(self.limit)
    }

    /// Starts a fork server and greets it. It is of use once [`ForkServer::advance`] says so.
    pub(super) fn start(&self) -> Result<ForkServer, ProcessPoolError> {
        let (control, theirs) = socket::pair()?;
        let control = Leash::new(control);
        let (read, write) = pipe()?;
        let nonce = nonce();
        let own = self.executable.is_none();
        let executable = self.executable.clone().unwrap_or_else(|| "/proc/self/exe".into());
        let mut command = Command::new(executable);
        command
            .arg0(format!("{}{nonce}", self.name))
            .process_group(0)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(write.try_clone()?))
            .stderr(Stdio::from(write));
        let child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if own => ProcessPoolError::NoProc,
            _ => ProcessPoolError::Spawn(error),
        })?;
        // Closes our copies of the child's ends.
        drop(command);
        let output = OutputPipe::new(read);
        let mut server = ForkServer { child, control, output, is_ready: false, is_released: false };
        let hello = ToServer::Hello {
            magic: MAGIC,
            protocol: PROTOCOL,
            nonce,
            build: self.build.clone(),
            umask: self.umask,
            settings: self.settings.clone(),
        };
        let directory: Vec<BorrowedFd<'_>> = self.directory.iter().map(AsFd::as_fd).collect();
        socket::never_block(&server.control)?;
        match socket::send(server.control.as_fd(), &hello, [&[], &[]], &directory) {
            Ok(()) => Ok(server),
            // It has closed its standard input already.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(server.not_a_worker()),
            Err(error) => Err(error.into()),
        }
    }

    /// Starts a fork server and waits until it has answered.
    pub(super) fn start_and_wait(&self) -> Result<ForkServer, ProcessPoolError> {
        let deadline = self.answers_until(Instant::now());
        let mut server = self.start()?;
        loop {
            server.advance(&self.build)?;
            if server.is_ready {
                return Ok(server);
            }
            let now = Instant::now();
            let left = deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(now));
            if left.is_zero() {
                return Err(ProcessPoolError::HandshakeTimeout);
            }
            let mut fds = [
                PollFd::new(server.control.as_fd(), PollFlags::POLLIN),
                PollFd::new(server.output.fd.as_fd(), PollFlags::POLLIN),
            ];
            let left = PollTimeout::try_from(left.saturating_add(Duration::from_millis(1)));
            match poll(&mut fds, left.unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(io::Error::from(errno).into()),
            }
        }
    }

    /// Whether the workers get a sandbox.
    pub(super) fn confines(&self) -> bool {
        self.settings.sandbox.is_some()
    }

    /// How many sealed blobs may go with a message to a worker.
    pub(super) fn most_sealed(&self) -> usize {
        self.settings.most_sealed()
    }

    /// What this program is, for comparison.
    pub(super) fn build(&self) -> &str {
        &self.build
    }
}

fn open_directory() -> nix::Result<OwnedFd> {
    use nix::fcntl::{OFlag, open};
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(".", flags, nix::sys::stat::Mode::empty())
}

/// Something nobody else knows.
fn nonce() -> String {
    let mut bytes = [0u8; 16];
    // SAFETY: the buffer has the length given. Before the system has any randomness, early at boot,
    // the nonce stays zeros and the other checks have to do.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A running fork server. Dropping it ends and reaps it; its workers live on.
pub(super) struct ForkServer {
    child: Child,
    pub(super) control: Leash,
    pub(super) output: OutputPipe,
    is_ready: bool,
    is_released: bool,
}

/// What a fork server says once it is ready.
pub(super) enum News {
    Spawned {
        serial: u64,
        pid: i32,
        pidfd: Option<OwnedFd>,
    },
    SpawnFailed {
        serial: u64,
        error: io::Error,
    },
    /// It ended, or says what none of ours would.
    Lost,
}

impl ForkServer {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Goes on with the handshake, as far as that goes without waiting.
    pub(super) fn advance(&mut self, ours: &str) -> Result<(), ProcessPoolError> {
        let output = self.read_output();
        let mut buffer = [0; FRAME_LIMIT];
        let received = match socket::receive(self.control.as_fd(), &mut buffer) {
            Ok(Some(received)) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let silent = output == Output::Open && self.output.total() <= CHATTER_LIMIT;
                return if silent { Ok(()) } else { Err(self.not_a_worker()) };
            }
            Ok(None) | Err(_) => return Err(self.not_a_worker()),
        };
        match postcard::from_bytes(&buffer[..received.len]) {
            Ok(FromServer::Ready { build: theirs, .. }) if theirs != ours => {
                Err(ProcessPoolError::BuildMismatch { ours: ours.to_owned(), theirs })
            }
            Ok(FromServer::Ready { protocol: PROTOCOL, .. }) => {
                self.is_ready = true;
                Ok(())
            }
            Ok(FromServer::Refused { why }) => {
                let status = self.end()?;
                Err(ProcessPoolError::NotAWorker { status, stderr_tail: why })
            }
            _ => Err(self.not_a_worker()),
        }
    }

    /// Reads what it prints, up to a limit.
    pub(super) fn read_output(&mut self) -> Output {
        let pid = self.pid();
        self.output.read(pid, CHATTER_LIMIT + 1)
    }

    fn not_a_worker(&mut self) -> ProcessPoolError {
        match self.end() {
            Ok(status) => {
                let _ = self.read_output();
                ProcessPoolError::NotAWorker { status, stderr_tail: self.output.text() }
            }
            Err(error) => error.into(),
        }
    }

    /// Asks for a worker with these descriptors.
    pub(super) fn ask(&self, serial: u64, seat: u32, fds: [BorrowedFd<'_>; 5]) -> io::Result<()> {
        socket::send(self.control.as_fd(), &ToServer::Spawn { serial, seat }, [&[], &[]], &fds)
    }

    /// Lets go of it: it is no fork server any more.
    pub(super) fn release(mut self) {
        self.is_released = true;
    }

    /// Takes its next message, if there is one.
    pub(super) fn news(&mut self) -> Option<News> {
        let mut buffer = [0; 256];
        let mut received = match socket::receive(self.control.as_fd(), &mut buffer) {
            Ok(Some(received)) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Ok(None) | Err(_) => return Some(News::Lost),
        };
        Some(match postcard::from_bytes(&buffer[..received.len]) {
            Ok(FromServer::Spawned { serial, pid }) if pid > 0 => {
                News::Spawned { serial, pid, pidfd: received.trusted_fds().into_iter().next() }
            }
            Ok(FromServer::SpawnFailed { serial, errno }) => {
                News::SpawnFailed { serial, error: io::Error::from_raw_os_error(errno) }
            }
            _ => News::Lost,
        })
    }

    /// Kills it, if need be, and reaps it.
    fn end(&mut self) -> io::Result<std::process::ExitStatus> {
        // A child that ended by itself keeps its own status.
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        if !self.is_ready {
            // It may be anything, with children of its own, in the group that was made for it. Later
            // that group may hold a worker that has not left it yet.
            // SAFETY: the child was not reaped, so the number is still its own.
            unsafe { libc::kill(-(self.child.id() as i32), libc::SIGKILL) };
        }
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for ForkServer {
    fn drop(&mut self) {
        if !self.is_released {
            // Somebody else may have reaped it: then there is nothing left to do.
            let _ = self.end();
        }
    }
}
