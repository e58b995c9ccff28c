//! What is done for loops that do not come round.
//!
//! A loop may be stuck in a long poll or in [`block_in_place`](crate::block_in_place), or its thread may
//! wait for a processor. Its queued tasks can be stolen; here somebody who is awake also asks its reactor
//! and expires its timers, and what that wakes runs elsewhere. Nothing is taken away from the owner: it
//! may come back at any moment, and whatever is done here is right even if it was there all the time.
//! Sources live in slots that stay (`reactor/slots.rs`), an event goes to one waiter, and the wheel has
//! its lock. Callbacks and local tasks wait for their loop.
//!
//! The watch thread finds out who does not come round (`runtime/watch.rs`), and marks it. Whoever is awake
//! looks after those that are marked when it maintains itself. A loop that goes to sleep while there are any
//! does so with a time limit, as the *sentinel*; if all slept before, one is woken. It is the sentinel only
//! while it sleeps: what it then runs, wakers first, may block it, and another one is woken. When nobody is
//! left for that, the watch thread does it, and calls spare workers (`spare.rs`).

use std::io;
use std::task::Waker;
use std::time::Instant;

use loopool_executors::caught::tell;

use super::core::Core;
use crate::reactor::{self, Events};
use crate::scheduler::Shared;
use crate::time::{Action, Due};

impl Core {
    /// Looks after peers that do not come round.
    pub(super) fn look_after_peers(&self) {
        let shared = self.shared();
        if !shared.others_may_be_blocked(self.index()) {
            return;
        }
        let now = Instant::now();
        for index in 0..shared.loops.len() {
            if index != self.index() && shared.is_blocked(index) {
                self.serve(index, now);
            }
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
            peer.timers.expire_for_peer(now, &mut ready.due);
        }
        ready
    }
}

/// What was found with the role of a steward, to be woken without it.
struct Ready {
    waited: io::Result<()>,
    wakers: Vec<Waker>,
    due: Vec<Due>,
}

impl Ready {
    fn wake(mut self) {
        if let Err(error) = self.waited {
            tell(|| tracing::error!(%error, "asking a peer's reactor failed"));
        }
        reactor::wake_all(&mut self.wakers);
        for timer in self.due {
            if let Action::Wake(waker) = timer.action {
                crate::context::wake_caught(waker);
            }
        }
    }
}
