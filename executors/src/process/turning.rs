//! Who turns the [`Manager`]: the pool's thread, threads that submit, threads that wait.
//!
//! # Protocol
//! 1. The pool's thread turns it, delivers, looks for as long as that usually pays, and then sleeps in epoll. Before it
//!    sleeps it arms the bell of every worker that has a job and looks once more, under the lock (`ring`, rules 3 and 4).
//! 2. Who submits a job that could be started at once gives it to a worker himself if nobody else is turning, else calls
//!    the pool's thread, which is sure to look at the queue after that (`shared`, rule 1). So in the usual case a job
//!    takes no thread's turn before its worker's.
//! 3. Who waits for a job and looks for it takes in answers if nobody else is turning. When he stops looking he need not
//!    tell: the bells stay armed meanwhile, and a worker rings if its answer is not taken at once.
//! 4. Whoever turns it and leaves something behind for which the pool's thread would come too late calls it: outcomes
//!    with callbacks, workers to be started, an earlier deadline.
//! 5. The lock is held for bookkeeping only, and nobody but the pool's thread waits for it. Foreign code runs without it.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollTimeout};

use super::manager::{Finished, Manager};
use super::shared::Shared;
use crate::caught::run_caught;
use crate::in_hand;
use crate::own_pool;
use crate::patience::Patience;

impl Shared {
    /// The life of the pool's thread.
    pub(super) fn drive(&self) {
        own_pool::work_for(self);
        run_caught("the manager of a process pool, whose jobs fail now,", || {
            self.turn_until_over()
        });
        self.close_books();
        self.end();
        // A loop that serves may let go.
        self.ring();
    }

    /// Kills what is left and fails the jobs that ran.
    pub(super) fn close_books(&self) {
        let manager = self.turn().take();
        run_caught("the end of the manager of a process pool", || drop(manager));
    }

    fn turn_until_over(&self) {
        let mut events = [EpollEvent::empty(); 64];
        let mut patience = Patience::new();
        // Whether this thread has taken events off epoll since it was last parked.
        let mut has_heard = false;
        loop {
            // While a loop turns, only for what it leaves (`serving`).
            let is_parked = self.helm.park(has_heard);
            let finished = {
                let mut turn = self.turn();
                let Some(manager) = turn.as_mut() else { return };
                manager.turn(false);
                manager.hand_out(false)
            };
            let mut turn = self.deliver(finished);
            let Some(manager) = turn.as_mut() else { return };
            if manager.is_over() {
                return;
            }
            if is_parked {
                // Who turns now may sleep, and too long for what was given out here (rule 4).
                let is_needed = manager.needs_its_thread(Instant::now());
                drop(turn);
                if std::mem::take(&mut has_heard) || is_needed {
                    // What it has heard was perhaps meant for who turns now, and whose bells it has not armed.
                    self.ring();
                }
                continue;
            }
            drop(turn);
            let others_look = self.lookers.load(Relaxed) > 0;
            let rounds = if others_look { 0 } else { patience.rounds() };
            if patience.look(rounds, |_| self.is_needed().then_some(())).is_some() {
                continue;
            }
            let may_rest = self.turn().as_mut().map(|manager| manager.may_rest(false));
            let until = match may_rest {
                None => return,
                Some(None) => continue,
                Some(Some(until)) => until,
            };
            let since = Instant::now();
            let count = match self.sleep(&mut events, timeout(until)) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => {
                    tracing::error!(%error, "the manager of a process pool cannot wait");
                    return;
                }
            };
            patience.slept(since.elapsed(), count > 0);
            has_heard |= count > 0;
            if let Some(manager) = self.turn().as_mut() {
                manager.take_events(&events[..count]);
            }
        }
    }

    /// The right to turn the manager. None is in there when the pool is over.
    pub(super) fn turn(&self) -> MutexGuard<'_, Option<Manager>> {
        self.manager.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, if nobody has it.
    pub(super) fn try_turn(&self) -> Option<MutexGuard<'_, Option<Manager>>> {
        match self.manager.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn is_needed(&self) -> bool {
        let has_answers =
            |turn: MutexGuard<'_, Option<Manager>>| turn.as_ref().is_none_or(Manager::has_answers);
        self.try_turn().is_some_and(has_answers) || self.is_called()
    }

    /// Rule 2.
    pub(super) fn start_one(&self) {
        let Some(mut turn) = self.try_turn() else { return self.call() };
        let Some((needed, leftovers)) = turn.as_mut().map(Manager::assist) else { return };
        drop(turn);
        if needed {
            self.ring();
        }
        drop(leftovers);
    }

    /// Rule 3. With `light`, long answers are left to the pool's thread.
    pub(super) fn look_for_answers(&self, light: bool) {
        let Some(mut turn) = self.try_turn() else { return };
        let Some(manager) = turn.as_mut() else { return };
        let Some(left) = manager.glance(light) else { return };
        let finished = manager.hand_out(true);
        let left = left || manager.has_outcomes();
        drop(turn);
        if left {
            self.helm.want();
        }
        let mut turn = self.deliver(finished);
        let needed = turn.as_mut().is_some_and(|manager| manager.needs_its_thread(Instant::now()));
        drop(turn);
        if needed {
            self.ring();
        }
    }

    /// Delivers what was handed out, without the lock, and notes that under it.
    pub(super) fn deliver(&self, finished: Finished) -> MutexGuard<'_, Option<Manager>> {
        // Also where no callbacks were expected: one may have been added since.
        let delivering = own_pool::deliver_for(self);
        let Finished { outcomes, refused, leftovers } = finished;
        drop(leftovers);
        // First: for the others somebody else would see to that they fail if this thread exits in a callback.
        in_hand::for_each(refused, |(job, error)| job.give_up(error));
        for (job, reply) in outcomes {
            run_caught("whoever waits for a job", || job.settle(reply, &self.counters));
        }
        drop(delivering);
        let mut turn = self.turn();
        if let Some(manager) = turn.as_mut() {
            manager.delivered();
        }
        turn
    }
}

/// How long to sleep until then.
fn timeout(until: Option<Instant>) -> EpollTimeout {
    let Some(until) = until else { return EpollTimeout::NONE };
    // Rounded up: waking too early would only mean to wait again.
    let millis = until.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
    EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::MAX)
}
