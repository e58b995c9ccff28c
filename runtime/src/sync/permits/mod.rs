//! Permits that are taken, given back and waited for: what locks, semaphores and bounded channels are
//! made of.
//!
//! # Protocol
//! One word: how many permits are *available*; how many of them are *promised* to waiters that were woken;
//! and three flags. WAITING: the list is not empty. FAIR: nobody may overtake those who wait. CLOSED.
//!
//! 1. Permits are given back to everybody: added to the word. If more are available than promised, and
//!    somebody waits, waiters are taken out of the list from its front and woken, as many as it will do
//!    for; what they want is promised. Nobody is woken for what is promised: the one who is on the way
//!    will come.
//! 2. Whoever runs takes what is available, whether promised or not. This is what keeps a lock that is taken
//!    again and again from being handed from sleeper to sleeper.
//! 3. A waiter that was woken takes its permits and the promise out of the word in one step. If others
//!    were faster it takes the promise back, and goes to the front of the list.
//! 4. Who has lost [`MOST_LOST`](acquire::MOST_LOST) times is *starved*, and who wants more than one permit is from
//!    the start. While somebody is, FAIR is set: those who come go to the end of the list. With nobody
//!    in the list they may take what is not promised.
//! 5. After every step, under the lock: the list is empty, or what is available and not promised is less
//!    than its first one wants. Whoever makes it more wakes (rule 1). So who leaves the list, or gives a
//!    promise back, looks at the list.
//! 6. A waiter goes into the list with the lock held, after one operation on the word that sets WAITING and
//!    finds too little available. Permits that come back later find WAITING.
//! 7. CLOSED is set with the lock held. From then on nobody goes into the list, and who is in it is told.
//!
//! The budget of a task is asked for before anything is taken, so no task goes on waiting with a permit
//! in its hand.
//!
//! Modelled in `loom-tests/tests/permits.rs`.

mod acquire;
mod state;

use std::fmt;
use std::task::Waker;

use loopool_executors::caught::run_caught;

pub(super) use self::acquire::Acquire;
pub(super) use self::state::{MAX_PERMITS, Refused};

use self::acquire::Place;
use self::state::State;
use super::waiters::List;
use crate::shim::Mutex;

pub(super) struct Permits {
    state: State,
    queue: Mutex<Queue>,
}

struct Queue {
    list: List<Place>,
    /// How many there are of those in rule 4, in the list or on the way.
    starved: usize,
}

impl Permits {
    /// # Panics
    /// With more than [`MAX_PERMITS`].
    #[track_caller]
    pub(super) fn new(permits: usize) -> Self {
        assert!(permits <= MAX_PERMITS as usize, "{TOO_MANY}");
        let queue = Queue { list: List::new(), starved: 0 };
        Permits { state: State::new(permits as u32), queue: Mutex::new(queue) }
    }

    pub(super) fn available(&self) -> usize {
        self.state.load().available() as usize
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.load().is_closed()
    }

    #[inline]
    pub(super) fn try_acquire(&self, wanted: u32) -> Result<(), Refused> {
        self.state.take(wanted)
    }

    pub(super) fn acquire(&self, wanted: u32) -> Acquire<'_> {
        Acquire::new(self, wanted)
    }

    /// Gives permits back.
    #[inline]
    pub(super) fn release(&self, permits: u32) {
        if self.state.give_back(permits) {
            self.wake_waiters();
        }
    }

    /// Adds new permits.
    ///
    /// # Panics
    /// If more than [`MAX_PERMITS`] would be available.
    #[track_caller]
    pub(super) fn add(&self, permits: usize) {
        let free = MAX_PERMITS.saturating_sub(self.state.load().available());
        assert!(permits <= free as usize, "{TOO_MANY}");
        self.release(permits as u32);
    }

    /// Lets nobody in any more, and ends every wait.
    pub(super) fn close(&self) {
        {
            let _queue = self.queue.lock();
            self.state.close();
        }
        loop {
            let first = self.end_first(&mut self.queue.lock());
            let Some(first) = first else { return };
            wake(first);
        }
    }

    fn end_first(&self, queue: &mut Queue) -> Option<Waker> {
        let first = queue.list.pop_front(|place| {
            // SAFETY: valid, as `pop_front` says.
            unsafe { Place::end(place) }
        });
        self.list_changed(queue);
        first
    }

    /// Rules 1 and 5.
    #[cold]
    fn wake_waiters(&self) {
        // One after another, each with a lock of its own: mostly there is one.
        loop {
            let first = self.promise_to_first(&mut self.queue.lock());
            let Some(first) = first else { return };
            wake(first);
        }
    }

    fn promise_to_first(&self, queue: &mut Queue) -> Option<Waker> {
        if !self.state.promise(queue.list.front()?.wanted()) {
            return None;
        }
        let first = queue.list.pop_front(|place| {
            // SAFETY: valid, as `pop_front` says.
            unsafe { Place::promise(place) }
        });
        self.list_changed(queue);
        first
    }

    fn list_changed(&self, queue: &Queue) {
        if queue.list.is_empty() {
            self.state.nobody_waits();
        }
    }
}

const TOO_MANY: &str = "a semaphore has at most 2^30 - 1 permits";

fn wake(waker: Waker) {
    run_caught("a waker", || waker.wake());
}

impl fmt::Debug for Permits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.load().fmt(f)
    }
}
