//! The state word of a task: bits, a reference count, and the named transitions between them.
//!
//! Knows nothing of queues, futures or wakers' contents; `cell.rs` and `run.rs` act on what the
//! transitions return. Modelled in `loom-tests/tests/task.rs`.
//!
//! # Bits
//!
//! | bit | means | set while |
//! |---|---|---|
//! | SCHEDULED | must be polled (again) | idle: whoever sets it puts the task into a queue, with a reference; running: the runner does so |
//! | RUNNING | somebody owns the future | set by who takes it out of a queue, or by shutdown on an idle task |
//! | COMPLETE | the future is gone, the output is there or was taken | for ever |
//! | NEW | somebody asked the task to end: it must be polled for that | until a pass begins |
//! | DUE | the next poll, whenever it comes, is a pass: the last one was put off | until then |
//! | POLLED | the future has been polled | for ever |
//! | ORPHAN | nobody could wake it any more | from then on |
//! | JOIN_INTEREST | the handle exists | until it is dropped or the task is COMPLETE; then it says which came first |
//! | JOIN_WAKER | the completing side takes the waker in the cell | until the handle takes it back |
//! | CANCELLED | the task is COMPLETE because it was cancelled | for ever |
//! | LOCAL | it must stay on its loop | from the first |
//!
//! Above them the references are counted, and in the uppermost sixteen bits is the number of the loop that
//! the task was made on.
//!
//! NEW and DUE are two bits because a task that puts a request off while it waits for something else
//! would otherwise be found unfinished, and polled, for ever. A *pass* is a poll that delivers a request
//! (`cancel/mod.rs`).
//!
//! # Who may touch what
//! 1. The future belongs to who set RUNNING.
//! 2. The output belongs to the runner until COMPLETE is set; from then on to the handle, if
//!    JOIN_INTEREST was set at that moment, else still to the runner.
//! 3. The join waker belongs to the handle while JOIN_WAKER is clear. With the bit set both may read it,
//!    and nobody writes to it; the handle takes it back by clearing the bit, which fails once COMPLETE is
//!    set. If the bit is set when COMPLETE is, the waker has moved to the completing side.
//! 4. A queue entry, a waker and the handle each count one reference. Running uses the queue entry's.

use crate::shim::atomic::{AtomicU64, Ordering};

const SCHEDULED: u64 = 1 << 0;
const RUNNING: u64 = 1 << 1;
const COMPLETE: u64 = 1 << 2;
const NEW: u64 = 1 << 3;
const POLLED: u64 = 1 << 4;
const ORPHAN: u64 = 1 << 5;
const JOIN_INTEREST: u64 = 1 << 6;
const JOIN_WAKER: u64 = 1 << 7;
const DUE: u64 = 1 << 8;
const CANCELLED: u64 = 1 << 9;
const LOCAL: u64 = 1 << 10;
const REF: u64 = 1 << 11;

/// Where the number of the loop begins.
const HOME: u32 = u64::BITS - 16;

/// The number of the loop has so many values.
pub(crate) const MOST_LOOPS: usize = 1 << 16;

/// Above this many references something leaks wakers in a loop; going on would write over the number of
/// the loop and free a live task.
const MAX_REFS: u64 = (1 << HOME) / REF / 2;

/// How many references a word counts.
const fn refs(word: u64) -> u64 {
    (word << 16 >> 16) / REF
}

/// What a wake has to do next.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum WakeOutcome {
    /// Put the task into a queue, with the reference that goes with it.
    Submit,
    /// Nothing: it is queued, or its runner will requeue it, or it is done.
    Nothing,
    /// Nothing, and the reference that was given up was the last one of a finished task: free it.
    Dealloc,
}

/// How to poll a task that was taken out of a queue.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
#[must_use]
pub(crate) struct RunOutcome {
    /// A request to cancel is to be delivered in this poll: it is a pass.
    pub(crate) cancel: bool,
    /// It is the first poll.
    pub(crate) first: bool,
    /// Nobody could ever wake the task.
    pub(crate) orphan: bool,
}

