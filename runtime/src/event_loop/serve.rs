//! What a loop does for peers that do not come round.
//!
//! A loop may be stuck in a long poll, or its thread may wait for a processor. Its queued tasks can be
//! stolen; here a peer that is awake also asks its reactor and expires its timers, and what that wakes
//! runs on the peer. Nothing is taken away from the owner: it may come back at any moment, and whatever
//! a peer does is right even if it was there all the time. Sources live in slots that stay
//! (`reactor/slots.rs`), an event goes to one waiter, and the wheel has its lock. Callbacks and local
//! tasks wait for their loop.
//!
//! Who looks: every loop that is awake, when it maintains itself, and the *sentinels*: one or two that
//! sleep with a time limit because others run, or did until a moment ago. When all sleep without a limit,
//! the first one that has something to do again wakes another one to be a sentinel, not too often.

use std::time::{Duration, Instant};

use loopool_executors::caught::drop_caught;

use super::core::Core;
use crate::reactor;
use crate::scheduler::Shared;
use crate::time::Action;

/// A loop that has done nothing for so long is served. Shorter, and a loop whose thread was merely
/// descheduled for a slice would be served for nothing; longer shows in the tail of latencies.
const PATIENCE: Duration = Duration::from_millis(2);

/// How long there is a sentinel after something was done, and how often one is woken at most.
const LATELY: Duration = Duration::from_millis(100);

/// What a loop remembers of its peers.
#[derive(Default)]
pub(super) struct Watch {
    peers: Vec<Seen>,
    looked: Option<Instant>,
    /// What all had done when it was last found that something was done, and when that was.
    activity: Option<(u64, Instant)>,
    /// When a sentinel was last woken.
    called: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Seen {
    progress: u64,
    since: Instant,
}

impl Watch {
    /// Whether somebody has done something lately. Polls count, turns do not: the sentinel's own would.
    pub(super) fn lately(&mut self, shared: &Shared, now: Instant) -> bool {
        let polls = shared.loops.iter().map(|peer| peer.counters.polls());
        let polls = polls.fold(0, u64::wrapping_add);
        match self.activity {
            Some((before, when)) if before == polls => now - when < LATELY,
            _ => {
                self.activity = Some((polls, now));
                true
            }
        }
    }

    fn may_call(&mut self, now: Instant) -> bool {
        let may = self.called.is_none_or(|called| now - called >= LATELY);
        if may {
            self.called = Some(now);
        }
        may
    }

    /// The loops that have made no progress for some time. Looks at most every other
    /// [`PATIENCE`] / 2.
    fn stuck(&mut self, shared: &Shared, me: usize, now: Instant) -> Vec<usize> {
        if self.looked.is_some_and(|looked| now - looked < PATIENCE / 2) {
            return Vec::new();
        }
        self.looked = Some(now);
        let progress = shared.loops.iter().map(|peer| peer.counters.progress());
        if self.peers.is_empty() {
            self.peers = progress.map(|progress| Seen { progress, since: now }).collect();
            return Vec::new();
        }
        let mut stuck = Vec::new();
        for (index, (progress, seen)) in progress.zip(&mut self.peers).enumerate() {
            if progress != seen.progress {
                *seen = Seen { progress, since: now };
            } else if index != me && now - seen.since >= PATIENCE && !shared.idle.is_parked(index) {
                stuck.push(index);
            }
        }
        stuck
    }
}

impl Core {
    /// Looks after peers that do not come round. True when there is one.
    pub(super) fn look_after_peers(&self) -> bool {
        if self.shared().stands_alone() {
            return false;
        }
        let now = Instant::now();
        let stuck = self.watch.borrow_mut().stuck(self.shared(), self.index(), now);
        for &index in &stuck {
            self.serve(index, now);
        }
        !stuck.is_empty()
    }

    /// For a loop that has something to do after all slept: what it does may take long.
    pub(super) fn call_sentinel(&self) {
        let shared = self.shared();
        if shared.lacks_sentinel()
            && shared.idle.could_use_help()
            && self.watch.borrow_mut().may_call(Instant::now())
            && let Some(index) = shared.idle.claim_any()
        {
            shared.write_wake(index);
        }
    }

    fn serve(&self, index: usize, now: Instant) {
        let peer = &self.shared().loops[index];
        self.half().counters.served();
        let mut wakers = Vec::new();
        let waited = {
            let mut scratch = self.scratch.borrow_mut();
            peer.reactor.poll_for_peer(&mut scratch.events, &mut wakers)
        };
        if let Err(error) = waited {
            tracing::error!(%error, "asking a peer's reactor failed");
        }
        reactor::wake_all(&mut wakers);
        let mut due = Vec::new();
        peer.timers.lock().expire_for_peer(now, &mut due);
        for action in due {
            if let Action::Wake(waker) = action {
                crate::context::wake_caught(&waker);
                drop_caught("a waker", waker);
            }
        }
    }
}
