//! [`Semaphore`].

use std::fmt;
use std::mem;
use std::sync::Arc;

use super::permits::{MAX_PERMITS, Permits};

/// So many may do something at the same time.
///
/// Permits go to those who ask while there are some; those who wait are woken in the order in which
/// they came. A task that runs may overtake one that was woken and is still on its way, but not
/// more than a few times, and never one that waits for several permits.
///
/// ```
/// use loopool::sync::Semaphore;
///
/// # loopool::run(async {
/// let connections = Semaphore::new(2);
/// let first = connections.acquire().await;
/// let second = connections.acquire().await;
/// assert!(connections.try_acquire().is_none());
/// drop(first);
/// assert!(connections.try_acquire().is_some());
/// # drop(second) });
/// ```
pub struct Semaphore {
    permits: Permits,
}

impl Semaphore {
    /// As many permits a semaphore may have.
    pub const MAX_PERMITS: usize = MAX_PERMITS as usize;

    /// With so many permits.
    ///
    /// # Panics
    /// With more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    #[track_caller]
    pub fn new(permits: usize) -> Self {
        Semaphore { permits: Permits::new(permits) }
    }

    /// Waits for a permit, which comes back when it is dropped.
    ///
    /// # Cancel safety
    /// Who stops waiting loses its place, and no permit is lost.
    pub async fn acquire(&self) -> SemaphorePermit<'_> {
        self.acquire_many(1).await
    }

    /// Waits for so many permits, and takes them at once. While somebody waits for several, nobody overtakes.
    ///
    /// ```
    /// use loopool::sync::Semaphore;
    ///
    /// # loopool::run(async {
    /// let megabytes = Semaphore::new(512);
    /// let _used = megabytes.acquire_many(200).await;
    /// assert_eq!(megabytes.available_permits(), 312);
    /// # });
    /// ```
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Panics
    /// With more than [`MAX_PERMITS`](Self::MAX_PERMITS), when it is polled.
    pub async fn acquire_many(&self, permits: usize) -> SemaphorePermit<'_> {
        let wanted = wanted(permits);
        // It is never closed.
        let _ = self.permits.acquire(wanted).await;
        SemaphorePermit { semaphore: self, permits: wanted }
    }

    /// A permit if there is one, and nobody has waited for too long.
    pub fn try_acquire(&self) -> Option<SemaphorePermit<'_>> {
        self.try_acquire_many(1)
    }

    /// So many permits, as [`try_acquire`](Self::try_acquire).
    ///
    /// # Panics
    /// With more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    #[track_caller]
    pub fn try_acquire_many(&self, permits: usize) -> Option<SemaphorePermit<'_>> {
        let wanted = wanted(permits);
        self.permits.try_acquire(wanted).ok()?;
        Some(SemaphorePermit { semaphore: self, permits: wanted })
    }

    /// As [`acquire`](Self::acquire), with a permit that may be given to another task.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use loopool::sync::Semaphore;
    ///
    /// # loopool::run(async {
    /// let workers = Arc::new(Semaphore::new(4));
    /// for number in 0..10 {
    ///     let permit = workers.clone().acquire_owned().await;
    ///     loopool::create_task(async move {
    ///         println!("{number}: one of four");
    ///         drop(permit);
    ///     });
    /// }
    /// # });
    /// ```
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_owned(self: Arc<Self>) -> OwnedSemaphorePermit {
        self.acquire().await.forget();
        OwnedSemaphorePermit { semaphore: self }
    }

    /// Adds permits: those of [`forget`](SemaphorePermit::forget), or new ones.
    ///
    /// # Panics
    /// If there would be more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    #[track_caller]
    pub fn add_permits(&self, permits: usize) {
        self.permits.add(permits);
    }

    /// How many permits there are just now.
    pub fn available_permits(&self) -> usize {
        self.permits.available()
    }
}

#[track_caller]
fn wanted(permits: usize) -> u32 {
    assert!(permits <= Semaphore::MAX_PERMITS, "there are never so many permits: {permits}");
    permits as u32
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("permits", &self.permits).finish()
    }
}

/// Gives its permits back when it is dropped.
#[must_use = "the permits go back at once if they are not kept"]
#[derive(Debug)]
pub struct SemaphorePermit<'a> {
    semaphore: &'a Semaphore,
    permits: u32,
}

impl SemaphorePermit<'_> {
    /// Does not give them back.
    pub fn forget(self) {
        mem::forget(self);
    }
}

impl Drop for SemaphorePermit<'_> {
    fn drop(&mut self) {
        self.semaphore.permits.release(self.permits);
    }
}

/// A [`SemaphorePermit`] that keeps its semaphore.
#[must_use = "the permit goes back at once if it is not kept"]
#[derive(Debug)]
pub struct OwnedSemaphorePermit {
    semaphore: Arc<Semaphore>,
}

impl Drop for OwnedSemaphorePermit {
    fn drop(&mut self) {
        self.semaphore.permits.release(1);
    }
}