/// What follows a poll that left the future pending.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum IdleOutcome {
    /// The task waits. The runner's reference is gone.
    Idle,
    /// It was woken meanwhile: put it back into a queue, with the runner's reference.
    Requeue,
    /// No waker and no handle is left, so it would wait for ever. Still RUNNING: drop the future.
    Orphan,
}

/// What follows the completion.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct CompleteOutcome {
    /// The handle exists: it owns the output now. Else the runner drops it.
    pub(crate) join_interest: bool,
    /// The waker in the cell is to be woken.
    pub(crate) join_waker: bool,
}

/// What the end of the handle leaves to do, before it gives up its reference.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct DetachOutcome {
    /// The output is the handle's to drop.
    pub(crate) drop_output: bool,
    /// The join waker is the handle's to drop.
    pub(crate) drop_waker: bool,
}

/// What follows giving up a reference.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum DropOutcome {
    /// Others are left.
    Shared,
    /// It was the last one, and the task is done: free it.
    Dealloc,
    /// It was the last one of a task that can never be woken again. It is SCHEDULED now, with one
    /// reference and a request to cancel: put it into a queue, so that its future is dropped where
    /// futures are dropped.
    SubmitOrphan,
}

/// What a request to cancel has to do next.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum CancelOutcome {
    /// Put the task into a queue, with a reference.
    Submit,
    /// It is queued or running and will see the request.
    Noted,
    /// It is done; the request has no effect.
    TooLate,
}

pub(crate) struct State(AtomicU64);

impl State {
    /// A new task of loop `home`: queued once, with a handle.
    pub(crate) fn new(home: usize, local: bool) -> Self {
        debug_assert!(home < MOST_LOOPS);
        let local = if local { LOCAL } else { 0 };
        State(AtomicU64::new(SCHEDULED | JOIN_INTEREST | local | (2 * REF) | (home as u64) << HOME))
    }

    /// The loop that the task was made on: its registry, and for a local task its thread.
    #[inline]
    pub(crate) fn home(&self) -> usize {
        // Relaxed: it never changes.
        (self.0.load(Ordering::Relaxed) >> HOME) as usize
    }

    /// Whether the task must stay there.
    #[inline]
    pub(crate) fn is_local(&self) -> bool {
        // Relaxed: as above.
        self.0.load(Ordering::Relaxed) & LOCAL != 0
    }

    /// From a queue into the hands of a runner.
    ///
    /// Acquire: pairs with the Release in every wake and in `idle`, so that the poll sees what the
    /// waker wrote and what the last poll, maybe on another core, left.
    pub(crate) fn run(&self) -> RunOutcome {
        // An addition that changes the two bits: one instruction, where an exclusive or needs a loop.
        let before = self.0.fetch_add(RUNNING - SCHEDULED, Ordering::AcqRel);
        debug_assert_eq!(before & (SCHEDULED | RUNNING | COMPLETE), SCHEDULED, "{before:b}");
        RunOutcome {
            cancel: before & (NEW | DUE) != 0,
            first: before & POLLED == 0,
            orphan: before & ORPHAN != 0,
        }
    }

    /// Whether somebody asked the task to end since the last pass. A hint, for whoever is about to
    /// [`run`](Self::run) it.
    #[inline]
    pub(crate) fn has_new_request(&self) -> bool {
        self.0.load(Ordering::Relaxed) & NEW != 0
    }

    /// Whether the task is to be polled (again). A hint.
    pub(crate) fn is_scheduled(&self) -> bool {
        self.0.load(Ordering::Relaxed) & SCHEDULED != 0
    }

    /// The request is in the runner's hands, or is withdrawn; false if it was withdrawn before. Under
    /// the lock of the requests, whose order says which request was meant; so Relaxed.
    #[must_use]
    pub(crate) fn begin_pass(&self) -> bool {
        self.0.fetch_and(!(NEW | DUE), Ordering::Relaxed) & (NEW | DUE) != 0
    }

    /// The request was put off: the next poll is a pass again. By the runner, before `idle`.
    pub(crate) fn hold(&self) {
        self.0.fetch_or(DUE, Ordering::Relaxed);
    }

