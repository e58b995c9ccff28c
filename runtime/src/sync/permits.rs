//! Permits that are taken, given back and waited for: what locks, semaphores and bounded channels are made of.
//!
//! # Protocol
//! One word: how many permits are *available*; how many of them are *promised* to waiters that were woken;
//! and three flags. WAITING: the list is not empty. FAIR: nobody may overtake those who wait. CLOSED.
//!
//! 1. Permits are given back to everybody: added to the word. If more are available than promised, and somebody
//!    waits, waiters are taken out of the list from its front and woken, as many as are not promised yet.
//!    What they want is added to what is promised. Not to one more than that: the one who is on the way
//!    will come.
//! 2. Whoever runs takes what is available, whether promised or not. This is what keeps a lock that is taken
//!    again and again from being handed from sleeper to sleeper.
//! 3. A waiter that was woken takes its permits and the promise out of the word in one step. If others
//!    were faster it takes the promise back, and goes to the front of the list.
//! 4. Who has lost so [`MOST_LOST`] times is *starved*, and who wants more than one permit is from
//!    the start. While somebody is, FAIR is set: those who come go to the end of the list. With nobody
//!    in the list they may take what is not promised.
//! 5. After every step, under the lock: the list is empty, or what is available and not promised is less
//!    than its first one wants. Whoever makes it more wakes (rule 1). So who leaves the list, or gives a
//!    promise back, looks at the list.
//! 6. A waiter goes into the list with the lock held, after one operation on the word that sets WAITING and
//!    finds too little available. Permits that come back later find WAITING.
//!
//! The budget of a task is asked for before anything is taken, so no task goes on waiting with a permit
//! in its hand.
//!
//! Modelled in `loom-tests/tests/permits.rs`.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use loopool_executors::caught::{drop_caught, run_caught};
use pin_project_lite::pin_project;

use super::waiters::{List, Waiter};
use crate::context;
use crate::shim::Mutex;
use crate::shim::atomic::{AtomicU8, AtomicU64, Ordering};

/// As many permits fit into the word.
pub(super) const MAX_PERMITS: u32 = (1 << 30) - 1;

/// So often a waiter is overtaken until it is let in first. Each time costs a wake-up in vain.
const MOST_LOST: u8 = 3;

pub(super) struct Permits {
    word: AtomicU64,
    queue: Mutex<Queue>,
}

struct Queue {
    list: List<Place>,
    /// How many there are of those in rule 4, in the list or on the way.
    starved: usize,
}

#[derive(Clone, Copy)]
struct Word(u64);

const WAITING: u64 = 1;
const FAIR: u64 = 1 << 1;
const CLOSED: u64 = 1 << 2;
const PROMISED: u64 = 1 << 3;
const AVAILABLE: u64 = 1 << 33;

impl Word {
    fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    fn with(self, flag: u64, set: bool) -> Word {
        Word(if set { self.0 | flag } else { self.0 & !flag })
    }

    fn available(self) -> u32 {
        (self.0 / AVAILABLE) as u32
    }

    fn promised(self) -> u32 {
        (self.0 / PROMISED) as u32 & MAX_PERMITS
    }

    /// Whether so many are available that were not promised.
    fn has_spare(self, wanted: u32) -> bool {
        self.available() >= self.promised() + wanted
    }

    /// Rules 2 and 4, for somebody who does not wait.
    fn lets_in(self, wanted: u32) -> bool {
        if self.has(FAIR) {
            !self.has(WAITING) && self.has_spare(wanted)
        } else {
            self.available() >= wanted
        }
    }
}

fn available(permits: u32) -> u64 {
    u64::from(permits) * AVAILABLE
}

fn promised(permits: u32) -> u64 {
    u64::from(permits) * PROMISED
}

/// There are too few permits, or the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    TooFew,
    Closed,
}

/// What a waiter and those who wake it tell each other.
struct Place {
    wanted: u32,
    at: AtomicU8,
}

