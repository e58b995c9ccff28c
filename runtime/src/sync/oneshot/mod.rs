//! A channel for one value: the answer to a request, the end of something.
//!
//! One allocation and one atomic word; no lock.
//!
//! ```
//! use loopool::sync::oneshot;
//!
//! # loopool::run(async {
//! let (sender, receiver) = oneshot::channel();
//! loopool::create_task(async move { sender.send(6 * 7) });
//! assert_eq!(receiver.await, Ok(42));
//! # });
//! ```

mod cell;
mod receiver;
mod sender;

use std::ptr::NonNull;

pub use self::receiver::Receiver;
pub use self::sender::Sender;
pub use super::error::{RecvError, TryRecvError};

use self::cell::Cell;

/// A channel for one value.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let cell = NonNull::from(Box::leak(Box::new(Cell::new())));
    (Sender::new(cell), Receiver::new(cell))
}
