//! A job that runs in this process: the work with its promise, as the thread and CPU pools queue it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::caught::{drop_caught, drop_each_caught, tell};
use crate::counters::Counters;
use crate::error::{JobError, RejectReason, Rejected};
use crate::job::Job;
use crate::options::JobOptions;
use crate::origin::Origin;
use crate::own_pool;
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
pub(crate) trait LocalPool: Send + Sync + 'static {
    /// The process it was made in.
    fn origin(&self) -> Origin;

    fn counters(&self) -> &Counters;

    /// A job that waited wants to be run no more, and is counted. What is to be done about that.
    fn note_gone(&self) -> Leftovers<LocalJob>;

    /// Runs the job with this number, if nobody has begun it; whether it did.
    fn run_waiting(&self, number: u64) -> bool;
}

impl<P: LocalPool> JobOwner for P {
    fn cancelled_while_pending(&self, _id: u64) {
        self.counters().record_cancelled();
        if !self.origin().is_left_behind() {
            self.note_gone().clear();
        }
    }

    /// The job's token asks it; nobody can say whether it will heed that.
    fn cancel_running(&self, _id: u64) -> bool {
        false
    }

    /// By the rules of `own_pool`.
    fn before_wait(&self, id: u64) -> Result<(), JobError> {
        if self.origin().is_left_behind() {
            return Err(JobError::rejected(RejectReason::Forked));
        }
        if !own_pool::works_for(self) {
            return Ok(());
        }
        own_pool::refuse_if_in(id)?;
        self.run_waiting(id);
        Ok(())
    }
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
    let end = options.end_of(options.queue_timeout);
    let may_wait = end.map_or(Duration::MAX, |(_, limit)| limit);
    let pool = pool.clone();
    let mut limited = Limited { pair, pool, options: *options, may_wait, alarm: None };
    match limited.alarm(false, end) {
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
    /// Fails the job at this time, if it still waits, or runs, then: it has done so for its limit.
    fn alarm(&self, started: bool, end: Option<(Instant, Duration)>) -> io::Result<Option<Alarm>> {
        let Some((at, limit)) = end else { return Ok(None) };
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
                // Nothing foreign is done in the timekeeper's thread.
                let gone = self.pool.note_gone().take_gone();
                if !gone.is_empty() {
                    let drop_them = || drop_each_caught("a job whose time is up", gone);
                    timekeeper::elsewhere(Box::new(drop_them));
                }
            }
        };
        Cell::expire(&self.cell, self.started, error, count, free, timekeeper::elsewhere);
        timekeeper::let_go("a job's outcome", self.cell);
        timekeeper::let_go("a pool", self.pool);
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
        let alarm = self.alarm(true, self.options.end_of(self.options.job_timeout));
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread::ThreadId;

    use super::*;

    struct NoPool(Counters);

    impl LocalPool for NoPool {
        fn origin(&self) -> Origin {
            Origin::here()
        }
        fn counters(&self) -> &Counters {
            &self.0
        }
        fn note_gone(&self) -> Leftovers<LocalJob> {
            Leftovers::new()
        }
        fn run_waiting(&self, _: u64) -> bool {
            false
        }
    }

    /// Tells which thread drops it.
    struct Note(mpsc::Sender<ThreadId>);

    impl Drop for Note {
        fn drop(&mut self) {
            self.0.send(std::thread::current().id()).unwrap();
        }
    }

    /// It ends, and nobody has it any more, while the timekeeper is about to say that it is late.
    #[test]
    fn the_value_of_a_job_that_was_almost_late_was_dropped_by_the_timekeeper() {
        for started in [false, true] {
            let (tell, told) = mpsc::channel();
            let (promise, job) = Promise::new();
            let pool = Arc::new(NoPool(Counters::default()));
            let limit = Duration::from_secs(1);
            let late = Late { cell: promise.cell().clone(), pool, started, limit };
            assert!(promise.set_result(Note(tell)).is_ok());
            drop(job);
            late.expire();
            assert_ne!(told.recv().unwrap(), std::thread::current().id());
        }
    }
}
