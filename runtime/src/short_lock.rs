//! A lock for critical sections of a few dozen steps; of more where that is rare, as when a runtime ends.
//!
//! One word. It is taken by a compare-exchange and given back by a store, so a section costs one atomic
//! read-modify-write operation where a lock with a queue of waiters costs two. Who finds it taken looks again
//! for about the time that a section takes, then gives the processor away, and after some rounds sleeps for a
//! moment: the holder may wait for this very processor, with a lower priority.
//!
//! The section is a closure: no guard can be kept. No foreign code may run in it.

use std::time::Duration;

use crate::shim::UnsafeCell;
use crate::shim::atomic::{AtomicUsize, Ordering};
use crate::shim::thread;

const FREE: usize = 0;
const TAKEN: usize = 1;
/// So often it looks at once. (Models need not follow that.)
const LOOKS: u32 = if cfg!(loopool_loom) { 1 } else { 16 };
/// So often the processor is given away before it sleeps.
const YIELDS: u32 = 32;
const NAP: Duration = Duration::from_micros(50);

pub(crate) struct ShortLock<T> {
    state: AtomicUsize,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one thread at a time, which `timer` models.
unsafe impl<T: Send> Send for ShortLock<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for ShortLock<T> {}

impl<T> ShortLock<T> {
    pub(crate) fn new(value: T) -> Self {
        ShortLock { state: AtomicUsize::new(FREE), value: UnsafeCell::new(value) }
    }

    /// Calls `section` with the value, alone.
    #[inline]
    pub(crate) fn with<R>(&self, section: impl FnOnce(&mut T) -> R) -> R {
        if !self.try_take() {
            self.wait();
        }
        let _taken = Taken(&self.state);
        // SAFETY: the lock is ours.
        self.value.with_mut(|value| section(unsafe { &mut *value }))
    }

    fn try_take(&self) -> bool {
        // Acquire: pairs with the Release in `Taken`; what the section before did is seen.
        self.state.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[cold]
    fn wait(&self) {
        let mut rounds = 0;
        while !self.try_take() {
            rounds += 1;
            if rounds < LOOKS {
                std::hint::spin_loop();
            } else if rounds < LOOKS + YIELDS {
                thread::yield_now();
            } else {
                thread::sleep(NAP);
            }
        }
    }
}

/// Gives the lock back, also when the section panics. Nothing is touched after the store: somebody else
/// may free the lock then.
struct Taken<'a>(&'a AtomicUsize);

impl Drop for Taken<'_> {
    #[inline]
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `try_take`.
        self.0.store(FREE, Ordering::Release);
    }
}
