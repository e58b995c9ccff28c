//! [`JobOwner`]: who is to do a job.

use std::sync::Arc;

use crate::caught::run_caught;
use crate::error::JobError;

/// What an executor wants to hear about jobs that are cancelled behind its back.
pub trait JobOwner: Send + Sync {
    /// The job was cancelled before it was started. Its place in the queue may be given away.
    fn cancelled_while_pending(&self, id: u64);

    /// Somebody wants the running job to end. Answers whether it will be made to; if so, the
    /// job's outcome follows as usual.
    fn cancel_running(&self, id: u64) -> bool;

    /// The [`Job`](crate::Job) was dropped, so that nobody can cancel it or take its outcome any more; what it has
    /// for callbacks is still called. By default nothing is done.
    fn dropped(&self, id: u64) {
        let _ = id;
    }

    /// The calling thread is about to block until the job is done, with no limit.
    ///
    /// If it is one of the executor's own threads, the job may never get another one: so the executor may
    /// run the job here and now. By default nothing is done.
    ///
    /// # Errors
    /// [`JobError::endless_wait`] when the job can't be done while this thread waits. The wait ends with it;
    /// the job stays as it is.
    fn before_wait(&self, id: u64) -> Result<(), JobError> {
        let _ = id;
        Ok(())
    }

    /// The calling thread begins to look again and again whether the job is done, or (`false`) ends that. By default
    /// nothing is done.
    fn note_look(&self, begins: bool) {
        let _ = begins;
    }

    /// The calling thread looks whether the job is done, and will look again: it may take in what has come for the
    /// executor. By default nothing is done.
    fn look(&self) {}

    /// The calling thread goes to sleep until the job is done, or (`false`) does so no more. By default nothing is done.
    fn note_sleep(&self, begins: bool) {
        let _ = begins;
    }
}

/// The owner of one job, if it has any, and the number under which he knows it.
pub(crate) struct Owner(Option<(Arc<dyn JobOwner>, u64)>);

impl Owner {
    pub(super) const NONE: Owner = Owner(None);

    pub(super) fn of(owner: Arc<dyn JobOwner>, id: u64) -> Self {
        Owner(Some((owner, id)))
    }

    pub(crate) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Who that is.
    pub(crate) fn get(&self) -> Option<&Arc<dyn JobOwner>> {
        self.0.as_ref().map(|(owner, _)| owner)
    }

    /// Under which he knows the job.
    pub(super) fn id(&self) -> u64 {
        self.0.as_ref().map_or(0, |(_, id)| *id)
    }

    /// To be called when the job was cancelled and had not been started.
    pub(super) fn note_cancelled_while_pending(&self) {
        if let Some((owner, id)) = &self.0 {
            let tell = || owner.cancelled_while_pending(*id);
            run_caught("an executor that was told of a cancellation", tell);
        }
    }

    pub(super) fn cancel_running(&self) -> bool {
        self.0.as_ref().is_some_and(|(owner, id)| owner.cancel_running(*id))
    }

    /// To be called when the job is dropped.
    pub(crate) fn note_dropped(&self) {
        if let Some((owner, id)) = &self.0 {
            run_caught("an executor that was told of a dropped job", || owner.dropped(*id));
        }
    }

    /// To be called before a thread blocks, with no limit, until the job is done.
    pub(crate) fn before_wait(&self) -> Result<(), JobError> {
        self.0.as_ref().map_or(Ok(()), |(owner, id)| owner.before_wait(*id))
    }

    /// To be called by a thread that is about to look again and again whether the job is done, and when it no more does.
    pub(crate) fn note_look(&self, begins: bool) {
        if let Some(owner) = self.get() {
            owner.note_look(begins);
        }
    }

    /// To be called by a thread that looks again and again whether the job is done.
    pub(crate) fn look(&self) {
        if let Some(owner) = self.get() {
            owner.look();
        }
    }

    /// To be called by a thread that goes to sleep until the job is done, and when it does so no more.
    pub(crate) fn note_sleep(&self, begins: bool) {
        if let Some(owner) = self.get() {
            owner.note_sleep(begins);
        }
    }
}
