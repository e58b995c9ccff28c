//! The task that a loop runs next: the one that the running task woke last.
//!
//! # Protocol
//! One word: whoever swaps a task out has it, and nobody else. The owner puts and takes; a thief may take
//! at any moment, whether the owner is stuck or not. So the owner may find its slot empty, and a task that
//! a thief took is run by the thief. Only the owner fills the slot: one that it finds empty stays so, and
//! is filled by a store.
//!
//! Modelled in `loom-tests/tests/slot.rs`.

use std::ptr::NonNull;

use crate::shim::atomic::{AtomicPtr, Ordering};
use crate::task::{Header, Runnable};

pub(crate) struct Slot(AtomicPtr<Header>);

impl Slot {
    pub(crate) fn new() -> Self {
        Slot(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// Exact for the owner as to tasks that it put in itself, unless a thief comes; else a hint.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed).is_null()
    }

    /// By the owner: puts a task in; the one that was there comes back.
    #[inline]
    pub(crate) fn put(&self, task: Runnable) -> Option<Runnable> {
        let task = task.into_header().as_ptr();
        // Release: pairs with the Acquire in `take`. What comes back was put in by this thread.
        if self.is_empty() {
            // Nobody else fills it.
            self.0.store(task, Ordering::Release);
            return None;
        }
        let before = self.0.swap(task, Ordering::Release);
        // SAFETY: what lies in the slot came from `into_header`, with its reference, and a swap gives
        // it to one only.
        NonNull::new(before).map(|header| unsafe { Runnable::from_header(header) })
    }

    /// By anybody.
    #[inline]
    pub(crate) fn take(&self) -> Option<Runnable> {
        // A slot that is empty is looked at without being written to.
        if self.is_empty() {
            return None;
        }
        // Acquire: pairs with the Release in `put`.
        let task = self.0.swap(std::ptr::null_mut(), Ordering::Acquire);
        // SAFETY: as in `put`.
        NonNull::new(task).map(|header| unsafe { Runnable::from_header(header) })
    }
}
