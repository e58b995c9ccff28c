//! What can become of a job, and of a submission, besides a value.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use crate::process::CrashReport;

/// Why a job has no value.
///
/// Ask the predicates which of the reasons it is; [`Display`](fmt::Display) says it in a sentence.
pub struct JobError(Box<Kind>);

enum Kind {
    Cancelled,
    Panicked {
        message: String,
        location: Option<String>,
        payload: Option<Box<dyn Any + Send>>,
    },
    TimedOut {
        limit: Duration,
    },
    QueueTimedOut {
        limit: Duration,
    },
    WaitTimedOut,
    EndlessWait(String),
    Crashed(CrashReport),
    /// At least two, the last one last.
    Quarantined(Vec<CrashReport>),
    Codec {
        what: &'static str,
        message: String,
    },
    Rejected(String),
    Abandoned,
    AlreadyTaken,
    SelfJoin,
}

impl JobError {
    /// The job was cancelled, before it ran or while it did.
    pub fn cancelled() -> Self {
        Self::new(Kind::Cancelled)
    }

    /// The job panicked with this payload.
    pub fn panicked(payload: Box<dyn Any + Send>) -> Self {
        let message = panic_message(&*payload).to_owned();
        Self::new(Kind::Panicked { message, location: None, payload: Some(payload) })
    }

    /// The job panicked in another process, which sent only the message and where it was.
    pub(crate) fn panicked_elsewhere(message: String, location: Option<String>) -> Self {
        Self::new(Kind::Panicked { message, location, payload: None })
    }

    /// The job ran longer than `limit`.
    pub(crate) fn timed_out(limit: Duration) -> Self {
        Self::new(Kind::TimedOut { limit })
    }

    /// The job waited longer than `limit` for its turn.
    pub(crate) fn queue_timed_out(limit: Duration) -> Self {
        Self::new(Kind::QueueTimedOut { limit })
    }

    /// The caller's wait ended before the job did; the job goes on.
    pub(crate) fn wait_timed_out() -> Self {
        Self::new(Kind::WaitTimedOut)
    }

    /// The caller's wait would not end, since the job can't be done before; the job stays as it is. For
    /// whoever writes an executor.
    pub fn endless_wait(reason: impl fmt::Display) -> Self {
        Self::new(Kind::EndlessWait(reason.to_string()))
    }

    /// The process that ran the job died.
    pub(crate) fn crashed(report: CrashReport) -> Self {
        Self::new(Kind::Crashed(report))
    }

    /// Every attempt at the job has crashed: there are at least two reports.
    pub(crate) fn quarantined(reports: Vec<CrashReport>) -> Self {
        Self::new(Kind::Quarantined(reports))
    }

    /// An argument or result could not be turned into bytes, or back.
    pub(crate) fn codec(what: &'static str, message: impl fmt::Display) -> Self {
        Self::new(Kind::Codec { what, message: message.to_string() })
    }

    /// The executor did not take the job, or could not go on to run it.
    pub fn rejected(reason: impl fmt::Display) -> Self {
        Self::new(Kind::Rejected(reason.to_string()))
    }

    /// The [`Promise`](crate::Promise) was dropped without an outcome.
    pub(crate) fn abandoned() -> Self {
        Self::new(Kind::Abandoned)
    }

    /// The outcome was taken by an earlier call.
    pub(crate) fn already_taken() -> Self {
        Self::new(Kind::AlreadyTaken)
    }

    /// A thread waited for itself.
    pub(crate) fn self_join() -> Self {
        Self::new(Kind::SelfJoin)
    }

    fn new(kind: Kind) -> Self {
        JobError(Box::new(kind))
    }

