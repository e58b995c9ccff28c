//! What a loop runs just now, for whoever wants to know why it does not come round.
//!
//! One store a poll, of a pointer that is valid for ever: where the task was made. Never a pointer into a
//! task's cell, which another thread could not follow. Nobody waits on this, so it is all relaxed: who
//! reads it sees that the count of runs has not moved before and after, for milliseconds.

use std::panic::Location;

use crate::shim::atomic::{AtomicPtr, Ordering};

pub(crate) struct Now(AtomicPtr<Location<'static>>);

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A task that was made there.
    Task(&'static Location<'static>),
    Callback,
    /// Neither: a waker, or the loop's own doing.
    Other,
}

/// Where no location is.
const CALLBACK: *mut Location<'static> = std::ptr::without_provenance_mut(1);

impl Default for Now {
    fn default() -> Self {
        Now(AtomicPtr::new(std::ptr::null_mut()))
    }
}

impl Now {
    #[inline]
    pub(crate) fn task(&self, made_at: &'static Location<'static>) {
        self.0.store(std::ptr::from_ref(made_at).cast_mut(), Ordering::Relaxed);
    }

    pub(crate) fn callback(&self) {
        self.0.store(CALLBACK, Ordering::Relaxed);
    }

    pub(crate) fn other(&self) {
        self.0.store(std::ptr::null_mut(), Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> What {
        let pointer = self.0.load(Ordering::Relaxed);
        if pointer == CALLBACK {
            return What::Callback;
        }
        // SAFETY: null, or the address of a location that lives for ever, stored by `task`.
        unsafe { pointer.as_ref() }.map_or(What::Other, What::Task)
    }
}
