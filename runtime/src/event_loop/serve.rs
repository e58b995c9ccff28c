//! What is done for loops that do not come round.
//!
//! A loop may be stuck in a long poll or in [`block_in_place`](crate::block_in_place), or its thread may
//! wait for a processor. Its queued tasks can be stolen; here somebody who is awake also asks its reactor
//! and expires its timers, and what that wakes runs elsewhere. Nothing is taken away from the owner: it
//! may come back at any moment, and whatever is done here is right even if it was there all the time.
//! Sources live in slots that stay (`reactor/slots.rs`), an event goes to one waiter, and the wheel has
//! its lock. Callbacks and local tasks wait for their loop.
//!
//! Who looks: every loop that is awake, when it maintains itself, and the *sentinels*: one or two that
//! sleep with a time limit because others run, or did until a moment ago. When all sleep without a limit,
//! the first one that has something to do again wakes another one to be a sentinel, not too often. When
//! nobody sleeps, and all may be stuck, the watch thread looks, and calls spare workers
//! (`runtime/watch.rs`, `spare.rs`).

use std::io;
use std::task::Waker;
use std::time::{Duration, Instant};

use loopool_executors::caught::tell;

use super::core::Core;
use crate::reactor::{self, Events};
use crate::scheduler::{Sampler, Shared};
use crate::time::Action;

/// How long there is a sentinel after something was done, and how often one is woken at most.
const LATELY: Duration = Duration::from_millis(100);

/// What a loop remembers of its peers.
#[derive(Default)]
pub(super) struct Watch {
    pub(super) sampler: Sampler,
    /// What all had run when it was last found that something was, and when that was.
    activity: Option<(u64, Instant)>,
    /// When a sentinel was last woken.
    called: Option<Instant>,
}

impl Watch {
    /// Whether somebody has done something lately. Runs count, turns do not: the sentinel's own would.
    pub(super) fn lately(&mut self, shared: &Shared, now: Instant) -> bool {
        let runs = shared.loops.iter().map(|peer| peer.counters.runs());
        let runs = runs.fold(0, u64::wrapping_add);
        match self.activity {
            Some((before, when)) if before == runs => now - when < LATELY,
            _ => {
                self.activity = Some((runs, now));
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
}

impl Core {
    /// Looks after peers that do not come round. True when there is one.
    pub(super) fn look_after_peers(&self) -> bool {
        if self.shared().stands_alone() {
            return false;
        }
        let now = Instant::now();
        let blocked = self.watch.borrow_mut().sampler.blocked(self.shared(), self.index(), now);
        for &index in &blocked {
            self.serve(index, now);
        }
        !blocked.is_empty()
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

    /// Does what loop `index` would do, as far as another may, and takes what is queued there.
    pub(super) fn serve(&self, index: usize, now: Instant) {
        self.half().counters.served();
        let ready = self.shared().collect(index, now, &mut self.scratch.borrow_mut().events);
        ready.wake();
        if let Some(task) = self.shared().steal_from(index, true, &self.deque) {
            self.half().counters.stolen();
            self.deque.push(task);
        }
    }
}

impl Shared {
    /// Does for loop `index` what any thread may do, but takes no tasks. For the watch thread.
    pub(crate) fn serve(&self, index: usize, now: Instant, events: &mut Events) {
        self.collect(index, now, events).wake();
    }

    /// What is ready and due at loop `index`; nothing if somebody else is about it.
    fn collect(&self, index: usize, now: Instant, events: &mut Events) -> Ready {
        let mut ready = Ready { waited: Ok(()), wakers: Vec::new(), due: Vec::new() };
        let peer = &self.loops[index];
        if let Some(_steward) = peer.stewardship.take() {
            ready.waited = peer.reactor.poll_for_peer(events, &mut ready.wakers);
            peer.timers.lock().expire_for_peer(now, &mut ready.due);
        }
        ready
    }
}

/// What was found with the role of a steward, to be woken without it.
struct Ready {
    waited: io::Result<()>,
    wakers: Vec<Waker>,
    due: Vec<Action>,
}

impl Ready {
    fn wake(mut self) {
        if let Err(error) = self.waited {
            tell(|| tracing::error!(%error, "asking a peer's reactor failed"));
        }
        reactor::wake_all(&mut self.wakers);
        for action in self.due {
            if let Action::Wake(waker) = action {
                crate::context::wake_caught(waker);
            }
        }
    }
}
