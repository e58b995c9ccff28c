//! The watch thread: finds loops that do not come round, and has others do their work.
//!
//! It looks every few milliseconds. Who is stuck is reported and marked; a loop that sleeps is woken to look
//! after those (`event_loop/serve.rs`). When every loop is blocked it looks after their reactors and timers
//! itself; if that, or what they have queued, gives something to run, it calls a spare worker for it, and
//! another one if that gets stuck, too. A spare worker that is awake need not be one that helps: it may have
//! something of its own to run, and is called as well. The watch thread runs no tasks itself, so it is never
//! stuck in one.
//!
//! When all have been asleep at some looks in a row it sleeps without limit, until a loop that has something
//! to do rings for it (`scheduler/bell.rs`). So it costs nothing when nothing is done, and loops sleep
//! without a time limit: to set and stop a clock for every short sleep costs more than a small request.
//!
//! The main loop between two runs is looked after as well: as long as nobody drives it, the watch thread
//! sleeps in *its* reactor.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use loopool_executors::caught::tell;

use super::spares::Spares;
use crate::reactor::{self, Events};
use crate::scheduler::{Phase, Sampler, Shared};

/// How often it looks; less often if there is nobody to call, so that it can but report.
const LOOK: Duration = Duration::from_millis(3);
const LOOK_ONLY: Duration = Duration::from_millis(25);

/// With every loop asleep at so many looks, each twice as late as the one before, it sleeps, too.
const QUIET: u32 = 3;

pub(super) struct Watch {
    spares: Arc<Spares>,
    sampler: Sampler,
    events: Events,
    interval: Duration,
    /// At how many looks in a row nobody was awake.
    quiet: u32,
}

impl Watch {
    pub(super) fn new(spares: Arc<Spares>) -> Self {
        let interval = if spares.shared.stands_alone() { LOOK_ONLY } else { LOOK };
        Watch { spares, sampler: Sampler::default(), events: Events::new(), interval, quiet: 0 }
    }

    /// The life of the watch thread.
    pub(super) fn work(mut self) {
        let shared = self.spares.shared.clone();
        while shared.phase() != Phase::Stopped {
            self.look(Instant::now());
            if shared.idle.anybody_awake() {
                self.quiet = 0;
            } else if self.quiet < QUIET {
                self.quiet += 1;
            } else if shared.bell.may_sleep(&shared.idle) {
                self.sleep(&shared, None);
                shared.bell.wake_up();
                self.quiet = 0;
                continue;
            }
            self.sleep(&shared, Some(self.interval * (1 << self.quiet)));
        }
    }

    /// Sleeps until it is rung for.
    fn sleep(&mut self, shared: &Shared, limit: Option<Duration>) {
        let main = &shared.loops[0];
        if shared.loop_count == 1 || !shared.idle.is_absent(0) {
            return park(limit);
        }
        let next = main.timers.with(|wheel| wheel.next_deadline_for_peer());
        let until_timer = next.map(|next| next.saturating_duration_since(Instant::now()));
        let limit = [limit, until_timer].into_iter().flatten().min();
        if main.reactor.is_open_to_peers() {
            self.sleep_abroad(shared, limit);
        } else {
            park(limit);
        }
        if shared.idle.is_absent(0) {
            shared.serve(0, Instant::now(), &mut self.events);
        }
    }

    /// In the reactor of the main loop, which nobody drives.
    fn sleep_abroad(&mut self, shared: &Shared, limit: Option<Duration>) {
        let mut wakers = Vec::new();
        let mut waited = Ok(());
        let for_long = limit.is_none_or(|limit| limit > self.interval * (1 << QUIET));
        if shared.bell.go_abroad(&shared.idle, for_long) {
            let there = || !shared.idle.is_absent(0);
            let reactor = &shared.loops[0].reactor;
            waited = reactor.wait_for_peer(&mut self.events, limit, &mut wakers, there);
        }
        // Before any foreign code runs: somebody may wait for it.
        shared.bell.come_back();
        reactor::wake_all(&mut wakers);
        if let Err(error) = waited {
            tell(|| tracing::error!(%error, "waiting for events failed"));
            park(Some(LOOK));
        }
    }

    fn look(&mut self, now: Instant) {
        let shared = &self.spares.shared;
        self.sampler.offer_backlogs(shared, now);
        let blocked = self.sampler.blocked(shared, now);
        if blocked.is_empty() {
            return;
        }
        let is_blocked = |index| blocked.iter().any(|blocked| blocked.index == index);
        let mut loops = 0..shared.loop_count;
        let all = loops.clone().any(is_blocked)
            && loops.all(|index| is_blocked(index) || shared.idle.is_absent(index));
        if !all {
            return shared.call_sentinel();
        }
        if self.spares.is_empty()
            || self.spares.anybody_helps(is_blocked)
            || !blocked.iter().all(|blocked| blocked.for_long)
        {
            return;
        }
        for blocked in blocked.iter().filter(|blocked| blocked.index < shared.loop_count) {
            shared.serve(blocked.index, now, &mut self.events);
        }
        if shared.has_work() {
            self.spares.call();
        }
    }
}

/// Until somebody rings, or `limit`.
fn park(limit: Option<Duration>) {
    match limit {
        Some(limit) => thread::park_timeout(limit),
        None => thread::park(),
    }
}
