//! The end that sends to an unbounded channel.

use std::fmt;

use super::queue::Queue;
use crate::shim::Arc;
use crate::sync::error::SendError;

/// Sends values to a channel that is never full. Clones send to the same channel.
pub struct UnboundedSender<T> {
    queue: Arc<Queue<T>>,
}

impl<T> UnboundedSender<T> {
    pub(super) fn new(queue: Arc<Queue<T>>) -> Self {
        UnboundedSender { queue }
    }

    /// Sends a value; it never waits.
    ///
    /// # Errors
    /// Hands the value back when the channel is closed, or the receiver gone.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.queue.push(value).map_err(SendError)
    }

    /// Whether the channel is closed, or the receiver gone.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}

impl<T> Clone for UnboundedSender<T> {
    fn clone(&self) -> Self {
        self.queue.add_sender();
        UnboundedSender { queue: self.queue.clone() }
    }
}

impl<T> Drop for UnboundedSender<T> {
    fn drop(&mut self) {
        self.queue.remove_sender();
    }
}

impl<T> fmt::Debug for UnboundedSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnboundedSender").field("is_closed", &self.is_closed()).finish()
    }
}
