//! [`protect`], [`shield`] and [`isolate`]: keeping requests away.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::ForeignWaker;
use super::holds::Hold;
use super::passes::Closed;
use crate::context;
use crate::task::{JoinError, Task};

/// Puts requests to cancel off until `future` is done: for clean-up that has to finish.
///
/// The request stays due and is delivered to whatever the task waits for next. Timeouts *inside* go on
/// working. If something beside it takes the request, it was for that, and does not come again.
///
/// ```
/// # loopool::run(async {
/// let task = loopool::create_task(async {
///     loopool::protect(loopool::yield_now()).await; // never dropped half-way
///     std::future::pending::<()>().await
/// });
/// loopool::yield_now().await;
/// task.cancel();
/// assert!(task.await.unwrap_err().is_cancelled());
/// # });
/// ```
///
/// Code beside it, under the same `join!`, that raises a request again waits for it, too. It does not
/// protect from being dropped: as the loser of a `select!`, or when the runtime is dropped.
pub fn protect<F: Future>(future: F) -> Protect<F> {
    Protect { future, hold: Hold::default(), foreign: ForeignWaker::default() }
}

pin_project! {
    /// The future of [`protect`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Protect<F> {
        #[pin]
        future: F,
        hold: Hold,
        foreign: ForeignWaker,
    }
}

/// As that of a scope: there may be one around every step of a clean-up.
#[cfg(not(loopool_loom))]
const _: () = assert!(size_of::<Protect<std::future::Ready<()>>>() <= 40);

impl<F: Future> Future for Protect<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        context::with_record(|record| {
            let Some(record) = record else { return this.future.poll(cx) };
            let late = this.foreign.reached(record, cx);
            let marks = record.marks();
            let closed = Closed::begin_protected(record);
            let polled = this.future.poll(cx);
            drop(closed);
            if polled.is_pending() {
                record.protect(this.hold, marks, ForeignWaker::is_needed(record, cx));
                this.foreign.after(late, cx);
                // A set that did not poll us in a pass would let it go by.
                this.foreign.leave(record, cx);
            } else {
                this.hold.end();
                this.foreign.forget();
            }
            polled
        })
    }
}

/// Waits for a task without passing requests to cancel on to it: the one who waits may be cancelled,
/// and the task goes on.
///
/// Takes the handle, or a mutable reference to it.
///
/// ```
/// use std::time::Duration;
///
/// # loopool::run(async {
/// let mut task = loopool::create_task(async {
///     loopool::sleep(Duration::from_millis(20)).await;
///     7
/// });
/// let early = loopool::timeout(Duration::from_millis(1), loopool::shield(&mut task)).await;
/// assert!(early.is_err());
/// assert_eq!(task.await.unwrap(), 7);
/// # });
/// ```
///
/// # Errors
/// As awaiting the [`Task`]: when the task itself was cancelled, or panicked.
pub fn shield<S: Shieldable>(task: S) -> Shield<S> {
    Shield { task }
}

/// What [`shield`] takes: a [`Task`], or a mutable reference to one.
pub trait Shieldable: Future + Unpin + sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
}

impl<T> sealed::Sealed for Task<T> {}
impl<T> sealed::Sealed for &mut Task<T> {}
impl<T> Shieldable for Task<T> {}
impl<T> Shieldable for &mut Task<T> {}

/// The future of [`shield`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Shield<S> {
    task: S,
}

impl<T, S: Shieldable<Output = Result<T, JoinError>>> Future for Shield<S> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        context::with_record(|record| {
            let _closed = record.map(Closed::begin);
            Pin::new(&mut self.task).poll(cx)
        })
    }
}

/// Polls `future` as if no task did: requests to cancel do not get in, raises do not get out, and no
/// budget is spent.
///
/// For what belongs to nobody in particular: a future in a `Shared` that several tasks poll (scopes in
/// it would take the request of whichever polls), or another executor that is driven from inside, if that
/// is not done in [`block_in_place`](crate::block_in_place).
///
/// ```
/// use futures::FutureExt;
///
/// # loopool::run(async {
/// let shared = loopool::isolate(async { loopool::cancellable(async { 7 }).await }).shared();
/// assert_eq!(shared.await, Ok(7));
/// # });
/// ```
pub fn isolate<F: Future>(future: F) -> Isolate<F> {
    Isolate { future }
}

pin_project! {
    /// The future of [`isolate`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Isolate<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Isolate<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _hidden = context::hide_record();
        self.project().future.poll(cx)
    }
}