    /// The future stayed pending.
    ///
    /// Release: pairs with the Acquire in `run`.
    pub(crate) fn idle(&self) -> IdleOutcome {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            let (next, outcome) = if now & SCHEDULED != 0 {
                ((now & !RUNNING) | POLLED, IdleOutcome::Requeue)
            } else if refs(now) == 1 {
                // Only the runner's reference, so nothing can wake the task any more; only a shutdown,
                // which finds it in its registry, could still touch it.
                return IdleOutcome::Orphan;
            } else {
                (((now & !RUNNING) | POLLED) - REF, IdleOutcome::Idle)
            };
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return outcome,
                Err(current) => now = current,
            }
        }
    }

    /// The output is in the cell.
    ///
    /// Release: pairs with the Acquire in `is_complete` and in the handle's transitions, so that
    /// whoever sees COMPLETE sees the output. Acquire: the join waker that the handle wrote.
    pub(crate) fn complete(&self, cancelled: bool) -> CompleteOutcome {
        let how = if cancelled { COMPLETE | CANCELLED } else { COMPLETE };
        // As in `run`.
        let before = self.0.fetch_add(how - RUNNING, Ordering::AcqRel);
        debug_assert_eq!(before & (RUNNING | COMPLETE), RUNNING, "{before:b}");
        CompleteOutcome {
            join_interest: before & JOIN_INTEREST != 0,
            join_waker: before & JOIN_WAKER != 0,
        }
    }

    /// A wake by a waker that stays.
    ///
    /// Release even when nothing else is to do: the poll that follows must see what was written
    /// before the wake.
    pub(crate) fn wake_by_ref(&self) -> WakeOutcome {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            if now & COMPLETE != 0 {
                return WakeOutcome::Nothing;
            }
            let submit = now & (SCHEDULED | RUNNING) == 0;
            let next = if submit { (now | SCHEDULED) + REF } else { now | SCHEDULED };
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if submit => {
                    abort_if_too_many(next);
                    return WakeOutcome::Submit;
                }
                Ok(_) => return WakeOutcome::Nothing,
                Err(current) => now = current,
            }
        }
    }

    /// A wake by a waker that is used up: its reference becomes the queue's.
    pub(crate) fn wake_by_value(&self) -> WakeOutcome {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            let (next, outcome) = if now & COMPLETE != 0 {
                let dealloc = refs(now) == 1;
                (now - REF, if dealloc { WakeOutcome::Dealloc } else { WakeOutcome::Nothing })
            } else if now & (SCHEDULED | RUNNING) != 0 {
                // The queue's or the runner's reference is left.
                ((now | SCHEDULED) - REF, WakeOutcome::Nothing)
            } else {
                (now | SCHEDULED, WakeOutcome::Submit)
            };
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return outcome,
                Err(current) => now = current,
            }
        }
    }

    /// A request to cancel.
    pub(crate) fn cancel(&self) -> CancelOutcome {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            if now & COMPLETE != 0 {
                return CancelOutcome::TooLate;
            }
            let submit = now & (SCHEDULED | RUNNING) == 0;
            let next = now | NEW | SCHEDULED;
            let next = if submit { next + REF } else { next };
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if submit => return CancelOutcome::Submit,
                Ok(_) => return CancelOutcome::Noted,
                Err(current) => now = current,
            }
        }
    }

    /// Shutdown takes an idle task, with a reference, to drop its future. False when it is queued,
    /// running or done: then whoever has it sees the request to cancel.
    #[must_use]
    pub(crate) fn take_for_shutdown(&self) -> bool {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            if now & COMPLETE != 0 {
                return false;
            }
            let idle = now & (SCHEDULED | RUNNING) == 0;
            let next = if idle { (now | NEW | RUNNING) + REF } else { now | NEW };
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return idle,
                Err(current) => now = current,
            }
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.0.load(Ordering::Acquire) & COMPLETE != 0
    }

    /// Whether the task ended because it was cancelled. For whoever knows that it is complete.
    #[allow(dead_code, reason = "the reports of a shutdown ask for it")]
    pub(crate) fn was_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire) & CANCELLED != 0
    }

    /// Whether the handle has offered its waker. For the handle, the only one who changes that; so Relaxed.
    pub(crate) fn has_join_waker(&self) -> bool {
        self.0.load(Ordering::Relaxed) & JOIN_WAKER != 0
    }

    /// The handle gives the waker it has just written to the completing side. False when the task is
    /// complete: then the waker stays the handle's.
    #[must_use]
    pub(crate) fn offer_join_waker(&self) -> bool {
        self.change_join_waker(|now| now | JOIN_WAKER)
    }

    /// The handle takes the waker back, to replace it. False when the task is complete: then the
    /// completing side has it.
    #[must_use]
    pub(crate) fn take_join_waker_back(&self) -> bool {
        self.change_join_waker(|now| now & !JOIN_WAKER)
    }

    /// Release: `complete` must see the waker that was written. Acquire: on failure the output.
    fn change_join_waker(&self, change: impl Fn(u64) -> u64) -> bool {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            if now & COMPLETE != 0 {
                return false;
            }
            match self.0.compare_exchange_weak(
                now,
                change(now),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(current) => now = current,
            }
        }
    }

    /// The handle of a task that is not complete goes, with its reference, if it has left no waker and is
    /// not the last who has one. Otherwise false, and nothing has changed.
    #[must_use]
    pub(crate) fn let_go(&self) -> bool {
        let now = self.0.load(Ordering::Relaxed);
        let plain = now & (COMPLETE | JOIN_WAKER) == 0 && refs(now) > 1;
        // Release: whoever frees the cell sees what the handle did to it.
        plain
            && self
                .0
                .compare_exchange(
                    now,
                    (now & !JOIN_INTEREST) - REF,
                    Ordering::Release,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// The handle goes. Its reference is given up separately.
    pub(crate) fn detach(&self) -> DetachOutcome {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            if now & COMPLETE != 0 {
                // Nobody looks at JOIN_INTEREST any more.
                return DetachOutcome { drop_output: true, drop_waker: now & JOIN_WAKER == 0 };
            }
            let next = now & !(JOIN_INTEREST | JOIN_WAKER);
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return DetachOutcome { drop_output: false, drop_waker: true },
                Err(current) => now = current,
            }
        }
    }

    /// One more reference. Relaxed: it is made from an existing one, which keeps the cell alive.
    pub(crate) fn add_ref(&self) {
        let before = self.0.fetch_add(REF, Ordering::Relaxed);
        abort_if_too_many(before);
    }

    /// One reference to a complete task less. True for the last one, who frees the cell.
    ///
    /// AcqRel: as in `drop_ref`.
    #[must_use]
    pub(crate) fn drop_ref_of_complete(&self) -> bool {
        let before = self.0.fetch_sub(REF, Ordering::AcqRel);
        debug_assert!(before & COMPLETE != 0 && refs(before) > 0, "{before:b}");
        refs(before) == 1
    }

    /// One reference less.
    ///
    /// AcqRel: the last one frees what all the others have used. The last reference of a task that
    /// is not complete becomes the queue's in one step: shutdown may find the task in its registry at
    /// any moment and count itself in, so the count must never be zero there.
    pub(crate) fn drop_ref(&self) -> DropOutcome {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            debug_assert!(refs(now) > 0, "a reference was given up that nobody had");
            let last = refs(now) == 1;
            let (next, outcome) = if !last {
                (now - REF, DropOutcome::Shared)
            } else if now & COMPLETE != 0 {
                (now - REF, DropOutcome::Dealloc)
            } else {
                (now | SCHEDULED | NEW | ORPHAN, DropOutcome::SubmitOrphan)
            };
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return outcome,
                Err(current) => now = current,
            }
        }
    }
}

fn abort_if_too_many(word: u64) {
    if refs(word) > MAX_REFS {
        std::process::abort();
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = self.0.load(Ordering::Relaxed);
        let text = if word & COMPLETE != 0 {
            "finished"
        } else if word & (NEW | DUE) != 0 {
            "cancelling"
        } else {
            "pending"
        };
        f.write_str(text)
    }
}
