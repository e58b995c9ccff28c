//! [`PoolSnapshot`]: what a pool of processes does, for a page or a log.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::histogram::DurationHistogram;
use crate::process::shared::Shared;
use crate::stats::ExecutorStats;

/// A moment's view of a pool of processes. Counts are since the pool was made.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PoolSnapshot {
    /// What became of the jobs.
    pub stats: ExecutorStats,
    /// The workers that are there, the oldest first; those that are dying, too. They are looked at one after the other,
    /// so what one has just given up another may be seen to have.
    pub workers: Vec<WorkerSnapshot>,
    /// The process id of the fork server, if there is one.
    pub fork_server: Option<u32>,
    /// How often a worker process died in a job, or between two, by the name of its
    /// [`CrashCause`](crate::CrashCause). Each attempt at a job counts.
    pub crashes: BTreeMap<String, u64>,
    /// Attempts at jobs after the first one.
    pub retries: u64,
    /// Workers that were replaced because they had had their number of jobs, their age or their size, or because a
    /// panic had cost their [state](crate::ProcessPoolBuilder::state).
    pub recycled: u64,
    /// Jobs that were given to a worker ahead, and taken back because it did not come to begin them: it died, or had
    /// one that took long. They were given to another.
    pub taken_back: u64,
    /// Whether workers can be started.
    pub starts: CircuitSnapshot,
    /// Workers that were killed because what they sent made no sense: a job may have been taken over by hostile input.
    pub convicted: u64,
    /// How long jobs waited until they were given to a worker; a job that is tried again has waited once more.
    pub queue_time: DurationHistogram,
    /// How long jobs ran, each attempt by itself, whatever its end. (Of short ones whose answers were taken together,
    /// what they took on average.)
    pub run_time: DurationHistogram,
    /// How long workers waited between two jobs.
    pub idle_time: DurationHistogram,
    /// The same for the jobs of each [name](crate::JobOptions::name), or function type.
    pub tasks: BTreeMap<String, TaskSnapshot>,
}

/// The jobs of one name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TaskSnapshot {
    /// As [`PoolSnapshot::queue_time`].
    pub queue_time: DurationHistogram,
    /// As [`PoolSnapshot::run_time`].
    pub run_time: DurationHistogram,
    /// How often a worker process died in one of them. Each attempt counts.
    pub crashes: u64,
}

/// A worker process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkerSnapshot {
    /// Its process id.
    pub pid: u32,
    /// What it does.
    pub phase: WorkerPhase,
    /// The job that it runs.
    pub job: Option<JobSnapshot>,
    /// How many jobs it has run.
    pub jobs: u64,
    /// How much memory it has in use, in bytes, if the system says so.
    pub resident_memory: Option<u64>,
    /// For how long it has been there.
    pub uptime: Duration,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum WorkerPhase {
    /// It gets ready.
    #[default]
    Starting,
    /// It waits for a job.
    Idle,
    /// It runs one.
    Busy,
    /// It was killed, or asked to end, and is still there.
    Dying,
}

/// A job that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobSnapshot {
    /// Its [name](crate::JobOptions::name), or the types of its function.
    pub name: String,
    /// Which attempt at it this is; the first one is 1.
    pub attempt: u32,
    /// For how long it has been running.
    pub running_for: Duration,
}

/// Whether workers can be started. While starts fail they are tried more and more rarely, up to once a second; after
/// five failures the circuit is *open*: unless there is a worker, jobs that wait fail, and so does, after one more try,
/// each that is submitted later. The first start that succeeds closes it. A pool with
/// [`min_workers`](crate::ProcessPoolBuilder::min_workers) goes on trying without jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CircuitSnapshot {
    /// How many starts in a row have failed.
    pub failures: u32,
    /// Whether that is too many.
    pub is_open: bool,
    /// Why the last one failed.
    pub last_error: Option<String>,
}

impl Shared {
    pub(in crate::process) fn snapshot(&self) -> PoolSnapshot {
        if self.is_left_behind() {
            return PoolSnapshot { stats: self.stats(), ..PoolSnapshot::default() };
        }
        let metrics = &self.metrics;
        let tasks = metrics.tasks.read();
        let sum = |of: fn(&TaskSnapshot) -> &DurationHistogram| {
            tasks.values().fold(DurationHistogram::default(), |sum, task| sum.and(of(task)))
        };
        PoolSnapshot {
            queue_time: sum(|task| &task.queue_time),
            run_time: sum(|task| &task.run_time),
            tasks,
            idle_time: metrics.idle_time.read(),
            convicted: metrics.convicted.load(Relaxed),
            stats: self.stats(),
            workers: metrics.table.read(),
            fork_server: self.fork_server(),
            crashes: metrics.crashes(),
            retries: metrics.retries.load(Relaxed),
            recycled: metrics.recycled.load(Relaxed),
            taken_back: metrics.taken_back.load(Relaxed),
            starts: metrics.starts(),
        }
    }
}
