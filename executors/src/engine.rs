//! [`Engine`]: the bookkeeping of an executor, which an event loop may do instead of a thread of the executor's.

use std::cell::Cell;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

/// What is left to do for whoever turns an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing, ever.
    Over,
    /// More, at once.
    Again,
    /// Nothing until its descriptor becomes readable, or this time has come.
    Until(Option<Instant>),
}

/// The bookkeeping of an executor.
pub trait Engine: Send + Sync {
    /// What becomes readable when there is something to do.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Does what there is to do. What may take long is left to a thread of the executor's.
    fn turn(&self) -> Turn;

    /// Delivers what has come, if nobody else does. Makes no system call when there is nothing.
    fn look(&self);

    /// Whether there are outcomes to be delivered. Makes no system call.
    fn has_answers(&self) -> bool;

    /// Whether there will be.
    fn has_jobs(&self) -> bool;

    /// The loop does it no more.
    fn release(&self);
}

thread_local! {
    static RUNTIME: Cell<usize> = const { Cell::new(0) };
}

/// Calls `f`, which asks an executor for the right to serve it, in the name of a runtime, which is not 0: so the executor
/// knows whether those who submit from loops are all of the same one, whose loops see to each other.
pub fn in_the_name_of<R>(runtime: usize, f: impl FnOnce() -> R) -> R {
    let before = RUNTIME.replace(runtime);
    let result = f();
    RUNTIME.set(before);
    result
}

/// The runtime in whose name the calling thread asks.
pub(crate) fn runtime() -> usize {
    RUNTIME.get()
}

/// The right and the duty to turn an engine: somebody else does when it is dropped.
pub struct Serving(pub(crate) Arc<dyn Engine>);

impl Serving {
    /// See [`Engine::turn`].
    pub fn turn(&self) -> Turn {
        self.0.turn()
    }

    /// The engine, to be looked at.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.0
    }
}

impl AsFd for Serving {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.descriptor()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").finish_non_exhaustive()
    }
}
