//! Serving the pool from an event loop, in place of the pool's thread.
//!
//! # Protocol
//! 1. The manager's epoll is itself a descriptor that becomes readable. A loop that serves the pool waits for it among
//!    its own, and turns the manager when it is, and at the manager's times.
//! 2. Meanwhile the pool's thread is *parked*. It comes when it is *wanted*: to deliver outcomes with callbacks, and to
//!    read long answers; then it parks again.
//! 3. While a thread sleeps until a job is done the pool's thread is not parked: the sleeper might be the loop's own, and
//!    nobody would turn. Both turn then.
//! 4. Of two that wait in one epoll, one gets an edge. So the pool's thread, if it has heard anything, turns once more
//!    and rings before it parks; and a loop asks epoll until it is empty, and then once more whether it still is, since
//!    what arrives while epoll goes through its list is not told to those that wait for epoll itself.
//! 5. For the same reason an edge is no way to call the pool's thread while a loop serves and it is not parked but asleep:
//!    the loop might get it. So then it sleeps not in that epoll but in another one, in which there are that one and what
//!    it is called by; and who begins to serve waits until it has left the first.
//! 6. Nor is it parked while loops of several runtimes give jobs to the pool: when the one that serves is blocked, the
//!    others, which sleep without a thread's sleeping, would wait for it. (Loops of one runtime see to each other.)
//! 7. A loop that ends, or has no time for it any more, *releases* the pool, whose thread goes on. It rings, since it may
//!    have heard what it has not told anybody.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::manager::Manager;
use super::shared::Shared;
use crate::engine::{self, Engine, Serving, Turn};

/// How often in a row a loop turns the manager before its other tasks get their turn.
const TURNS: usize = 4;

/// How long a loop that begins to serve waits for the pool's thread to wake up.
const PATIENCE: Duration = Duration::from_millis(100);

/// In place of the address of a runtime, see [`Helm::runtime`].
const NOBODY: usize = 0;
const SEVERAL: usize = 1;

/// What an event of [`Helm::bed`] is about.
const CALL: u64 = 0;
const MANAGER: u64 = 1;

/// Who turns the manager.
pub(super) struct Helm {
    state: Mutex<State>,
    /// Rule 5: an eventfd, and an epoll with it and the manager's.
    call: OwnedFd,
    bed: Epoll,
    /// Signalled when the pool's thread has to come, or has come.
    called: Condvar,
    /// The runtime that serves, [`NOBODY`], or [`SEVERAL`]: for a quick look; it is only written under the lock. Who reads an
    /// old value asks again with the next job. Relaxed: it carries nothing.
    runtime: AtomicUsize,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    AtWork,
    Parked,
    /// Asleep in the manager's epoll, or about to be.
    InEpoll,
}

/// Where the pool's thread sleeps.
enum Bed {
    /// In the manager's epoll.
    InEpoll,
    /// Rule 5: in [`Helm::bed`], because a loop serves.
    Apart,
    /// It is to be parked: a loop has begun to serve since it was last asked.
    Nowhere,
}

#[derive(Default)]
struct State {
    is_served: bool,
    /// Rule 6.
    is_shared: bool,
    /// How many threads sleep.
    sleepers: usize,
    is_wanted: bool,
    /// Where the pool's thread is.
    place: Place,
    /// [`Helm::call`] is readable.
    is_called: bool,
}

impl State {
    /// Whether the pool's thread may be parked.
    fn is_away(&self) -> bool {
        self.is_served && !self.is_shared && self.sleepers == 0
    }
}

