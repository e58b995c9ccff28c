//! One loop's timers, as its runtime and the sleeps hold them.
//!
//! # Protocol
//! The wheel lies behind a [`ShortLock`], together with the count of its holders: the runtime, and every
//! [`Timer`].
//! 1. A timer is counted in the section that inserts it, and uncounted in the one that cancels it or finds
//!    that it has fired. So the count costs no atomic operation of its own.
//! 2. Who finds in its section that it was the last holder frees the memory, after the section. Nobody else
//!    has a pointer then, and who left before touched nothing after giving the lock back.
//! 3. So a timer may outlive its runtime and be dropped by any thread. The runtime takes everything out of
//!    the wheel when it ends; timers that are left then have been handed out for the wheel.
//! 4. In a fork the lock may be held for ever: there nothing is locked, uncounted or freed.
//!
//! A section takes a bounded number of steps (`wheel.rs`), but for growth of memory and for the end of the
//! runtime, and runs no foreign code. A thread that cancels a timer of another core waits for such sections only. The lock has no
//! queue: while much is due, it may have to wait for more than one.

use std::ptr::NonNull;
use std::task::Waker;
use std::time::Instant;

use loopool_executors::caught::drop_caught;
use loopool_executors::origin::Origin;

use super::wheel::{Action, Due, Pass, Progress, TimerKey, Wheel};
use crate::short_lock::ShortLock;

/// The runtime's hold.
pub(crate) struct Timers(Hold);

/// A timer in a wheel. Dropping it cancels.
pub(crate) struct Timer {
    hold: Hold,
    key: TimerKey,
}

/// What became of a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimerState {
    Waiting,
    Fired,
}

struct Inner {
    origin: Origin,
    wheel: ShortLock<Counted>,
}

struct Counted {
    wheel: Wheel,
    holders: usize,
}

impl Timers {
    pub(crate) fn new() -> Self {
        let wheel = ShortLock::new(Counted { wheel: Wheel::new(), holders: 1 });
        let inner = Box::new(Inner { origin: Origin::here(), wheel });
        Timers(Hold(NonNull::from(Box::leak(inner))))
    }

    /// Calls `section` with the wheel, alone: for a few steps.
    #[inline]
    pub(crate) fn with<R>(&self, section: impl FnOnce(&mut Wheel) -> R) -> R {
        self.0.inner().wheel.with(|counted| section(&mut counted.wheel))
    }

    /// A timer that wakes.
    #[inline]
    pub(crate) fn insert(&self, deadline: Instant, waker: Waker) -> Timer {
        let key = self.0.inner().wheel.with(|counted| {
            counted.holders += 1;
            counted.wheel.insert(deadline, Action::Wake(waker))
        });
        Timer { hold: Hold(self.0.0), key }
    }

    /// Whether the timer lies here.
    #[inline]
    pub(crate) fn have(&self, timer: &Timer) -> bool {
        self.0.0 == timer.hold.0
    }

    /// Takes out what is due, in order of (deadline, insertion), in sections of a few steps each. If there are
    /// timers the clock is read for that; what it said comes back.
    pub(crate) fn expire(&self, due: &mut Vec<Due>) -> Option<Instant> {
        let (now, mut pass, progress) = self.with(|wheel| {
            if wheel.len() == 0 {
                return None;
            }
            let now = Instant::now();
            let mut pass = Pass::new(now);
            let progress = wheel.expire(&mut pass, due);
            Some((now, pass, progress))
        })?;
        self.finish(progress, &mut pass, due);
        Some(now)
    }

    /// As [`expire`](Self::expire), for another thread than the loop's: callbacks stay, for the loop itself.
    pub(crate) fn expire_for_peer(&self, now: Instant, due: &mut Vec<Due>) {
        self.finish(Progress::More, &mut Pass::for_peer(now), due);
    }

    fn finish(&self, mut progress: Progress, pass: &mut Pass, due: &mut Vec<Due>) {
        while progress == Progress::More {
            progress = self.with(|wheel| wheel.expire(pass, due));
        }
        due.sort_unstable_by_key(Due::order);
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        if !self.0.inner().origin.is_left_behind() {
            let ((), last) = self.0.leave(|_| ());
            self.0.free_if(last);
        }
    }
}

impl Timer {
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.hold.inner().origin.is_left_behind()
    }

    /// Sees to it that `waker` is woken.
    pub(crate) fn poll(&self, waker: &Waker) -> TimerState {
        let wheel = &self.hold.inner().wheel;
        // No foreign code in the section: wakers are cloned before and dropped after.
        let known = wheel.with(|counted| counted.wheel.would_wake(self.key, waker));
        match known {
            None => return TimerState::Fired,
            Some(true) => return TimerState::Waiting,
            Some(false) => {}
        }
        let waker = waker.clone();
        match wheel.with(|counted| counted.wheel.replace_waker(self.key, waker)) {
            Ok(previous) => {
                drop_caught("a waker", previous);
                TimerState::Waiting
            }
            Err(unused) => {
                drop_caught("a waker", unused);
                TimerState::Fired
            }
        }
    }
}

impl Drop for Timer {
    #[inline]
    fn drop(&mut self) {
        if self.is_forked() {
            return;
        }
        let (action, last) = self.hold.leave(|wheel| wheel.cancel(self.key));
        self.hold.free_if(last);
        if let Some(Action::Wake(waker)) = action {
            drop_caught("a waker", waker);
        }
    }
}

/// A counted pointer, whose count is kept by who has it.
struct Hold(NonNull<Inner>);

// SAFETY: `Inner` is `Sync`, and may be freed by any thread.
unsafe impl Send for Hold {}
// SAFETY: as above.
unsafe impl Sync for Hold {}

impl Hold {
    #[inline]
    fn inner(&self) -> &Inner {
        // SAFETY: counted, so not freed yet.
        unsafe { self.0.as_ref() }
    }

    /// The last section of this holder. What it gives, and whether the holder was the last one.
    #[inline]
    fn leave<R>(&self, section: impl FnOnce(&mut Wheel) -> R) -> (R, bool) {
        self.inner().wheel.with(|counted| {
            counted.holders -= 1;
            (section(&mut counted.wheel), counted.holders == 0)
        })
    }

    /// After `leave`.
    #[inline]
    fn free_if(&self, last: bool) {
        if last {
            // SAFETY: from a `Box`; the count is zero, and only a holder can make another one.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
}
