//! [`cancellable`]: the scope that takes a request to cancel.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::holds::Holds;
use super::memory::Memory;
use super::passes::ScopePoll;
use super::record::{Marks, Record};
use super::{Cancelled, ForeignWaker};
use crate::context;

/// Runs `future` so that a request to cancel it can be caught: where an exception would be raised in
/// Python, the future is dropped and the scope gives [`Cancelled`]. The code after it may clean up,
/// also asynchronously, and then either go on (the request was answered by that) or
/// [raise it again](Cancelled::reraise).
///
/// The future is polled first: if it is ready in the instant of the request, its value wins, and the
/// request goes to the next place where the code waits. Of nested scopes the innermost takes it.
///
/// ```
/// # loopool::run(async {
/// let task = loopool::create_task(async {
///     match loopool::cancellable(std::future::pending::<()>()).await {
///         Ok(()) => "finished",
///         Err(_cancelled) => {
///             loopool::yield_now().await; // say goodbye to somebody
///             "cleaned up"
///         }
///     }
/// });
/// loopool::yield_now().await;
/// # while loopool::metrics().loops.iter().map(|l| l.polls).sum::<u64>() < 2 { loopool::yield_now().await }
/// task.cancel();
/// assert_eq!(task.await.unwrap(), "cleaned up");
/// # });
/// ```
///
/// # Errors
/// [`Cancelled`] when it took a request: one to cancel the task that awaits it, one of a timeout
/// around it, or one that was raised again inside it.
///
/// # Cancel safety
/// The *output* of the future is never lost to a request. What is half-way inside the scope is dropped
/// with it: a message that was received inside, if the code then waited again inside the same scope.
/// So put the scope around the receiving alone.
pub fn cancellable<F: Future>(future: F) -> Cancellable<F> {
    Cancellable {
        future: Some(future),
        memory: Memory::default(),
        holds: Holds::default(),
        foreign: ForeignWaker::default(),
    }
}

pin_project! {
    /// The future of [`cancellable`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Cancellable<F> {
        #[pin]
        future: Option<F>,
        memory: Memory,
        holds: Holds,
        foreign: ForeignWaker,
    }
}

/// Scopes nest, in futures that live long: what a request needs beyond this is made when there is one.
#[cfg(not(loopool_loom))]
const _: () = assert!(size_of::<Cancellable<std::future::Ready<()>>>() <= 48);

impl<F: Future> Future for Cancellable<F> {
    type Output = Result<F::Output, Cancelled>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        context::with_own_record(|record| self.poll_with(record, cx))
    }
}

impl<F: Future> Cancellable<F> {
    #[inline]
    fn poll_with(
        mut self: Pin<&mut Self>,
        record: &Record,
        cx: &mut Context<'_>,
    ) -> Poll<Result<F::Output, Cancelled>> {
        let this = self.as_mut().project();
        if record.is_in_pass() || this.foreign.is_left() {
            return self.poll_in_pass(record, cx);
        }
        let Some(future) = this.future.as_pin_mut() else { finished() };
        this.memory.open();
        let marks = record.marks();
        match future.poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending
                if !record.is_eventful_since(marks) && !ForeignWaker::is_needed(record, cx) =>
            {
                Poll::Pending
            }
            Poll::Pending => self.pending(record, cx, marks, None),
        }
    }

    #[cold]
    fn poll_in_pass(
        mut self: Pin<&mut Self>,
        record: &Record,
        cx: &mut Context<'_>,
    ) -> Poll<Result<F::Output, Cancelled>> {
        let this = self.as_mut().project();
        let Some(future) = this.future.as_pin_mut() else { finished() };
        let fresh = this.memory.open();
        let marks = record.marks();
        let late = this.foreign.reached(record, cx);
        let pass = ScopePoll::begin(record, this.memory, fresh);
        if let Poll::Ready(output) = future.poll(cx) {
            drop(pass);
            this.foreign.forget();
            return Poll::Ready(Ok(output));
        }
        let polled = self.as_mut().pending(record, cx, marks, pass);
        self.project().foreign.after(late, cx);
        polled
    }

    /// What is inside is pending.
    #[cold]
    fn pending(
        self: Pin<&mut Self>,
        record: &Record,
        cx: &mut Context<'_>,
        marks: Marks,
        pass: Option<ScopePoll<'_>>,
    ) -> Poll<Result<F::Output, Cancelled>> {
        let mut this = self.project();
        if record.is_eventful_since(marks) {
            record.remember(marks, this.holds);
        }
        // A raise goes first: it is on its way already (rule 10).
        let taken = match (record.raised_since(marks, this.holds), pass) {
            (None, None) => None,
            (None, Some(pass)) => pass.pending(this.memory, this.holds, cx),
            (Some(raise), pass) => {
                drop(pass);
                record.take_raise(raise);
                Some(raise.request())
            }
        };
        let Some(request) = taken else {
            this.foreign.leave(record, cx);
            return Poll::Pending;
        };
        this.foreign.forget();
        // The assignment leaves `None` behind even if the destructor panics (rule 16).
        this.future.set(None);
        Poll::Ready(Err(Cancelled::new(request)))
    }
}

fn finished() -> ! {
    panic!("a cancellable scope was polled after it had given its result")
}
