//! What the two ends share.
//!
//! # Protocol
//!
//! ```text
//!        ┌─ sender ───▶ Value    a value is there
//! Open ──┼─ sender ───▶ Ended    the sender is gone, without one
//!        └─ receiver ─▶ Closed   the receiver wants none
//! ```
//!
//! One word: the outcome, and for each side whether it *waits* and whether it is *gone*.
//!
//! 1. The cell leaves *Open* once. The side that does it is the one who *settles*.
//! 2. The value is the sender's; with *Value* it is the receiver's.
//! 3. A side's waker is its own while its bit *waits* is clear. While that is set, and the cell open, both
//!    sides may read it and nobody writes: to exchange it, the side clears the bit first. Whoever settles
//!    takes out both wakers whose bits it finds set; from then on nobody looks at these bits.
//! 4. A side sets *waits* after its waker is in place, and learns with the same operation whether the cell
//!    is settled. So either it sees the outcome, or the other side sees the waker.
//! 5. A side touches nothing once it is *gone*; the second one frees the memory. Who settles and finds no
//!    waker is gone with the same operation.
//!
//! Wakers are cloned before, and woken and dropped after all this. Modelled in `loom-tests/tests/oneshot.rs`.

use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::task::{Poll, Waker};

use loopool_executors::caught::{drop_caught, run_caught};

use crate::shim::UnsafeCell;
use crate::shim::atomic::{AtomicUsize, Ordering};

/// Why the cell is no longer open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Value,
    Ended,
    Closed,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    Sender,
    Receiver,
}

/// The bits of the outcome; zero is *Open*.
const OUTCOME: usize = 3;
/// Shifted by 2 for the receiver.
const WAITS: usize = 1 << 2;
const GONE: usize = 1 << 3;

impl Side {
    fn waits(self) -> usize {
        WAITS << (2 * self as usize)
    }

    fn gone(self) -> usize {
        GONE << (2 * self as usize)
    }

    fn other(self) -> Side {
        match self {
            Side::Sender => Side::Receiver,
            Side::Receiver => Side::Sender,
        }
    }
}

impl Outcome {
    fn bits(self) -> usize {
        self as usize + 1
    }

    fn of(state: usize) -> Option<Outcome> {
        match state & OUTCOME {
            0 => None,
            1 => Some(Outcome::Value),
            2 => Some(Outcome::Ended),
            _ => Some(Outcome::Closed),
        }
    }
}

pub(super) struct Cell<T> {
    state: AtomicUsize,
    wakers: [UnsafeCell<MaybeUninit<Waker>>; 2],
    value: UnsafeCell<MaybeUninit<T>>,
}

