//! The ring: how jobs wait in a worker, and answers in the program, without a system call.
//!
//! Program and worker share a page of words ([`Ring`]) and a row of [`SLOTS`] slots. A slot takes one job
//! and then the answer to it; slots are used one after the other, round and round.
//!
//! # Protocol
//! ```text
//! program:  fill slot ─▶ offer ─▶ sent += 1 ─▶ wake, if the worker sleeps
//! worker:      claim ─▶ run ─▶ answer into the slot ─▶ answered += 1 ─▶ ring, if nobody takes it
//! program:              read the answer ─▶ taken += 1
//! ```
//! 1. `sent` and `taken` are the program's, `answered` is the worker's; they only grow, wrapping, and
//!    `taken ≤ answered ≤ sent ≤ taken + SLOTS`. What was written to a slot before its counter moved is
//!    there for whoever has seen the counter move.
//! 2. Between `offer` and `claim` the job is still the program's: it may *revoke* it. Of claim and revoke
//!    one succeeds. A revoked slot is passed over by the worker and counted as answered. So a job is run
//!    by the worker only once the worker has claimed it, and until then it can be cancelled, or given to another.
//! 3. Either side says that it is about to sleep, and then looks again; the other side moves its counter,
//!    and then asks whether somebody sleeps. Both have a fence in between, so one of them sees the other.
//!    Whoever takes the mark away wakes, once.
//! 4. The program arms the bell (says that it may sleep) for as long as a job is in the ring and nobody has
//!    promised to look. The worker rings before it begins another job while an answer lies there untaken;
//!    with nothing else to do it waits a moment, because who asked may be looking.
//! 5. The program believes none of these words: `answered` is compared with what was sent, and the state of
//!    a slot decides only who is to blame when a worker dies. A worker that lies may have a job run again, a few times.
//!
//! Modelled in `loom-tests/tests/ring.rs`.

use crate::shim::atomic::{AtomicU32, Ordering, fence};

/// How many slots there are; a power of two, so that counters may wrap.
pub(crate) const SLOTS: u32 = if cfg!(loopool_loom) { 2 } else { 64 };

const OFFERED: u32 = 1;
const CLAIMED: u32 = 2;
const REVOKED: u32 = 3;

/// A word in a cache line of its own.
#[repr(C, align(64))]
struct Line<T>(T);

/// The words that both sides share. All zero is an empty ring.
#[repr(C)]
pub(crate) struct Ring {
    sent: Line<AtomicU32>,
    taken: Line<AtomicU32>,
    answered: Line<AtomicU32>,
    /// 1 while the worker sleeps, or is about to: it waits on this word.
    worker_sleeps: Line<AtomicU32>,
    /// 1 while the bell is armed.
    bell: Line<AtomicU32>,
    states: [Line<AtomicU32>; SLOTS as usize],
    /// How much of the worker's output the program has read, in bytes, twice; one more while it reads.
    output_read: Line<AtomicU32>,
    /// How much output the worker had written when it began with the job that it has.
    output_before: Line<AtomicU32>,
}

impl Ring {
    /// An empty one in memory of its own, for models.
    #[cfg(loopool_loom)]
    pub(crate) fn new() -> Self {
        let line = || Line(AtomicU32::new(0));
        Ring {
            sent: line(),
            taken: line(),
            answered: line(),
            worker_sleeps: line(),
            bell: line(),
            output_read: line(),
            output_before: line(),
            states: std::array::from_fn(|_| line()),
        }
    }

    fn state(&self, number: u32) -> &AtomicU32 {
        &self.states[(number % SLOTS) as usize].0
    }

    // For the program:

    /// The slot with this number has been filled.
    pub(crate) fn offer(&self, number: u32) {
        // Relaxed: published by the store of `sent`. The slot was taken, so the worker is past it.
        self.state(number).store(OFFERED, Ordering::Relaxed);
    }

    /// So many slots have been filled in all. Says whether the worker has to be woken.
    #[must_use]
    pub(crate) fn send(&self, sent: u32) -> bool {
        // Release: with the load in `sent`.
        self.sent.0.store(sent, Ordering::Release);
        // Rule 3, with the fence in `worker_may_sleep`.
        fence(Ordering::SeqCst);
        // Relaxed: the fence orders this. Release: with the swap in `worker_may_sleep`, whose mark comes after this one.
        self.worker_sleeps.0.load(Ordering::Relaxed) != 0
            && self.worker_sleeps.0.swap(0, Ordering::Release) != 0
    }

    /// Takes a job back, unless the worker has claimed it.
    #[must_use]
    pub(crate) fn revoke(&self, number: u32) -> bool {
        // Relaxed: nothing is read of the slot by either side for this. Acquire for the one that fails, with the
        // Release in `claim`: who claims a job has answered those before it, and whoever finds it claimed sees that.
        let revoked = self.state(number).compare_exchange(
            OFFERED,
            REVOKED,
            Ordering::Relaxed,
            Ordering::Acquire,
        );
        revoked.is_ok()
    }

