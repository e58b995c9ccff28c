//! What is known about the death of a worker process.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::sandbox::SystemCall;

/// Why a worker process died.
///
/// A worker that the pool itself kills, for a cancelled job or one that is too late, gives no such report:
/// the job's error says that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum CrashCause {
    /// It touched memory that is not its own (SIGSEGV or SIGBUS).
    Segfault,
    /// It called `abort` (SIGABRT).
    Abort,
    /// Its stack, or that of a thread it has started, was used up.
    StackOverflow,
    /// It had or asked for more memory than it may have: it aborted for that, or was killed for it by the
    /// [pool](crate::ProcessPoolBuilder::rss_limit), its control group or the system.
    OutOfMemory,
    /// It used more processor time than it [may](crate::ProcessPoolBuilder::cpu_limit) (SIGXCPU).
    CpuLimit,
    /// It made a system call that its [sandbox](crate::Sandbox::kill_on_denial) kills for (SIGSYS).
    SandboxDenied {
        /// The call, where the worker could still tell.
        syscall: Option<SystemCall>,
    },
    /// It closed what connects it with the program, and was killed for that (SIGKILL).
    LostContact,
    /// The job ended the process by itself, by `exit`.
    Exit,
    /// It died by another signal, from outside or from itself.
    Signal,
}

impl fmt::Display for CrashCause {
    /// What the job did, to go on after "the job".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CrashCause::Segfault => "touched memory that is not its own",
            CrashCause::Abort => "aborted",
            CrashCause::StackOverflow => "overflowed its stack",
            CrashCause::OutOfMemory => "ran out of memory",
            CrashCause::CpuLimit => "used up its processor time",
            CrashCause::SandboxDenied { syscall: None } => "did what its sandbox forbids",
            CrashCause::SandboxDenied { syscall: Some(syscall) } => {
                return write!(f, "did what its sandbox forbids ({syscall})");
            }
            CrashCause::LostContact => "closed its worker's connection, which was killed for that",
            CrashCause::Exit => "ended its process",
            CrashCause::Signal => "was killed",
        })
    }
}

/// The death of a worker process, and of the job that ran in it.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct CrashReport {
    /// Why it died, as far as can be told.
    pub cause: CrashCause,
    /// The signal it died of.
    pub signal: Option<i32>,
    /// The code it exited with.
    pub exit_code: Option<i32>,
    /// Its process id.
    pub pid: u32,
    /// Whether it left a core file.
    pub core_dumped: bool,
    /// The last of what it wrote to its standard error and output while it had the job (at most 8 KiB).
    pub stderr_tail: String,
    /// The most memory it had at a time, in bytes.
    pub peak_memory: u64,
    /// The processor time it used, over all its jobs.
    pub cpu_time: Duration,
    /// How long it has lived, over all its jobs.
    pub uptime: Duration,
    /// Which attempt at the job this was, from 1 on.
    pub attempt: u32,
}

impl fmt::Display for CrashReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the job {}; its worker process {}", self.cause, self.pid)?;
        match (self.signal, self.exit_code) {
            (Some(signal), _) => write!(f, " died of signal {signal}"),
            (None, Some(code)) => write!(f, " exited with code {code}"),
            (None, None) => f.write_str(" is gone"),
        }
    }
}
