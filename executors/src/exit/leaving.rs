//! Who calls exit, and will never come back.

use std::thread::ThreadId;

use super::POOLS;
use crate::forks;
use crate::in_hand::{LeftBehind, leave_behind};
use crate::shim::Mutex;
use crate::thread::Last;
use crate::timekeeper;

pub(super) static LEAVING: Mutex<Leaving> = Mutex::new(Leaving::NEW);

pub(super) struct Leaving {
    /// The handler runs, or has run.
    has_begun: bool,
    /// Those who wanted to exit before it did: one of them began it, the others are parked.
    before: Vec<Leaver>,
}

impl Leaving {
    pub(super) const NEW: Self = Leaving { has_begun: false, before: Vec::new() };
}

/// What is to be told to whoever waits for a thread.
pub(super) struct Leaver {
    thread: ThreadId,
    last: Option<Last>,
    left_behind: Vec<LeftBehind>,
}

impl Leaver {
    /// The calling thread. Uses no thread-local with a destructor but by `try_with`.
    ///
    /// # Safety
    /// It exits: it neither returns nor unwinds from where that begins.
    pub(super) unsafe fn this_thread() -> Self {
        // SAFETY: the caller's word.
        let left_behind = unsafe { leave_behind() };
        Leaver {
            thread: std::thread::current().id(),
            last: crate::thread::take_last(),
            left_behind,
        }
    }

    /// Nobody waits for it any longer. What that means to its jobs is foreign code, which may take its time and may
    /// exit, too: so it is run elsewhere.
    pub(super) fn strike(self) {
        drop(self.last);
        POOLS.strike(self.thread);
        for left in self.left_behind {
            timekeeper::elsewhere(Box::new(move || left.take_over()));
        }
    }
}

/// The calling thread is about to exit. It is struck when the exit has begun.
///
/// # Safety
/// It does exit.
pub(super) unsafe fn leave() {
    forks::watch();
    // SAFETY: the caller's word.
    let leaver = unsafe { Leaver::this_thread() };
    let mut leaving = LEAVING.lock();
    if leaving.has_begun {
        drop(leaving);
        leaver.strike();
    } else {
        leaving.before.push(leaver);
    }
}

/// The exit has begun. Those that are to be struck.
pub(super) fn begin() -> Vec<Leaver> {
    let mut leaving = LEAVING.lock();
    leaving.has_begun = true;
    std::mem::take(&mut leaving.before)
}