impl Helm {
    pub(super) fn new(epoll: &Epoll) -> io::Result<Self> {
        let call = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let bed = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        bed.add(&call, EpollEvent::new(EpollFlags::EPOLLIN, CALL))?;
        bed.add(&epoll.0, EpollEvent::new(EpollFlags::EPOLLIN, MANAGER))?;
        Ok(Helm {
            state: Mutex::default(),
            call: call.into(),
            bed,
            called: Condvar::new(),
            runtime: AtomicUsize::new(NOBODY),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = change(&mut state);
        drop(state);
        self.called.notify_all();
        result
    }

    /// Rule 2: parks the pool's thread for as long as somebody else turns. Says whether somebody still does, and it was
    /// wanted for once; or `has_heard` something, and has to turn for that (rule 4).
    pub(super) fn park(&self, has_heard: bool) -> bool {
        let mut state = self.lock();
        let away = |state: &mut State| state.is_away() && !state.is_wanted && !has_heard;
        state.place = Place::Parked;
        state = self.called.wait_while(state, away).unwrap_or_else(PoisonError::into_inner);
        state.place = Place::AtWork;
        state.is_wanted = false;
        if std::mem::take(&mut state.is_called) {
            self.forget_call();
        }
        state.is_away()
    }

    /// The pool's thread is about to sleep. Where.
    fn lie_down(&self) -> Bed {
        let mut state = self.lock();
        if state.is_away() && !state.is_wanted {
            return Bed::Nowhere;
        }
        if state.is_served {
            return Bed::Apart;
        }
        state.place = Place::InEpoll;
        Bed::InEpoll
    }

    /// The pool's thread sleeps no more.
    fn get_up(&self) {
        let mut state = self.lock();
        state.place = Place::AtWork;
        if state.is_served {
            drop(state);
            self.called.notify_all();
        }
    }

    /// Rule 5: waits until the pool's thread, which was rung for, has left the manager's epoll. Whether it has: not where
    /// there is no such thread any more, in a process that was forked off.
    fn wait_until_up(&self) -> bool {
        let in_epoll = |state: &mut State| state.place == Place::InEpoll;
        let waited = self.called.wait_timeout_while(self.lock(), PATIENCE, in_epoll);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.place != Place::InEpoll
    }

    fn forget_call(&self) {
        // Refused when it is not readable.
        let _ = nix::unistd::read(&self.call, &mut [0; 8]);
    }

    /// Calls the pool's thread, once. (While no loop serves, whoever has something for it rings, and that reaches it.)
    pub(super) fn want(&self) {
        self.change(|state| {
            state.is_wanted = true;
            if state.is_served && state.place != Place::Parked && !state.is_called {
                state.is_called = true;
                // Refused only when the counter is full, and then it is readable anyway.
                let _ = nix::unistd::write(&self.call, &1u64.to_ne_bytes());
            }
        });
    }

    /// Whether the pool's thread does nothing until it is wanted.
    #[cfg(test)]
    pub(super) fn is_parked(&self) -> bool {
        self.lock().place == Place::Parked
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
        if self.is_left_behind() {
            return None;
        }
        let (asks, serves) = (engine::runtime(), self.helm.runtime.load(Ordering::Relaxed));
        if serves == SEVERAL || serves != NOBODY && serves == asks {
            return None;
        }
        let is_new = self.helm.change(|state| {
            let serves = self.helm.runtime.load(Ordering::Relaxed);
            let is_new = !std::mem::replace(&mut state.is_served, true);
            state.is_shared = !is_new && (state.is_shared || serves != asks);
            let now = if state.is_shared { SEVERAL } else { asks };
            self.helm.runtime.store(now, Ordering::Relaxed);
            is_new
        });
        if !is_new {
            return None;
        }
        self.ring();
        let is_up = self.helm.wait_until_up();
        // Without it nobody serves: it is dropped.
        Some(Serving(self)).filter(|_| is_up)
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
            let mut turn = self.deliver(finished);
            let Some(manager) = turn.as_mut() else { return Turn::Over };
            if manager.is_over() {
                return Turn::Over;
            }
            let left = left || manager.has_outcomes();
            if left {
                self.helm.want();
            }
            // What comes after epoll was found empty makes it readable again; what it still had would not.
            if count == 0
                && let Some(next) = manager.may_rest(left)
                && !self.has_events()
            {
                return Turn::Until(next);
            }
        }
        Turn::Again
    }

    /// The pool's thread sleeps until there is something to hear, and takes that off epoll. How much it was. Does not sleep
    /// when it may be parked instead.
    pub(super) fn sleep(
        &self,
        events: &mut [EpollEvent],
        timeout: EpollTimeout,
    ) -> nix::Result<usize> {
        let heard = match self.helm.lie_down() {
            Bed::Nowhere => Ok(0),
            Bed::Apart => {
                let mut calls = [EpollEvent::empty(); 2];
                let called = self.helm.bed.wait(&mut calls, timeout);
                let is_call = |event: &EpollEvent| event.data() == CALL;
                if called.is_ok_and(|count| calls[..count].iter().any(is_call)) {
                    self.helm.forget_call();
                }
                called.and_then(|_| self.epoll.wait(events, EpollTimeout::ZERO))
            }
            Bed::InEpoll => self.epoll.wait(events, timeout),
        };
        self.helm.get_up();
        heard
    }

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
        if self.is_left_behind() {
            return;
        }
        self.helm.change(|state| {
            (state.is_served, state.is_shared) = (false, false);
            self.helm.runtime.store(NOBODY, Ordering::Relaxed);
        });
        // Rule 7.
        self.ring();
    }
}

#[cfg(test)]
#[path = "serving_tests.rs"]
mod tests;
