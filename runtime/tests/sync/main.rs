//! Channels, locks and events between tasks.
//!
//! What can be counted is counted: polls, wakes, wakers that are kept, drops. Nothing is timed.

mod event;
mod mpsc;
mod mutex;
mod oneshot;
mod semaphore;
mod support;
mod timeouts;
