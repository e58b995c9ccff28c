//! The future of permits, and its place in the list.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use loopool_executors::caught::drop_caught;
use pin_project_lite::pin_project;

use super::{Permits, Refused, wake};
use crate::context;
use crate::shim::atomic::{AtomicU8, Ordering};
use crate::sync::waiters::Waiter;

/// So often a waiter is overtaken until it is let in first. Each time costs a wake-up in vain.
pub(super) const MOST_LOST: u8 = 3;

/// What a waiter and those who wake it tell each other.
pub(super) struct Place {
    wanted: u32,
    at: AtomicU8,
}

/// In the list, or not waiting at all.
const LISTED: u8 = 0;
/// Out of the list, and woken with a promise.
const PROMISED: u8 = 1;
/// Out of the list because of the end.
const ENDED: u8 = 2;

impl Place {
    pub(super) fn wanted(&self) -> u32 {
        self.wanted
    }

    /// The last access of whoever took it out of the list.
    ///
    /// # Safety
    /// The place is valid until this is stored.
    pub(super) unsafe fn promise(this: *const Self) {
        // SAFETY: the caller's promise. Release: pairs with the Acquire of `is_promised`, after which the waiter may
        // be gone.
        unsafe { (*this).at.store(PROMISED, Ordering::Release) };
    }

    /// As [`promise`](Self::promise).
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn end(this: *const Self) {
        // SAFETY: the caller's promise. The lock orders it.
        unsafe { (*this).at.store(ENDED, Ordering::Relaxed) };
    }

    fn is_promised(&self) -> bool {
        self.at.load(Ordering::Acquire) == PROMISED
    }
}

pin_project! {
    /// The future of permits.
    ///
    /// # Cancel safety
    /// Who leaves gives place or promise to the next one.
    pub(in crate::sync) struct Acquire<'a> {
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

impl<'a> Acquire<'a> {
    pub(super) fn new(permits: &'a Permits, wanted: u32) -> Self {
        let place = Place { wanted, at: AtomicU8::new(LISTED) };
        Acquire { permits, waiter: Waiter::new(place), stage: Stage::New, lost: 0 }
    }

    #[inline]
    fn poll_new(self: Pin<&mut Self>, waker: &Waker) -> Poll<Result<(), Refused>> {
        let taken = self.permits.state.take(self.waiter.data().wanted);
        if taken == Err(Refused::TooFew) {
            return self.begin_to_wait(waker.clone());
        }
        *self.project().stage = Stage::Done;
        Poll::Ready(taken)
    }

    #[cold]
    fn begin_to_wait(self: Pin<&mut Self>, waker: Waker) -> Poll<Result<(), Refused>> {
        let this = self.project();
        let waiter = this.waiter.into_ref();
        let wanted = waiter.data().wanted;
        // Rule 4.
        let starved = wanted > 1;
        let mut queue = this.permits.queue.lock();
        // Rule 6.
        let taken = this.permits.state.take_or_wait(wanted, starved);
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
        if self.stage == Stage::Waiting
            && place.is_promised()
            && self.permits.state.take_promised(place.wanted)
        {
            *self.project().stage = Stage::Done;
            return Poll::Ready(Ok(()));
        }
        self.poll_locked(waker.clone())
    }

    /// There is another waker, or others were faster, or those who are starved become fewer, or it is
    /// the end.
    #[cold]
    fn poll_locked(self: Pin<&mut Self>, waker: Waker) -> Poll<Result<(), Refused>> {
        let this = self.project();
        let waiter = this.waiter.into_ref();
        let place = waiter.data();
        let mut queue = this.permits.queue.lock();
        let (polled, unused) = match place.at.load(Ordering::Acquire) {
            LISTED => {
                // SAFETY: it is in the one list there is.
                (Poll::Pending, unsafe { queue.list.replace_waker(waiter, waker) })
            }
            PROMISED if this.permits.is_closed() => {
                // Rule 7: else it might go into a list that nobody looks at any more.
                this.permits.state.take_promise_back(place.wanted);
                (Poll::Ready(Err(Refused::Closed)), Some(waker))
            }
            PROMISED => {
                let counted = *this.stage == Stage::Starved;
                let starved = counted || *this.lost + 1 >= MOST_LOST;
                let last = queue.starved == usize::from(counted);
                // Rule 3.
                if this.permits.state.take_promised_or_wait(place.wanted, starved, last) {
                    (Poll::Ready(Ok(())), Some(waker))
                } else {
                    if !starved {
                        *this.lost += 1;
                    } else if !counted {
                        *this.stage = Stage::Starved;
                        queue.starved += 1;
                    }
                    place.at.store(LISTED, Ordering::Relaxed);
                    // SAFETY: it is in no list, and there is one list. Our destructor takes it out.
                    unsafe { queue.list.push_front(waiter, waker) };
                    (Poll::Pending, None)
                }
            }
            _ => (Poll::Ready(Err(Refused::Closed)), Some(waker)),
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
        if waiter.data().is_promised() {
            permits.state.take_promise_back(waiter.data().wanted);
        }
        if *this.stage == Stage::Starved {
            queue.starved -= 1;
            if queue.starved == 0 {
                permits.state.nobody_is_starved();
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
