//! Which pool the current thread works for, and which of that pool's jobs it is in.
//!
//! A job that waits for another one of its own pool occupies a thread that the other one may need. Three
//! rules keep that from being a wait without end ([`JobOwner::before_wait`](crate::JobOwner::before_wait)):
//! 1. A job that nobody has begun is run by the thread that is about to wait for it.
//! 2. A job that runs further down on the same thread can't end before: to wait for it is an error.
//! 3. A job that runs on another thread is waited for. It gets what *it* waits for by these same rules, so
//!    of the jobs that wait for each other one always runs.
//!
//! Nothing else is run meanwhile: any other job might wait for the very one that waits here, and being on
//! top of it, for ever.

use std::cell::{Cell, RefCell};

use crate::error::JobError;

thread_local! {
    static POOL: Cell<usize> = const { Cell::new(0) };
    /// Jobs of the pool, in the order in which they were begun.
    static JOBS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    /// The pools for which this thread delivers outcomes just now. It works for none of them.
    static DELIVERING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Says that the calling thread works for `pool` and for no other one, all its life. The pool is known by its
/// address, so it must live as long.
pub(crate) fn work_for<P>(pool: &P) {
    POOL.set(address(pool));
}

/// Whether the calling thread works for `pool`.
pub(crate) fn works_for<P>(pool: &P) -> bool {
    POOL.get() == address(pool)
}

/// Says that the calling thread delivers outcomes of `pool` until the guard is dropped, there: what a callback waits for
/// may be one that it would deliver next.
pub(crate) fn deliver_for<P>(pool: &P) -> Delivering {
    // At the thread's end nothing is known of it any more.
    let _ = DELIVERING.try_with(|pools| pools.borrow_mut().push(address(pool)));
    Delivering(())
}

/// Whether the calling thread brings outcomes of `pool`'s jobs: now, or because it works for it.
pub(crate) fn brings_outcomes_of<P>(pool: &P) -> bool {
    let address = address(pool);
    let delivers = || DELIVERING.try_with(|pools| pools.borrow().contains(&address));
    works_for(pool) || delivers().unwrap_or_default()
}

pub(crate) struct Delivering(());

impl Drop for Delivering {
    fn drop(&mut self) {
        let _ = DELIVERING.try_with(|pools| pools.borrow_mut().pop());
    }
}

fn address<P>(pool: &P) -> usize {
    std::ptr::from_ref(pool).addr()
}

/// How many jobs the calling thread is in: more than one where the first waits for the others.
pub(crate) fn depth() -> usize {
    JOBS.try_with(|jobs| jobs.borrow().len()).unwrap_or_default()
}

/// Whether the calling thread is in this job of its pool.
fn is_in(job: u64) -> bool {
    JOBS.try_with(|jobs| jobs.borrow().contains(&job)).unwrap_or_default()
}

/// # Errors
/// When the calling thread is in this job of its pool, which it wants to wait for.
pub(crate) fn refuse_if_in(job: u64) -> Result<(), JobError> {
    if !is_in(job) {
        return Ok(());
    }
    Err(JobError::endless_wait("the job is run by the thread that would wait, further down"))
}

/// The calling thread is in this job of its pool until the guard is dropped, there.
pub(crate) fn enter(job: u64) -> Inside {
    // Jobs are run before the thread's variables are destroyed.
    let _ = JOBS.try_with(|jobs| jobs.borrow_mut().push(job));
    Inside(())
}

pub(crate) struct Inside(());

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = JOBS.try_with(|jobs| jobs.borrow_mut().pop());
    }
}
