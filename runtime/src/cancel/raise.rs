//! [`Cancelled`]: the request that a scope took, and how it goes on outwards.

use std::fmt;
use std::future::Future;
use std::num::NonZeroU64;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{ForeignWaker, RequestId};
use crate::context;

/// A request to cancel was taken.
///
/// Code that has cleaned up raises it again with [`reraise`](Self::reraise), or returns it as an error
/// like any other. Returned, it is an ordinary value to whoever is outside: a timeout around it gives
/// `Ok(Err(Cancelled))`, except [`try_timeout`](crate::try_timeout), which knows its own request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cancelled {
    request: RequestId,
}

impl Cancelled {
    pub(crate) fn new(request: RequestId) -> Self {
        Cancelled { request }
    }

    /// Which request it was.
    pub fn request(&self) -> RequestId {
        self.request
    }

    /// Goes on with the cancellation: the nearest [`cancellable`](crate::cancellable) around this place
    /// takes the request, or the timeout whose own it is; with neither, the task ends cancelled. (If that is
    /// the main future, [`run`](crate::run) panics and says so.) So the future that comes back never gives
    /// anything: the code stops here and is dropped.
    ///
    /// What runs beside this, under the same `join!`, is dropped with it; only what is
    /// [protected](crate::protect) there is waited for.
    ///
    /// ```
    /// use loopool::{cancellable, create_task, yield_now};
    ///
    /// # loopool::run(async {
    /// let task = create_task(async {
    ///     if let Err(cancelled) = cancellable(std::future::pending::<()>()).await {
    ///         yield_now().await; // clean up
    ///         cancelled.reraise().await
    ///     }
    /// });
    /// yield_now().await;
    /// task.cancel();
    /// assert!(task.await.unwrap_err().is_cancelled());
    /// # });
    /// ```
    ///
    /// # Panics
    /// When it is polled with neither a task nor a scope around it, where nobody could take it.
    ///
    /// # Cancel safety
    /// Dropped, for example as the loser of a `select!`, it withdraws the request.
    #[track_caller]
    pub fn reraise(self) -> Reraise {
        Reraise {
            request: self.request,
            location: Location::caller(),
            raised: None,
            foreign: ForeignWaker::default(),
        }
    }
}

impl fmt::Debug for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancelled").field(&self.request).finish()
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cancelled")
    }
}

impl std::error::Error for Cancelled {}

impl From<Cancelled> for std::io::Error {
    fn from(cancelled: Cancelled) -> Self {
        // Not `Interrupted`, which means "try again" to those who read and write.
        std::io::Error::other(cancelled)
    }
}

/// The type `!`, for the output of [`Reraise`]: it turns into any other.
pub type Never = <fn() -> ! as Function>::Output;

/// Stable Rust does not let one write `!` here, but lets one ask for the output of this function.
#[doc(hidden)]
pub trait Function {
    type Output;
}

impl<T> Function for fn() -> T {
    type Output = T;
}

/// The future of [`Cancelled::reraise`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Reraise {
    request: RequestId,
    location: &'static Location<'static>,
    raised: Option<NonZeroU64>,
    foreign: ForeignWaker,
}

impl Future for Reraise {
    type Output = Never;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Never> {
        self.raised = Some(context::with_record(|record| {
            let Some(record) = record else { lost(self.location) };
            // Should the raise have to wait for something protected, we are to be polled after that.
            self.foreign.leave(record, cx);
            if let Some(before) = self.raised {
                record.withdraw(before);
            }
            record.raise(self.request, self.location)
        }));
        Poll::Pending
    }
}

impl Drop for Reraise {
    fn drop(&mut self) {
        if let Some(serial) = self.raised.take() {
            context::with_record_around(|record| {
                if let Some(record) = record {
                    record.withdraw(serial);
                }
            });
        }
    }
}

/// Nobody is there to take a raise.
pub(crate) fn lost(location: &Location<'_>) -> ! {
    panic!(
        "a cancellation was raised again at {location} with neither a task nor a scope around it \
         that could take it"
    )
}
