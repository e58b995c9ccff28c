//! What a loop does when it has nothing to do: look elsewhere, search for a while, sleep.
//!
//! The protocol of sleeping and waking is in `scheduler/idle.rs`.

use std::time::{Duration, Instant};

use super::core::{Core, Scratch};

/// How long a loop sleeps at a time that looks after others.
const SENTINEL_LIMIT: Duration = Duration::from_millis(1);

/// So often in a row a loop takes from others before it asks its own reactor. What lies with others is
/// older than what that would bring; with much less, the slowest requests get slower.
const HELP: u32 = 256;

impl Core {
    /// Nothing is ready: look elsewhere, then sleep until something is.
    pub(super) fn find_work(&self, may_sleep: bool) {
        self.since_maintenance.set(0);
        self.between();
        if self.helped.get() >= HELP {
            // Our own sockets would wait for as long as there is something to take.
            self.wait_for_events(Some(Duration::ZERO));
            if !self.nothing_ready() {
                return;
            }
        }
        if self.take_from_others(false) {
            self.helped.set(self.helped.get() + 1);
            self.pass_on();
            return;
        }
        if !may_sleep {
            self.wait_for_events(Some(Duration::ZERO));
            return;
        }
        if !self.shared.stands_alone() && self.search() {
            return;
        }
        self.park();
    }

    /// For whoever has found work: a call for help that was meant for anybody may have reached us
    /// alone, so if more is left, somebody else is called.
    pub(super) fn pass_on(&self) {
        if !self.shared.idle.could_use_help() {
            return;
        }
        if !self.shared.has_work_besides(self.index) {
            self.share();
        } else if let Some(index) = self.shared.idle.notify_any() {
            self.shared.write_wake(index);
        }
    }

    /// Takes work from the injector or a peer into our deque.
    pub(super) fn take_from_others(&self, slots: bool) -> bool {
        if self.shared.stands_alone() {
            return false;
        }
        let task = self.shared.take_injected(&self.deque).or_else(|| {
            let first = self.next_random() as usize % self.shared.loops.len();
            let stolen = self.shared.steal(self.index, first, slots, &self.deque);
            if stolen.is_some() {
                self.half().counters.stolen();
            }
            stolen
        });
        match task {
            Some(task) => {
                self.deque.push(task);
                true
            }
            None => false,
        }
    }

    /// Looks around for a while, if that has paid lately. True when there is something to do.
    fn search(&self) -> bool {
        let rounds = self.search.borrow_mut().rounds();
        if rounds == 0 || !self.shared.idle.begin_search() {
            return false;
        }
        let mut found = false;
        for round in 0..rounds {
            if !self.half().mailbox.is_empty() {
                self.read_mailbox();
            }
            if self.take_from_others(round + 1 == rounds) || !self.nothing_ready() {
                self.search.borrow_mut().found();
                found = true;
                break;
            }
            if round % 4 == 3 {
                self.wait_for_events(Some(Duration::ZERO));
                if !self.nothing_ready() {
                    found = true;
                    break;
                }
            }
            if !self.search.borrow_mut().give_way(round % 4 == 0) {
                break;
            }
        }
        self.shared.idle.end_search();
        if found {
            // While we had the role nobody was woken for what was pushed: see to that now.
            self.pass_on();
        }
        found
    }

    fn park(&self) {
        let shared = &self.shared;
        self.rested.set(true);
        shared.idle.announce_park(self.index);
        let work = !self.half().mailbox.is_empty()
            || (!shared.stands_alone() && shared.has_stealable())
            || shared.is_over_for(self.index);
        if work {
            shared.idle.unpark(self.index);
            return;
        }
        let begun = Instant::now();
        let sentinel = shared.begin_sentinel(self.index);
        self.half().counters.parked();
        let notified = self.wait_for_events_parked(sentinel.then_some(SENTINEL_LIMIT), begun);
        if sentinel {
            shared.end_sentinel();
        }
        if notified && !self.nothing_ready() {
            self.pass_on();
        }
        self.look_after_peers();
    }

    /// True when somebody woke us.
    pub(super) fn wait_for_events_parked(&self, limit: Option<Duration>, begun: Instant) -> bool {
        let timer = self.half().timers.with(|wheel| wheel.next_deadline());
        let until_timer = timer.map(|deadline| deadline.saturating_duration_since(begun));
        let limit = [limit, until_timer].into_iter().flatten().min();
        let mut scratch = self.scratch.borrow_mut();
        let Scratch { events, wakers, .. } = &mut *scratch;
        let waited = self.half().reactor.wait(events, limit, wakers);
        let notified = self.shared.idle.unpark(self.index);
        self.search.borrow_mut().parked(begun.elapsed(), notified);
        drop(scratch);
        self.after_wait(waited);
        notified
    }
}
