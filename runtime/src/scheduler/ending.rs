//! How far a runtime is on its way to the end, what is left, and who does the rest.
//!
//! # Protocol
//! 1. The phase only grows. In *closing* new tasks are born cancelled; in *stopped* whoever drives a
//!    loop leaves it.
//! 2. The tasks that are not complete are those in the registries (`registry.rs`). A closed one refuses. A
//!    thread outside enters a task → looks at the phase, and unless it is *open* takes the task out again
//!    and refuses it; who ends the runtime: publish *closing* → cancel all that are in a registry, under its
//!    lock. So a task that was taken in from outside is among those that are cancelled.
//! 3. Who empties a registry looks at the phase afterwards, and wakes loop 0 unless it is *open*. Whoever
//!    waits for the last task's end on loop 0: publish *closing*, publish *parked* → count under all the
//!    registries' locks. If the task is still there then, its end takes that lock later, and sees both.
//! 4. Each loop has an owner until that has emptied its half (`Core::clear`). Then the owner leaves, and
//!    does not touch the half again. The one who leaves last has everything to itself, and does the
//!    rest: drops what may be dropped anywhere, closes the reactors. So a loop that is stuck keeps
//!    nobody from leaving, and finishes the runtime should it come back.
//! 5. A spare worker is an owner while it has a thread: it comes only while there is another owner, and
//!    when it is the last one, it does not retire but leaves as the others do.
//!
//! Knows nothing of queues. Modelled in `loom-tests/tests/ending.rs`.

use crate::shim::Mutex;
use crate::shim::atomic::{AtomicU8, AtomicUsize, Ordering};

/// How far a runtime is on its way to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    Open,
    /// Everything is being cancelled; new tasks are born cancelled.
    Closing,
    /// Workers leave their loops.
    Stopped,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With a value or a panic of its own.
    Finished,
    /// By a request, at a poll.
    Cancelled,
    /// Its future was dropped by the end of its loop.
    Dropped,
}

/// What became of the tasks since *closing*. `T` is what is told of those that were dropped.
#[derive(Debug)]
pub(crate) struct Tally<T> {
    pub(crate) finished: usize,
    pub(crate) cancelled: usize,
    pub(crate) dropped: Vec<T>,
}

pub(crate) struct Ending<T> {
    phase: AtomicU8,
    /// Loops and spare workers that have an owner.
    owners: AtomicUsize,
    tally: Mutex<Tally<T>>,
}

impl<T> Ending<T> {
    pub(crate) fn new(loops: usize) -> Self {
        Ending {
            phase: AtomicU8::new(Phase::Open as u8),
            owners: AtomicUsize::new(loops),
            tally: Mutex::new(Tally { finished: 0, cancelled: 0, dropped: Vec::new() }),
        }
    }

    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        // Acquire: pairs with `advance`.
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Open,
            1 => Phase::Closing,
            _ => Phase::Stopped,
        }
    }

    /// Moves on to `phase`, never back. The caller wakes every loop to see it.
    pub(crate) fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }

    /// Notes how a task ends, unless nobody will ask. Before it leaves its registry.
    #[inline]
    pub(crate) fn note(&self, end: End, task: impl FnOnce() -> T) {
        if self.phase() != Phase::Open {
            self.note_down(end, task);
        }
    }

    #[cold]
    fn note_down(&self, end: End, task: impl FnOnce() -> T) {
        match end {
            End::Finished => self.tally.lock().finished += 1,
            End::Cancelled => self.tally.lock().cancelled += 1,
            End::Dropped => {
                let task = task();
                self.tally.lock().dropped.push(task);
            }
        }
    }

    pub(crate) fn take_tally(&self) -> Tally<T> {
        let empty = Tally { finished: 0, cancelled: 0, dropped: Vec::new() };
        std::mem::replace(&mut *self.tally.lock(), empty)
    }

    /// A spare worker comes. False when everybody has left: then there is nothing to come to.
    #[must_use]
    pub(crate) fn join(&self) -> bool {
        let one_more = |owners| (owners > 0).then_some(owners + 1);
        // Relaxed: who comes has seen nothing yet, and who leaves last looks at it by `leave`.
        self.owners.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// A spare worker goes while the runtime goes on. False when it is the last one, and stays an owner.
    #[must_use]
    pub(crate) fn retire(&self) -> bool {
        let one_less = |owners| (owners > 1).then_some(owners - 1);
        // AcqRel: as in `leave`.
        self.owners.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less).is_ok()
    }

    /// The owner of a loop has emptied its half. True for the last one, who does the rest.
    #[must_use]
    pub(crate) fn leave(&self) -> bool {
        // AcqRel: the last one sees what all others have done to their halves.
        self.owners.fetch_sub(1, Ordering::AcqRel) == 1
    }
}
