//! What a loop runs just now, for whoever wants to know why it does not come round.
//!
//! One store a poll: where the task was made, which is valid for ever; or, of a task that may have a name,
//! its address, which nobody follows: it is looked for in the lists of tasks, under their locks, and a task
//! that is there is alive. Nobody waits on this, so it is all relaxed: who reads it sees that the count of
//! runs has not moved for milliseconds before.

use std::panic::Location;
use std::ptr::NonNull;

use crate::shim::atomic::{AtomicPtr, Ordering};
use crate::task::{Header, Runnable};

pub(crate) struct Now(AtomicPtr<Location<'static>>);

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A task without a name, made there.
    Task(&'static Location<'static>),
    /// A task that has, or had, this address.
    TaskAt(usize),
    Callback,
    /// Neither: a waker, or the loop's own doing.
    Other,
}

/// Where no location is.
const CALLBACK: *mut Location<'static> = std::ptr::without_provenance_mut(1);
/// Set in what is the address of a task.
const ADDRESS: usize = 2;

const _: () = assert!(align_of::<Location<'static>>() > ADDRESS && align_of::<Header>() > ADDRESS);

impl Default for Now {
    fn default() -> Self {
        Now(AtomicPtr::new(std::ptr::null_mut()))
    }
}

impl Now {
    #[inline]
    pub(crate) fn task(&self, task: &Runnable) {
        let what = if task.may_have_name() {
            std::ptr::without_provenance_mut(address_of(task.header_pointer()) | ADDRESS)
        } else {
            std::ptr::from_ref(task.location()).cast_mut()
        };
        self.0.store(what, Ordering::Relaxed);
    }

    pub(crate) fn callback(&self) {
        self.0.store(CALLBACK, Ordering::Relaxed);
    }

    pub(crate) fn other(&self) {
        self.0.store(std::ptr::null_mut(), Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> What {
        let pointer = self.0.load(Ordering::Relaxed);
        if pointer == CALLBACK {
            return What::Callback;
        }
        if pointer.addr() & ADDRESS != 0 {
            return What::TaskAt(pointer.addr() & !ADDRESS);
        }
        // SAFETY: null, or the address of a location that lives for ever, stored by `task`.
        unsafe { pointer.as_ref() }.map_or(What::Other, What::Task)
    }
}

/// As [`What::TaskAt`] has it.
pub(super) fn address_of(task: NonNull<Header>) -> usize {
    task.addr().get()
}
