//! A lock for critical sections of a few dozen steps.
//!
//! One byte. It is taken by a swap and given back by a store, so a section costs one atomic
//! read-modify-write operation where a lock with a queue of waiters costs two. Who finds it taken gives the
//! processor away, and after some rounds sleeps for a moment: the holder may wait for this very
//! processor, with a lower priority.
//!
//! The section is a closure: no guard can be kept. No foreign code may run in it.

use std::time::Duration;

use crate::shim::UnsafeCell;
use crate::shim::atomic::{AtomicBool, Ordering};
use crate::shim::thread;

/// So often the processor is given away before it sleeps.
const YIELDS: u32 = 32;
const NAP: Duration = Duration::from_micros(50);

pub(crate) struct ShortLock<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one thread at a time, which `timer` models.
unsafe impl<T: Send> Send for ShortLock<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for ShortLock<T> {}

impl<T> ShortLock<T> {
    pub(crate) fn new(value: T) -> Self {
        ShortLock { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Calls `section` with the value, alone.
    #[inline]
    pub(crate) fn with<R>(&self, section: impl FnOnce(&mut T) -> R) -> R {
        if !self.try_take() {
            self.wait();
        }
        let _taken = Taken(&self.taken);
        // SAFETY: `taken` is ours.
        self.value.with_mut(|value| section(unsafe { &mut *value }))
    }

    fn try_take(&self) -> bool {
        // Acquire: pairs with the Release in `Taken`; what the section before did is seen.
        !self.taken.swap(true, Ordering::Acquire)
    }

    #[cold]
    fn wait(&self) {
        let mut rounds = 0;
        // Relaxed: only to leave the cache line alone; `try_take` decides.
        while self.taken.load(Ordering::Relaxed) || !self.try_take() {
            if rounds < YIELDS {
                rounds += 1;
                thread::yield_now();
            } else {
                thread::sleep(NAP);
            }
        }
    }
}

/// Gives the lock back, also when the section panics. Nothing is touched after the store: somebody else
/// may free the lock then.
struct Taken<'a>(&'a AtomicBool);

impl Drop for Taken<'_> {
    #[inline]
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `try_take`.
        self.0.store(false, Ordering::Release);
    }
}
