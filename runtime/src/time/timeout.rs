//! [`timeout`] and [`timeout_at`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use super::sleep::{Sleep, sleep, sleep_until};
use crate::cancel::{Below, Closed, FiredPoll, Holds, Memory, Record, RequestId};
use crate::context;

/// Waits for `future`, at most `limit`.
///
/// The future is polled first: when it is ready in the instant in which the time is up, its value
/// wins. Else it is asked to end, as [`Task::cancel`](crate::Task::cancel) asks a task: a
/// [`cancellable`](crate::cancellable) scope inside takes the request and may clean up, also
/// asynchronously; the timeout waits for that. If the future gives a value in the end, that is the
/// result; if the request is [raised again](crate::Cancelled::reraise), or was caught by nobody, the
/// future is dropped and the result is [`TimeoutError`].
///
/// ```
/// use std::time::Duration;
///
/// # loopool::run(async {
/// let forever = std::future::pending::<()>();
/// assert!(loopool::timeout(Duration::from_millis(5), forever).await.is_err());
/// assert_eq!(loopool::timeout(Duration::ZERO, async { 7 }).await.unwrap(), 7);
/// # });
/// ```
///
/// A request to cancel the task as a whole passes through. Of nested timeouts each has a request of
/// its own, so none takes another's for its own. Code that ignores the request keeps the timeout
/// waiting. A `Cancelled` that is *returned* from inside is a value like any other; see
/// [`try_timeout`](crate::try_timeout).
///
/// # Errors
/// [`TimeoutError`] when the time was up.
///
/// # Panics
/// When it is polled outside a running event loop.
///
/// # Cancel safety
/// As that of the future inside.
pub fn timeout<F: Future>(limit: Duration, future: F) -> Timeout<F> {
    Timeout::new(future, sleep(limit))
}

/// As [`timeout`], until a point in time.
pub fn timeout_at<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    Timeout::new(future, sleep_until(deadline))
}

pin_project! {
    /// The future of [`timeout`].
    #[derive(Debug)]
    #[must_use = "a timeout does nothing unless it is awaited"]
    pub struct Timeout<F> {
        #[pin]
        future: Option<F>,
        sleep: Sleep,
        memory: Memory,
        holds: Holds,
        // Once the time is up.
        request: OwnRequest,
        progress: Progress,
    }
}

/// A service puts one around nearly everything that it waits for, and they nest: of this, a sleep is nearly half.
const _: () = assert!(size_of::<Timeout<std::future::Ready<()>>>() <= 88);

/// The request of a timeout whose time is up, until the timeout is gone.
#[derive(Debug, Default)]
struct OwnRequest(Option<RequestId>);

impl Drop for OwnRequest {
    #[inline]
    fn drop(&mut self) {
        if let Some(request) = self.0 {
            strike(request);
        }
    }
}

#[cold]
fn strike(request: RequestId) {
    context::with_record_around(|record| {
        if let Some(record) = record {
            record.strike(request);
        }
    });
}

/// How far the delivery of the own request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Not begun.
    Due,
    /// Begun: those whom a combinator would not poll were woken for it. Put off by a protected future.
    Tried,
    Delivered,
}

impl<F: Future> Timeout<F> {
    fn new(future: F, sleep: Sleep) -> Self {
        Timeout {
            future: Some(future),
            sleep,
            memory: Memory::default(),
            holds: Holds::default(),
            request: OwnRequest::default(),
            progress: Progress::Due,
        }
    }

    /// The own request, once the time was up.
    pub(crate) fn request(&self) -> Option<RequestId> {
        self.request.0
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, TimeoutError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        context::with_own_record(|record| self.poll_with(record, cx))
    }
}

impl<F: Future> Timeout<F> {
    #[inline]
    fn poll_with(
        mut self: Pin<&mut Self>,
        record: &Record,
        cx: &mut Context<'_>,
    ) -> Poll<Result<F::Output, TimeoutError>> {
        let this = self.as_mut().project();
        let fresh = this.memory.open();
        if this.request.0.is_some() || this.sleep.has_fired(fresh, cx) {
            return self.poll_fired(record, cx, fresh);
        }
        let Some(future) = this.future.as_pin_mut() else { finished() };
        let closed = Closed::begin_unless_takeable(record, this.memory, fresh);
        let marks = record.marks();
        let polled = future.poll(cx);
        drop(closed);
        if record.is_eventful_since(marks) {
            record.remember(marks, this.holds);
        }
        if polled.is_pending() && fresh {
            this.sleep.arm(cx);
        }
        polled.map(Ok)
    }

    /// The time is up.
    #[cold]
    fn poll_fired(
        self: Pin<&mut Self>,
        record: &Record,
        cx: &mut Context<'_>,
        fresh: bool,
    ) -> Poll<Result<F::Output, TimeoutError>> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else { finished() };
        let request = *this.request.0.get_or_insert_with(RequestId::new);
        let marks = record.marks();
        let below = if *this.progress == Progress::Delivered {
            let _counted = FiredPoll::count(record, request);
            let _closed = Closed::begin_unless_takeable(record, this.memory, fresh);
            if let Poll::Ready(output) = future.poll(cx) {
                return Poll::Ready(Ok(output));
            }
            Below::Answered
        } else {
            let first = *this.progress == Progress::Due;
            let poll = FiredPoll::deliver(record, request, this.memory, fresh, first);
            if poll.is_own() {
                *this.progress = Progress::Tried;
            }
            if let Poll::Ready(output) = future.poll(cx) {
                return Poll::Ready(Ok(output));
            }
            poll.end(this.holds, cx)
        };
        if below == Below::Answered && *this.progress != Progress::Delivered {
            *this.progress = Progress::Delivered;
            record.note_answer(request);
        }
        let drop_it = if record.another_is_raised_since(marks, request) {
            false
        } else if let Some(raise) = record.raised_since(marks, this.holds) {
            record.end_raise(raise);
            true
        } else {
            below == Below::Nothing
        };
        if !drop_it {
            return Poll::Pending;
        }
        this.future.set(None);
        Poll::Ready(Err(TimeoutError::new()))
    }
}

fn finished() -> ! {
    panic!("a timeout was polled after it had given its result")
}

/// The time was up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TimeoutError(());

impl TimeoutError {
    pub(crate) fn new() -> Self {
        TimeoutError(())
    }
}

impl fmt::Display for TimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time was up")
    }
}

impl fmt::Debug for TimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TimeoutError")
    }
}

impl std::error::Error for TimeoutError {}

impl From<TimeoutError> for std::io::Error {
    fn from(error: TimeoutError) -> Self {
        std::io::Error::new(std::io::ErrorKind::TimedOut, error)
    }
}
