//! [`Tally`]: what came of the jobs, and whether that is right.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use loopool::{CrashCause, JobError};

use crate::fate::Fate;
use crate::work::{Answer, Order};

/// An outcome that does not come in this time never will.
pub(crate) const HANG: Duration = Duration::from_secs(300);

/// So many complaints are kept; a pool that is broken would have one for every job.
const COMPLAINTS: usize = 50;

#[derive(Default)]
pub(crate) struct Tally(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    right: u64,
    wrong: u64,
    lost: u64,
    by_cause: BTreeMap<&'static str, u64>,
    complaints: Vec<String>,
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Compares an outcome with the job's fate. `killed` is the process that was killed for it.
    pub(crate) fn judge(
        &self,
        order: &Order,
        outcome: Result<Answer, JobError>,
        killed: Option<u32>,
    ) {
        let cause = cause(&outcome);
        let is_right = is_right(order, &outcome, killed);
        let mut counts = self.lock();
        *counts.by_cause.entry(cause).or_default() += 1;
        if is_right {
            counts.right += 1;
            return;
        }
        if cause == "lost" {
            counts.lost += 1;
        } else {
            counts.wrong += 1;
        }
        let what = match outcome {
            Ok(_) => "a result that it should not have".to_owned(),
            Err(error) => error.to_string(),
        };
        counts.complain(format!("job {}, {:?}: {what}", order.number, order.fate));
    }

    /// A job whose outcome does not come.
    pub(crate) fn lose(&self, order: &Order) {
        let mut counts = self.lock();
        counts.lost += 1;
        counts.complain(format!("job {}, {:?}: lost", order.number, order.fate));
    }

    pub(crate) fn complain(&self, what: String) {
        self.lock().complain(what);
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        self.lock().complaints.clone()
    }

    pub(crate) fn right(&self) -> u64 {
        self.lock().right
    }

    pub(crate) fn wrong(&self) -> u64 {
        self.lock().wrong
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lock().lost
    }

    pub(crate) fn by_cause(&self) -> BTreeMap<&'static str, u64> {
        self.lock().by_cause.clone()
    }
}

impl Counts {
    fn complain(&mut self, what: String) {
        if self.complaints.len() < COMPLAINTS {
            self.complaints.push(what);
        }
    }
}

/// What an outcome is counted as.
fn cause(outcome: &Result<Answer, JobError>) -> &'static str {
    match outcome {
        Ok(_) => "returned",
        Err(error) if error.is_wait_timeout() => "lost",
        Err(error) if error.is_cancelled() => "cancelled",
        Err(error) if error.is_timeout() => "timed_out",
        Err(error) if error.is_panic() => "panicked",
        Err(error) => match error.crash().map(|report| report.cause) {
            Some(CrashCause::Abort) => "aborted",
            Some(CrashCause::Segfault) => "segfaulted",
            Some(CrashCause::StackOverflow) => "overflowed",
            Some(CrashCause::OutOfMemory) => "out_of_memory",
            Some(CrashCause::Exit) => "exited",
            Some(CrashCause::Signal) => "killed",
            Some(_) => "crashed_otherwise",
            None => "failed_otherwise",
        },
    }
}

fn is_right(order: &Order, outcome: &Result<Answer, JobError>, killed: Option<u32>) -> bool {
    let cause = cause(outcome);
    let crash = outcome.as_ref().err().and_then(JobError::crash);
    let signal = crash.and_then(|report| report.signal);
    match order.fate {
        Fate::Small | Fate::Middle | Fate::Large => {
            matches!(outcome, Ok(answer) if *answer == order.answer())
        }
        Fate::CancelledEarly => match outcome {
            Ok(answer) => *answer == order.answer(),
            Err(error) => error.is_cancelled(),
        },
        Fate::CancelledRunning => cause == "cancelled",
        Fate::Endless => cause == "timed_out",
        Fate::Panic => {
            let said = outcome.as_ref().err().and_then(|error| error.panic_message());
            said.is_some_and(|said| said == order.panic_message())
        }
        Fate::Exit => {
            cause == "exited" && crash.and_then(|it| it.exit_code) == Some(order.exit_code())
        }
        Fate::Abort => cause == "aborted" && signal == Some(libc::SIGABRT),
        Fate::Segfault => cause == "segfaulted" && signal == Some(libc::SIGSEGV),
        Fate::StackOverflow => cause == "overflowed" && signal == Some(libc::SIGSEGV),
        Fate::Memory => cause == "out_of_memory",
        Fate::Killed => {
            cause == "killed"
                && signal == Some(libc::SIGKILL)
                && killed.is_some()
                && killed == crash.map(|it| it.pid)
        }
    }
}
