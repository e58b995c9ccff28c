//! Who sleeps, who searches, and whom to wake.
//!
//! # Protocol
//! Each loop has a state: *absent* (no thread drives it), *running*, *blocking* (it runs what was said to
//! block), *parked*, *notified*. So has each spare worker; but a spare that sleeps is called by name,
//! when every loop is blocked, and never for work that is there for anybody.
//!
//! - **Push from outside** (mailbox, injector): publish the work → SeqCst fence (F1) → look at the
//!   states. A parked loop is moved to *notified* by compare-exchange; whoever wins that writes the
//!   wake-up, so two pushes never pay for one sleeper.
//! - **Park**: publish *parked* → SeqCst fence (F2) → look for work again → sleep. F1 and F2 are the
//!   pair: either the pusher sees *parked* or the sleeper sees the work.
//! - **Search**: at most one loop searches at a time. A push for anybody wakes nobody while somebody
//!   searches. Hence the searcher gives the role up *before* it publishes *parked* and looks once
//!   more (F2 again pairs with F1), or, when it has found something, fences (F3), looks once more and
//!   wakes one more loop if there is more to do.
//! - **Somebody is coming**: a push for anybody may leave its work to a loop that is *notified* and will look
//!   for work when it is awake. That one says that it is *running* → SeqCst fence (F4, pairs with F1) →
//!   looks.
//! - **Push by the loop's own thread** needs no fence: if it misses a sleeper, it runs the work itself.
//!
//! Knows nothing of queues or descriptors. Modelled in `loom-tests/tests/park.rs`.

use crate::shim::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering, fence};

const ABSENT: u8 = 0;
const RUNNING: u8 = 1;
const PARKED: u8 = 2;
const NOTIFIED: u8 = 3;
const BLOCKING: u8 = 4;

pub(crate) struct Idle {
    /// First those of the loops, then those of the spare workers.
    states: Box<[AtomicU8]>,
    loops: usize,
    /// How many loops are PARKED. A hint: it lags behind the states.
    parked: AtomicUsize,
    searching: AtomicBool,
}

impl Idle {
    pub(crate) fn new(loops: usize, spares: usize) -> Self {
        Idle {
            states: (0..loops + spares).map(|_| AtomicU8::new(ABSENT)).collect(),
            loops,
            parked: AtomicUsize::new(0),
            searching: AtomicBool::new(false),
        }
    }

    /// A thread begins to drive loop `index`.
    pub(crate) fn enter(&self, index: usize) {
        // Relaxed: only says that looking for work has begun; the work itself is published by queues.
        self.states[index].store(RUNNING, Ordering::Relaxed);
    }

    /// The thread leaves loop `index`, which nobody drives now.
    pub(crate) fn leave(&self, index: usize) {
        // Relaxed: a wake-up that came meanwhile is not lost, because the work lies in a queue that
        // is looked at when somebody drives the loop again.
        self.states[index].store(ABSENT, Ordering::Relaxed);
    }

    /// Publishes that loop `index` is about to sleep. The caller looks for work once more after this.
    pub(crate) fn announce_park(&self, index: usize) {
        self.states[index].store(PARKED, Ordering::Relaxed);
        if index < self.loops {
            self.parked.fetch_add(1, Ordering::Relaxed);
        }
        // F2.
        fence(Ordering::SeqCst);
    }

    /// Loop `index` is awake. True when somebody woke it.
    pub(crate) fn unpark(&self, index: usize) -> bool {
        // Acquire: pairs with the Release in `notify`, so that what was pushed before is seen.
        let notified = self.states[index].swap(RUNNING, Ordering::AcqRel) == NOTIFIED;
        if notified {
            // F4.
            fence(Ordering::SeqCst);
        }
        if !notified && index < self.loops {
            self.parked.fetch_sub(1, Ordering::Relaxed);
        }
        notified
    }

    /// Loop `index` runs something that is known to block: others need not wait to find out.
    pub(crate) fn begin_blocking(&self, index: usize) {
        // Relaxed: what others take lies in queues that publish it.
        self.states[index].store(BLOCKING, Ordering::Relaxed);
    }

    pub(crate) fn end_blocking(&self, index: usize) {
        // Relaxed: as in `enter`.
        self.states[index].store(RUNNING, Ordering::Relaxed);
    }

    /// After work for loop `index` was published: true when the caller has to write its wake-up.
    #[must_use]
    pub(crate) fn notify(&self, index: usize) -> bool {
        // F1.
        fence(Ordering::SeqCst);
        self.claim(index)
    }

