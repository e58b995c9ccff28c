//! The end that sends.

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::mem;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use super::cell::{Cell, Outcome, Side};
use crate::context;

/// Sends the value. Dropped without that, it ends the wait of the receiver.
///
/// ```
/// use loopool::sync::oneshot;
///
/// # loopool::run(async {
/// let (sender, receiver) = oneshot::channel::<u32>();
/// drop(sender);
/// assert!(receiver.await.is_err());
/// # });
/// ```
pub struct Sender<T> {
    cell: NonNull<Cell<T>>,
    value: PhantomData<T>,
}

// SAFETY: what crosses threads through the cell is the value and wakers; the cell orders it.
unsafe impl<T: Send> Send for Sender<T> {}
// SAFETY: a shared sender can only look at the state.
unsafe impl<T: Send> Sync for Sender<T> {}

impl<T> Unpin for Sender<T> {}

impl<T> Sender<T> {
    pub(super) fn new(cell: NonNull<Cell<T>>) -> Self {
        Sender { cell, value: PhantomData }
    }

    fn cell(&self) -> &Cell<T> {
        // SAFETY: a sender that still exists is not gone, so the cell lives.
        unsafe { self.cell.as_ref() }
    }

    /// Sends the value, and wakes the receiver.
    ///
    /// That the value was sent does not mean that it will be received: the receiver may be dropped with it.
    ///
    /// # Errors
    /// Hands the value back when the receiver is closed or gone.
    ///
    /// ```
    /// use loopool::sync::oneshot;
    ///
    /// let (sender, receiver) = oneshot::channel();
    /// drop(receiver);
    /// assert_eq!(sender.send(42), Err(42));
    /// ```
    pub fn send(self, value: T) -> Result<(), T> {
        // SAFETY: we are the sender and not gone; `forget` sees to it that `drop` does not settle, too.
        unsafe {
            self.cell().put_value(value);
            if Cell::settle(self.cell, Side::Sender, Outcome::Value) {
                mem::forget(self);
                return Ok(());
            }
            // Closed: so the value has stayed ours.
            Err(self.cell().take_value())
        }
    }

    /// Whether the receiver is closed or gone.
    pub fn is_closed(&self) -> bool {
        self.cell().outcome().is_some()
    }

    /// Waits until the receiver is closed or gone: nobody wants the value any more.
    ///
    /// ```
    /// use loopool::sync::oneshot;
    ///
    /// # loopool::run(async {
    /// let (mut sender, receiver) = oneshot::channel::<u32>();
    /// loopool::create_task(async move { drop(receiver) });
    /// sender.closed().await;
    /// # });
    /// ```
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn closed(&mut self) {
        poll_fn(|cx| self.poll_closed(cx)).await;
    }

    /// As [`closed`](Self::closed), for futures that are written by hand. The last waker counts.
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        context::within_budget(cx, |cx| {
            // SAFETY: we are the sender.
            unsafe { self.cell().poll_outcome(Side::Sender, cx.waker()) }.map(drop)
        })
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // SAFETY: we are the sender, not gone, and touch nothing after it.
        unsafe {
            if !Cell::settle(self.cell, Side::Sender, Outcome::Ended) {
                Cell::leave(self.cell, Side::Sender);
            }
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("is_closed", &self.is_closed()).finish()
    }
}
