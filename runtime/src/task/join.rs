//! [`Task`]: the handle of a spawned future.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{Context, Poll};

use loopool_executors::caught::drop_caught;

use super::cell::Header;
use super::run;
use crate::cancel::{Cancelled, ForeignWaker, Memory, Record, RequestId};
use crate::context;

/// A spawned future: awaited for its output, or asked to end.
///
/// Dropping a `Task` lets the future go on (it *detaches*).
///
/// ```
/// # loopool::run(async {
/// let task = loopool::create_task(async { 6 * 7 });
/// assert_eq!(task.await.unwrap(), 42);
/// # });
/// ```
///
/// # Cancellation
/// Who awaits a task and is asked to end passes the request on to the task and goes on waiting, until
/// the task has ended in its own way. So the whole chain of those who wait for one another cleans up from
/// its inner end, as in asyncio. If the task gives a value all the same, that is what the await gives; if
/// it was cancelled so, the error [says so](JoinError::passed_on), and who awaits it may raise the
/// request again. A task that ignores requests keeps its awaiter waiting, and timeouts around it.
/// [`shield`](crate::shield) keeps requests from the task. Tasks that await each other in a circle wait for ever,
/// and a request that one of them passes on reaches each of them once.
///
/// # Cancel safety
/// Awaiting through `&mut task` may be given up and begun again; the output is not lost.
pub struct Task<T> {
    header: NonNull<Header>,
    await_: Option<Box<Await>>,
    output: PhantomData<fn() -> T>,
}

/// What an await remembers, once a request has come by or a combinator has hidden it.
#[derive(Default)]
struct Await {
    memory: Memory,
    /// The last request that was passed on.
    passed_on: Option<RequestId>,
    foreign: ForeignWaker,
}

/// Handles are kept by the thousand, and every future that awaits a task has one in it: what few awaits need is apart.
#[cfg(not(loopool_loom))]
const _: () = assert!(size_of::<Task<()>>() <= 16);

// SAFETY: the handle gives access to the output and to the state word only, never to the future. The
// output may be taken or dropped here, hence `T: Send`; a shared reference gives no access to it.
unsafe impl<T: Send> Send for Task<T> {}
// SAFETY: as above; `&Task` offers `cancel`, `is_finished` and the like, which are made for any
// thread.
unsafe impl<T: Send> Sync for Task<T> {}

impl<T> Unpin for Task<T> {}

impl<T> Task<T> {
    /// # Safety
    /// The caller has the handle's reference of a task whose output is `T`.
    pub(super) unsafe fn from_header(header: NonNull<Header>) -> Self {
        Task { header, await_: None, output: PhantomData }
    }

    pub(crate) fn header_pointer(&self) -> NonNull<Header> {
        self.header
    }

    fn header(&self) -> &Header {
        // SAFETY: the handle's reference keeps the cell alive.
        unsafe { self.header.as_ref() }
    }

    /// Asks the task to end. `None` when it is done.
    ///
    /// A request, not a kill: the future is polled once more, and if it completes in that poll its
    /// value wins. If it is still pending, the innermost open [`cancellable`](crate::cancellable) scope
    /// in it takes the request and may clean up; without one the future is dropped, on a thread of its
    /// runtime, and awaiting the task gives an error that [`is_cancelled`](JoinError::is_cancelled). A
    /// task that was never polled is dropped without running a line.
    ///
    /// Requests that come before one is delivered are delivered with it, and are the same one; each is
    /// counted ([`cancelling`](Self::cancelling)).
    pub fn cancel(&self) -> Option<RequestId> {
        run::cancel(self.header, None)
    }

    /// How many requests to cancel there were that were not taken back.
    pub fn cancelling(&self) -> usize {
        self.header().requests()
    }

    /// Takes a request to cancel back, and gives the number that is left. The last one also withdraws
    /// a request that was not delivered yet.
    pub fn uncancel(&self) -> usize {
        self.header().uncancel().unwrap_or(0)
    }

    /// The task's name, if it was given one.
    pub fn name(&self) -> Option<Arc<str>> {
        self.header().name()
    }

