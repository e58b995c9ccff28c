//! The turns of a spare worker.
//!
//! When every loop is blocked, a spare worker stands in: it has a deque and a slot of its own, looks after
//! the reactors and timers of all loops, and runs what that wakes and what they have queued. What its
//! tasks register goes to a loop (`Core::place`), so there is nothing that has to stay: as soon as one
//! loop comes round, it puts its tasks where everybody looks, and sleeps until it is called again.
//!
//! # Protocol
//! - It *helps* from a call until one loop has made progress since, or sleeps. It looks after every poll.
//! - The call is a flag and a notification as in `idle.rs`. Who calls sets the flag, then notifies (F1); the
//!   spare looks at the flag in every turn, and once more when it has said that it sleeps (F2).
//! - The flag stays set until it has helped. So who would call sees whether it will or does.
//! - What must not move (a local task, a callback, which its tasks may make on this thread as on any)
//!   stays with it: it runs these between its calls, too, and does not end before them. That is why it may
//!   be awake and not help.
//! - When it has something to run after it slept, it rings for the watch thread as a loop does (`bell.rs`).

use std::time::{Duration, Instant};

use super::core::{Core, Entry, MAINTENANCE};
use crate::fork::Forked;
use crate::scheduler::Phase;
use crate::shim::atomic::{AtomicBool, Ordering};

/// How long it sleeps, in milliseconds, while every loop is blocked and there is nothing to run.
const NAPS: [u64; 4] = [1, 2, 4, 8];

/// A spare worker at work.
pub(crate) struct Spare<'a> {
    core: &'a Core,
    /// Set by who calls it, unset by itself when it helps no more.
    called: &'a AtomicBool,
    /// How long it waits to be called again.
    keep_alive: Duration,
    /// What the loops had done when it was called; `None` while it does not help.
    helping: Option<Vec<u64>>,
    last_helped: Instant,
    naps: usize,
}

/// Why a spare worker ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// The runtime does.
    Over,
    /// It was not needed for long.
    Retired,
}

impl<'a> Spare<'a> {
    pub(crate) fn new(core: &'a Core, called: &'a AtomicBool, keep_alive: Duration) -> Self {
        let last_helped = Instant::now();
        Spare { core, called, keep_alive, helping: None, last_helped, naps: 0 }
    }

    /// Works until there is no use for it. The caller drives its loop.
    pub(crate) fn work(mut self) -> Rest {
        while self.core.shared().phase() != Phase::Stopped {
            // Acquire: pairs with the Release in `Spares::call`.
            if self.helping.is_none() && self.called.load(Ordering::Acquire) {
                self.begin_to_help();
            }
            self.turn();
            if self.helping.is_none()
                && self.core.nothing_ready()
                && self.rest() == Some(Rest::Retired)
            {
                return Rest::Retired;
            }
        }
        Rest::Over
    }

    fn begin_to_help(&mut self) {
        let shared = self.core.shared();
        let loops = &shared.loops[..shared.loop_count];
        self.helping = Some(loops.iter().map(|peer| peer.counters.progress()).collect());
        self.naps = 0;
        // One that somebody drives: it will look after what is left there. In no case this one, which does
        // not last.
        let driven = (0..loops.len()).find(|&index| !shared.idle.is_absent(index));
        self.core.place.set(driven.unwrap_or(0));
    }

    /// Whether all loops are as they were when the call came, as far as somebody drives them. With none
    /// that is driven, nobody is waited for.
    fn is_needed(&self) -> bool {
        let shared = self.core.shared();
        let Some(before) = &self.helping else { return false };
        let mut driven = false;
        let unchanged = before.iter().enumerate().all(|(index, &before)| {
            if shared.idle.is_absent(index) {
                return true;
            }
            driven = true;
            shared.idle.is_blocking(index)
                || (!shared.idle.is_parked(index)
                    && shared.loops[index].counters.progress() == before)
        });
        unchanged && driven
    }

    fn turn(&mut self) {
        let core = self.core;
        core.between();
        if !core.half().mailbox.is_empty() {
            core.read_mailbox();
        }
        if self.is_needed() {
            self.help();
        }
        core.expire_timers();
        core.have_work();
        let own = core.ready.borrow().len();
        for _ in 0..own {
            let Some(entry) = core.ready.borrow_mut().pop_front() else { break };
            self.run(entry);
        }
        for _ in 0..MAINTENANCE {
            if !self.is_needed() {
                break;
            }
            let Some(task) = core.next_stealable() else { break };
            self.run(Entry::Task(task));
        }
        if !self.is_needed() {
            self.stand_down();
        } else if core.nothing_ready() {
            self.nap();
        } else {
            self.naps = 0;
        }
    }

    fn run(&self, entry: Entry) {
        self.core.run(entry);
        // Forked by a task, whose poll then returned: nothing can go on here.
        assert!(!self.core.shared().is_forked(), "{Forked}");
    }

    /// Looks after the loops, and takes what there is to run.
    fn help(&self) {
        let (core, now) = (self.core, Instant::now());
        core.shared().take_injected(&core.deque);
        for index in 0..core.shared().loop_count {
            core.serve(index, now);
        }
        if core.nothing_ready() {
            core.take_from_others();
        }
    }

    /// Somebody else is there for what it has not run yet.
    fn stand_down(&mut self) {
        if self.helping.take().is_some() {
            // Relaxed: nothing is published by it, and who would call looks again.
            self.called.store(false, Ordering::Relaxed);
            self.last_helped = Instant::now();
        }
        let shared = self.core.shared();
        if self.core.give_away() {
            shared.call_anybody();
        }
    }

    /// Nothing to run, but it is the only one who would.
    fn nap(&mut self) {
        let shared = self.core.shared();
        let now = Instant::now();
        let timers = shared.loops[..shared.loop_count].iter();
        let timers =
            timers.filter_map(|peer| peer.timers.with(|wheel| wheel.next_deadline_for_peer()));
        let next = timers.chain(self.core.half().timers.with(|wheel| wheel.next_deadline())).min();
        let limit = Duration::from_millis(NAPS[self.naps]);
        self.naps = (self.naps + 1).min(NAPS.len() - 1);
        let until_timer = next.map(|next| next.saturating_duration_since(now));
        self.core.wait_for_events(Some(until_timer.map_or(limit, |until| limit.min(until))));
    }

    /// Sleeps until it is called, or something that stays with it is due.
    fn rest(&mut self) -> Option<Rest> {
        let (core, idle) = (self.core, &self.core.shared().idle);
        core.rested.set(true);
        idle.announce_park(core.index());
        // Acquire: as in `work`.
        let called = self.called.load(Ordering::Acquire);
        if called || !core.half().mailbox.is_empty() || core.shared().phase() == Phase::Stopped {
            idle.unpark(core.index());
            return None;
        }
        core.half().counters.parked();
        let begun = Instant::now();
        let left = self.keep_alive.saturating_sub(begun - self.last_helped);
        let notified = core.wait_for_events_parked(Some(left), begun, || ());
        if notified || !core.nothing_ready() || self.last_helped.elapsed() < self.keep_alive {
            return None;
        }
        if core.holds_what_stays() {
            self.last_helped = Instant::now();
            return None;
        }
        Some(Rest::Retired)
    }
}