    /// After work for anybody was published: the loop whose wake-up the caller has to write. `leave_it_to`
    /// says whether a loop that is awake in a moment will do.
    #[must_use]
    pub(crate) fn notify_any(&self, leave_it_to: impl Fn(usize) -> bool) -> Option<usize> {
        // F1.
        fence(Ordering::SeqCst);
        if self.searching.load(Ordering::Relaxed) {
            return None;
        }
        let is_coming = |&index: &usize| self.states[index].load(Ordering::Relaxed) == NOTIFIED;
        if (0..self.loops).find(is_coming).is_some_and(leave_it_to) {
            return None;
        }
        self.claim_any()
    }

    /// A sleeper to be woken for work that the caller could do itself, only later.
    #[must_use]
    pub(crate) fn claim_any(&self) -> Option<usize> {
        self.claim_any_of(|_| true)
    }

    /// As [`claim_any`](Self::claim_any), of those for whom `takes` is true.
    #[must_use]
    pub(crate) fn claim_any_of(&self, takes: impl Fn(usize) -> bool) -> Option<usize> {
        (0..self.loops).find(|&index| takes(index) && self.claim(index))
    }

    fn claim(&self, index: usize) -> bool {
        let state = &self.states[index];
        // Release: pairs with the Acquire in `unpark`.
        let won = state.load(Ordering::Relaxed) == PARKED
            && state
                .compare_exchange(PARKED, NOTIFIED, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
        if won && index < self.loops {
            self.parked.fetch_sub(1, Ordering::Relaxed);
        }
        won
    }

    /// Whether waking somebody is worth a thought: somebody sleeps and nobody searches. A hint.
    #[inline]
    pub(crate) fn could_use_help(&self) -> bool {
        self.parked.load(Ordering::Relaxed) > 0 && !self.searching.load(Ordering::Relaxed)
    }

    /// Whether some loop or spare is awake, blocked or not.
    pub(crate) fn anybody_awake(&self) -> bool {
        self.states().any(|state| matches!(state, RUNNING | NOTIFIED | BLOCKING))
    }

    /// Whether some loop or spare other than `index` runs what is known to block. A hint.
    pub(crate) fn others_block(&self, index: usize) -> bool {
        self.states().enumerate().any(|(other, state)| other != index && state == BLOCKING)
    }

    /// Whether some loop other than `index` is awake and has not said that it blocks.
    pub(crate) fn others_run(&self, index: usize) -> bool {
        (0..self.loops).any(|other| other != index && self.is_running(other))
    }

    /// Whether loop or spare `index` sleeps, or is driven by nobody. A hint.
    pub(crate) fn is_parked(&self, index: usize) -> bool {
        matches!(self.states[index].load(Ordering::Relaxed), PARKED | ABSENT)
    }

    /// Whether loop or spare `index` is awake and has not said that it blocks. A hint.
    pub(crate) fn is_running(&self, index: usize) -> bool {
        matches!(self.states[index].load(Ordering::Relaxed), RUNNING | NOTIFIED)
    }

    /// Whether loop or spare `index` sleeps. A hint.
    pub(crate) fn is_asleep(&self, index: usize) -> bool {
        self.states[index].load(Ordering::Relaxed) == PARKED
    }

    /// Whether nobody drives loop `index`. A hint.
    pub(crate) fn is_absent(&self, index: usize) -> bool {
        self.states[index].load(Ordering::Relaxed) == ABSENT
    }

    /// Whether loop or spare `index` runs what is known to block. A hint.
    pub(crate) fn is_blocking(&self, index: usize) -> bool {
        self.states[index].load(Ordering::Relaxed) == BLOCKING
    }

    fn states(&self) -> impl Iterator<Item = u8> {
        self.states.iter().map(|state| state.load(Ordering::Relaxed))
    }

    /// Takes the role of the searcher, if nobody has it.
    #[must_use]
    pub(crate) fn begin_search(&self) -> bool {
        // Relaxed: the role protects nothing; a push that sees it relies on the fences above.
        !self.searching.load(Ordering::Relaxed)
            && self
                .searching
                .compare_exchange(false, true, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Gives the role up. The caller looks for work again after this: if it has found some, to wake
    /// one more loop ([`notify_any`](Self::notify_any)) if there is more; else as part of parking.
    pub(crate) fn end_search(&self) {
        self.searching.store(false, Ordering::Relaxed);
        // F3, pairs with F1: either the pusher sees that nobody searches, or we see the work.
        fence(Ordering::SeqCst);
    }
}
