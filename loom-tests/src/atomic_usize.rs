//! An `AtomicUsize` whose end counts as an access.

use loom::alloc::Track;
use loom::sync::atomic::Ordering;

/// As loom's, and two mistakes more are found: memory that is freed while another thread may still
/// access the atomic in it, and memory that is never freed.
#[derive(Debug)]
pub struct AtomicUsize {
    value: loom::sync::atomic::AtomicUsize,
    _freed: Track<()>,
}

impl AtomicUsize {
    /// With this value.
    #[track_caller]
    pub fn new(value: usize) -> Self {
        AtomicUsize { value: loom::sync::atomic::AtomicUsize::new(value), _freed: Track::new(()) }
    }

    /// Reads the value, maybe an old one.
    #[track_caller]
    pub fn load(&self, order: Ordering) -> usize {
        self.value.load(order)
    }

    /// Writes a value.
    #[track_caller]
    pub fn store(&self, value: usize, order: Ordering) {
        self.value.store(value, order);
    }

    /// Writes `new` if the value is `current`.
    ///
    /// # Errors
    /// The value, if it is another one.
    #[track_caller]
    pub fn compare_exchange(
        &self,
        current: usize,
        new: usize,
        success: Ordering,
        failure: Ordering,
    ) -> Result<usize, usize> {
        self.value.compare_exchange(current, new, success, failure)
    }

    /// As [`compare_exchange`](Self::compare_exchange); loom's never fails for nothing.
    ///
    /// # Errors
    /// The value, if it is another one.
    #[track_caller]
    pub fn compare_exchange_weak(
        &self,
        current: usize,
        new: usize,
        success: Ordering,
        failure: Ordering,
    ) -> Result<usize, usize> {
        self.value.compare_exchange(current, new, success, failure)
    }

    /// Writes a value and returns what was there.
    #[track_caller]
    pub fn swap(&self, value: usize, order: Ordering) -> usize {
        self.value.swap(value, order)
    }

    /// Adds and returns what was there.
    #[track_caller]
    pub fn fetch_add(&self, value: usize, order: Ordering) -> usize {
        self.value.fetch_add(value, order)
    }

    /// Subtracts and returns what was there.
    #[track_caller]
    pub fn fetch_sub(&self, value: usize, order: Ordering) -> usize {
        self.value.fetch_sub(value, order)
    }

    /// Keeps these bits and returns what was there.
    #[track_caller]
    pub fn fetch_and(&self, value: usize, order: Ordering) -> usize {
        self.value.fetch_and(value, order)
    }

    /// Sets these bits and returns what was there.
    #[track_caller]
    pub fn fetch_or(&self, value: usize, order: Ordering) -> usize {
        self.value.fetch_or(value, order)
    }

    /// Flips these bits and returns what was there.
    #[track_caller]
    pub fn fetch_xor(&self, value: usize, order: Ordering) -> usize {
        self.value.fetch_xor(value, order)
    }

    /// Changes the value as `f` says, if it says so, and returns what was there.
    ///
    /// # Errors
    /// With what is there, when `f` does not want to change it.
    #[track_caller]
    pub fn fetch_update(
        &self,
        success: Ordering,
        failure: Ordering,
        f: impl FnMut(usize) -> Option<usize>,
    ) -> Result<usize, usize> {
        self.value.fetch_update(success, failure, f)
    }
}

impl Drop for AtomicUsize {
    fn drop(&mut self) {
        // loom complains if an access by another thread does not happen before this one.
        self.value.with_mut(|_| ());
    }
}