    /// Names the task, for logs and reports.
    ///
    /// ```
    /// # loopool::run(async {
    /// let task = loopool::create_task(async {});
    /// task.set_name("janitor");
    /// assert_eq!(task.name().as_deref(), Some("janitor"));
    /// # });
    /// ```
    pub fn set_name(&self, name: impl Into<Arc<str>>) {
        self.header().set_name(name.into());
    }

    /// Whether the task is done: its output is there or was taken.
    pub fn is_finished(&self) -> bool {
        self.header().state.is_complete()
    }

    /// Where the task was made.
    pub fn spawn_location(&self) -> &'static Location<'static> {
        self.header().location()
    }

    /// Takes the output of a complete task.
    #[inline]
    fn take_output(&mut self) -> Result<T, JoinError> {
        let mut output: Option<Result<T, JoinError>> = None;
        // SAFETY: complete, and we are the handle (rule 2 of `state.rs`); the pointer shows to the
        // type that the vtable expects, because `from_header`'s caller vouched for `T`.
        unsafe {
            (self.header().vtable().take_output)(self.header, NonNull::from(&mut output).cast());
        }
        match output {
            Some(Ok(output)) => Ok(output),
            Some(Err(error)) => Err(self.told(error)),
            None => Err(JoinError::already_taken()),
        }
    }

    /// The error, with what only the handle knows.
    #[cold]
    fn told(&mut self, mut error: JoinError) -> JoinError {
        if let Some(state) = self.await_.take() {
            error.passed_on_by(state.passed_on);
        }
        error
    }

    /// Polls for the output, whatever request is visible.
    #[inline]
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        if self.header().state.is_complete() {
            return Poll::Ready(self.take_output());
        }
        self.wait(cx)
    }

    /// Leaves the waker in the cell, unless the task is complete by then.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        let header = self.header();
        let offered = header.state.has_join_waker();
        if offered {
            // SAFETY: with JOIN_WAKER set both sides may read the waker. It may be the completing side's by
            // now, but nobody writes to it, and only its words are compared.
            let same = header.join_waker.with(|waker| unsafe {
                (*waker).as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
            });
            if same {
                return Poll::Pending;
            }
        }
        // Cloned before anything is changed, so that a panic of foreign code leaves nothing half done.
        let waker = cx.waker().clone();
        if offered && !header.state.take_join_waker_back() {
            return Poll::Ready(self.take_output());
        }
        // SAFETY: JOIN_WAKER is clear, so the waker is ours alone (rule 3).
        let previous = header.join_waker.with_mut(|cell| unsafe { (*cell).replace(waker) });
        drop_caught("a waker", previous);
        if header.state.offer_join_waker() {
            Poll::Pending
        } else {
            Poll::Ready(self.take_output())
        }
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, JoinError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        context::with_record(|record| {
            let Some(record) = record else { return self.poll_output(cx) };
            // With a waker in the cell it was polled before, or with a memory.
            let fresh = self.await_.is_none() && !self.header().state.has_join_waker();
            if !record.has_budget(cx) {
                self.await_.get_or_insert_default();
            } else if let Poll::Ready(output) = self.poll_output(cx) {
                record.spend();
                return Poll::Ready(output);
            }
            if record.is_in_pass() || self.await_.is_some() || ForeignWaker::is_needed(record, cx) {
                self.pending_specially(record, cx, fresh);
            }
            if record.task() == Some(self.header) {
                return Poll::Ready(Err(JoinError::awaits_itself()));
            }
            Poll::Pending
        })
    }
}

impl<T> Task<T> {
    /// No output yet: rules 13 and 14 of `cancel/mod.rs`.
    #[cold]
    fn pending_specially(&mut self, record: &Record, cx: &Context<'_>, fresh: bool) {
        let state = self.await_.get_or_insert_default();
        let late = state.foreign.reached(record, cx);
        if let Some(request) = record.pass_on(&mut state.memory, fresh) {
            state.passed_on = Some(request);
            // `None` if it has ended meanwhile, and its output is on its way; or if it is one of a circle.
            let _ = run::cancel(self.header, Some(record.origin(request)));
        }
        state.foreign.after(late, cx);
        state.foreign.leave(record, cx);
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        let header = self.header();
        // With no waker left here: the common way to detach.
        if header.state.let_go() {
            return;
        }
        let outcome = header.state.detach();
        if outcome.drop_waker {
            // SAFETY: JOIN_WAKER is clear and we were the handle (rule 3).
            let waker = header.join_waker.with_mut(|waker| unsafe { (*waker).take() });
            drop_caught("a waker", waker);
        }
        if outcome.drop_output {
            // SAFETY: complete, and we were the handle (rule 2).
            unsafe { (header.vtable().drop_output)(self.header) };
            run::drop_reference_to_complete(self.header);
        } else {
            run::drop_reference(self.header);
        }
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("state", &self.header().state)
            .field("spawned_at", &self.header().location())
            .finish()
    }
}

