//! The end that receives.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use super::cell::{Cell, Outcome, Side};
use crate::context;
use crate::sync::error::{RecvError, TryRecvError};

/// Receives the value: await it.
///
/// It is ready with [`RecvError`] when the sender was dropped without sending, and when the value was
/// taken before.
///
/// # Cancel safety
/// A receiver that is awaited by reference (`(&mut receiver).await`) and left again loses nothing. One that
/// is dropped takes its value with it.
#[must_use = "a receiver does nothing unless it is awaited"]
pub struct Receiver<T> {
    /// `None` once nothing is to come.
    cell: Option<NonNull<Cell<T>>>,
    value: PhantomData<T>,
}

// SAFETY: what crosses threads through the cell is the value and wakers; the cell orders it.
unsafe impl<T: Send> Send for Receiver<T> {}
// SAFETY: a shared receiver can only look at the state.
unsafe impl<T: Send> Sync for Receiver<T> {}

impl<T> Unpin for Receiver<T> {}

impl<T> Receiver<T> {
    pub(super) fn new(cell: NonNull<Cell<T>>) -> Self {
        Receiver { cell: Some(cell), value: PhantomData }
    }

    fn outcome(&self) -> Option<Outcome> {
        // SAFETY: we keep the cell alive while we have its address.
        self.cell.map_or(Some(Outcome::Closed), |cell| unsafe { cell.as_ref() }.outcome())
    }

    /// The value, if it is there.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`] if it may still come, [`TryRecvError::Closed`] if not.
    ///
    /// ```
    /// use loopool::sync::oneshot::{self, TryRecvError};
    ///
    /// let (sender, mut receiver) = oneshot::channel();
    /// assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    /// sender.send("now").unwrap();
    /// assert_eq!(receiver.try_recv(), Ok("now"));
    /// assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
    /// ```
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let outcome = self.outcome().ok_or(TryRecvError::Empty)?;
        self.take(outcome).ok_or(TryRecvError::Closed)
    }

    /// Lets no value be sent any more. One that was sent before can still be received.
    ///
    /// ```
    /// use loopool::sync::oneshot;
    ///
    /// let (sender, mut receiver) = oneshot::channel();
    /// receiver.close();
    /// assert_eq!(sender.send(42), Err(42));
    /// ```
    pub fn close(&mut self) {
        // SAFETY: we are the receiver and not gone; if we are after it, the address is forgotten.
        self.cell = self
            .cell
            .filter(|cell| unsafe { !Cell::settle(*cell, Side::Receiver, Outcome::Closed) });
    }

    /// Ends this side of a cell that is settled.
    fn take(&mut self, outcome: Outcome) -> Option<T> {
        let cell = self.cell.take()?;
        // SAFETY: we are the receiver and were not gone; with this outcome the value is ours.
        unsafe {
            let value = (outcome == Outcome::Value).then(|| cell.as_ref().take_value());
            Cell::leave(cell, Side::Receiver);
            value
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, RecvError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        context::within_budget(cx, |cx| {
            let polled = match self.cell {
                // SAFETY: we are the receiver, and keep the cell alive.
                Some(cell) => unsafe { cell.as_ref().poll_outcome(Side::Receiver, cx.waker()) },
                None => Poll::Ready(Outcome::Closed),
            };
            polled.map(|outcome| self.take(outcome).ok_or(RecvError::new()))
        })
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.close();
        // Settled before, if we are not gone: a value comes out, and is dropped when we are.
        let outcome = self.outcome();
        drop(outcome.and_then(|outcome| self.take(outcome)));
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("outcome", &self.outcome()).finish()
    }
}