    /// Whether the worker has begun with a job, as far as it says.
    pub(crate) fn was_claimed(&self, number: u32) -> bool {
        // Relaxed: asked of the dead, of whom everything is there, or as a guess.
        self.state(number).load(Ordering::Relaxed) == CLAIMED
    }

    /// How many slots have been answered in all, as far as the worker says.
    pub(crate) fn answered(&self) -> u32 {
        // Acquire: with the store in `answer`.
        self.answered.0.load(Ordering::Acquire)
    }

    /// So many answers have been read in all.
    pub(crate) fn take(&self, taken: u32) {
        // Release: with the load in `taken`, so that the worker does not write what is still being read.
        self.taken.0.store(taken, Ordering::Release);
    }

    /// Wants to be rung for answers from now on. Look at [`answered`](Self::answered) after this, and before
    /// sleeping.
    pub(crate) fn arm(&self) {
        // Acquire: with the swap in `must_ring`, after which this mark comes.
        self.bell.0.swap(1, Ordering::Acquire);
        // Rule 3, with the fence in `must_ring`.
        fence(Ordering::SeqCst);
    }

    /// Output is about to be read, or (`false`) was read: so much in all.
    pub(crate) fn note_output(&self, begins: bool, total: u32) {
        // Release: with the load in `output_read`, so that who sees what was read finds the pipe without it.
        self.output_read.0.store(total.wrapping_mul(2) | u32::from(begins), Ordering::Release);
    }

    /// How much the worker had written when it began with the job that it has, as it says.
    pub(crate) fn output_before(&self) -> u32 {
        // Relaxed: asked of the dead.
        self.output_before.0.load(Ordering::Relaxed)
    }

    // For the worker:

    /// How much of its output was read, if nobody reads it just now.
    pub(crate) fn output_read(&self) -> Option<u32> {
        // Acquire: with the store in `note_output`.
        let word = self.output_read.0.load(Ordering::Acquire);
        word.is_multiple_of(2).then_some(word / 2)
    }

    /// So much was written before the job that it begins with.
    pub(crate) fn begin_output_at(&self, position: u32) {
        // Relaxed: read when the worker is dead.
        self.output_before.0.store(position, Ordering::Relaxed);
    }

    /// How many slots have been filled in all.
    pub(crate) fn sent(&self) -> u32 {
        // Acquire: with the store in `send`.
        self.sent.0.load(Ordering::Acquire)
    }

    /// Whether the job in this slot is the worker's now. If not, it was taken back.
    #[must_use]
    pub(crate) fn claim(&self, number: u32) -> bool {
        // Release: with the Acquire in `revoke`. Relaxed when it fails: what the slot holds came with `sent`.
        let claimed = self.state(number).compare_exchange(
            OFFERED,
            CLAIMED,
            Ordering::Release,
            Ordering::Relaxed,
        );
        claimed.is_ok()
    }

    /// So many slots have been answered, or passed over, in all.
    pub(crate) fn answer(&self, answered: u32) {
        // Release: with the load in `answered`.
        self.answered.0.store(answered, Ordering::Release);
    }

    /// How many answers have been read in all.
    pub(crate) fn taken(&self) -> u32 {
        // Acquire: with the store in `take`.
        self.taken.0.load(Ordering::Acquire)
    }

    /// Whether the bell is to be rung for what was answered. To be followed by ringing it.
    #[must_use]
    pub(crate) fn must_ring(&self) -> bool {
        // Rule 3, with the fence in `arm`.
        fence(Ordering::SeqCst);
        // Relaxed: the fence orders this. Release: with the swap in `arm`, whose mark comes after this one.
        self.bell.0.load(Ordering::Relaxed) != 0 && self.bell.0.swap(0, Ordering::Release) != 0
    }

    /// The worker has nothing to do. The word to wait on while it is 1, unless something has been sent meanwhile.
    pub(crate) fn worker_may_sleep(&self, answered: u32) -> Option<&AtomicU32> {
        // Acquire: with the swap in `send`, after which this mark comes.
        self.worker_sleeps.0.swap(1, Ordering::Acquire);
        // Rule 3, with the fence in `send`.
        fence(Ordering::SeqCst);
        if self.sent() == answered {
            return Some(&self.worker_sleeps.0);
        }
        self.worker_sleeps.0.store(0, Ordering::Relaxed);
        None
    }

    /// The word to be woken on.
    pub(crate) fn worker_bed(&self) -> &AtomicU32 {
        &self.worker_sleeps.0
    }
}
