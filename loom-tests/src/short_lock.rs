//! A stand-in for the lock of short sections, where that lock is not what is modelled.

use crate::shim::Mutex;

/// Who waits for it does not look again and again, which loom would have to follow.
pub struct ShortLock<T>(Mutex<T>);

impl<T> ShortLock<T> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        ShortLock(Mutex::new(value))
    }

    /// Calls `section` with the value, alone.
    pub fn with<R>(&self, section: impl FnOnce(&mut T) -> R) -> R {
        section(&mut self.0.lock())
    }
}
