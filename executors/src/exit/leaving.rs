//! Who calls exit, and will never come back.

use std::thread::ThreadId;

use super::POOLS;
use crate::cancel_token::{CancelToken, current_jobs};
use crate::forks;
use crate::shim::Mutex;
use crate::thread::Last;

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
    jobs: Vec<CancelToken>,
}

impl Leaver {
    /// The calling thread. Uses no thread-local with a destructor but by `try_with`.
    pub(super) fn this_thread() -> Self {
        let jobs = current_jobs().collect();
        Leaver { thread: std::thread::current().id(), last: crate::thread::take_last(), jobs }
    }

    /// Nobody waits for it any longer.
    pub(super) fn strike(self) {
        drop(self.last);
        POOLS.strike(self.thread);
        for job in self.jobs {
            job.abandon();
        }
    }
}

/// The calling thread is about to exit. It is struck when the exit has begun.
pub(super) fn leave() {
    forks::watch();
    let leaver = Leaver::this_thread();
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
