//! Where the memory of cells comes from, and goes.
//!
//! A loop keeps what its thread frees, up to a limit, for the tasks that are made there next. Every block is
//! an ordinary allocation, so it may be freed anywhere: no thread gives memory back to another one, and a
//! thread that drives no loop asks the allocator.
//!
//! Sizes are rounded up to what fits into the allocator's own steps with a word of its own (16 bytes, less
//! 8, as glibc has it), so that a small task pays for nothing that it does not use.

use std::alloc::{self, Layout};
use std::cell::Cell;
use std::ptr::{self, NonNull};

use crate::context;

const STEP: usize = 16;
const WORD: usize = 8;

/// Larger cells are not kept.
const LARGEST: usize = CLASSES * STEP + WORD;
const CLASSES: usize = 64;

/// So many bytes are kept by one loop.
const MOST_BYTES: usize = 256 * 1024;

/// What one loop keeps.
pub(crate) struct Recycler {
    classes: [Cell<*mut Block>; CLASSES],
    bytes: Cell<usize>,
}

struct Block {
    next: *mut Block,
}

/// The class of a layout, if it has one.
#[inline]
fn class(layout: Layout) -> Option<usize> {
    let fits = layout.align() <= STEP && layout.size() <= LARGEST && layout.size() > WORD;
    fits.then(|| (layout.size() - WORD).div_ceil(STEP) - 1)
}

/// The layout of all blocks of a class.
#[inline]
fn layout_of(class: usize) -> Layout {
    const { assert!(STEP.is_power_of_two()) };
    // SAFETY: a power of two, and far from the largest size.
    unsafe { Layout::from_size_align_unchecked((class + 1) * STEP + WORD, STEP) }
}

/// With the loop's, unless every block is to be freed at once, so that its use after that is seen.
#[inline]
fn with_recycler<R>(f: impl FnOnce(Option<&Recycler>) -> R) -> R {
    if cfg!(loopool_plain_memory) { f(None) } else { context::with_recycler(f) }
}

/// Memory for `layout`, whose size is not 0.
#[inline]
pub(super) fn allocate(layout: Layout) -> NonNull<u8> {
    let Some(class) = class(layout) else { return allocate_new(layout) };
    let kept = with_recycler(|recycler| recycler.and_then(|recycler| recycler.take(class)));
    kept.unwrap_or_else(|| allocate_new(layout_of(class)))
}

#[inline]
fn allocate_new(layout: Layout) -> NonNull<u8> {
    // SAFETY: the size is not 0.
    let pointer = unsafe { alloc::alloc(layout) };
    NonNull::new(pointer).unwrap_or_else(|| alloc::handle_alloc_error(layout))
}

/// Gives it back.
///
/// # Safety
/// From [`allocate`] with this layout, and not used any more.
#[inline]
pub(super) unsafe fn free(pointer: NonNull<u8>, layout: Layout) {
    let Some(class) = class(layout) else {
        // SAFETY: the caller's promise.
        return unsafe { alloc::dealloc(pointer.as_ptr(), layout) };
    };
    let kept = with_recycler(|recycler| match recycler {
        // SAFETY: the caller's promise.
        Some(recycler) => unsafe { recycler.keep(pointer, class) },
        None => false,
    });
    if !kept {
        // SAFETY: as above; all of a class have this layout.
        unsafe { alloc::dealloc(pointer.as_ptr(), layout_of(class)) }
    }
}

impl Recycler {
    pub(crate) fn new() -> Self {
        Recycler { classes: [const { Cell::new(ptr::null_mut()) }; CLASSES], bytes: Cell::new(0) }
    }

    #[inline]
    fn take(&self, class: usize) -> Option<NonNull<u8>> {
        let first = NonNull::new(self.classes[class].get())?;
        // SAFETY: a block that is kept is ours, and begins with the next one.
        self.classes[class].set(unsafe { first.as_ref() }.next);
        self.bytes.set(self.bytes.get() - layout_of(class).size());
        Some(first.cast())
    }

    /// # Safety
    /// As [`free`], and of this class. False when there is enough: then it is still the caller's.
    #[inline]
    unsafe fn keep(&self, pointer: NonNull<u8>, class: usize) -> bool {
        let bytes = self.bytes.get() + layout_of(class).size();
        if bytes > MOST_BYTES {
            return false;
        }
        self.bytes.set(bytes);
        let block = pointer.cast::<Block>();
        // SAFETY: the caller's promise; a block has room for a pointer, and its alignment.
        unsafe { block.write(Block { next: self.classes[class].get() }) };
        self.classes[class].set(block.as_ptr());
        true
    }
}

impl Drop for Recycler {
    fn drop(&mut self) {
        for class in 0..CLASSES {
            while let Some(block) = self.take(class) {
                // SAFETY: an allocation with the layout of its class, that nobody else has.
                unsafe { alloc::dealloc(block.as_ptr(), layout_of(class)) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_waste_less_than_a_step() {
        for size in WORD + 1..=LARGEST {
            let class = class(Layout::from_size_align(size, 8).unwrap()).unwrap();
            let room = layout_of(class).size();
            assert!(room >= size && room < size + STEP, "{size} {room}");
        }
        assert_eq!(class(Layout::from_size_align(LARGEST + 1, 8).unwrap()), None);
        assert_eq!(class(Layout::from_size_align(96, 32).unwrap()), None);
    }

    #[test]
    fn what_is_kept_is_given_out_again_up_to_a_limit() {
        let recycler = Recycler::new();
        let layout = layout_of(4);
        let most = MOST_BYTES / layout.size();
        let blocks: Vec<_> = (0..=most).map(|_| allocate_new(layout)).collect();
        for (number, &block) in blocks.iter().enumerate() {
            // SAFETY: allocated above, with this layout.
            let kept = unsafe { recycler.keep(block, 4) };
            assert_eq!(kept, number < most);
        }
        assert_eq!(recycler.take(4), Some(blocks[most - 1]));
        assert_eq!(recycler.take(3), None);
        for block in [blocks[most - 1], blocks[most]] {
            // SAFETY: these two are ours.
            unsafe { alloc::dealloc(block.as_ptr(), layout) };
        }
    }
}
