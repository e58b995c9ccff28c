//! What the program's end knows, while the process is forked (`forks.rs`).

use std::mem::{forget, replace};
use std::sync::MutexGuard;
use std::sync::atomic::Ordering::Relaxed;

use super::{EXECUTORS_CLOSED, HOOKS, Hooks, POOLS, ROLL, handler, leaving, pools, roll};

/// All its locks.
pub(crate) struct Held {
    /// As it is: rule 5.
    _armed: MutexGuard<'static, bool>,
    leaving: MutexGuard<'static, leaving::Leaving>,
    hooks: MutexGuard<'static, Hooks>,
    pools: MutexGuard<'static, pools::State>,
    roll: MutexGuard<'static, roll::State>,
}

impl Held {
    pub(crate) fn new() -> Self {
        Held {
            _armed: handler::ARMED.lock(),
            leaving: leaving::LEAVING.lock(),
            hooks: HOOKS.lock(),
            pools: POOLS.0.lock(),
            roll: ROLL.state.lock(),
        }
    }

    /// Nobody leaves, and the program does not end: not even when the parent does.
    pub(crate) fn make_anew(&mut self) {
        forget(replace(&mut *self.leaving, leaving::Leaving::NEW));
        forget(replace(&mut *self.hooks, Hooks::NEW));
        forget(replace(&mut *self.pools, pools::State::NEW));
        self.roll.make_anew();
        EXECUTORS_CLOSED.store(false, Relaxed);
    }
}
