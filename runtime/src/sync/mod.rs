//! What tasks wait for from one another: channels, locks, events.
//!
//! | type | for |
//! |---|---|
//! | [`oneshot`] | one value, once |
//! | [`mpsc`] | values from many, for one |
//! | [`Event`] | that something has happened, for everybody who waits |
//! | [`Mutex`] | something that one may use at a time, across an `await` |
//! | [`Semaphore`] | something that so many may use at a time |
//!
//! They work in any executor, and threads may use them, too. In a task of ours, an operation that
//! succeeds uses up one unit of the task's budget; when that is used up, the operation lets other tasks run
//! *before* it takes anything. To wait is free, allocates nothing, and may be given up at any time.
//!
//! A future that waits for a lock, a permit or room in a channel has its turn when it is woken. One that is
//! then neither polled nor dropped keeps that turn, and those behind it wait: so do not keep such a
//! future while you wait for something else.

mod bounds;
mod error;
mod event;
pub mod mpsc;
mod mutex;
pub mod oneshot;
mod permits;
mod semaphore;
mod waiters;

pub use event::{Event, Wait};
pub use mutex::{Mutex, MutexGuard, OwnedMutexGuard};
pub use semaphore::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
