//! The last crash reports, for the page.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use loopool::{CrashCause, CrashReport, SystemCall};
use serde::Serialize;

/// How many are kept.
const KEPT: usize = 16;

/// The last crashes, and how many there were.
#[derive(Debug, Default)]
pub struct Crashes(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    count: u64,
    /// The latest first.
    last: VecDeque<Crash>,
}

/// A job that has cost a worker process.
#[derive(Debug, Clone, Serialize)]
pub struct Crash {
    /// Its number, from 1 on.
    pub number: u64,
    /// When the service was told of it, in seconds since 1970.
    pub at: f64,
    /// The pool that had the job.
    pub pool: &'static str,
    /// What the job is called.
    pub job: &'static str,
    /// The name of the cause.
    pub cause: &'static str,
    /// What happened, in words.
    pub sentence: String,
    /// What the pool has found out.
    pub report: CrashReport,
}

impl Crashes {
    /// Keeps a report, and forgets the oldest if there are too many.
    pub fn note(&self, pool: &'static str, job: &'static str, report: &CrashReport) {
        let mut kept = self.lock();
        kept.count += 1;
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let crash = Crash {
            number: kept.count,
            at: since.unwrap_or_default().as_secs_f64(),
            pool,
            job,
            cause: cause_name(report.cause),
            sentence: report.to_string(),
            report: report.clone(),
        };
        kept.last.push_front(crash);
        kept.last.truncate(KEPT);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.lock().count
    }

    /// The last ones, the latest first.
    pub fn list(&self) -> Vec<Crash> {
        self.lock().last.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What a cause is called in answers, in metrics and on the page.
pub fn cause_name(cause: CrashCause) -> &'static str {
    match cause {
        CrashCause::Segfault => "segfault",
        CrashCause::Abort => "abort",
        CrashCause::StackOverflow => "stack-overflow",
        CrashCause::OutOfMemory => "out-of-memory",
        CrashCause::CpuLimit => "cpu-limit",
        CrashCause::SandboxDenied { .. } => "sandbox-denied",
        CrashCause::LostContact => "lost-contact",
        CrashCause::Exit => "exit",
        CrashCause::Signal => "signal",
        // One that later versions tell apart.
        _ => "crash",
    }
}

/// The system call that a sandbox has ended a process for.
pub fn denied_call(cause: CrashCause) -> Option<SystemCall> {
    match cause {
        CrashCause::SandboxDenied { syscall } => syscall,
        _ => None,
    }
}
