//! A job that runs in this process: the work with its promise, as the thread and CPU pools queue it.

use std::sync::Arc;
use std::time::Duration;

use crate::caught::{drop_caught, tell};
use crate::counters::Counters;
use crate::error::JobError;
use crate::job::Job;
use crate::options::JobOptions;
use crate::promise::{Cell, JobOwner, Promise};
use crate::queue::Queued;
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

    /// The time of one that waited is up: its place is free.
    fn expired_while_pending(&self);
}

/// A job for `pool`'s queue, in which it will have this number.
pub(crate) fn new_job<W: Work, P: LocalPool>(
    work: W,
    options: &JobOptions,
    pool: &Arc<P>,
    number: u64,
) -> (LocalJob, Job<W::Output>) {
    let (promise, job) = Promise::owned_by(pool.clone(), number);
    let pair = Pair { promise, work };
    if options.has_limits() {
        (Box::new(Limited::new(pair, options, pool.clone())), job)
    } else {
        (Box::new(pair), job)
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
    fn new(pair: Pair<W>, options: &JobOptions, pool: Arc<P>) -> Self {
        let may_wait = options.end_of(options.queue_timeout).map_or(Duration::MAX, |end| end.1);
        let mut job = Limited { pair, pool, options: *options, may_wait, alarm: None };
        job.alarm = job.alarm(false, options.queue_timeout);
        job
    }

    /// Fails the job when it has waited, or has run, for so long from now, or is past its deadline.
    fn alarm(&self, started: bool, limit: Option<Duration>) -> Option<Alarm> {
        let (at, limit) = self.options.end_of(limit)?;
        let cell = self.pair.promise.cell().clone();
        let late = Late { cell, pool: self.pool.clone(), started, limit };
        let alarm = timekeeper::call_at(at, move || late.expire());
        alarm.map_err(|error| tell(|| tracing::error!(%error, "a job's limit is not kept"))).ok()
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
        if !self.cell.has_callbacks() {
            return self.fail();
        }
        // They may take their time, and whoever else has a limit would wait for them.
        let late = Arc::new(self);
        let theirs = late.clone();
        let thread = std::thread::Builder::new().name("loopool-late".to_owned());
        if thread.spawn(move || theirs.fail()).is_err() {
            late.fail();
        }
    }

    fn fail(&self) {
        let error = match self.started {
            true => JobError::timed_out(self.limit),
            false => JobError::queue_timed_out(self.limit),
        };
        let free = || {
            if !self.started {
                self.pool.expired_while_pending();
            }
        };
        self.cell.expire(self.started, error, || self.pool.counters().record_timed_out(), free);
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
        self.pair.run(counters);
        drop(alarm);
    }

    fn end(mut self: Box<Self>, error: JobError) {
        self.alarm = None;
        self.pair.end(error);
    }
}
