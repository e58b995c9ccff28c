//! The word; see the rules in [`super`].

use std::fmt;

use crate::shim::atomic::{AtomicU64, Ordering};

/// As many permits fit into the word.
pub(in crate::sync) const MAX_PERMITS: u32 = (1 << 30) - 1;

/// The list is not empty.
const WAITING: u64 = 1;
/// Somebody is starved.
const FAIR: u64 = 1 << 1;
/// Nobody gets anything any more.
const CLOSED: u64 = 1 << 2;
/// One permit that is promised; up to [`MAX_PERMITS`] of them.
const PROMISED: u64 = 1 << 3;
/// One permit that is available; with a bit to spare. What is too much goes out at the top.
const AVAILABLE: u64 = 1 << 33;

fn available(permits: u32) -> u64 {
    u64::from(permits) * AVAILABLE
}

fn promised(permits: u32) -> u64 {
    u64::from(permits) * PROMISED
}

/// Why there are no permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sync) enum Refused {
    TooFew,
    Closed,
}

/// A value of the word.
#[derive(Clone, Copy)]
pub(super) struct Word(u64);

impl Word {
    fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    fn with(self, flag: u64, set: bool) -> Word {
        Word(if set { self.0 | flag } else { self.0 & !flag })
    }

    pub(super) fn is_closed(self) -> bool {
        self.has(CLOSED)
    }

    pub(super) fn available(self) -> u32 {
        (self.0 / AVAILABLE) as u32
    }

    fn promised(self) -> u32 {
        (self.0 / PROMISED) as u32 & MAX_PERMITS
    }

    /// Whether so many are available that were not promised. What is too much is not promised.
    fn has_spare(self, wanted: u32) -> bool {
        self.available().min(MAX_PERMITS) >= self.promised() + wanted
    }

    /// Rules 2 and 4, for somebody who does not wait.
    fn lets_in(self, wanted: u32) -> bool {
        if wanted == 0 {
            true
        } else if self.has(FAIR) {
            !self.has(WAITING) && self.has_spare(wanted)
        } else {
            self.available() >= wanted
        }
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permits")
            .field("available", &self.available())
            .field("promised", &self.promised())
            .field("waiting", &self.has(WAITING))
            .field("fair", &self.has(FAIR))
            .field("closed", &self.has(CLOSED))
            .finish()
    }
}

/// The word, and what may happen to it. Flags, and what is promised, are changed with the lock of the list
/// held; only to take what was promised needs none.
pub(super) struct State(AtomicU64);

impl State {
    pub(super) fn new(permits: u32) -> Self {
        State(AtomicU64::new(available(permits)))
    }

    pub(super) fn load(&self) -> Word {
        Word(self.0.load(Ordering::Relaxed))
    }

    /// Exchanges the word for what `step` makes of it, if it makes anything of it.
    #[inline]
    fn update<R>(&self, step: impl Fn(Word) -> (Option<Word>, R)) -> R {
        let mut now = self.load();
        loop {
            let (next, result) = step(now);
            let Some(next) = next else { return result };
            // Acquire: pairs with the Release of `give_back`.
            let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
            match self.0.compare_exchange_weak(now.0, next.0, success, failure) {
                Ok(_) => return result,
                Err(changed) => now = Word(changed),
            }
        }
    }

    /// For somebody who does not wait.
    #[inline]
    pub(super) fn take(&self, wanted: u32) -> Result<(), Refused> {
        self.take_or(wanted, |_| None)
    }

    /// Rule 6: for somebody who does not wait yet.
    pub(super) fn take_or_wait(&self, wanted: u32, starved: bool) -> Result<(), Refused> {
        self.take_or(wanted, |now| {
            Some(now.with(WAITING, true).with(FAIR, now.has(FAIR) || starved))
        })
    }

    #[inline]
    fn take_or(&self, wanted: u32, refuse: impl Fn(Word) -> Option<Word>) -> Result<(), Refused> {
        self.update(|now| {
            if now.is_closed() {
                (None, Err(Refused::Closed))
            } else if now.lets_in(wanted) {
                (Some(Word(now.0 - available(wanted))), Ok(()))
            } else {
                (refuse(now), Err(Refused::TooFew))
            }
        })
    }

    /// Rule 3: takes permits and promise. False if others were faster; then nothing has happened.
    pub(super) fn take_promised(&self, wanted: u32) -> bool {
        self.take_promised_or(wanted, false, |_| None)
    }

    /// As [`take_promised`](Self::take_promised). If others were faster, takes the promise back, to wait
    /// again. If not, FAIR is over if this was the last one who is starved.
    pub(super) fn take_promised_or_wait(&self, wanted: u32, starved: bool, last: bool) -> bool {
        self.take_promised_or(wanted, last, |now| {
            let back = Word(now.0 - promised(wanted)).with(WAITING, true);
            Some(back.with(FAIR, now.has(FAIR) || starved))
        })
    }

    fn take_promised_or(
        &self,
        wanted: u32,
        last: bool,
        lose: impl Fn(Word) -> Option<Word>,
    ) -> bool {
        self.update(|now| {
            if now.available() < wanted {
                return (lose(now), false);
            }
            let next = Word(now.0 - available(wanted) - promised(wanted));
            (Some(next.with(FAIR, now.has(FAIR) && !last)), true)
        })
    }

    /// Rule 1. True if somebody is to be woken.
    #[inline]
    #[must_use]
    pub(super) fn give_back(&self, permits: u32) -> bool {
        // Release: pairs with the Acquire of `update`.
        let before = self.0.fetch_add(available(permits), Ordering::Release);
        let now = Word(before.wrapping_add(available(permits)));
        now.has(WAITING) && now.has_spare(1)
    }

    /// Promises so many, if they are available and not promised. What is available may become less at any
    /// time: then the waiter loses. More promised it becomes here only, under the lock.
    #[must_use]
    pub(super) fn promise(&self, wanted: u32) -> bool {
        let spare = self.load().has_spare(wanted);
        if spare {
            self.0.fetch_add(promised(wanted), Ordering::Relaxed);
        }
        spare
    }

    pub(super) fn take_promise_back(&self, wanted: u32) {
        self.0.fetch_sub(promised(wanted), Ordering::Relaxed);
    }

    pub(super) fn nobody_waits(&self) {
        self.0.fetch_and(!WAITING, Ordering::Relaxed);
    }

    pub(super) fn nobody_is_starved(&self) {
        self.0.fetch_and(!FAIR, Ordering::Relaxed);
    }

    pub(super) fn close(&self) {
        self.0.fetch_or(CLOSED, Ordering::Relaxed);
    }
}