/// In the list, or not waiting at all.
const LISTED: u8 = 0;
/// Out of the list, and woken with a promise.
const WOKEN: u8 = 1;
/// Out of the list because of the end.
const ENDED: u8 = 2;

impl Permits {
    /// # Panics
    /// With more than [`MAX_PERMITS`].
    #[track_caller]
    pub(super) fn new(permits: usize) -> Self {
        assert!(permits <= MAX_PERMITS as usize, "a semaphore has at most {MAX_PERMITS} permits");
        Permits {
            word: AtomicU64::new(available(permits as u32)),
            queue: Mutex::new(Queue { list: List::new(), starved: 0 }),
        }
    }

    fn load(&self) -> Word {
        Word(self.word.load(Ordering::Relaxed))
    }

    /// Acquire: pairs with the Release of whoever gave the permits back. Release: for the flags, of
    /// which nobody needs more than the word.
    fn exchange(&self, now: Word, next: Word) -> Result<(), Word> {
        let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
        let changed = self.word.compare_exchange_weak(now.0, next.0, success, failure);
        changed.map(drop).map_err(Word)
    }

    pub(super) fn available(&self) -> usize {
        self.load().available() as usize
    }

    pub(super) fn is_closed(&self) -> bool {
        self.load().has(CLOSED)
    }

    #[inline]
    pub(super) fn try_acquire(&self, wanted: u32) -> Result<(), Refused> {
        self.take_or(wanted, |_| None)
    }

    /// Takes what is wanted, or else changes the word as `refused` says.
    #[inline]
    fn take_or(&self, wanted: u32, refused: impl Fn(Word) -> Option<Word>) -> Result<(), Refused> {
        let mut now = self.load();
        loop {
            if now.has(CLOSED) {
                return Err(Refused::Closed);
            }
            let (next, result) = if now.lets_in(wanted) {
                (Word(now.0 - available(wanted)), Ok(()))
            } else {
                let Some(next) = refused(now) else { return Err(Refused::TooFew) };
                (next, Err(Refused::TooFew))
            };
            match self.exchange(now, next) {
                Ok(()) => return result,
                Err(changed) => now = changed,
            }
        }
    }

    /// Takes what was promised; false if there is too little: then `lose` has changed the word, if it wants to.
    fn take_promised(
        &self,
        wanted: u32,
        lose: impl Fn(Word) -> Option<Word>,
        ends_fair: bool,
    ) -> bool {
        let mut now = self.load();
        loop {
            let taken = now.available() >= wanted;
            let next = if taken {
                let next = Word(now.0 - available(wanted) - promised(wanted));
                next.with(FAIR, next.has(FAIR) && !ends_fair)
            } else {
                let Some(next) = lose(now) else { return false };
                next
            };
            match self.exchange(now, next) {
                Ok(()) => return taken,
                Err(changed) => now = changed,
            }
        }
    }

