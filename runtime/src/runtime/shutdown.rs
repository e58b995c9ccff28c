//! What is asked of a shutdown, and what became of everything.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::task::Header;

/// How a [`Runtime`](crate::Runtime) is shut down, for [`shutdown`](crate::Runtime::shutdown).
///
/// ```
/// use std::time::Duration;
/// use loopool::{Runtime, ShutdownPolicy};
///
/// let runtime = Runtime::builder().loops(2).build()?;
/// runtime.run_until_complete(async { drop(loopool::to_thread(|| "work that blocks")) });
/// let policy = ShutdownPolicy::default()
///     .grace(Duration::from_secs(10))
///     .finish_queued_jobs(true)
///     .wait_for_jobs(Duration::from_secs(10));
/// let report = runtime.shutdown(policy);
/// assert!(report.is_clean(), "{report}");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownPolicy {
    /// How long tasks may take to end after they were asked to. Zero: they are dropped at once.
    /// Default: 30 seconds.
    pub grace: Duration,
    /// Whether jobs that wait in the default executor are still done; else they are cancelled.
    /// Default: cancelled.
    pub finish_queued_jobs: bool,
    /// How long jobs of the default executor are waited for: those that run, and those that are still
    /// done. A job that blocks for longer goes on in its thread, or is cancelled if it had not begun.
    /// Default: zero, nobody waits.
    pub wait_for_jobs: Duration,
}

impl Default for ShutdownPolicy {
    fn default() -> Self {
        ShutdownPolicy {
            grace: Duration::from_secs(30),
            finish_queued_jobs: false,
            wait_for_jobs: Duration::ZERO,
        }
    }
}

impl ShutdownPolicy {
    /// Sets how long tasks may take to end.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets whether jobs that wait in the default executor are still done.
    pub fn finish_queued_jobs(mut self, finish: bool) -> Self {
        self.finish_queued_jobs = finish;
        self
    }

    /// Sets how long jobs of the default executor are waited for.
    pub fn wait_for_jobs(mut self, limit: Duration) -> Self {
        self.wait_for_jobs = limit;
        self
    }
}

/// What became of a runtime's tasks and jobs at its [`shutdown`](crate::Runtime::shutdown).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Tasks that returned, or panicked, after they had been asked to end.
    pub finished: usize,
    /// Tasks that the request ended.
    pub cancelled: usize,
    /// Tasks whose futures were dropped, because the grace period was over.
    pub dropped: Vec<LeftTask>,
    /// Tasks that were left behind with the loops that are stuck: the one that is stuck, and those that
    /// belong to its loop. Should it come back they are dropped, too.
    pub left: Vec<LeftTask>,
    /// The names of the threads, of loops and spare workers, that are stuck in a poll or a callback.
    pub stuck_loops: Vec<String>,
    /// The jobs of the default executor that were not done when its end began.
    pub jobs: ShutdownJobs,
}

/// What became of the default executor's jobs; part of [`ShutdownReport`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownJobs {
    /// Jobs that were run to their end.
    pub done: usize,
    /// Jobs that were cancelled before they began.
    pub cancelled: usize,
    /// Jobs that go on by themselves, in threads that nobody waits for.
    pub running: usize,
}

impl ShutdownReport {
    /// Whether every task had the time to end and nothing goes on.
    pub fn is_clean(&self) -> bool {
        self.dropped.is_empty()
            && self.left.is_empty()
            && self.stuck_loops.is_empty()
            && self.jobs.running == 0
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ShutdownReport { finished, cancelled, dropped, left, stuck_loops, jobs } = self;
        write!(f, "tasks: {finished} finished, {cancelled} cancelled")?;
        for (tasks, what) in [(dropped, "dropped"), (left, "left behind")] {
            if !tasks.is_empty() {
                write!(f, ", {} {what} (", tasks.len())?;
                list(f, tasks)?;
                f.write_str(")")?;
            }
        }
        if !stuck_loops.is_empty() {
            write!(f, "; stuck loops: {}", stuck_loops.join(", "))?;
        }
        let ShutdownJobs { done, cancelled, running } = jobs;
        write!(f, "; jobs: {done} done, {cancelled} cancelled, {running} running")
    }
}

/// So many tasks are named in the text of a report.
const NAMED: usize = 8;

fn list(f: &mut fmt::Formatter<'_>, tasks: &[LeftTask]) -> fmt::Result {
    for (number, task) in tasks.iter().take(NAMED).enumerate() {
        if number > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{task}")?;
    }
    if tasks.len() > NAMED {
        f.write_str(", ...")?;
    }
    Ok(())
}

/// A task that did not end by itself; part of [`ShutdownReport`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LeftTask {
    /// Its name, if it was given one.
    pub name: Option<Arc<str>>,
    /// Where it was made.
    pub spawned_at: &'static Location<'static>,
}

impl LeftTask {
    pub(crate) fn of(task: &Header) -> Self {
        LeftTask { name: task.name(), spawned_at: task.location() }
    }
}

impl fmt::Display for LeftTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name:?}, made at {}", self.spawned_at),
            None => write!(f, "made at {}", self.spawned_at),
        }
    }
}
