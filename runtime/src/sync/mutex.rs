//! [`Mutex`].

use std::fmt;
use std::mem::{self, ManuallyDrop};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::permits::Permits;
use crate::shim::UnsafeCell;

/// A lock that tasks may hold while they wait for something else: asyncio's `Lock`, around what it protects.
///
/// A value that is never held across an `await` is better off in a [`std::sync::Mutex`].
///
/// Those who wait are let in in the order in which they came; but a task that runs may take the lock
/// before one that was woken for it and is still on its way, up to a few times. So the lock does not go
/// to sleep between two tasks that both could run.
///
/// A panic does not poison it: whoever has the lock next sees the value as the panic left it.
///
/// ```
/// use std::sync::Arc;
/// use loopool::sync::Mutex;
///
/// # loopool::run(async {
/// let count = Arc::new(Mutex::new(0));
/// let other = count.clone();
/// let task = loopool::create_task(async move { *other.lock().await += 1 });
/// *count.lock().await += 1;
/// task.await.unwrap();
/// assert_eq!(*count.lock().await, 2);
/// # });
/// ```
pub struct Mutex<T> {
    permits: Permits,
    value: UnsafeCell<T>,
}

// SAFETY: the value goes from one thread to another with the lock; nobody has it without.
unsafe impl<T: Send> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    /// Unlocked.
    pub fn new(value: T) -> Self {
        Mutex { permits: Permits::new(1), value: UnsafeCell::new(value) }
    }

    /// Waits for the lock, and has it until the guard is dropped.
    ///
    /// # Cancel safety
    /// Who stops waiting loses its place, and the next one is let in.
    pub async fn lock(&self) -> MutexGuard<'_, T> {
        // It is never closed.
        let _ = self.permits.acquire(1).await;
        MutexGuard { mutex: self }
    }

    /// The lock if nobody has it, and nobody has waited for too long.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.permits.try_acquire(1).ok()?;
        Some(MutexGuard { mutex: self })
    }

    /// As [`lock`](Self::lock), with a guard that keeps the mutex and may be given to another task.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use loopool::sync::Mutex;
    ///
    /// # loopool::run(async {
    /// let list = Arc::new(Mutex::new(Vec::new()));
    /// let mut guard = list.clone().lock_owned().await;
    /// loopool::create_task(async move { guard.push(1) }).await.unwrap();
    /// assert_eq!(*list.lock().await, [1]);
    /// # });
    /// ```
    ///
    /// # Cancel safety
    /// As [`lock`](Self::lock).
    pub async fn lock_owned(self: Arc<Self>) -> OwnedMutexGuard<T> {
        mem::forget(self.lock().await);
        OwnedMutexGuard { mutex: self }
    }

    /// The value; nobody else has the mutex.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: nobody else has the mutex, so there is no guard.
        self.value.with_mut(|value| unsafe { &mut *value })
    }

    /// The value, without the mutex.
    pub fn into_inner(self) -> T {
        let value = ManuallyDrop::new(self.value);
        // SAFETY: nobody else has it, and it is read once and not dropped here.
        value.with(|value| unsafe { value.read() })
    }

    /// # Safety
    /// The caller has the lock as long as it keeps the reference.
    unsafe fn value(&self) -> &T {
        // SAFETY: the caller's promise.
        self.value.with(|value| unsafe { &*value })
    }

    /// # Safety
    /// The caller has the lock, and no other reference, as long as it keeps this one.
    #[allow(clippy::mut_from_ref, reason = "that is what the lock is for")]
    unsafe fn value_mut(&self) -> &mut T {
        // SAFETY: the caller's promise.
        self.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Mutex::new(value)
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut mutex = f.debug_struct("Mutex");
        match self.try_lock() {
            Some(guard) => mutex.field("value", &*guard),
            None => mutex.field("value", &format_args!("<locked>")),
        };
        mutex.finish()
    }
}

/// Whoever has it has the lock; dropped, it unlocks.
#[must_use = "the mutex is unlocked at once if the guard is not kept"]
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
}

/// A [`MutexGuard`] that keeps its mutex.
#[must_use = "the mutex is unlocked at once if the guard is not kept"]
pub struct OwnedMutexGuard<T> {
    mutex: Arc<Mutex<T>>,
}

// SAFETY: a shared guard gives out shared references only.
unsafe impl<T: Send + Sync> Sync for MutexGuard<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for OwnedMutexGuard<T> {}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: we have the lock.
        unsafe { self.mutex.value() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: we have the lock, and are borrowed exclusively.
        unsafe { self.mutex.value_mut() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.permits.release(1);
    }
}

impl<T> Deref for OwnedMutexGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: we have the lock.
        unsafe { self.mutex.value() }
    }
}

impl<T> DerefMut for OwnedMutexGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: we have the lock, and are borrowed exclusively.
        unsafe { self.mutex.value_mut() }
    }
}

impl<T> Drop for OwnedMutexGuard<T> {
    fn drop(&mut self) {
        self.mutex.permits.release(1);
    }
}

impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: fmt::Debug> fmt::Debug for OwnedMutexGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