/// Why a task has no output.
// One word, because every output is moved around beside it.
pub struct JoinError(Box<Kind>);

enum Kind {
    Cancelled {
        /// It ended by a request that came from who awaited it.
        by_await: bool,
        /// That one's own request.
        passed_on: Option<Cancelled>,
    },
    AwaitsItself,
    Panicked(Box<dyn Any + Send>),
    AlreadyTaken,
    Forked,
}

impl JoinError {
    /// `by_await`: by a request of who awaits the task.
    pub(crate) fn cancelled(by_await: bool) -> Self {
        JoinError(Box::new(Kind::Cancelled { by_await, passed_on: None }))
    }

    fn awaits_itself() -> Self {
        JoinError(Box::new(Kind::AwaitsItself))
    }

    /// For the handle, which knows the request that it has passed on.
    fn passed_on_by(&mut self, request: Option<RequestId>) {
        if let Kind::Cancelled { by_await: true, passed_on } = &mut *self.0 {
            *passed_on = request.map(Cancelled::new);
        }
    }

    pub(crate) fn panicked(payload: Box<dyn Any + Send>) -> Self {
        JoinError(Box::new(Kind::Panicked(payload)))
    }

    pub(crate) fn forked() -> Self {
        JoinError(Box::new(Kind::Forked))
    }

    fn already_taken() -> Self {
        JoinError(Box::new(Kind::AlreadyTaken))
    }

    /// Whether the task was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(*self.0, Kind::Cancelled { .. })
    }

    /// If the task was cancelled because the one who awaited it was asked to end and passed that on:
    /// the latter's request, to be [raised again](Cancelled::reraise). `None` when the task was cancelled
    /// by somebody else.
    ///
    /// ```
    /// # loopool::run(async {
    /// let outer = loopool::create_task(async {
    ///     let inner = loopool::create_task(std::future::pending::<()>());
    ///     match inner.await {
    ///         Err(error) if error.passed_on().is_some() => "I was asked to end",
    ///         _ => "something else",
    ///     }
    /// });
    /// let mut outer = outer;
    /// # let early = std::time::Duration::from_millis(5);
    /// # assert!(loopool::timeout(early, loopool::shield(&mut outer)).await.is_err());
    /// outer.cancel();
    /// assert_eq!(outer.await.unwrap(), "I was asked to end");
    /// # });
    /// ```
    pub fn passed_on(&self) -> Option<Cancelled> {
        match *self.0 {
            Kind::Cancelled { passed_on, .. } => passed_on,
            _ => None,
        }
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(*self.0, Kind::Panicked(_))
    }

    /// Whether this process is a [fork](crate::Forked) of the one in which the runtime was made.
    pub fn is_forked(&self) -> bool {
        matches!(*self.0, Kind::Forked)
    }

    /// The panic's payload, to go on with it by [`std::panic::resume_unwind`].
    ///
    /// # Errors
    /// Hands the error back when it is not a panic.
    pub fn into_panic(self) -> Result<Box<dyn Any + Send>, JoinError> {
        match *self.0 {
            Kind::Panicked(payload) => Ok(payload),
            other => Err(JoinError(Box::new(other))),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Cancelled { .. } => f.write_str("the task was cancelled"),
            Kind::AwaitsItself => f.write_str("a task awaits itself, which would never end"),
            Kind::Panicked(payload) => {
                write!(f, "the task panicked: {}", loopool_executors::panic_message(&**payload))
            }
            Kind::AlreadyTaken => f.write_str("the task's output was taken by an earlier await"),
            Kind::Forked => crate::fork::Forked.fmt(f),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl std::error::Error for JoinError {}
