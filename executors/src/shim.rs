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
        pub use std::thread::{sleep, yield_now};
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
            let guard = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            super::sanitizer::locked(&self.0);
            guard
        }

        /// Calls `wait`, which waits with a [`Condvar`](std::sync::Condvar): lets go of the lock, and takes
        /// it again.
        #[inline]
        pub fn while_released<R>(&self, wait: impl FnOnce() -> R) -> R {
            super::sanitizer::unlocking(&self.0);
            let result = wait();
            super::sanitizer::locked(&self.0);
            result
        }
    }

    /// Where threads wait for what a [`Mutex`] guards to change.
    #[derive(Debug, Default)]
    pub struct Condvar(std::sync::Condvar);

    impl Condvar {
        /// Nobody waits yet.
        pub const fn new() -> Self {
            Condvar(std::sync::Condvar::new())
        }

        /// Wakes all who wait.
        pub fn notify_all(&self) {
            self.0.notify_all();
        }

        /// Lets go of the lock and takes it again when it was woken, when `limit` is over, or for nothing:
        /// whoever calls this looks again.
        pub fn wait_for<'a, T>(
            &self,
            lock: &Mutex<T>,
            guard: std::sync::MutexGuard<'a, T>,
            limit: std::time::Duration,
        ) -> std::sync::MutexGuard<'a, T> {
            let waited = lock.while_released(|| self.0.wait_timeout(guard, limit));
            waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0
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
    /// Threads, as far as the protocols use them.
    pub mod thread {
        pub use loom::thread::yield_now;

        /// There is no time here: others run.
        pub fn sleep(_: std::time::Duration) {
            yield_now();
        }
    }

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

    #[derive(Debug, Default)]
    pub struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub fn new() -> Self {
            Condvar(loom::sync::Condvar::new())
        }

        pub fn notify_all(&self) {
            self.0.notify_all();
        }

        /// There is no time here: only a wake ends it.
        pub fn wait_for<'a, T>(
            &self,
            _lock: &Mutex<T>,
            guard: loom::sync::MutexGuard<'a, T>,
            _limit: std::time::Duration,
        ) -> loom::sync::MutexGuard<'a, T> {
            self.0.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner())
        }
    }
}

#[cfg(not(any(loopool_loom, loopool_thread_sanitizer)))]
mod sanitizer {
    #[inline(always)]
    pub(super) fn locked<T>(_lock: &std::sync::Mutex<T>) {}

    #[inline(always)]
    pub(super) fn unlocking<T>(_lock: &std::sync::Mutex<T>) {}
}

/// For ThreadSanitizer with a standard library that is not built for it: a lock that was contended is
/// acquired in there, unseen. (Its release is inlined, and seen, unless a condition
/// variable does it.)
#[cfg(all(not(loopool_loom), loopool_thread_sanitizer))]
mod sanitizer {
    use std::ffi::c_void;
    use std::sync::Mutex;

    unsafe extern "C" {
        fn __tsan_acquire(address: *mut c_void);
        fn __tsan_release(address: *mut c_void);
    }

    pub(super) fn locked<T>(lock: &Mutex<T>) {
        // SAFETY: an annotation, which looks at nothing. The word that is released comes first in a lock;
        // were it elsewhere, the sanitizer would report too much.
        unsafe { __tsan_acquire(std::ptr::from_ref(lock).cast_mut().cast()) };
    }

    pub(super) fn unlocking<T>(lock: &Mutex<T>) {
        // SAFETY: as above.
        unsafe { __tsan_release(std::ptr::from_ref(lock).cast_mut().cast()) };
    }
}
