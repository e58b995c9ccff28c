//! [`ProcessPoolError`]: why a process pool, or a process, could not be made.

use std::fmt;
use std::io;
use std::process::ExitStatus;

/// Why a process pool, or a single process, could not be made. [`Display`](fmt::Display) says what to do about it.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProcessPoolError {
    /// The constructor that turns a start of this program into a worker did not run.
    HookMissing,
    /// The crate's code is in a shared library, so no start of the main program reaches it.
    NotTheMainProgram,
    /// This process was started as a worker, but its `main` ran.
    MainRanInWorker,
    /// This process is daemonic: a worker of a pool, or a daemon [`Process`](crate::Process). Such ones have
    /// no children.
    Nested,
    /// The program is ending.
    ShuttingDown,
    /// The program runs with rights that its starter does not have (set-user-id, file capabilities).
    Privileged,
    /// The program cannot find itself: there is no `/proc/self/exe`.
    NoProc,
    /// The system refused a process, a descriptor or memory.
    Spawn(io::Error),
    /// What was started ended, or did something else than answer.
    NotAWorker {
        /// How it ended; a signal 9 is ours.
        status: ExitStatus,
        /// The last of what it said.
        stderr_tail: String,
    },
    /// What was started said nothing for as long as the handshake may take, and was killed.
    HandshakeTimeout,
    /// The sandbox can't be enforced here, as it is required to be.
    NoSandbox {
        /// What can't, in words.
        missing: Vec<String>,
    },
    /// What was started is another build of the program.
    BuildMismatch {
        /// The build of this process.
        ours: String,
        /// The build of the other.
        theirs: String,
    },
}

impl fmt::Display for ProcessPoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HookMissing => f.write_str(
                "the constructor of loopool did not run in this program, so its workers would run \
                 `main`; call `worker_main()` first thing in `main` and make the pool with \
                 `explicit_entry()`",
            ),
            Self::NotTheMainProgram => f.write_str(
                "loopool is part of a shared library here, and functions can only be found in the \
                 main program; make the pool in the program itself",
            ),
            Self::MainRanInWorker => f.write_str(
                "this process was started as a worker, but its `main` ran, since the constructor of \
                 loopool was not called; call `worker_main()` first thing in `main`",
            ),
            Self::Nested => f.write_str(
                "a daemonic process (a worker of a pool, or a daemon) has no child processes; start \
                 them in the program, or in a process that is no daemon",
            ),
            Self::ShuttingDown => f.write_str("the program is ending; no pool can be made any more"),
            Self::Privileged => f.write_str(
                "a program with rights from its executable (set-user-id, capabilities) starts no \
                 workers; drop the rights and start again without them",
            ),
            Self::NoProc => f.write_str(
                "/proc/self/exe cannot be started; mount /proc, or make the pool before entering \
                 the chroot (its workers go on living there)",
            ),
            Self::Spawn(error) => {
                write!(f, "the system refused to start the fork server: {error}")
            }
            Self::NotAWorker { status, stderr_tail } => {
                write!(
                    f,
                    "what was started as the fork server is none ({status}); name an executable of \
                     this very build with `worker_executable`, without a wrapper"
                )?;
                if stderr_tail.is_empty() {
                    return Ok(());
                }
                write!(f, "; it said: {}", stderr_tail.trim_end())
            }
            Self::HandshakeTimeout => f.write_str(
                "the fork server did not answer in time and was killed; if the machine is that \
                 slow, raise `handshake_timeout`",
            ),
            Self::NoSandbox { missing } => write!(
                f,
                "the workers' sandbox can't be enforced ({}); use another kernel or profile, or make it \
                 `best_effort`",
                missing.join("; ")
            ),
            Self::BuildMismatch { ours, theirs } => {
                write!(
                    f,
                    "the worker executable is build {theirs} and this program is {ours}; use the \
                     same build"
                )?;
                if ours.starts_with("file ") || theirs.starts_with("file ") {
                    f.write_str(" (link with --build-id so that copies of one build are known)")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ProcessPoolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Spawn(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for ProcessPoolError {
    fn from(error: io::Error) -> Self {
        Self::Spawn(error)
    }
}
