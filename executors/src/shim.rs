//! The atomics, cells and locks that every hand-made concurrent protocol here is written in.
//!
//! Ordinary builds get the standard library's. Under `cfg(loopool_loom)` the same names are loom's,
//! so that the very files that ship are the files that are model-checked. (The name is our own: a
//! bare `cfg(loom)` would switch foreign crates too.)

#[cfg(not(loopool_loom))]
pub use self::real::*;

#[cfg(loopool_loom)]
pub use self::model::*;

#[cfg(not(loopool_loom))]
mod real {
    /// Atomic integers, pointers and fences.
    pub mod atomic {
        pub use std::sync::atomic::{
            AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
        };
    }

    /// Threads, as far as the protocols use them.
    pub mod thread {
        pub use std::thread::yield_now;
    }

    pub use std::sync::Arc;

    /// A lock that ignores poisoning: our critical sections run no foreign code, so a panic cannot
    /// leave one half done.
    #[derive(Debug, Default)]
    pub struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        /// Wraps `value`.
        pub const fn new(value: T) -> Self {
            Mutex(std::sync::Mutex::new(value))
        }

        /// Waits for the lock.
        #[inline]
        pub fn lock(&self) -> std::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
        }
    }

    /// [`std::cell::UnsafeCell`] with loom's closure-shaped access.
    #[derive(Debug)]
    #[repr(transparent)]
    pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// Wraps `value`.
        pub const fn new(value: T) -> Self {
            UnsafeCell(std::cell::UnsafeCell::new(value))
        }

        /// Gives `f` a shared pointer to the content.
        #[inline(always)]
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// Gives `f` an exclusive pointer to the content.
        #[inline(always)]
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

#[cfg(loopool_loom)]
mod model {
    pub use loom::cell::UnsafeCell;
    pub use loom::sync::Arc;
    pub use loom::sync::atomic;
    pub use loom::thread;

    #[derive(Debug, Default)]
    pub struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Self {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
        }
    }
}
