//! [`try_timeout`]: a timeout of a future that may say by its value that it was cancelled.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::timeout::{Timeout, TimeoutError, timeout};
use crate::cancel::Cancelled;
use crate::task::JoinError;

/// [`timeout`](crate::timeout) for a future whose output is a `Result`: one result instead of two.
///
/// If the future ends with an error that says that it was [`Cancelled`] by this very timeout (it
/// caught the request, cleaned up, and returned it with `?`), that is a [`TimeoutError`], too. A request
/// of anybody else's stays what it is.
///
/// ```
/// use std::io;
/// use std::time::Duration;
///
/// # loopool::run(async {
/// let outcome: io::Result<()> = loopool::try_timeout(Duration::from_millis(1), async {
///     loopool::cancellable(std::future::pending::<()>()).await?;
///     Ok(())
/// })
/// .await;
/// assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
/// # });
/// ```
///
/// # Errors
/// The future's own; and a [`TimeoutError`], converted, when the time is up.
pub fn try_timeout<T, E, F>(limit: Duration, future: F) -> TryTimeout<F>
where
    F: Future<Output = Result<T, E>>,
    E: CancelCause + From<TimeoutError>,
{
    TryTimeout { timeout: timeout(limit, future) }
}

/// Errors that may stand for a [`Cancelled`].
pub trait CancelCause {
    /// The request, if the error is one.
    fn cancelled(&self) -> Option<Cancelled>;
}

impl CancelCause for Cancelled {
    fn cancelled(&self) -> Option<Cancelled> {
        Some(*self)
    }
}

impl CancelCause for JoinError {
    /// The request that was passed on by awaiting the task.
    fn cancelled(&self) -> Option<Cancelled> {
        self.passed_on()
    }
}

impl CancelCause for io::Error {
    fn cancelled(&self) -> Option<Cancelled> {
        cause_of(self.get_ref()?)
    }
}

impl CancelCause for Box<dyn Error> {
    fn cancelled(&self) -> Option<Cancelled> {
        cause_of(&**self)
    }
}

impl CancelCause for Box<dyn Error + Send + Sync> {
    fn cancelled(&self) -> Option<Cancelled> {
        cause_of(&**self)
    }
}

fn cause_of(error: &(dyn Error + 'static)) -> Option<Cancelled> {
    let cancelled = error.downcast_ref::<Cancelled>().copied();
    let passed_on = || error.downcast_ref::<JoinError>()?.passed_on();
    let in_io = || error.downcast_ref::<io::Error>()?.cancelled();
    cancelled.or_else(passed_on).or_else(in_io)
}

pin_project! {
    /// The future of [`try_timeout`].
    #[derive(Debug)]
    #[must_use = "a timeout does nothing unless it is awaited"]
    pub struct TryTimeout<F> {
        #[pin]
        timeout: Timeout<F>,
    }
}

impl<T, E, F> Future for TryTimeout<F>
where
    F: Future<Output = Result<T, E>>,
    E: CancelCause + From<TimeoutError>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut timeout = self.project().timeout;
        Poll::Ready(match ready!(timeout.as_mut().poll(cx)) {
            Err(error) => Err(error.into()),
            Ok(Err(error)) => {
                let own = timeout.request();
                let ours = own.is_some() && error.cancelled().map(|it| it.request()) == own;
                Err(if ours { TimeoutError::new().into() } else { error })
            }
            Ok(Ok(output)) => Ok(output),
        })
    }
}
