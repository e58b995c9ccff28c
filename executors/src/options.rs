//! How a job is to be treated, besides being run.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use crate::engine::Serving;
use crate::error::Rejected;
use crate::job::Job;
use crate::place::Place;
use crate::retry::IdempotentRetry;
use crate::stats::ExecutorStats;
use crate::work::{Executor, Work};

/// Who comes first among jobs that wait. Within a priority it is the one that was submitted first.
///
/// None waits for ever: of eight jobs that are taken while several priorities wait, one is the oldest of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// Before the others: somebody waits for it.
    High,
    /// What a job has if nobody says otherwise.
    #[default]
    Normal,
    /// When there is nothing better to do.
    Low,
}

impl Priority {
    pub(crate) const COUNT: usize = 3;
}

/// How jobs are to be treated: for the `with` of an executor.
///
/// ```
/// use std::time::Duration;
/// use loopool_executors::{Executor, JobOptions, Priority, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(2);
/// let urgent = JobOptions::new().priority(Priority::High).job_timeout(Duration::from_secs(1));
/// let mut job = pool.with(urgent).submit(|| 6 * 7)?;
/// assert_eq!(job.result(None)?, 42);
/// # Ok::<(), loopool_executors::JobError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[must_use = "options have to be given to an executor"]
pub struct JobOptions {
    pub(crate) priority: Priority,
    pub(crate) queue_timeout: Option<Duration>,
    pub(crate) job_timeout: Option<Duration>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) retry: Option<IdempotentRetry>,
    pub(crate) affinity: Option<u64>,
    pub(crate) memory: u64,
    pub(crate) name: Option<&'static str>,
}

impl JobOptions {
    /// Normal priority, and no limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Who comes first.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// How long a job may wait for its turn. After that it is not run any more and fails
    /// ([`is_queue_timeout`](crate::JobError::is_queue_timeout)).
    pub fn queue_timeout(mut self, limit: Duration) -> Self {
        self.queue_timeout = Some(limit);
        self
    }

    /// How long a job may run. After that it fails ([`is_timeout`](crate::JobError::is_timeout)), and its
    /// [`CancelToken`](crate::CancelToken) asks it to end. No thread can be stopped: one that runs a job which does
    /// not heed that goes on with it, and what the job gives then is dropped. A process is killed. (Where the pool
    /// has a limit, too, the shorter one counts.)
    pub fn job_timeout(mut self, limit: Duration) -> Self {
        self.job_timeout = Some(limit);
        self
    }

    /// When a job has to be done, whether it waits or runs then: the earlier of this and the other limits counts.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// What becomes of a job that fails in a pool of processes; see [`Retry`](crate::Retry). Default: it has failed.
    /// Threads and cores run each job once.
    pub fn retry(mut self, retry: IdempotentRetry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Jobs with equal keys (of one document, say) had better be run by the same worker process, which may have kept
    /// something of the last one. It is a hint: when that worker has much to do, or has gone, another one does it.
    /// Threads and cores take no notice.
    ///
    /// ```
    /// use loopool_executors::{Executor, JobOptions, ProcessPoolExecutor, call};
    ///
    /// let pool = ProcessPoolExecutor::builder().workers(2).min_workers(2).build()?;
    /// let document = JobOptions::new().affinity("report.odt");
    /// let pid = |()| std::process::id();
    /// let first = pool.with(document).submit(call(pid, ()))?.result(None)?;
    /// assert_eq!(pool.with(document).submit(call(pid, ()))?.result(None)?, first);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn affinity(mut self, key: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        self.affinity = Some(hasher.finish());
        self
    }

    /// How many bytes of memory a job will need, for pools of processes that have a
    /// [budget](crate::ProcessPoolBuilder::memory_budget). Default: none worth mentioning. Threads and cores take no
    /// notice.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// What the job is called in a [snapshot](crate::ProcessPoolExecutor::snapshot). Default: the types of its
    /// function.
    pub fn name(mut self, name: &'static str) -> Self {
        self.name = Some(name);
        self
    }

    /// When something that begins now and may take so long has to be over, and how long that is.
    pub(crate) fn end_of(&self, limit: Option<Duration>) -> Option<(Instant, Duration)> {
        let now = Instant::now();
        let own = limit.and_then(|limit| now.checked_add(limit));
        let end = [own, self.deadline].into_iter().flatten().min()?;
        Some((end, end.saturating_duration_since(now)))
    }

    pub(crate) fn is_past_deadline(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    pub(crate) fn has_limits(&self) -> bool {
        self.queue_timeout.is_some() || self.job_timeout.is_some() || self.deadline.is_some()
    }
}

/// An executor with options for the jobs that are submitted to it. Made by its `with`.
#[derive(Debug)]
pub struct With<'e, E> {
    executor: &'e E,
    options: JobOptions,
}

impl<'e, E> With<'e, E> {
    pub(crate) fn new(executor: &'e E, options: JobOptions) -> Self {
        With { executor, options }
    }
}

/// An executor that knows options.
#[doc(hidden)]
pub trait SubmitWith<W: Work>: Executor<W> {
    fn submit_with(
        &self,
        options: &JobOptions,
        place: Place,
        work: W,
    ) -> Result<Job<W::Output>, Rejected<W>>;
}

impl<W: Work, E: SubmitWith<W>> Executor<W> for With<'_, E> {
    fn submit(&self, work: W) -> Result<Job<W::Output>, Rejected<W>> {
        self.submit_to(Place::default(), work)
    }

    fn shutdown(&self, wait: bool, cancel_futures: bool) -> ExecutorStats {
        self.executor.shutdown(wait, cancel_futures)
    }

    fn serve(&self) -> Option<Serving> {
        self.executor.serve()
    }

    fn place(&self) -> Place {
        self.executor.place()
    }

    fn submit_to(&self, place: Place, work: W) -> Result<Job<W::Output>, Rejected<W>> {
        self.executor.submit_with(&self.options, place, work)
    }
}
