//! The roll: who is still to be waited for before the program ends, and the door that closes behind the
//! last.
//!
//! # Protocol
//! One lock guards the roll and the door.
//! 1. Whoever starts a thread puts it on the roll *before* it is spawned. So from the moment somebody has
//!    decided to start it, the end waits for it, however late it gets to run.
//! 2. The entry belongs to its [`Ticket`], which goes to the new thread and is dropped as its last act: also
//!    when the thread could not be spawned, and by a thread that calls exit.
//! 3. The door is closed *in the critical section in which the roll was found empty*. So what is on the roll
//!    is waited for, and what comes later is refused; there is nothing between.
//! 4. Whoever leaves an empty roll behind wakes the one who waits; he waits under the same lock as he looks.
//! 5. A thread on the roll that starts another puts that on the roll before it leaves itself, so the door
//!    cannot close on a family.
//!
//! Modelled in `loom-tests/tests/roll.rs`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::shim::{Arc, Condvar, Mutex};

/// The roll and its door.
#[derive(Debug, Default)]
pub(crate) struct Roll {
    pub(super) state: Mutex<State>,
    /// Signalled when the roll is empty.
    empty: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    is_closed: bool,
    next: u64,
    names: BTreeMap<u64, String>,
}

impl State {
    /// In a child of `fork`, which has none of them. Numbers go on: somebody may still have a ticket of before.
    pub(super) fn make_anew(&mut self) {
        self.is_closed = false;
        std::mem::forget(std::mem::take(&mut self.names));
    }
}

/// A place on the roll. Dropping it gives the place back.
#[derive(Debug)]
#[must_use = "dropped, it is not waited for"]
pub(crate) struct Ticket {
    roll: Arc<Roll>,
    number: u64,
}

impl Roll {
    /// Rule 1. None when the door is closed.
    pub(crate) fn enter(roll: &Arc<Roll>, name: &str) -> Option<Ticket> {
        let mut state = roll.state.lock();
        if state.is_closed {
            return None;
        }
        let number = state.next;
        state.next += 1;
        state.names.insert(number, name.to_owned());
        drop(state);
        Some(Ticket { roll: roll.clone(), number })
    }

    /// Whether one may still enter.
    pub(crate) fn is_open(&self) -> bool {
        !self.state.lock().is_closed
    }

    /// Waits until the roll is empty, and closes the door.
    ///
    /// # Errors
    /// The names of those who are still on it when `limit` is over; the door stays open.
    pub(crate) fn close_when_empty(&self, limit: Duration) -> Result<(), Vec<String>> {
        let begun = Instant::now();
        let mut state = self.state.lock();
        while !state.names.is_empty() {
            let left = limit.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(state.names.values().cloned().collect());
            }
            state = self.empty.wait_for(&self.state, state, left);
        }
        state.is_closed = true;
        Ok(())
    }
}

impl Drop for Ticket {
    /// Runs among a thread's last acts: uses no thread-local, and cannot panic.
    fn drop(&mut self) {
        let mut state = self.roll.state.lock();
        state.names.remove(&self.number);
        let is_last = state.names.is_empty();
        drop(state);
        if is_last {
            self.roll.empty.notify_all();
        }
    }
}
