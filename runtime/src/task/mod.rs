//! Tasks: the cell that holds a spawned future, and its handle.
//!
//! | file | holds |
//! |---|---|
//! | `state.rs` | the state word: bits, count, transitions, and who may touch what |
//! | `cell.rs` | the allocation: header, future, output |
//! | `cold.rs` | what few tasks have: a name, requests to cancel |
//! | `memory.rs` | where the allocation comes from |
//! | `run.rs` | polling, waking, cancelling, freeing |
//! | `join.rs` | [`Task`] and [`JoinError`] |
//!
//! What the room promises: a woken task is polled again, by one thread at a time; its future is
//! dropped exactly once, on a thread of its runtime (a local task's on its own loop's thread); a
//! panic in it, in its destructor or in its output's ends up in the handle or in the log, never in
//! the worker.

mod cell;
mod cold;
mod join;
mod memory;
mod run;
mod state;

use std::future::Future;
use std::panic::Location;
use std::ptr::NonNull;

pub(crate) use cell::{Header, Links};
pub(crate) use cold::{
    hold_raise, is_woken, note_answer, origin, release, requests, strike, tries_again, uncancel,
    unreached, wake_hidden_for_timeout, wake_list,
};
pub use join::{JoinError, Task};
pub(crate) use memory::Recycler;
pub(crate) use run::{Claimed, Runnable, claim_for_shutdown, handle_for_cancel};
pub(crate) use state::MOST_LOOPS;

use crate::scheduler::Shared;

/// Makes a task: its queue entry and its handle. The caller registers it before it queues it.
///
/// # Safety
/// `shared` outlives the task's completion. The future is dropped by then; if it is not `'static`,
/// the caller sees to it that the task is complete and its output taken before the borrow ends. If
/// it is not `Send`, `local` is set and the calling thread is that of loop `home`, or what is in it
/// until its first poll is `Send`, and so is its output.
pub(crate) unsafe fn new_task<F: Future>(
    future: F,
    shared: NonNull<Shared>,
    home: usize,
    local: bool,
    location: &'static Location<'static>,
) -> (Runnable, Task<F::Output>) {
    let header = cell::allocate(future, shared, home, local, location);
    // SAFETY: `allocate` made two references, one for each, and the type is right.
    unsafe { (Runnable::from_header(header), Task::from_header(header)) }
}
