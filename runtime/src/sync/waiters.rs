//! Those who wait, in a list that is linked through their futures: to wait allocates nothing.
//!
//! # Protocol
//! 1. The list lies in a lock. Links, and the waker between them, are touched only by whoever holds that:
//!    a `&mut List` shows it.
//! 2. A waiter is pinned, and its owner takes it out of the list before it ends (in its destructor at the
//!    latest). So whoever is found in the list is alive.
//! 3. Wakers are cloned before the lock is taken, and woken and dropped after it was given back.
//! 4. What the list says to the owner of a waiter besides, it says through the data, which are shared. Once
//!    it was told that it is out, the owner may end: so that is the last access.
//!
//! Modelled with its users in `loom-tests/tests/permits.rs` and `event.rs`.

use std::marker::PhantomPinned;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::Waker;

use crate::shim::UnsafeCell;

/// One who waits. A part of its future.
pub(super) struct Waiter<D> {
    data: D,
    links: UnsafeCell<Links<D>>,
    _pinned: PhantomPinned,
}

struct Links<D> {
    previous: Option<NonNull<Waiter<D>>>,
    next: Option<NonNull<Waiter<D>>>,
    /// There while it is in the list.
    waker: Option<Waker>,
}

// SAFETY: the links are touched under a lock only (rule 1); the data are shared.
unsafe impl<D: Send + Sync> Send for Waiter<D> {}
// SAFETY: as above.
unsafe impl<D: Send + Sync> Sync for Waiter<D> {}

impl<D> Waiter<D> {
    pub(super) fn new(data: D) -> Self {
        let links = Links { previous: None, next: None, waker: None };
        Waiter { data, links: UnsafeCell::new(links), _pinned: PhantomPinned }
    }

    #[inline]
    pub(super) fn data(&self) -> &D {
        &self.data
    }
}

/// First in, first out, but for those who are put in front.
pub(super) struct List<D> {
    first: Option<NonNull<Waiter<D>>>,
    last: Option<NonNull<Waiter<D>>>,
}

// SAFETY: it is no more than pointers to waiters, which may be shared.
unsafe impl<D: Send + Sync> Send for List<D> {}

impl<D> List<D> {
    pub(super) const fn new() -> Self {
        List { first: None, last: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// # Safety
    /// The waiter is in no list, it will be in no other one than this, and rule 2 is kept.
    pub(super) unsafe fn push_back(&mut self, waiter: Pin<&Waiter<D>>, waker: Waker) {
        // SAFETY: the caller's promise.
        unsafe { self.link(waiter, waker, self.last, None) };
    }

    /// # Safety
    /// As [`push_back`](Self::push_back).
    pub(super) unsafe fn push_front(&mut self, waiter: Pin<&Waiter<D>>, waker: Waker) {
        // SAFETY: the caller's promise.
        unsafe { self.link(waiter, waker, None, self.first) };
    }

    /// # Safety
    /// As [`push_back`](Self::push_back); and the two are neighbours in this list, or its ends.
    unsafe fn link(
        &mut self,
        waiter: Pin<&Waiter<D>>,
        waker: Waker,
        previous: Option<NonNull<Waiter<D>>>,
        next: Option<NonNull<Waiter<D>>>,
    ) {
        let this = NonNull::from(waiter.get_ref());
        // SAFETY: we hold the lock (rule 1), and who is in the list is alive (rule 2).
        unsafe {
            with_links(this, |links| *links = Links { previous, next, waker: Some(waker) });
            self.set_next_of(previous, Some(this));
            self.set_previous_of(next, Some(this));
        }
    }

    /// The data of the one who is in front.
    pub(super) fn front(&self) -> Option<&D> {
        // SAFETY: who is in the list is alive (rule 2), and can't leave it while it is borrowed.
        self.first.map(|first| unsafe { &(*first.as_ptr()).data })
    }

    /// Takes out the one who is in front, and tells it so by `tell`, whose argument is valid until that is done. (No
    /// reference: once told, who waits may be gone while a function that has been given one has not returned.)
    pub(super) fn pop_front(&mut self, tell: impl FnOnce(*const D)) -> Option<Waker> {
        let first = self.first?;
        // SAFETY: it is in the list, and so alive (rule 2) until it is told (rule 4).
        unsafe {
            let waker = self.unlink(first);
            tell(&raw const (*first.as_ptr()).data);
            waker
        }
    }

    /// Takes a waiter out, if it is in the list. Its waker is to be dropped without the lock.
    ///
    /// # Safety
    /// The waiter is in this list or in none.
    pub(super) unsafe fn remove(&mut self, waiter: Pin<&Waiter<D>>) -> Option<Waker> {
        let this = NonNull::from(waiter.get_ref());
        // SAFETY: we hold the lock (rule 1); the caller's promise for the rest.
        unsafe {
            if with_links(this, |links| links.waker.is_none()) {
                return None;
            }
            self.unlink(this)
        }
    }

    /// Exchanges the waker of one who is in the list. What comes back is to be dropped without the lock.
    ///
    /// # Safety
    /// The waiter is in this list or in none.
    pub(super) unsafe fn replace_waker(
        &mut self,
        waiter: Pin<&Waiter<D>>,
        waker: Waker,
    ) -> Option<Waker> {
        // SAFETY: we hold the lock (rule 1).
        unsafe {
            with_links(NonNull::from(waiter.get_ref()), |links| match &mut links.waker {
                Some(known) => Some(std::mem::replace(known, waker)),
                None => Some(waker),
            })
        }
    }

    /// # Safety
    /// It is in this list.
    unsafe fn unlink(&mut self, waiter: NonNull<Waiter<D>>) -> Option<Waker> {
        // SAFETY: we hold the lock (rule 1), and who is in the list is alive (rule 2).
        unsafe {
            let (previous, next, waker) = with_links(waiter, |links| {
                (links.previous.take(), links.next.take(), links.waker.take())
            });
            self.set_next_of(previous, next);
            self.set_previous_of(next, previous);
            waker
        }
    }

    /// # Safety
    /// It is in this list, if there is one.
    unsafe fn set_next_of(
        &mut self,
        waiter: Option<NonNull<Waiter<D>>>,
        next: Option<NonNull<Waiter<D>>>,
    ) {
        match waiter {
            // SAFETY: we hold the lock (rule 1), and who is in the list is alive (rule 2).
            Some(waiter) => unsafe { with_links(waiter, |links| links.next = next) },
            None => self.first = next,
        }
    }

    /// # Safety
    /// It is in this list, if there is one.
    unsafe fn set_previous_of(
        &mut self,
        waiter: Option<NonNull<Waiter<D>>>,
        previous: Option<NonNull<Waiter<D>>>,
    ) {
        match waiter {
            // SAFETY: we hold the lock (rule 1), and who is in the list is alive (rule 2).
            Some(waiter) => unsafe { with_links(waiter, |links| links.previous = previous) },
            None => self.last = previous,
        }
    }
}

/// # Safety
/// The caller holds the lock of its list, and the waiter is alive.
unsafe fn with_links<D, R>(waiter: NonNull<Waiter<D>>, f: impl FnOnce(&mut Links<D>) -> R) -> R {
    // SAFETY: rule 1, which the caller keeps: nobody else touches the links.
    unsafe { (*waiter.as_ptr()).links.with_mut(|links| f(&mut *links)) }
}
