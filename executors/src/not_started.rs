//! [`NotStarted`]: a thread or process that could not be started, handed back.

use std::fmt;
use std::io;

use crate::error::RejectReason;
use crate::process::ProcessPoolError;

/// A [`Thread`](crate::Thread) or [`Process`](crate::Process) that was not started, handed back with the
/// reason.
pub struct NotStarted<P> {
    unstarted: P,
    reason: StartError,
}

/// Why a thread or process was not started. [`Display`](fmt::Display) says what to do about it.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The program is ending, and has waited for its last non-daemon thread.
    ShuttingDown,
    /// The system refused a thread.
    Thread(io::Error),
    /// No process can be started from this one, or the system refused it.
    Process(ProcessPoolError),
    /// The function does not live in the main program, so no process can call it.
    ForeignFunction,
    /// The argument could not be encoded; the text says why.
    Argument(String),
}

impl<P> NotStarted<P> {
    pub(crate) fn new(unstarted: P, reason: StartError) -> Self {
        NotStarted { unstarted, reason }
    }

    /// What was not started, to be started later, or taken apart.
    pub fn into_unstarted(self) -> P {
        self.unstarted
    }

    /// Why not.
    pub fn reason(&self) -> &StartError {
        &self.reason
    }

    /// Whether the program is ending, so that nothing is started any more.
    pub fn is_shutting_down(&self) -> bool {
        matches!(self.reason, StartError::ShuttingDown)
    }

    /// Whether this process is a daemonic one, which has no children.
    pub fn is_nested(&self) -> bool {
        matches!(self.reason, StartError::Process(ProcessPoolError::Nested))
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShuttingDown => {
                f.write_str("the program is ending: threads and processes are started no more")
            }
            Self::Thread(error) => write!(f, "the system refused a thread: {error}"),
            Self::Process(error) => error.fmt(f),
            Self::ForeignFunction => RejectReason::ForeignFunction.fmt(f),
            Self::Argument(why) => write!(f, "the argument could not cross: {why}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Thread(error) => Some(error),
            Self::Process(error) => Some(error),
            Self::ShuttingDown | Self::ForeignFunction | Self::Argument(_) => None,
        }
    }
}

impl<P> fmt::Display for NotStarted<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl<P> fmt::Debug for NotStarted<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NotStarted({})", self.reason)
    }
}

impl<P> std::error::Error for NotStarted<P> {}

impl<P> From<NotStarted<P>> for StartError {
    fn from(refused: NotStarted<P>) -> Self {
        refused.reason
    }
}