    /// Whether the job was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(*self.0, Kind::Cancelled)
    }

    /// Whether the job panicked.
    pub fn is_panic(&self) -> bool {
        matches!(*self.0, Kind::Panicked { .. })
    }

    /// Whether the job ran longer than its limit: in a process it was killed, in a thread given up. Or its deadline has
    /// come before another attempt at it.
    pub fn is_timeout(&self) -> bool {
        matches!(*self.0, Kind::TimedOut { .. })
    }

    /// Whether the job was not run because it had waited for its turn longer than its limit.
    pub fn is_queue_timeout(&self) -> bool {
        matches!(*self.0, Kind::QueueTimedOut { .. })
    }

    /// Whether only the *wait* in [`Job::result`](crate::Job::result) ran out; the job goes on.
    pub fn is_wait_timeout(&self) -> bool {
        matches!(*self.0, Kind::WaitTimedOut)
    }

    /// Whether the wait in [`Job::result`](crate::Job::result) was refused, because it would not end: the
    /// caller occupies what the job needs. The job stays as it is.
    pub fn is_endless_wait(&self) -> bool {
        matches!(*self.0, Kind::EndlessWait(_))
    }

    /// Whether there is nothing left to take.
    pub(crate) fn is_already_taken(&self) -> bool {
        matches!(*self.0, Kind::AlreadyTaken)
    }

    /// Whether the executor refused the job or broke before it could run.
    pub fn is_rejected(&self) -> bool {
        matches!(*self.0, Kind::Rejected(_))
    }

    /// Whether a [`Thread`](crate::Thread) would have waited for itself.
    pub fn is_self_join(&self) -> bool {
        matches!(*self.0, Kind::SelfJoin)
    }

    /// Whether an argument or a result could not be encoded or decoded.
    pub fn is_codec(&self) -> bool {
        matches!(*self.0, Kind::Codec { .. })
    }

    /// What is known about the death of the process that ran the job; of the last one, if it was tried more than once.
    pub fn crash(&self) -> Option<&CrashReport> {
        match &*self.0 {
            Kind::Crashed(report) => Some(report),
            Kind::Quarantined(reports) => reports.last(),
            _ => None,
        }
    }

    /// The reports of all attempts, the first one first, of a job whose input is *quarantined*: every attempt that its
    /// [`Retry`](crate::Retry) allowed, at least two, has cost a process. To submit it again would cost more.
    ///
    /// ```
    /// use loopool_executors::{Executor, JobOptions, ProcessPoolExecutor, Retry, call};
    ///
    /// let pool = ProcessPoolExecutor::new(1)?;
    /// let abort = |_: ()| -> () { std::process::abort() };
    /// let retry = JobOptions::new().retry(Retry::new(2).on_crash().idempotent());
    /// let error = pool.with(retry).submit(call(abort, ()))?.result(None).unwrap_err();
    /// let attempts: Vec<u32> = error.quarantine().unwrap().iter().map(|it| it.attempt).collect();
    /// assert_eq!(attempts, [1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn quarantine(&self) -> Option<&[CrashReport]> {
        match &*self.0 {
            Kind::Quarantined(reports) => Some(reports),
            _ => None,
        }
    }

    /// The text of the panic, where there was one.
    pub fn panic_message(&self) -> Option<&str> {
        match &*self.0 {
            Kind::Panicked { message, .. } => Some(message),
            _ => None,
        }
    }

    /// The payload of the panic, to go on with it by [`std::panic::resume_unwind`].
    ///
    /// A panic in another process crosses as text, and the payload is that text.
    ///
    /// # Errors
    /// Hands the error back when it is not a panic.
    pub fn into_panic(self) -> Result<Box<dyn Any + Send>, JobError> {
        match *self.0 {
            Kind::Panicked { message, payload, .. } => {
                Ok(payload.unwrap_or_else(|| Box::new(message)))
            }
            other => Err(Self::new(other)),
        }
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Cancelled => f.write_str("the job was cancelled"),
            Kind::Panicked { message, location: Some(location), .. } => {
                write!(f, "the job panicked at {location}: {message}")
            }
            Kind::Panicked { message, .. } => write!(f, "the job panicked: {message}"),
            Kind::TimedOut { limit } => {
                write!(f, "the job ran longer than its limit of {limit:?}")
            }
            Kind::QueueTimedOut { limit } => {
                write!(f, "the job was not run: it waited longer than its limit of {limit:?}")
            }
            Kind::WaitTimedOut => f.write_str("the job was not done in the time given to wait"),
            Kind::EndlessWait(reason) => write!(f, "the wait would never end: {reason}"),
            Kind::Crashed(report) => write!(f, "{report}"),
            Kind::Quarantined(reports) => {
                write!(
                    f,
                    "the job's input has cost {} processes and is tried no more",
                    reports.len()
                )?;
                reports.last().map_or(Ok(()), |report| write!(f, "; the last time, {report}"))
            }
            Kind::Codec { what, message } => write!(f, "the {what} could not cross: {message}"),
            Kind::Rejected(reason) => write!(f, "the job was not run: {reason}"),
            Kind::Abandoned => f.write_str("whoever was to do the job went away without doing it"),
            Kind::AlreadyTaken => f.write_str("the job's outcome was taken by an earlier call"),
            Kind::SelfJoin => f.write_str("a thread cannot wait for its own end"),
        }
    }
}

