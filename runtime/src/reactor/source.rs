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

use loopool_executors::caught::{drop_caught, drop_each_caught, run_caught};

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

/// So many wakers for one direction before it is asked who still waits.
const MANY: usize = 32;

#[derive(Default)]
struct Waiting {
    readers: Waiters,
    writers: Waiters,
}

impl Waiting {
    fn of(&mut self, direction: Direction) -> &mut Waiters {
        match direction {
            Direction::Read => &mut self.readers,
            Direction::Write => &mut self.writers,
        }
    }
}

/// A poll leaves its waker, and nobody says when that is not wanted any more: its task may have ended long ago. So when
/// there are many, all are woken. Who still waits comes back; who has not come back by the next time is forgotten, and
/// would come back if he still waited, since he was woken.
#[derive(Default)]
struct Waiters {
    list: Vec<Waker>,
    /// Woken, and not come back. (Apart, since there are none nearly always.)
    asked: Vec<Waker>,
    /// Twice as many as came back the last time, if that is more than [`MANY`].
    limit: usize,
    /// How often one was forgotten. Those who are just being asked are in no list, so whoever asks them sees here
    /// that it may have been one of them.
    forgotten: usize,
}

/// What became of a waker that was added.
enum Added {
    New,
    /// It was there already.
    Known(Waker),
    /// There were many: these are to be [asked](Source::ask), and those are forgotten.
    Crowd(Crowd, Vec<Waker>),
}

/// Those who are to be asked.
struct Crowd {
    wakers: Vec<Waker>,
    /// As [`Waiters::forgotten`] was when they were taken out.
    forgotten: usize,
}

impl Waiters {
    fn add(&mut self, waker: Waker) -> Added {
        let is_it = |known: &Waker| known.will_wake(&waker);
        if self.list.iter().any(is_it) {
            return Added::Known(waker);
        }
        if let Some(place) = self.asked.iter().position(is_it) {
            self.list.push(self.asked.swap_remove(place));
            return Added::Known(waker);
        }
        if self.list.len() + self.asked.len() < self.limit.max(MANY) {
            self.list.push(waker);
            return Added::New;
        }
        let wakers = std::mem::replace(&mut self.list, vec![waker]);
        let others = Crowd { wakers, forgotten: self.forgotten };
        Added::Crowd(others, std::mem::take(&mut self.asked))
    }

    /// Puts those back that were asked, but for those that came back by themselves, which are returned. All are if
    /// one was forgotten meanwhile: it may be among them. Who still waits comes back all the same, since he was woken.
    fn put_back(&mut self, others: Crowd) -> Vec<Waker> {
        let Crowd { wakers, forgotten } = others;
        self.limit = 2 * wakers.len();
        if self.forgotten != forgotten {
            return wakers;
        }
        let known = self.list.iter().chain(&self.asked);
        let is_back = |waker: &Waker| known.clone().any(|other| other.will_wake(waker));
        let (unused, mut asked): (Vec<_>, Vec<_>) = wakers.into_iter().partition(is_back);
        self.asked.append(&mut asked);
        unused
    }

    fn forget(&mut self, waker: &Waker) -> Option<Waker> {
        self.forgotten = self.forgotten.wrapping_add(1);
        [&mut self.list, &mut self.asked].into_iter().find_map(|wakers| {
            let place = wakers.iter().position(|known| known.will_wake(waker))?;
            Some(wakers.swap_remove(place))
        })
    }

    fn take(&mut self, into: &mut Vec<Waker>) {
        into.append(&mut self.list);
        if !self.asked.is_empty() {
            into.append(&mut self.asked);
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
        let mut waiting = std::mem::take(&mut *self.waiting.lock());
        let mut wakers = Vec::new();
        waiting.readers.take(&mut wakers);
        waiting.writers.take(&mut wakers);
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
                waiting.of(direction).take(wakers);
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
        let added = self.waiting.lock().of(direction).add(new);
        match added {
            Added::New => {}
            Added::Known(unused) => drop_caught("a waker", unused),
            Added::Crowd(others, gone) => self.ask(direction, others, gone),
        }
        self.ready(direction)
    }

    /// Wakes the `others`. What was set while they were not in the list they find when they come back.
    #[cold]
    fn ask(&self, direction: Direction, others: Crowd, gone: Vec<Waker>) {
        drop_each_caught("a waker", gone);
        for waker in &others.wakers {
            run_caught("a waker", || waker.wake_by_ref());
        }
        let unused = self.waiting.lock().of(direction).put_back(others);
        drop_each_caught("a waker", unused);
    }

    /// Takes a waker out, wherever it is, also if it is just being [asked](Self::ask). Others who wait with the same
    /// one are woken, to put it back.
    pub(crate) fn forget(&self, direction: Direction, waker: &Waker) {
        let known = self.waiting.lock().of(direction).forget(waker);
        if let Some(waker) = known {
            run_caught("a waker", || waker.wake());
        }
    }
}
