//! Channels with many senders and one receiver: asyncio's `Queue`, for one who takes.
//!
//! A bounded channel makes senders wait while it is full; an unbounded one grows. Each sender's values
//! arrive in the order in which they were sent.
//!
//! ```
//! use loopool::sync::mpsc;
//!
//! # loopool::run(async {
//! let (sender, mut receiver) = mpsc::channel(16);
//! for worker in 0..4 {
//!     let sender = sender.clone();
//!     loopool::create_task(async move { sender.send(worker).await });
//! }
//! drop(sender);
//! let mut sum = 0;
//! while let Some(worker) = receiver.recv().await {
//!     sum += worker;
//! }
//! assert_eq!(sum, 6);
//! # });
//! ```

mod queue;
mod receiver;
mod sender;
mod unbounded_sender;

pub use self::receiver::Receiver;
pub use self::sender::Sender;
pub use self::unbounded_sender::UnboundedSender;
pub use super::error::{SendError, TryRecvError, TrySendError};

use self::queue::Queue;
use crate::shim::Arc;

/// A channel that holds at most `capacity` values that were sent and not received.
///
/// # Panics
/// If the capacity is zero, or more than [`Semaphore::MAX_PERMITS`](super::Semaphore::MAX_PERMITS).
#[track_caller]
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a channel needs a capacity of one at least");
    let queue = Arc::new(Queue::new(Some(capacity)));
    (Sender::new(queue.clone()), Receiver::new(queue))
}

/// A channel that grows as it must: for senders that may not wait, and are limited by something else.
///
/// ```
/// use loopool::sync::mpsc;
///
/// # loopool::run(async {
/// let (sender, mut receiver) = mpsc::unbounded_channel();
/// std::thread::spawn(move || sender.send("from a thread"));
/// assert_eq!(receiver.recv().await, Some("from a thread"));
/// assert_eq!(receiver.recv().await, None);
/// # });
/// ```
pub fn unbounded_channel<T>() -> (UnboundedSender<T>, Receiver<T>) {
    let queue = Arc::new(Queue::new(None));
    (UnboundedSender::new(queue.clone()), Receiver::new(queue))
}