impl fmt::Debug for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobError({self})")
    }
}

impl std::error::Error for JobError {}

/// The text of a panic's payload, where it is text.
pub fn panic_message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "(a payload that is not text)"
    }
}

/// A submission that an executor did not take, with the work handed back.
pub struct Rejected<W> {
    work: W,
    reason: RejectReason,
}

/// Why a submission was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RejectReason {
    /// As many jobs wait as the executor's queue may hold. Try again later.
    QueueFull,
    /// The executor was shut down.
    ShutDown,
    /// The program is ending: no executor takes work any more.
    ShuttingDown,
    /// The executor cannot run anything; the text says why.
    Broken(String),
    /// This process is a fork of the one in which the executor was made. Make another one here.
    Forked,
    /// The function does not live in the main program, so no worker process can call it.
    ForeignFunction,
    /// The work wants to find a state of another type in its worker, or any where there is none; the text says more.
    WrongState(String),
    /// The job has declared that it needs more memory than the pool has for all jobs together, in bytes.
    OverBudget {
        /// What it needs.
        memory: u64,
        /// What there is.
        budget: u64,
    },
}

impl<W> Rejected<W> {
    /// Refuses `work`. For whoever writes an executor.
    pub fn new(work: W, reason: RejectReason) -> Self {
        Rejected { work, reason }
    }

    /// The work, to be submitted elsewhere or later.
    pub fn into_work(self) -> W {
        self.work
    }

    /// Why it was refused.
    pub fn reason(&self) -> &RejectReason {
        &self.reason
    }

    /// Whether it may be tried again later.
    pub fn is_queue_full(&self) -> bool {
        self.reason == RejectReason::QueueFull
    }

    /// Whether the executor was shut down, by itself or because the program is ending.
    pub fn is_shut_down(&self) -> bool {
        matches!(self.reason, RejectReason::ShutDown | RejectReason::ShuttingDown)
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RejectReason::QueueFull => f.write_str("the queue is full; try again later"),
            RejectReason::ShutDown => f.write_str("the executor was shut down"),
            RejectReason::ShuttingDown => {
                f.write_str("the program is ending, and executors take no more work")
            }
            RejectReason::Broken(why) => write!(f, "the executor is broken: {why}"),
            RejectReason::Forked => f.write_str(
                "this process is a fork of the one in which the executor was made: make a new one here",
            ),
            RejectReason::OverBudget { memory, budget } => write!(
                f,
                "the job needs {memory} bytes of memory, and the pool has {budget} for all of them"
            ),
            RejectReason::WrongState(why) => f.write_str(why),
            RejectReason::ForeignFunction => f.write_str(
                "the function lives outside the main program, so no worker process can call it",
            ),
        }
    }
}

impl<W> fmt::Display for Rejected<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl<W> fmt::Debug for Rejected<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rejected({})", self.reason)
    }
}

impl<W> std::error::Error for Rejected<W> {}

impl<W> From<Rejected<W>> for JobError {
    fn from(rejected: Rejected<W>) -> Self {
        JobError::rejected(rejected.reason)
    }
}
