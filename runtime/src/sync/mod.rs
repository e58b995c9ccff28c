//! What tasks wait for from one another: channels, locks, events.
//!
//! | type | for |
//! |---|---|
//! | [`oneshot`] | one value, once |
//!
//! They work in any executor, and threads may use them, too. In a task of ours, an operation that
//! succeeds uses up one unit of the task's budget; when that is used up, the operation lets other tasks run
//! *before* it takes anything.

mod error;
pub mod oneshot;