    pub(super) fn acquire(&self, wanted: u32) -> Acquire<'_> {
        let place = Place { wanted, at: AtomicU8::new(LISTED) };
        Acquire { permits: self, waiter: Waiter::new(place), stage: Stage::New, lost: 0 }
    }

    /// Gives permits back. The caller has them, or has made sure that they are not too many.
    #[inline]
    pub(super) fn release(&self, permits: u32) {
        // Release: pairs with the Acquire of whoever takes them.
        let before = self.word.fetch_add(available(permits), Ordering::Release);
        let now = Word(before + available(permits));
        if now.has(WAITING) && now.has_spare(1) {
            self.wake_waiters();
        }
    }

    /// Adds new permits.
    ///
    /// # Panics
    /// If there would be more than [`MAX_PERMITS`].
    #[track_caller]
    pub(super) fn add(&self, permits: usize) {
        let free = MAX_PERMITS - self.load().available();
        assert!(permits <= free as usize, "a semaphore has at most {MAX_PERMITS} permits");
        self.release(permits as u32);
    }

    /// Lets nobody in any more, and ends every wait.
    pub(super) fn close(&self) {
        {
            let _queue = self.queue.lock();
            self.word.fetch_or(CLOSED, Ordering::Relaxed);
        }
        loop {
            let first = self.end_first(&mut self.queue.lock());
            let Some(first) = first else { return };
            wake(first);
        }
    }

    fn end_first(&self, queue: &mut Queue) -> Option<Waker> {
        // Release: pairs with the Acquire of the waiter's next look.
        let waker = queue.list.pop_front(|place| place.at.store(ENDED, Ordering::Release));
        self.list_changed(queue);
        waker
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
        let wanted = queue.list.front()?.wanted;
        // What is available may become less at any time: then the waiter loses. More promised it becomes
        // under the lock only.
        if !self.load().has_spare(wanted) {
            return None;
        }
        self.word.fetch_add(promised(wanted), Ordering::Relaxed);
        // Release: pairs with the Acquire of the waiter, which then takes back the promise.
        let waker = queue.list.pop_front(|place| place.at.store(WOKEN, Ordering::Release));
        self.list_changed(queue);
        waker
    }

    fn list_changed(&self, queue: &Queue) {
        if queue.list.is_empty() {
            self.word.fetch_and(!WAITING, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Permits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = self.load();
        f.debug_struct("Permits")
            .field("available", &now.available())
            .field("promised", &now.promised())
            .field("waiting", &now.has(WAITING))
            .field("fair", &now.has(FAIR))
            .field("closed", &now.has(CLOSED))
            .finish()
    }
}

fn wake(waker: Waker) {
    run_caught("a waker", || waker.wake());
}

pin_project! {
    /// The future of permits.
    ///
    /// # Cancel safety
    /// Who leaves gives place or promise to the next one.
    pub(super) struct Acquire<'a> {
        permits: &'a Permits,
        #[pin]
        waiter: Waiter<Place>,
        stage: Stage,
        // How often others were faster.
        lost: u8,
    }

    impl PinnedDrop for Acquire<'_> {
        fn drop(this: Pin<&mut Self>) {
            if this.stage.waits() {
                this.leave();
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    /// In the list, or woken from it.
    Waiting,
    /// As `Waiting`, and counted among the starved.
    Starved,
    Done,
}

impl Stage {
    fn waits(self) -> bool {
        matches!(self, Stage::Waiting | Stage::Starved)
    }
}

impl Acquire<'_> {
    #[inline]
    fn poll_new(self: Pin<&mut Self>, waker: &Waker) -> Poll<Result<(), Refused>> {
        let taken = self.permits.try_acquire(self.waiter.data().wanted);
        if taken == Err(Refused::TooFew) {
            return self.begin_to_wait(waker.clone());
        }
        *self.project().stage = Stage::Done;
        Poll::Ready(taken)
    }

    #[cold]
    fn begin_to_wait(self: Pin<&mut Self>, waker: Waker) -> Poll<Result<(), Refused>> {
        let this = self.project();
        let (permits, waiter) = (*this.permits, this.waiter.into_ref());
        let wanted = waiter.data().wanted;
        // Rule 4.
        let starved = wanted > 1;
        // Rule 6.
        let wait = |now: Word| Some(now.with(WAITING, true).with(FAIR, now.has(FAIR) || starved));
        let mut queue = permits.queue.lock();
        let taken = permits.take_or(wanted, wait);
        if taken == Err(Refused::TooFew) {
            queue.starved += usize::from(starved);
            *this.stage = if starved { Stage::Starved } else { Stage::Waiting };
            // SAFETY: it is in no list, and there is one list. Our destructor takes it out.
            unsafe { queue.list.push_back(waiter, waker) };
            return Poll::Pending;
        }
        drop(queue);
        *this.stage = Stage::Done;
        drop_caught("a waker", waker);
        Poll::Ready(taken)
    }

    fn poll_waiting(self: Pin<&mut Self>, waker: &Waker) -> Poll<Result<(), Refused>> {
        let place = self.waiter.data();
        // Acquire: pairs with the Release of whoever woke us.
        if self.stage == Stage::Waiting
            && place.at.load(Ordering::Acquire) == WOKEN
            && self.permits.take_promised(place.wanted, |_| None, false)
        {
            *self.project().stage = Stage::Done;
            return Poll::Ready(Ok(()));
        }
        self.poll_locked(waker.clone())
    }

    /// There is another waker, or others were faster, or those who are starved become fewer.
    #[cold]
    fn poll_locked(self: Pin<&mut Self>, waker: Waker) -> Poll<Result<(), Refused>> {
        let this = self.project();
        let (permits, waiter) = (*this.permits, this.waiter.into_ref());
        let wanted = waiter.data().wanted;
        let mut queue = permits.queue.lock();
        let (polled, unused) = match waiter.data().at.load(Ordering::Acquire) {
            ENDED => (Poll::Ready(Err(Refused::Closed)), Some(waker)),
            WOKEN => {
                let others = queue.starved > usize::from(*this.stage == Stage::Starved);
                let starved = *this.stage == Stage::Starved || *this.lost + 1 >= MOST_LOST;
                // Rule 3.
                let lose = |now: Word| {
                    let back = Word(now.0 - promised(wanted)).with(WAITING, true);
                    Some(back.with(FAIR, now.has(FAIR) || starved))
                };
                if permits.take_promised(wanted, lose, !others) {
                    (Poll::Ready(Ok(())), Some(waker))
                } else {
                    if starved && *this.stage == Stage::Waiting {
                        *this.stage = Stage::Starved;
                        queue.starved += 1;
                    } else if !starved {
                        *this.lost += 1;
                    }
                    waiter.data().at.store(LISTED, Ordering::Relaxed);
                    // SAFETY: it is in no list, and there is one list. Our destructor takes it out.
                    unsafe { queue.list.push_front(waiter, waker) };
                    (Poll::Pending, None)
                }
            }
            // SAFETY: it is in the one list there is.
            _ => (Poll::Pending, unsafe { queue.list.replace_waker(waiter, waker) }),
        };
        if polled.is_ready() {
            queue.starved -= usize::from(*this.stage == Stage::Starved);
            *this.stage = Stage::Done;
        }
        drop(queue);
        drop_caught("a waker", unused);
        polled
    }

    /// Leaves the list, or gives the promise back.
    #[cold]
    fn leave(self: Pin<&mut Self>) {
        let this = self.project();
        let (permits, waiter) = (*this.permits, this.waiter.into_ref());
        let mut queue = permits.queue.lock();
        // SAFETY: there is one list.
        let own = unsafe { queue.list.remove(waiter) };
        if waiter.data().at.load(Ordering::Acquire) == WOKEN {
            permits.word.fetch_sub(promised(waiter.data().wanted), Ordering::Relaxed);
        }
        if *this.stage == Stage::Starved {
            queue.starved -= 1;
            if queue.starved == 0 {
                permits.word.fetch_and(!FAIR, Ordering::Relaxed);
            }
        }
        permits.list_changed(&queue);
        // Rule 5.
        let next = permits.promise_to_first(&mut queue);
        drop(queue);
        drop_caught("a waker", own);
        if let Some(next) = next {
            wake(next);
            permits.wake_waiters();
        }
    }
}

impl Future for Acquire<'_> {
    type Output = Result<(), Refused>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        context::within_budget(cx, |cx| match self.stage {
            Stage::New => self.poll_new(cx.waker()),
            Stage::Waiting | Stage::Starved => self.poll_waiting(cx.waker()),
            Stage::Done => panic!("a future was polled after it was ready"),
        })
    }
}
