//! What a loop does when it has nothing to do: look elsewhere, search for a while, sleep.
//!
//! The protocol of sleeping and waking is in `scheduler/idle.rs`.

use std::time::{Duration, Instant};

use super::core::{Core, Scratch};
use super::engines::Engines;
use crate::scheduler::{PLENTY, Phase};
use crate::task::Runnable;

/// How long a loop sleeps at a time that looks after others.
const SENTINEL_LIMIT: Duration = Duration::from_millis(1);

impl Core {
    /// Nothing is ready: look elsewhere, then sleep until something is.
    pub(super) fn find_work(&self, may_sleep: bool) {
        self.between();
        self.backlog.set(self.backlog.get().ended());
        if let Some(reluctant) = self.thrift.borrow_mut().ran_out(Instant::now) {
            self.half().set_reluctant(reluctant);
        }
        if self.maintenance_is_due() {
            // Our own sockets would wait for as long as there is something to take, and the injector for
            // as long as our own sockets bring something.
            self.maintain();
            if !self.nothing_ready() {
                return;
            }
        }
        if self.take_from_others() {
            self.pass_on();
            return;
        }
        if !may_sleep {
            self.wait_for_events(Some(Duration::ZERO));
            return;
        }
        if (!self.shared.stands_alone() && self.search()) || self.search_engines() {
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
        if self.shared.is_worth_waking_besides(self.index) {
            self.shared.call_anybody();
        } else {
            self.share();
        }
    }

    /// Takes work from the injector or a peer into our deque.
    pub(super) fn take_from_others(&self) -> bool {
        if self.shared.stands_alone() {
            return false;
        }
        if self.shared.take_injected(&self.deque) {
            return true;
        }
        let count = self.shared.loops.len();
        let first = self.next_random() as usize % count;
        let task = (0..count)
            .map(|offset| (first + offset) % count)
            .filter(|&victim| victim != self.index)
            .find_map(|victim| self.take_from(victim));
        match task {
            Some(task) => {
                self.deque.push(task);
                true
            }
            None => false,
        }
    }

    /// Takes what is queued at loop `victim`; if that does not come on, also what it wants to run next.
    fn take_from(&self, victim: usize) -> Option<Runnable> {
        let peer = &self.shared.loops[victim];
        let queued = peer.has_stealable();
        let mut halted = false;
        if !queued || !self.would_pay(victim) {
            if !queued && peer.slot.is_empty() {
                return None;
            }
            let (now, progress) = (Instant::now(), peer.counters.progress());
            let mut thrift = self.thrift.borrow_mut();
            halted = thrift.has_halted(victim, progress, now);
            let trial = queued && thrift.wants_a_trial(now);
            if !halted && !trial {
                return None;
            }
        }
        let stolen = self.shared.steal_from(victim, halted, &self.deque)?;
        self.half().counters.stolen();
        self.thrift.borrow_mut().took(Instant::now());
        Some(stolen)
    }

    /// Whether to take what is queued at loop `victim`.
    fn would_pay(&self, victim: usize) -> bool {
        !self.half().is_reluctant()
            || !self.shared.idle.is_running(victim)
            || self.shared.loops[victim].worth() >= PLENTY
    }

    /// Whether there is something to take that a look will take.
    fn has_offers(&self) -> bool {
        let shared = &self.shared;
        let offers = |victim: usize| shared.loops[victim].has_stealable() && self.would_pay(victim);
        !shared.stands_alone() && (shared.has_injected() || (0..shared.loops.len()).any(offers))
    }

    /// Looks around for a while, if that has paid lately. True when there is something to do.
    fn search(&self) -> bool {
        let mut patience = self.patience.take();
        let rounds = patience.rounds();
        let searching = rounds > 0 && self.shared.idle.begin_search();
        let mut looks = 0_u32;
        let found = searching
            && patience
                .look(rounds, |last| {
                    looks += 1;
                    self.look(last || looks.is_multiple_of(4)).then_some(())
                })
                .is_some();
        self.patience.replace(patience);
        if searching {
            self.shared.idle.end_search();
        }
        if found {
            // While we had the role nobody was woken for what was pushed: see to that now.
            self.pass_on();
        }
        found
    }

    /// Looks for a while at the executors that this loop serves, if that has paid lately.
    fn search_engines(&self) -> bool {
        if self.engines.borrow().is_empty() {
            return false;
        }
        let mut engines = self.engines.take();
        let rounds = engines.rounds();
        let served = if rounds > 0 { engines.served() } else { Vec::new() };
        let look = |_| {
            Engines::look(&served);
            (!self.nothing_ready() || !self.half().mailbox.is_empty()).then_some(())
        };
        let found = rounds > 0 && engines.patience.look(rounds, look).is_some();
        // Those that were added meanwhile, by wakers.
        let added = self.engines.replace(engines);
        self.engines.borrow_mut().extend(added);
        found
    }

    /// One look at what others may have for us; with `events`, also at what the system has.
    fn look(&self, events: bool) -> bool {
        if !self.half().mailbox.is_empty() {
            self.read_mailbox();
        }
        if self.take_from_others() || !self.nothing_ready() {
            return true;
        }
        if events {
            self.wait_for_events(Some(Duration::ZERO));
        }
        !self.nothing_ready()
    }

    fn park(&self) {
        self.rested.set(true);
        self.shared.idle.announce_park(self.index);
        let notified = if self.is_awaited() || self.has_offers() {
            self.shared.idle.unpark(self.index)
        } else {
            self.sleep()
        };
        self.look_after_peers();
        if !notified {
            return;
        }
        if !self.nothing_ready() || !self.half().mailbox.is_empty() {
            // With something of our own to do, we are not the one who comes.
            self.pass_on();
            return;
        }
        self.thrift.borrow_mut().called();
        let others_have = !self.shared.stands_alone() && self.shared.has_stealable();
        if !self.is_awaited() && !others_have {
            self.half().counters.woken_in_vain();
        }
    }

    /// True when somebody woke us.
    fn sleep(&self) -> bool {
        let shared = &self.shared;
        let begun = Instant::now();
        let sentinel = shared.begin_sentinel(self.index);
        self.half().counters.parked();
        let awake = || {
            if sentinel {
                shared.end_sentinel();
            }
        };
        self.wait_for_events_parked(sentinel.then_some(SENTINEL_LIMIT), begun, awake)
    }

    /// Whether there is something that only this loop can do, and has not begun with.
    fn is_awaited(&self) -> bool {
        let is_over = || match self.shared.phase() {
            Phase::Open => false,
            Phase::Closing => self.awaits_tasks.get() && self.shared.live() == 0,
            Phase::Stopped => true,
        };
        !self.half().mailbox.is_empty() || is_over()
    }

    /// True when somebody woke us. `awake` is called when we are, before any foreign code.
    pub(super) fn wait_for_events_parked(
        &self,
        limit: Option<Duration>,
        begun: Instant,
        awake: impl FnOnce(),
    ) -> bool {
        let timer = self.half().timers.with(|wheel| wheel.next_deadline());
        let until_timer = timer.map(|deadline| deadline.saturating_duration_since(begun));
        let limit = [limit, until_timer].into_iter().flatten().min();
        self.since_maintenance.set(0);
        let mut scratch = self.scratch.borrow_mut();
        let Scratch { events, wakers, .. } = &mut *scratch;
        let waited = self.half().reactor.wait(events, limit, wakers);
        let notified = self.shared.idle.unpark(self.index);
        awake();
        let how_long = begun.elapsed();
        self.patience.borrow_mut().slept(how_long, notified);
        self.engines.borrow_mut().slept(how_long);
        drop(scratch);
        self.after_wait(waited);
        notified
    }
}
