//! Serving the pool from an event loop, in place of the pool's thread.
//!
//! # Protocol
//! 1. The manager's epoll is itself a descriptor that becomes readable. A loop that serves the pool waits for it among
//!    its own, and turns the manager when it is, and at the manager's times.
//! 2. Meanwhile the pool's thread is *parked*. It comes when it is *wanted*: to deliver outcomes with callbacks, and to
//!    read long answers; then it parks again.
//! 3. While a thread sleeps until a job is done the pool's thread is not parked: the sleeper might be the loop's own, and
//!    nobody would turn. Both turn then.
//! 4. Of two that wait in one epoll, one gets an edge. So the pool's thread rings once more before it parks, if it has
//!    heard anything; and a loop asks epoll until it is empty, and then once more whether it still is, since what
//!    arrives while epoll goes through its list is not told to those that wait for epoll itself.
//! 5. A loop that ends, or has no time for it any more, *releases* the pool, whose thread goes on.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{EpollEvent, EpollTimeout};

use super::manager::Manager;
use super::shared::Shared;
use crate::engine::{Engine, Serving, Turn};

/// How often in a row a loop turns the manager before its other tasks get their turn.
const TURNS: usize = 4;

/// Who turns the manager.
#[derive(Default)]
pub(super) struct Helm {
    state: Mutex<State>,
    /// Signalled when the pool's thread has to come.
    called: Condvar,
    /// A copy of [`State::is_away`], for a quick look; it is only written under the lock. Who reads an old value asks again
    /// with the next job. Relaxed: it carries nothing.
    is_parked: AtomicBool,
}

#[derive(Default)]
struct State {
    is_served: bool,
    /// How many threads sleep.
    sleepers: usize,
    is_wanted: bool,
}

impl State {
    /// Whether the pool's thread may be parked.
    fn is_away(&self) -> bool {
        self.is_served && self.sleepers == 0
    }
}

impl Helm {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = change(&mut state);
        self.is_parked.store(state.is_away(), Ordering::Relaxed);
        drop(state);
        self.called.notify_all();
        result
    }

    /// Rule 2: parks the pool's thread for as long as somebody else turns. Says whether somebody still does, and it was
    /// wanted for once.
    pub(super) fn park(&self) -> bool {
        let away = |state: &mut State| state.is_away() && !state.is_wanted;
        let mut state =
            self.called.wait_while(self.lock(), away).unwrap_or_else(PoisonError::into_inner);
        state.is_wanted = false;
        state.is_away()
    }

    /// Whether somebody else turns.
    pub(super) fn is_parked(&self) -> bool {
        self.is_parked.load(Ordering::Relaxed)
    }

    /// Calls the pool's thread, once.
    pub(super) fn want(&self) {
        self.change(|state| state.is_wanted = true);
    }

    /// Rule 3.
    pub(super) fn note_sleep(&self, begins: bool) {
        self.change(|state| match begins {
            true => state.sleepers += 1,
            false => state.sleepers -= 1,
        });
    }
}

impl Shared {
    /// The calling loop serves the pool from now on, unless one does.
    pub(super) fn serve(self: Arc<Self>) -> Option<Serving> {
        if self.helm.is_parked.load(Ordering::Relaxed) {
            return None;
        }
        let is_new = self.helm.change(|state| !std::mem::replace(&mut state.is_served, true));
        if is_new {
            // The pool's thread is asleep in epoll, where it would wake for nothing each time.
            self.ring();
        }
        is_new.then(|| Serving(self))
    }

    /// Turns the manager in the calling loop.
    fn turn_for_a_loop(&self) -> Turn {
        let mut events = [EpollEvent::empty(); 64];
        for _ in 0..TURNS {
            let count = match self.epoll.wait(&mut events, EpollTimeout::ZERO) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(_) => return Turn::Over,
            };
            let (finished, left) = {
                let mut turn = self.turn();
                let Some(manager) = turn.as_mut() else { return Turn::Over };
                manager.take_events(&events[..count]);
                let left = manager.turn(true);
                (manager.hand_out(true), left)
            };
            self.deliver(finished);
            let mut turn = self.turn();
            let Some(manager) = turn.as_mut() else { return Turn::Over };
            manager.delivered();
            if manager.is_over() {
                return Turn::Over;
            }
            if left || manager.has_outcomes() {
                self.helm.want();
            }
            // What comes after epoll was found empty makes it readable again; what it still had would not.
            if count == 0
                && let Some(next) = manager.may_rest(left || manager.has_outcomes())
                && !self.has_events()
            {
                return Turn::Until(next);
            }
        }
        Turn::Again
    }
}

impl Shared {
    /// Whether epoll has something for whoever asks it.
    fn has_events(&self) -> bool {
        let mut fds = [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO) != Ok(0)
    }
}

impl Engine for Shared {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    fn turn(&self) -> Turn {
        self.turn_for_a_loop()
    }

    fn look(&self) {
        self.look_for_answers(true);
    }

    fn has_answers(&self) -> bool {
        self.try_turn().is_some_and(|turn| turn.as_ref().is_some_and(Manager::has_answers))
    }

    fn has_jobs(&self) -> bool {
        self.try_turn().is_some_and(|turn| turn.as_ref().is_some_and(Manager::has_jobs))
    }

    fn release(&self) {
        self.helm.change(|state| state.is_served = false);
    }
}
