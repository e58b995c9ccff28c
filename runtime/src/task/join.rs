//! [`Task`]: the handle of a spawned future.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use super::cell::{Header, drop_caught};
use super::run;

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
/// # Cancel safety
/// Awaiting through `&mut task` may be given up and begun again; the output is not lost.
pub struct Task<T> {
    header: NonNull<Header>,
    output: PhantomData<fn() -> T>,
}

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
        Task { header, output: PhantomData }
    }

    pub(crate) fn header_pointer(&self) -> NonNull<Header> {
        self.header
    }

    fn header(&self) -> &Header {
        // SAFETY: the handle's reference keeps the cell alive.
        unsafe { self.header.as_ref() }
    }

    /// Asks the task to end. False when it is done.
    ///
    /// A request, not a kill: the future is polled once more, and if it completes in that poll its
    /// value wins. If it is still pending it is dropped, on a thread of its runtime, and awaiting the
    /// task gives an error that [`is_cancelled`](JoinError::is_cancelled). A task that was never
    /// polled is dropped without running a line.
    pub fn cancel(&self) -> bool {
        run::cancel(self.header)
    }

    /// Whether the task is done: its output is there or was taken.
    pub fn is_finished(&self) -> bool {
        self.header().state.is_complete()
    }

    /// Where the task was made.
    pub fn spawn_location(&self) -> &'static Location<'static> {
        self.header().location
    }

    /// Takes the output of a complete task.
    fn take_output(&mut self) -> Result<T, JoinError> {
        let mut output: Option<Result<T, JoinError>> = None;
        // SAFETY: complete, and we are the handle (rule 2 of `state.rs`); the pointer shows to the
        // type that the vtable expects, because `from_header`'s caller vouched for `T`.
        unsafe {
            (self.header().vtable().take_output)(self.header, NonNull::from(&mut output).cast());
        }
        output.unwrap_or_else(|| Err(JoinError::already_taken()))
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let header = self.header();
        if header.state.is_complete() {
            return Poll::Ready(self.take_output());
        }
        if header.state.has_join_waker() {
            // SAFETY: with JOIN_WAKER set both sides may read the waker; only we ever write it.
            let same = header.join_waker.with(|waker| unsafe {
                (*waker).as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
            });
            if same {
                return Poll::Pending;
            }
            if !header.state.take_join_waker_back() {
                return Poll::Ready(self.take_output());
            }
        }
        // Cloned before the cell is touched, so that a panic of foreign code leaves nothing half done.
        let waker = cx.waker().clone();
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

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        let header = self.header();
        let outcome = header.state.detach();
        if outcome.drop_output {
            // SAFETY: complete, and we were the handle (rule 2).
            unsafe { (header.vtable().drop_output)(self.header) };
        }
        if outcome.drop_waker {
            // SAFETY: JOIN_WAKER is clear and we were the handle (rule 3).
            let waker = header.join_waker.with_mut(|waker| unsafe { (*waker).take() });
            drop_caught("a waker", waker);
        }
        run::drop_reference(self.header);
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("state", &self.header().state)
            .field("spawned_at", &self.header().location)
            .finish()
    }
}

/// Why a task has no output.
pub struct JoinError(Kind);

enum Kind {
    Cancelled,
    Panicked(Box<dyn Any + Send>),
    AlreadyTaken,
}

impl JoinError {
    pub(crate) fn cancelled() -> Self {
        JoinError(Kind::Cancelled)
    }

    pub(crate) fn panicked(payload: Box<dyn Any + Send>) -> Self {
        JoinError(Kind::Panicked(payload))
    }

    fn already_taken() -> Self {
        JoinError(Kind::AlreadyTaken)
    }

    /// Whether the task was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0, Kind::Cancelled)
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.0, Kind::Panicked(_))
    }

    /// The panic's payload, to go on with it by [`std::panic::resume_unwind`].
    ///
    /// # Errors
    /// Hands the error back when it is not a panic.
    pub fn into_panic(self) -> Result<Box<dyn Any + Send>, JoinError> {
        match self.0 {
            Kind::Panicked(payload) => Ok(payload),
            other => Err(JoinError(other)),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Cancelled => f.write_str("the task was cancelled"),
            Kind::Panicked(payload) => {
                write!(f, "the task panicked: {}", loopool_executors::panic_message(&**payload))
            }
            Kind::AlreadyTaken => f.write_str("the task's output was taken by an earlier await"),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl std::error::Error for JoinError {}
