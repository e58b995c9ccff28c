//! Waiting for a place in a full queue.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::error::Rejected;
use crate::job::{Job, deadline_after, park_until, unpark_this_thread};
use crate::own_pool;
use crate::queue::{JobQueue, Leftovers, Queued, Ticket};
use crate::work::{Executor, Work};

/// Somebody's turn for a place in an executor's queue: made by [`Executor::place`], waited for, and used with
/// [`Executor::submit_to`] of the same executor. Dropped, it lets the next one have it.
///
/// Places are given in the order in which they were first waited for.
#[derive(Default)]
pub struct Place {
    queue: Option<Arc<dyn HasPlaces>>,
    pub(crate) ticket: Ticket,
}

/// An executor with a queue that may be full.
pub(crate) trait HasPlaces: Send + Sync {
    /// Ready when whoever has the ticket may submit, be it only to be refused; until then the waker is kept.
    fn poll_place(&self, ticket: &mut Ticket, waker: &Waker) -> Poll<()>;

    /// Whoever has the ticket goes away.
    fn give_back(&self, ticket: &mut Ticket);

    /// The calling thread goes to sleep until there is a place, or (`false`) does so no more.
    fn note_sleep(&self, begins: bool);
}

/// An executor whose jobs wait in a [`JobQueue`].
pub(crate) trait HasQueue: Send + Sync {
    type Entry: Queued;

    /// Whether this process has only a copy of it, which is not to be locked.
    fn is_left_behind(&self) -> bool;

    /// Calls `f` under the executor's lock.
    fn with_queue<R>(&self, f: impl FnOnce(&mut JobQueue<Self::Entry>) -> R) -> R;

    /// The calling thread goes to sleep until there is a place, or (`false`) does so no more.
    fn note_sleep(&self, begins: bool) {
        let _ = begins;
    }
}

impl<E: HasQueue> HasPlaces for E {
    fn poll_place(&self, ticket: &mut Ticket, waker: &Waker) -> Poll<()> {
        if self.is_left_behind() {
            return Poll::Ready(());
        }
        let waker = waker.clone();
        let mut leftovers = Leftovers::new();
        self.with_queue(|queue| {
            let place = queue.poll_place(ticket, waker, &mut leftovers);
            if place.is_pending() && own_pool::works_for(self) {
                // It would wait for itself. A pool's job is run there and then instead, by the submission; what
                // the manager of processes submits is refused.
                queue.give_back(ticket, &mut leftovers);
                return Poll::Ready(());
            }
            place
        })
    }

    fn give_back(&self, ticket: &mut Ticket) {
        if self.is_left_behind() {
            return;
        }
        let mut leftovers = Leftovers::new();
        self.with_queue(|queue| queue.give_back(ticket, &mut leftovers));
    }

    fn note_sleep(&self, begins: bool) {
        HasQueue::note_sleep(self, begins);
    }
}

impl Place {
    pub(crate) fn in_queue_of(executor: Arc<dyn HasPlaces>) -> Self {
        Place { queue: Some(executor), ticket: Ticket::default() }
    }

    /// Ready when a submission to this place will not be refused because the queue is full.
    pub fn poll_free(&mut self, waker: &Waker) -> Poll<()> {
        match &self.queue {
            Some(queue) => queue.poll_place(&mut self.ticket, waker),
            None => Poll::Ready(()),
        }
    }

    /// The place, if it is one in the queue of this executor, and one that was not waited for if it is another's.
    pub(crate) fn of<E>(self, executor: &E) -> Self {
        let is_its = |queue: &Arc<dyn HasPlaces>| {
            Arc::as_ptr(queue).addr() == std::ptr::from_ref(executor).addr()
        };
        if self.queue.as_ref().is_none_or(is_its) { self } else { Place::default() }
    }

    /// Whether it is one that can be waited for.
    pub(crate) fn was_waited_for(&self) -> bool {
        self.queue.is_some()
    }

    /// Blocks until it is free, at most `timeout`; whether it is.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> bool {
        let deadline = deadline_after(timeout);
        let waker = unpark_this_thread();
        let mut in_time = true;
        while self.poll_free(&waker).is_pending() {
            // What comes in the very last moment is found by the look above.
            if !in_time {
                return false;
            }
            self.note_sleep(true);
            in_time = park_until(deadline);
            self.note_sleep(false);
        }
        true
    }
}

impl Place {
    fn note_sleep(&self, begins: bool) {
        if let Some(queue) = &self.queue {
            queue.note_sleep(begins);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue
            && !self.ticket.is_unused()
        {
            queue.give_back(&mut self.ticket);
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

/// A submission that waits for its place. Made by [`Executor::submit_async`].
///
/// # Cancel safety
/// Dropped before it was ready, the work is dropped with it and was not submitted.
#[must_use = "nothing is submitted before it is awaited"]
pub struct SubmitAsync<'e, E: ?Sized, W> {
    executor: &'e E,
    place: Place,
    work: Option<W>,
}

impl<'e, E: ?Sized, W> SubmitAsync<'e, E, W> {
    pub(crate) fn new(executor: &'e E, place: Place, work: W) -> Self {
        SubmitAsync { executor, place, work: Some(work) }
    }
}

// Nothing in it is pinned.
impl<E: ?Sized, W> Unpin for SubmitAsync<'_, E, W> {}

impl<E: Executor<W> + ?Sized, W: Work> Future for SubmitAsync<'_, E, W> {
    type Output = Result<Job<W::Output>, Rejected<W>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        std::task::ready!(self.place.poll_free(cx.waker()));
        let place = std::mem::take(&mut self.place);
        let work = self.work.take().expect("a future is not polled after it was ready");
        Poll::Ready(self.executor.submit_to(place, work))
    }
}

impl<E: ?Sized, W> fmt::Debug for SubmitAsync<'_, E, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitAsync").finish_non_exhaustive()
    }
}
