//! Slots that never move and are never freed while the reactor lives, found by number without a lock.
//!
//! An event carries the number and the generation of a slot. Because the slot stays what it is, an
//! event that comes late can at worst wake somebody for nothing; it never touches freed memory.

use std::ptr::NonNull;

use crate::shim::Mutex;
use crate::shim::atomic::{AtomicPtr, Ordering};

/// Slots of the first page; each page is as large as all before it together.
const FIRST: usize = 64;
const PAGES: usize = 26;

pub(super) struct Slots<T> {
    pages: [AtomicPtr<T>; PAGES],
    free: Mutex<Free>,
}

struct Free {
    list: Vec<u32>,
    pages: usize,
}

// SAFETY: gives out shared references to `T` from any thread, and owns the pages.
unsafe impl<T: Send + Sync> Send for Slots<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Slots<T> {}

/// Page, place in it.
fn place(index: usize) -> (usize, usize) {
    let page = ((index / FIRST + 1).ilog2()) as usize;
    (page, index - start(page))
}

fn start(page: usize) -> usize {
    FIRST * ((1 << page) - 1)
}

fn length(page: usize) -> usize {
    FIRST << page
}

impl<T: Default> Slots<T> {
    pub(super) fn new() -> Self {
        Slots {
            pages: std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut())),
            free: Mutex::new(Free { list: Vec::new(), pages: 0 }),
        }
    }

    /// A slot that nobody uses.
    pub(super) fn acquire(&self) -> Option<u32> {
        let mut free = self.free.lock();
        if free.list.is_empty() {
            let page = free.pages;
            if page == PAGES {
                return None;
            }
            let slots: Box<[T]> = (0..length(page)).map(|_| T::default()).collect();
            // Release: pairs with the Acquire in `get`.
            self.pages[page].store(Box::leak(slots).as_mut_ptr(), Ordering::Release);
            free.pages += 1;
            free.list.extend((start(page)..start(page) + length(page)).rev().map(|i| i as u32));
        }
        free.list.pop()
    }

    /// Gives a slot back.
    pub(super) fn release(&self, index: u32) {
        self.free.lock().list.push(index);
    }

    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let (page, offset) = place(index as usize);
        let slots = NonNull::new(self.pages.get(page)?.load(Ordering::Acquire))?;
        // SAFETY: a page holds `length(page)` slots, and `offset` is smaller; pages live as long as
        // `self`.
        Some(unsafe { slots.add(offset).as_ref() })
    }

    /// Every slot there is, used or not.
    pub(super) fn for_each(&self, mut f: impl FnMut(&T)) {
        let pages = self.free.lock().pages;
        for index in 0..start(pages) {
            if let Some(slot) = self.get(index as u32) {
                f(slot);
            }
        }
    }
}

impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        for (page, slots) in self.pages.iter().enumerate() {
            // Relaxed: we have the slots to ourselves.
            let slots = slots.load(Ordering::Relaxed);
            if !slots.is_null() {
                // SAFETY: made by `acquire` from a box of this length.
                drop(unsafe {
                    Box::from_raw(std::ptr::slice_from_raw_parts_mut(slots, length(page)))
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_places_agree() {
        let mut expected = (0, 0);
        for index in 0..10_000 {
            assert_eq!(place(index), expected);
            expected.1 += 1;
            if expected.1 == length(expected.0) {
                expected = (expected.0 + 1, 0);
            }
        }
    }

    #[test]
    fn slots_are_used_again() {
        let slots: Slots<u8> = Slots::new();
        let taken: Vec<u32> = (0..100).map(|_| slots.acquire().unwrap()).collect();
        let distinct: std::collections::HashSet<_> = taken.iter().collect();
        assert_eq!(distinct.len(), 100);
        slots.release(taken[7]);
        assert_eq!(slots.acquire(), Some(taken[7]));
        assert!(slots.get(taken[99]).is_some());
        assert!(slots.get(u32::MAX).is_none());
    }
}
