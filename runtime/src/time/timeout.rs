//! [`timeout`] and [`timeout_at`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::sleep::{Sleep, sleep, sleep_until};

/// Waits for `future`, at most `limit`.
///
/// The future is polled first: when it is ready in the instant in which the time is up, its value
/// wins. When the time is up it is dropped.
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
/// # Errors
/// [`TimeoutError`] when the time is up.
///
/// # Cancel safety
/// As that of the future inside.
pub fn timeout<F: Future>(limit: Duration, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep(limit) }
}

/// As [`timeout`], until a point in time.
pub fn timeout_at<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep_until(deadline) }
}

/// The future of [`timeout`].
#[derive(Debug)]
#[must_use = "a timeout does nothing unless it is awaited"]
pub struct Timeout<F> {
    future: F,
    sleep: Sleep,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, TimeoutError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `future` is pinned with us: never moved, and dropped in place. `Timeout` has no
        // `Drop` and is `Unpin` only if `F` is. `sleep` is `Unpin`.
        let (future, sleep) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.future), Pin::new(&mut this.sleep))
        };
        if let Poll::Ready(output) = future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        sleep.poll(cx).map(|()| Err(TimeoutError(())))
    }
}

/// The time was up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TimeoutError(());

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