impl<T> Cell<T> {
    pub(super) fn new() -> Self {
        Cell {
            state: AtomicUsize::new(0),
            wakers: [const { MaybeUninit::uninit() }; 2].map(UnsafeCell::new),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Acquire: pairs with the Release of [`settle`](Self::settle).
    pub(super) fn outcome(&self) -> Option<Outcome> {
        Outcome::of(self.state.load(Ordering::Acquire))
    }

    /// # Safety
    /// The caller is the sender, and has not settled the cell.
    pub(super) unsafe fn put_value(&self, value: T) {
        // SAFETY: the value is the sender's (rule 2).
        self.value.with_mut(|place| unsafe { (*place).write(value) });
    }

    /// # Safety
    /// There is a value, the caller owns it by rule 2, and it is taken once.
    pub(super) unsafe fn take_value(&self) -> T {
        // SAFETY: the caller's promise.
        self.value.with(|place| unsafe { (*place).assume_init_read() })
    }

    /// Ready when the cell is settled. Else `waker` is in place, and is woken when it will be.
    ///
    /// # Safety
    /// The caller is this side.
    pub(super) unsafe fn poll_outcome(&self, side: Side, waker: &Waker) -> Poll<Outcome> {
        let state = self.state.load(Ordering::Acquire);
        if let Some(outcome) = Outcome::of(state) {
            return Poll::Ready(outcome);
        }
        let place = &self.wakers[side as usize];
        let mut previous = None;
        let new;
        if state & side.waits() == 0 {
            new = waker.clone();
        } else {
            // SAFETY: by rule 3 it is there, and nobody writes it.
            if place.with(|place| unsafe { (*place).assume_init_ref().will_wake(waker) }) {
                return Poll::Pending;
            }
            new = waker.clone();
            // Acquire: pairs with the Release of `settle`, if that was first.
            let state = self.state.fetch_and(!side.waits(), Ordering::Acquire);
            if let Some(outcome) = Outcome::of(state) {
                drop_caught("a waker", new);
                return Poll::Ready(outcome);
            }
            // SAFETY: by rule 3 it is there, and ours again.
            previous = Some(unsafe { self.take_waker(side) });
        }
        // SAFETY: by rule 3 the place is ours.
        place.with_mut(|place| unsafe { (*place).write(new) });
        // Release: pairs with the Acquire of `settle`, which reads the waker. Acquire: with its Release.
        let state = self.state.fetch_or(side.waits(), Ordering::AcqRel);
        drop_caught("a waker", previous);
        let Some(outcome) = Outcome::of(state) else { return Poll::Pending };
        // SAFETY: settled before the bit was set, so the waker has stayed ours (rule 4).
        drop_caught("a waker", unsafe { self.take_waker(side) });
        Poll::Ready(outcome)
    }

    /// # Safety
    /// It is there, the caller owns it by rule 3, and it is taken once.
    unsafe fn take_waker(&self, side: Side) -> Waker {
        // SAFETY: the caller's promise.
        self.wakers[side as usize].with(|place| unsafe { (*place).assume_init_read() })
    }

    /// Settles the cell, wakes the other side, and is gone. False, and nothing has happened, if the cell was
    /// settled before.
    ///
    /// # Safety
    /// The caller is this side, and is not gone. If this returns true, it is gone; with
    /// [`Outcome::Value`] the value was put in.
    pub(super) unsafe fn settle(this: NonNull<Self>, side: Side, outcome: Outcome) -> bool {
        let both = Side::Sender.waits() | Side::Receiver.waits();
        // SAFETY: whoever is not gone keeps the cell alive (rule 5). The reference ends before we are gone.
        let state = unsafe { &(*this.as_ptr()).state };
        let mut now = state.load(Ordering::Relaxed);
        loop {
            if Outcome::of(now).is_some() {
                return false;
            }
            let gone = if now & both == 0 { side.gone() } else { 0 };
            let next = now | outcome.bits() | gone;
            // Release: pairs with the Acquire of whoever sees the outcome, and takes the value; or
            // sees that we are gone, and frees. Acquire: with the Release of the wakers' bits.
            match state.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(changed) => now = changed,
            }
        }
        if now & both == 0 {
            return true;
        }
        // SAFETY: not gone, see above; and by rule 3 both wakers are now ours.
        let take = |side: Side| unsafe {
            (now & side.waits() != 0).then(|| (*this.as_ptr()).take_waker(side))
        };
        let (own, other) = (take(side), take(side.other()));
        // SAFETY: this side, and nothing is touched after it.
        unsafe { Self::leave(this, side) };
        drop_caught("a waker", own);
        if let Some(other) = other {
            run_caught("the waker of a channel's other end", || other.wake());
        }
        true
    }

    /// Is gone.
    ///
    /// # Safety
    /// The caller is this side, is not gone yet, and touches nothing after it.
    pub(super) unsafe fn leave(this: NonNull<Self>, side: Side) {
        let other = side.other().gone();
        let last = {
            // SAFETY: whoever is not gone keeps the cell alive (rule 5).
            let state = unsafe { &(*this.as_ptr()).state };
            // Acquire: pairs with the Release with which the other side was gone. Release: with the
            // Acquire of the other side, if that will be the last.
            state.load(Ordering::Acquire) & other != 0
                || state.fetch_or(side.gone(), Ordering::AcqRel) & other != 0
        };
        if last {
            // SAFETY: from `channel`; the other side is gone, and this one touches nothing more.
            drop(unsafe { Box::from_raw(this.as_ptr()) });
        }
    }
}
