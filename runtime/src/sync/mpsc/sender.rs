//! The end that sends to a bounded channel.

use std::fmt;

use super::queue::Queue;
use crate::shim::Arc;
use crate::sync::error::{SendError, TrySendError};
use crate::sync::permits::{Permits, Refused};

/// Sends values to a channel that may be full. Clones send to the same channel.
pub struct Sender<T> {
    queue: Arc<Queue<T>>,
}

impl<T> Sender<T> {
    pub(super) fn new(queue: Arc<Queue<T>>) -> Self {
        Sender { queue }
    }

    fn room(&self) -> &Permits {
        self.queue.room.as_ref().expect("a bounded channel has a number of permits")
    }

    /// Sends a value, once there is room for it.
    ///
    /// Senders that wait are let in in the order in which they came. One that runs may overtake another one
    /// that was woken and is still on its way, a few times at most.
    ///
    /// # Errors
    /// Hands the value back when the channel is closed, or the receiver gone.
    ///
    /// # Cancel safety
    /// Who stops waiting gives its place to the next one, and its value is dropped. To keep it, wait with
    /// [`try_send`](Self::try_send), or send what can be made again.
    pub async fn send(&self, value: T) -> Result<(), SendError<T>> {
        match self.room().acquire(1).await {
            Ok(()) => self.queue.push(value).map_err(SendError),
            Err(_) => Err(SendError(value)),
        }
    }

    /// Sends a value if there is room for it.
    ///
    /// # Errors
    /// Hands the value back: [`TrySendError::Full`] if there is no room, or what there is belongs to senders
    /// who have waited; [`TrySendError::Closed`] if the channel is closed, or the receiver gone.
    ///
    /// ```
    /// use loopool::sync::mpsc::{self, TrySendError};
    ///
    /// let (sender, receiver) = mpsc::channel(1);
    /// assert_eq!(sender.try_send(1), Ok(()));
    /// assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
    /// drop(receiver);
    /// assert_eq!(sender.try_send(3), Err(TrySendError::Closed(3)));
    /// ```
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        match self.room().try_acquire(1) {
            Ok(()) => self.queue.push(value).map_err(TrySendError::Closed),
            Err(Refused::TooFew) => Err(TrySendError::Full(value)),
            Err(Refused::Closed) => Err(TrySendError::Closed(value)),
        }
    }

    /// Whether the channel is closed, or the receiver gone.
    pub fn is_closed(&self) -> bool {
        self.room().is_closed()
    }

    /// How many values could be sent just now.
    pub fn capacity(&self) -> usize {
        self.room().available()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.queue.add_sender();
        Sender { queue: self.queue.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.queue.remove_sender();
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}
