//! A job that runs in this process: the work with its promise, as the thread and CPU pools queue it.

use crate::caught::drop_caught;
use crate::counters::Counters;
use crate::error::JobError;
use crate::job::Job;
use crate::promise::{JobOwner, Promise};
use crate::queue::Queued;
use crate::work::Work;

/// Work with its promise, whatever its type.
pub(crate) trait RunJob: Send {
    /// Its number in the queue.
    fn id(&self) -> u64;
    fn start(&self) -> bool;
    fn is_cancelled(&self) -> bool;
    fn run(self: Box<Self>, counters: &Counters);
    /// Ends it unrun, and counts that unless it was cancelled before. For jobs that were taken out of the
    /// queue.
    fn end(self: Box<Self>, error: JobError, counters: &Counters);
}

pub(crate) type LocalJob = Box<dyn RunJob>;

impl Queued for LocalJob {
    fn start(&self) -> bool {
        (**self).start()
    }
    fn is_cancelled(&self) -> bool {
        (**self).is_cancelled()
    }
}

pub(crate) struct Pair<W: Work> {
    promise: Promise<W::Output>,
    work: W,
}

impl<W: Work> Pair<W> {
    pub(crate) fn new(
        work: W,
        owner: std::sync::Arc<dyn JobOwner>,
        id: u64,
    ) -> (Box<Self>, Job<W::Output>) {
        let (promise, job) = Promise::owned_by(owner, id);
        (Box::new(Pair { promise, work }), job)
    }
}

impl<W: Work> RunJob for Pair<W> {
    fn id(&self) -> u64 {
        self.promise.id()
    }

    fn start(&self) -> bool {
        self.promise.start()
    }

    fn is_cancelled(&self) -> bool {
        self.promise.is_cancelled()
    }

    fn run(self: Box<Self>, counters: &Counters) {
        let Pair { promise, work } = *self;
        promise.fulfil_counted(|| work.run(), counters);
    }

    fn end(self: Box<Self>, error: JobError, counters: &Counters) {
        let Pair { promise, work } = *self;
        promise.finish_counted(Err(error), counters);
        drop_caught("a job that was not run", work);
    }
}
