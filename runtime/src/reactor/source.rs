//! One registered descriptor: what is known of its readiness, and who waits for it.
//!
//! # Protocol
//! Readiness is cached in one word with a *tick* that each delivery advances.
//! 1. A leaf future reads the word. With the bit set it tries the system call.
//! 2. On "would block" (or a short read, where that is known to mean the same) it clears the bit, by
//!    compare-exchange on the tick that it saw in 1: if anything was delivered since, the bit stays.
//! 3. With the bit clear it puts its waker into the list and reads the word again.
//! 4. The reactor sets bits *before* it takes wakers out. The list's lock orders 3 and 4: either the
//!    future sees the bit, or the reactor sees the waker.
//!
//! The bits for a closed side stay, unless the system call says "would block" all the same.

use std::task::Waker;

use loopool_executors::caught::{drop_caught, run_caught};

use crate::shim::Mutex;
use crate::shim::atomic::{AtomicU32, Ordering};

/// Readiness, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ready(u32);

impl Ready {
    pub(crate) const NONE: Ready = Ready(0);
    pub(crate) const READABLE: Ready = Ready(1);
    pub(crate) const WRITABLE: Ready = Ready(2);
    pub(crate) const READ_CLOSED: Ready = Ready(4);
    pub(crate) const WRITE_CLOSED: Ready = Ready(8);

    pub(crate) fn or(self, other: Ready) -> Ready {
        Ready(self.0 | other.0)
    }

    pub(crate) fn when(self, condition: bool) -> Ready {
        if condition { self } else { Ready::NONE }
    }

    fn meets(self, other: Ready) -> bool {
        self.0 & other.0 != 0
    }
}

const BITS: u32 = 0xf;
const TICK: u32 = BITS + 1;

/// What one waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

impl Direction {
    fn open(self) -> Ready {
        match self {
            Direction::Read => Ready::READABLE,
            Direction::Write => Ready::WRITABLE,
        }
    }

    fn closed(self) -> Ready {
        match self {
            Direction::Read => Ready::READ_CLOSED,
            Direction::Write => Ready::WRITE_CLOSED,
        }
    }
}

/// A look at the word in which the direction was ready.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    word: u32,
    /// No more readiness will come: an empty read is the end.
    pub(crate) closed: bool,
}

#[derive(Default)]
pub(crate) struct Source {
    generation: AtomicU32,
    word: AtomicU32,
    /// One lock for both: an event nearly always says that the descriptor is writable as well.
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    readers: Vec<Waker>,
    writers: Vec<Waker>,
}

impl Waiting {
    fn of(&mut self, direction: Direction) -> &mut Vec<Waker> {
        match direction {
            Direction::Read => &mut self.readers,
            Direction::Write => &mut self.writers,
        }
    }
}

impl Source {
    pub(super) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// Forgets whom it stood for: events of the past go to nobody, wakers come back to be dropped.
    pub(super) fn retire(&self) -> Vec<Waker> {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.word.store(0, Ordering::Relaxed);
        let Waiting { readers: mut wakers, mut writers } =
            std::mem::take(&mut *self.waiting.lock());
        wakers.append(&mut writers);
        wakers
    }

    /// Step 4, first half. AcqRel: the readiness is published with what the system did before.
    pub(super) fn set(&self, ready: Ready) {
        let mut now = self.word.load(Ordering::Relaxed);
        loop {
            let next = (now & BITS | ready.0) | (now & !BITS).wrapping_add(TICK);
            match self.word.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(current) => now = current,
            }
        }
    }

    /// Step 4, second half: those who wait for any of `ready`.
    pub(super) fn take_wakers(&self, ready: Ready, wakers: &mut Vec<Waker>) {
        let mut waiting = self.waiting.lock();
        for direction in [Direction::Read, Direction::Write] {
            if ready.meets(direction.open().or(direction.closed())) {
                wakers.append(waiting.of(direction));
            }
        }
    }

    /// Step 1.
    pub(crate) fn ready(&self, direction: Direction) -> Option<Seen> {
        let word = self.word.load(Ordering::Acquire);
        let closed = Ready(word).meets(direction.closed());
        (closed || Ready(word).meets(direction.open())).then_some(Seen { word, closed })
    }

    /// Nothing is known of the descriptor that the source is to stand for from now on. What a late
    /// event for the one before has left goes.
    pub(super) fn reset(&self) {
        self.word.store(0, Ordering::Relaxed);
    }

    /// Step 2. Also clears the bit for a closed side: one that is closed never says "would block".
    pub(crate) fn clear(&self, direction: Direction, seen: Seen) {
        let next = seen.word & !direction.open().or(direction.closed()).0;
        // A failure means that something was delivered since: then the bit stays.
        let _ = self.word.compare_exchange(seen.word, next, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Step 3. The waker is in the list when this returns `None`.
    pub(crate) fn wait(&self, direction: Direction, waker: &Waker) -> Option<Seen> {
        let new = waker.clone();
        let mut unused = None;
        {
            let mut waiting = self.waiting.lock();
            let waiting = waiting.of(direction);
            if waiting.iter().any(|known| known.will_wake(waker)) {
                unused = Some(new);
            } else {
                waiting.push(new);
            }
        }
        drop_caught("a waker", unused);
        self.ready(direction)
    }

    /// Takes a waker out of the list. Others who wait with the same one are woken, to put it back.
    pub(crate) fn forget(&self, direction: Direction, waker: &Waker) {
        let place = {
            let mut waiting = self.waiting.lock();
            let waiting = waiting.of(direction);
            let place = waiting.iter().position(|known| known.will_wake(waker));
            place.map(|place| waiting.swap_remove(place))
        };
        if let Some(waker) = place {
            run_caught("a waker", || waker.wake());
        }
    }
}
