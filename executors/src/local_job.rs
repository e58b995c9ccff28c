//! A job that runs in this process: the work with its promise, as the thread and CPU pools queue it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::caught::{drop_caught, drop_each_caught, tell};
use crate::counters::Counters;
use crate::error::{JobError, RejectReason, Rejected};
use crate::job::Job;
use crate::options::JobOptions;
use crate::promise::{Cell, JobOwner, Promise};
use crate::queue::{Leftovers, Queued};
use crate::timekeeper::{self, Alarm};
use crate::work::Work;

/// Work with its promise, whatever its type.
pub(crate) trait RunJob: Send {
    /// Its number in the queue.
    fn id(&self) -> u64;
    fn start(&self) -> bool;
    fn is_pending(&self) -> bool;
    fn run(self: Box<Self>, counters: &Counters);
    /// Ends it unrun. Whoever took it out of the queue has counted that.
    fn end(self: Box<Self>, error: JobError);
}

pub(crate) type LocalJob = Box<dyn RunJob>;

impl Queued for LocalJob {
    fn start(&self) -> bool {
        (**self).start()
    }
    fn is_gone(&self) -> bool {
        !(**self).is_pending()
    }
}

/// A pool that queues such jobs.
pub(crate) trait LocalPool: JobOwner + 'static {
    fn counters(&self) -> &Counters;

    /// The time of one that waited is up: its place is free. Nothing foreign is done in the calling thread.
    fn expired_while_pending(&self);
}

/// A job for `pool`'s queue, in which it will have this number.
///
/// # Errors
/// Hands the work back when nobody would see to its limits.
pub(crate) fn new_job<W: Work, P: LocalPool>(
    work: W,
    options: &JobOptions,
    pool: &Arc<P>,
    number: u64,
) -> Result<(LocalJob, Job<W::Output>), Rejected<W>> {
    let (promise, job) = Promise::owned_by(pool.clone(), number);
    let pair = Pair { promise, work };
    if !options.has_limits() {
        return Ok((Box::new(pair), job));
    }
    let may_wait = options.end_of(options.queue_timeout).map_or(Duration::MAX, |end| end.1);
    let pool = pool.clone();
    let mut limited = Limited { pair, pool, options: *options, may_wait, alarm: None };
    match limited.alarm(false, options.queue_timeout) {
        Ok(alarm) => {
            limited.alarm = alarm;
            Ok((Box::new(limited), job))
        }
        Err(error) => {
            let why = format!("no thread for the limits of jobs could be started: {error}");
            Err(Rejected::new(limited.pair.work, RejectReason::Broken(why)))
        }
    }
}

/// Deals with what a job left whose time is up, for the timekeeper.
pub(crate) fn clear_elsewhere(mut leftovers: Leftovers<LocalJob>) {
    let gone = leftovers.take_gone();
    if !gone.is_empty() {
        timekeeper::elsewhere(Box::new(move || drop_each_caught("a job whose time is up", gone)));
    }
}

struct Pair<W: Work> {
    promise: Promise<W::Output>,
    work: W,
}

impl<W: Work> RunJob for Pair<W> {
    fn id(&self) -> u64 {
        self.promise.id()
    }

    fn start(&self) -> bool {
        self.promise.start()
    }

    fn is_pending(&self) -> bool {
        self.promise.is_pending()
    }

    fn run(self: Box<Self>, counters: &Counters) {
        (*self).run(counters);
    }

    fn end(self: Box<Self>, error: JobError) {
        (*self).end(error);
    }
}

impl<W: Work> Pair<W> {
    fn run(self, counters: &Counters) {
        let Pair { promise, work } = self;
        promise.fulfil_counted(|| work.run(), counters);
    }

    fn end(self, error: JobError) {
        let Pair { promise, work } = self;
        promise.set_exception(error);
        drop_caught("a job that was not run", work);
    }
}

/// A job with limits of time.
struct Limited<W: Work, P> {
    pair: Pair<W>,
    pool: Arc<P>,
    options: JobOptions,
    may_wait: Duration,
    /// While it waits.
    alarm: Option<Alarm>,
}

impl<W: Work, P: LocalPool> Limited<W, P> {
    /// Fails the job when it has waited, or has run, for so long from now, or is past its deadline.
    fn alarm(&self, started: bool, limit: Option<Duration>) -> io::Result<Option<Alarm>> {
        let Some((at, limit)) = self.options.end_of(limit) else { return Ok(None) };
        let late = Late {
            cell: self.pair.promise.cell().clone(),
            pool: self.pool.clone(),
            started,
            limit,
        };
        timekeeper::call_at(at, move || late.expire()).map(Some)
    }
}

/// A job whose time may be up.
struct Late<T, P> {
    cell: Arc<Cell<T>>,
    pool: Arc<P>,
    started: bool,
    limit: Duration,
}

impl<T: Send + 'static, P: LocalPool> Late<T, P> {
    fn expire(self) {
        let error = match self.started {
            true => JobError::timed_out(self.limit),
            false => JobError::queue_timed_out(self.limit),
        };
        let count = || self.pool.counters().record_timed_out();
        let free = || {
            if !self.started {
                self.pool.expired_while_pending();
            }
        };
        Cell::expire(&self.cell, self.started, error, count, free, timekeeper::elsewhere);
    }
}

impl<W: Work, P: LocalPool> RunJob for Limited<W, P> {
    fn id(&self) -> u64 {
        self.pair.id()
    }

    fn start(&self) -> bool {
        self.pair.promise.start()
    }

    fn is_pending(&self) -> bool {
        self.pair.promise.is_pending()
    }

    fn run(mut self: Box<Self>, counters: &Counters) {
        self.alarm = None;
        if self.options.is_past_deadline() {
            // The alarm was about to ring.
            counters.record_timed_out();
            return self.pair.end(JobError::queue_timed_out(self.may_wait));
        }
        let alarm = self.alarm(true, self.options.job_timeout);
        if let Err(error) = &alarm {
            tell(|| tracing::error!(%error, "no thread for a job's limit could be started"));
        }
        self.pair.run(counters);
        drop(alarm);
    }

    fn end(mut self: Box<Self>, error: JobError) {
        self.alarm = None;
        self.pair.end(error);
    }
}
