//! When the watch thread may sleep without limit, and who wakes it.
//!
//! While a loop is awake the watch thread looks at it every few milliseconds. When all sleep it may, too.
//!
//! # Protocol
//! - **The watch thread**: publish *asleep* → SeqCst fence (W1) → look whether somebody is awake; if so,
//!   take it back and go on watching.
//! - **A loop or spare that has something to do** after it slept, or a loop that a thread begins to drive: its
//!   own state is published → SeqCst fence (W2) → if the watch thread sleeps, ring.
//!
//! W1 and W2 are the pair: if the watch thread did not see the loop awake, the loop sees it *asleep*.
//!
//! Since the watch thread stays awake for a while each time, it is rung for rarely.
//!
//! While nobody drives the main loop, the watch thread sleeps in that loop's reactor, and has to be woken
//! there. So a ring is a flag, too: **the watch thread** publishes *abroad* → SeqCst fence (W3) → looks for
//! the flag, and whether the main loop is still left alone; **who rings** sets the flag, or drives the main
//! loop → SeqCst fence (W4) → looks whether it is abroad.
//!
//! A wake-up in a reactor goes to one of those who sleep there. So who drives the main loop does not sleep there before
//! the watch thread has left, and wakes it until then; but if it would come back soon by itself, it may.
//!
//! Modelled in `loom-tests/tests/spare.rs`.

use super::idle::Idle;
use crate::shim::atomic::{AtomicBool, AtomicU8, Ordering, fence};

#[derive(Debug)]
pub(crate) struct Bell {
    asleep: AtomicBool,
    rung: AtomicBool,
    /// One of the three below.
    abroad: AtomicU8,
}

const AT_HOME: u8 = 0;
const ABROAD_BRIEFLY: u8 = 1;
const ABROAD_FOR_LONG: u8 = 2;

impl Bell {
    pub(crate) fn new() -> Self {
        Bell {
            asleep: AtomicBool::new(false),
            rung: AtomicBool::new(false),
            abroad: AtomicU8::new(AT_HOME),
        }
    }

    /// For the watch thread: whether it may sleep until it is rung for.
    #[must_use]
    pub(crate) fn may_sleep(&self, idle: &Idle) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        // W1.
        fence(Ordering::SeqCst);
        let may = !idle.anybody_awake();
        if !may {
            self.asleep.store(false, Ordering::Relaxed);
        }
        may
    }

    /// For the watch thread, after its sleep.
    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// For a loop that is awake now: whether it has to wake the watch thread.
    #[must_use]
    pub(crate) fn must_ring(&self) -> bool {
        // W2.
        fence(Ordering::SeqCst);
        // Relaxed: the fences order it; the swap is there so that one of several rings.
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
    }

    /// For who wakes the watch thread: whether that has to be done in the main loop's reactor as well.
    #[must_use]
    pub(crate) fn ring(&self) -> bool {
        // Release: pairs with the Acquire in `go_abroad`, so that it is seen why.
        self.rung.store(true, Ordering::Release);
        self.is_abroad()
    }

    /// For who begins to drive the main loop: whether the watch thread is in its reactor.
    #[must_use]
    pub(crate) fn is_abroad(&self) -> bool {
        // W4.
        fence(Ordering::SeqCst);
        self.abroad.load(Ordering::Relaxed) != AT_HOME
    }

    /// For who drives the main loop, once that is published: whether the watch thread has still to leave its reactor.
    #[must_use]
    pub(crate) fn stays_abroad(&self) -> bool {
        // Acquire: pairs with the Release in `come_back`, so that it has left.
        self.abroad.load(Ordering::Acquire) == ABROAD_FOR_LONG
    }

    /// For the watch thread: whether it may sleep in the reactor of the main loop, which is loop 0.
    #[must_use]
    pub(crate) fn go_abroad(&self, idle: &Idle, for_long: bool) -> bool {
        let place = if for_long { ABROAD_FOR_LONG } else { ABROAD_BRIEFLY };
        self.abroad.store(place, Ordering::Relaxed);
        // W3.
        fence(Ordering::SeqCst);
        !self.rung.swap(false, Ordering::Acquire) && idle.is_absent(0)
    }

    /// For the watch thread: it is back.
    pub(crate) fn come_back(&self) {
        // Release: pairs with the Acquire in `stays_abroad`.
        self.abroad.store(AT_HOME, Ordering::Release);
    }
}
