//! The end that receives.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};

use super::queue::{Found, Queue};
use crate::context;
use crate::shim::Arc;
use crate::sync::error::TryRecvError;

/// Receives values, of a bounded channel or an unbounded one.
///
/// Dropped, it closes the channel and drops what is in it.
pub struct Receiver<T> {
    queue: Arc<Queue<T>>,
    /// Taken out of the inbox at once, and received one by one.
    taken: VecDeque<T>,
}

impl<T> Unpin for Receiver<T> {}

impl<T> Receiver<T> {
    pub(super) fn new(queue: Arc<Queue<T>>) -> Self {
        Receiver { queue, taken: VecDeque::new() }
    }

    /// Waits for the next value. `None` when all senders are gone, or the channel is closed, and
    /// everything was received.
    ///
    /// # Cancel safety
    /// No value is lost.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`recv`](Self::recv), for futures that are written by hand. The last waker counts.
    #[inline]
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        context::within_budget(cx, |cx| match self.next() {
            Some(value) => Poll::Ready(Some(value)),
            None => self.poll_inbox(cx),
        })
    }

    fn poll_inbox(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut found = self.queue.take(&mut self.taken);
        if found == Found::Nothing {
            found = self.queue.take_or_wait(&mut self.taken, cx.waker().clone());
        }
        match found {
            Found::Values => Poll::Ready(self.next()),
            Found::Nothing => Poll::Pending,
            Found::End => Poll::Ready(None),
        }
    }

    /// The next value, if there is one.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`] if one may still come, [`TryRecvError::Closed`] if not.
    ///
    /// ```
    /// use loopool::sync::mpsc::{self, TryRecvError};
    ///
    /// let (sender, mut receiver) = mpsc::channel(1);
    /// assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    /// sender.try_send(1).unwrap();
    /// drop(sender);
    /// assert_eq!(receiver.try_recv(), Ok(1));
    /// assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
    /// ```
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        if let Some(value) = self.next() {
            return Ok(value);
        }
        match self.queue.take(&mut self.taken) {
            Found::Values => self.next().ok_or(TryRecvError::Empty),
            Found::Nothing => Err(TryRecvError::Empty),
            Found::End => Err(TryRecvError::Closed),
        }
    }

    #[inline]
    fn next(&mut self) -> Option<T> {
        let value = self.taken.pop_front()?;
        if let Some(room) = &self.queue.room {
            room.release(1);
        }
        Some(value)
    }

    /// Lets nothing be sent any more. What was sent before can still be received; senders that wait for room
    /// get their values back.
    ///
    /// ```
    /// use loopool::sync::mpsc;
    ///
    /// # loopool::run(async {
    /// let (sender, mut receiver) = mpsc::unbounded_channel();
    /// sender.send(1).unwrap();
    /// receiver.close();
    /// assert!(sender.send(2).is_err());
    /// assert_eq!(receiver.recv().await, Some(1));
    /// assert_eq!(receiver.recv().await, None);
    /// # });
    /// ```
    pub fn close(&mut self) {
        self.queue.close();
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// How many values wait to be received.
    pub fn len(&self) -> usize {
        self.taken.len() + self.queue.len()
    }

    /// Whether no value waits to be received.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.close();
        self.queue.forget_receiver();
        // What was taken before goes with us, what has come since now: senders may live on.
        let mut left = VecDeque::new();
        let _ = self.queue.take(&mut left);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("len", &self.len()).finish_non_exhaustive()
    }
}
