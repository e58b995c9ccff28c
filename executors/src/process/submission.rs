//! What a pool of processes takes: calls, calls with the worker's state, and chunks of items.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::policy::{StateRecipe, Terms};
use super::pool::ProcessPoolExecutor;
use super::remote_job::{RemoteJob, Reply, Target};
use super::transport::body::Body;
use crate::call_with::CallWith;
use crate::engine::Serving;
use crate::error::{JobError, RejectReason, Rejected};
use crate::job::Job;
use crate::jobs::Chunk;
use crate::options::{JobOptions, SubmitWith};
use crate::place::Place;
use crate::promise::{Outcome, Promise};
use crate::stats::ExecutorStats;
use crate::work::{Call, Executor, Work};

/// Work that crosses to another process: a [`Call`], a [`CallWith`], or a [`Chunk`] of items for a `fn`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cross to another process",
    label = "a closure that captures cannot cross",
    note = "pair a function that captures nothing with its argument: `call(function, argument)`"
)]
pub trait RemoteWork: Work {
    /// Offers a copy of it to the pool.
    #[doc(hidden)]
    fn offer(
        &self,
        pool: &ProcessPoolExecutor,
        options: &JobOptions,
        place: Place,
    ) -> Result<Job<Self::Output>, RejectReason>;
}

impl<W: RemoteWork> Executor<W> for ProcessPoolExecutor {
    /// Takes work to be run in a worker. The argument is encoded here and now, in the calling thread.
    ///
    /// # Errors
    /// Hands the work back when the queue is full, the pool is shut down or broken, the function does not live in the
    /// main program, or the workers have no such state. (An argument that cannot be encoded fails the job.)
    fn submit(&self, work: W) -> Result<Job<W::Output>, Rejected<W>> {
        self.submit_to(Place::default(), work)
    }

    fn shutdown(&self, wait: bool, cancel_futures: bool) -> ExecutorStats {
        ProcessPoolExecutor::shutdown(self, wait, cancel_futures)
    }

    fn serve(&self) -> Option<Serving> {
        self.shared.clone().serve()
    }

    fn place(&self) -> Place {
        Place::in_queue_of(self.shared.clone())
    }

    fn submit_to(&self, place: Place, work: W) -> Result<Job<W::Output>, Rejected<W>> {
        self.submit_with(&JobOptions::default(), place, work)
    }
}

impl<W: RemoteWork> SubmitWith<W> for ProcessPoolExecutor {
    fn submit_with(
        &self,
        options: &JobOptions,
        place: Place,
        work: W,
    ) -> Result<Job<W::Output>, Rejected<W>> {
        work.offer(self, options, place).map_err(|reason| Rejected::new(work, reason))
    }
}

/// A job as it is submitted.
struct Submission<'a> {
    options: &'a JobOptions,
    place: Place,
    target: Option<Target>,
    name: &'static str,
    uses_state: bool,
}

impl ProcessPoolExecutor {
    fn take<A: Serialize, T: Send + 'static>(
        &self,
        submission: Submission<'_>,
        argument: &A,
        read: fn(Reply) -> Outcome<T>,
    ) -> Result<Job<T>, RejectReason> {
        let Submission { options, place, target, name, uses_state } = submission;
        let mut place = place.of(&*self.shared);
        let target = target.ok_or(RejectReason::ForeignFunction)?;
        if let Some(budget) = self.memory_budget
            && options.memory > budget
        {
            return Err(RejectReason::OverBudget { memory: options.memory, budget });
        }
        self.shared.admits(&place.ticket)?;
        let body = match Body::encode(argument) {
            Ok(body) => body,
            Err(why) => {
                let (promise, job) = Promise::new();
                self.shared.counters.record_submitted();
                self.shared.counters.record_failed();
                promise.set_exception(JobError::codec("argument", why));
                return Ok(job);
            }
        };
        let id = self.shared.next_id();
        let (promise, job) = Promise::owned_by(self.shared.clone(), id);
        let terms = Terms::new(options, name, uses_state, &self.shared, &promise);
        let remote = RemoteJob::new(id, target, body, terms, promise, read);
        self.shared.push(remote, &mut place.ticket)?;
        Ok(job)
    }
}

impl<A, R> RemoteWork for Call<A, R>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    fn offer(
        &self,
        pool: &ProcessPoolExecutor,
        options: &JobOptions,
        place: Place,
    ) -> Result<Job<R>, RejectReason> {
        let target = Target::of(self.function);
        let name = std::any::type_name::<fn(A) -> R>();
        let submission = Submission { options, place, target, name, uses_state: false };
        pool.take(submission, &self.argument, Reply::outcome)
    }
}

impl<S, A, R> RemoteWork for CallWith<S, A, R>
where
    S: 'static,
    A: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    fn offer(
        &self,
        pool: &ProcessPoolExecutor,
        options: &JobOptions,
        place: Place,
    ) -> Result<Job<R>, RejectReason> {
        StateRecipe::check::<S>(pool.state.as_ref()).map_err(RejectReason::WrongState)?;
        let target = Target::with_state(self.function);
        let name = std::any::type_name::<fn(&mut S, A) -> R>();
        let submission = Submission { options, place, target, name, uses_state: true };
        pool.take(submission, &self.argument, Reply::outcome)
    }
}

impl<A, R> RemoteWork for Chunk<fn(A) -> R, A>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    fn offer(
        &self,
        pool: &ProcessPoolExecutor,
        options: &JobOptions,
        place: Place,
    ) -> Result<Job<Vec<Outcome<R>>>, RejectReason> {
        let target = Target::of_each(*self.function());
        let name = std::any::type_name::<fn(A) -> R>();
        let submission = Submission { options, place, target, name, uses_state: false };
        pool.take(submission, self.items(), outcomes_of)
    }
}

/// What an item of a chunk came to: its value, or the message and the place of its panic.
pub(super) type ItemOutcome<R> = Result<R, (String, Option<String>)>;

/// The outcomes of a chunk's items.
fn outcomes_of<R: DeserializeOwned>(reply: Reply) -> Outcome<Vec<Outcome<R>>> {
    let panicked = |(message, place)| JobError::panicked_elsewhere(message, place);
    let outcomes = reply.outcome::<Vec<ItemOutcome<R>>>()?;
    Ok(outcomes.into_iter().map(|outcome| outcome.map_err(panicked)).collect())
}
