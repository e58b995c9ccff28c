//! What is known about the death of a worker process.

use std::fmt;
use std::time::Duration;

/// Why a worker process died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CrashCause {
    /// It touched memory that is not its own (SIGSEGV or SIGBUS).
    Segfault,
    /// It called `abort` (SIGABRT).
    Abort,
    /// Its stack was used up.
    StackOverflow,
    /// It asked for more memory than it may have.
    OutOfMemory,
    /// The job ended the process by itself, by `exit`.
    Exit,
    /// It died by another signal, from outside or from itself.
    Signal,
}

/// The death of a worker process, and of the job that ran in it.
#[derive(Debug, Clone)]
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
    /// Which attempt at the job this was, from 1 on.
    pub attempt: u32,
}

impl fmt::Display for CrashReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.cause {
            CrashCause::Segfault => "touched memory that is not its own",
            CrashCause::Abort => "aborted",
            CrashCause::StackOverflow => "overflowed its stack",
            CrashCause::OutOfMemory => "ran out of memory",
            CrashCause::Exit => "ended its process",
            CrashCause::Signal => "was killed",
        };
        write!(f, "the job {what}; its worker process {}", self.pid)?;
        match (self.signal, self.exit_code) {
            (Some(signal), _) => write!(f, " died of signal {signal}"),
            (None, Some(code)) => write!(f, " exited with code {code}"),
            (None, None) => f.write_str(" is gone"),
        }
    }
}
