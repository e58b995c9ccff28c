//! [`Event`].
//!
//! # Protocol
//! One word: whether the event is set, and how often it was. It is changed with the lock of the list held,
//! and read without.
//!
//! 1. Who waits goes into the list with the lock held, if it finds the event not set, and remembers the
//!    count. It is done when the count is another one.
//! 2. To set the event is to count, and then to wake those in the list who came before. They are taken out
//!    from the front, some at a time, and woken without the lock: who comes meanwhile, after a `clear`, has
//!    the new count and stays.
//!
//! Modelled in `loom-tests/tests/event.rs`.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use loopool_executors::caught::{drop_caught, run_caught};
use pin_project_lite::pin_project;

use super::waiters::{List, Waiter};
use crate::context;
use crate::shim::Mutex;
use crate::shim::atomic::{AtomicUsize, Ordering};

/// A flag that tasks can wait for.
///
/// [`set`](Self::set) wakes everybody who waits, and lets pass whoever comes, until
/// [`clear`](Self::clear).
///
/// ```
/// use std::sync::Arc;
/// use loopool::sync::Event;
///
/// # loopool::run(async {
/// let ready = Arc::new(Event::new());
/// let waiting: Vec<_> = (0..3)
///     .map(|_| {
///         let ready = ready.clone();
///         loopool::create_task(async move { ready.wait().await })
///     })
///     .collect();
/// ready.set();
/// for task in waiting {
///     task.await.unwrap();
/// }
/// # });
/// ```
pub struct Event {
    word: AtomicUsize,
    waiting: Mutex<List<Since>>,
}

/// The bit that says that the event is set. The rest counts how often it was.
const SET: usize = 1;
const ONE: usize = 2;

/// What a waiter found when it came; written before it is in the list.
struct Since(AtomicUsize);

/// So many are woken with one lock.
const BATCH: usize = 32;

impl Event {
    /// Not set.
    pub fn new() -> Self {
        Event { word: AtomicUsize::new(0), waiting: Mutex::new(List::new()) }
    }

    /// Whether it is set.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.load() & SET != 0
    }

    /// Acquire: pairs with the Release in `set`.
    fn load(&self) -> usize {
        self.word.load(Ordering::Acquire)
    }

    /// Sets it, and wakes everybody who waits. Those return even if it is cleared at once.
    ///
    /// ```
    /// # loopool::run(async {
    /// let event = loopool::sync::Event::new();
    /// event.set();
    /// event.set();
    /// assert!(event.is_set());
    /// event.wait().await;
    /// # });
    /// ```
    pub fn set(&self) {
        let now;
        {
            let _waiting = self.waiting.lock();
            let before = self.word.load(Ordering::Relaxed);
            if before & SET != 0 {
                return;
            }
            now = before.wrapping_add(ONE) | SET;
            // Release: pairs with the Acquire of whoever does not take the lock.
            self.word.store(now, Ordering::Release);
        }
        while self.wake_some(now) {}
    }

    /// Wakes some of those who came before the word was `now`; false if there are no more.
    fn wake_some(&self, now: usize) -> bool {
        let mut wakers = [const { None }; BATCH];
        let mut waiting = self.waiting.lock();
        for place in &mut wakers {
            let earlier = |since: &Since| {
                // Behind, in a count that may have begun again.
                let ahead = (now & !SET).wrapping_sub(since.0.load(Ordering::Relaxed));
                ahead != 0 && ahead <= usize::MAX / 2
            };
            if !waiting.front().is_some_and(earlier) {
                break;
            }
            *place = waiting.pop_front(|_| ());
        }
        drop(waiting);
        let full = wakers[BATCH - 1].is_some();
        for waker in wakers.into_iter().flatten() {
            run_caught("a waker", || waker.wake());
        }
        full
    }

    /// Whoever comes from now on waits.
    pub fn clear(&self) {
        let _waiting = self.waiting.lock();
        let word = self.word.load(Ordering::Relaxed);
        // Release: the count is still that of `set`, and whoever sees it by this store sees what was before.
        self.word.store(word & !SET, Ordering::Release);
    }

    /// Waits until it is set; ready at once if it is.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub fn wait(&self) -> Wait<'_> {
        Wait { event: self, waiter: Waiter::new(Since(AtomicUsize::new(0))), waits: false }
    }
}

impl Default for Event {
    fn default() -> Self {
        Event::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("is_set", &self.is_set()).finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`Event::wait`].
    #[must_use = "to wait is to await it"]
    pub struct Wait<'a> {
        event: &'a Event,
        #[pin]
        waiter: Waiter<Since>,
        // It may be in the list.
        waits: bool,
    }

    impl PinnedDrop for Wait<'_> {
        fn drop(this: Pin<&mut Self>) {
            if this.waits {
                this.leave();
            }
        }
    }
}

impl Wait<'_> {
    fn poll_event(mut self: Pin<&mut Self>, waker: &Waker) -> Poll<()> {
        if !self.waits {
            let set = self.event.is_set();
            return if set { Poll::Ready(()) } else { self.begin_to_wait(waker.clone()) };
        }
        if !self.was_set() {
            let unused = self.as_mut().replace_waker(waker.clone());
            drop_caught("a waker", unused);
            // If it was set meanwhile, nobody may have been woken.
            if !self.was_set() {
                return Poll::Pending;
            }
        }
        self.leave();
        Poll::Ready(())
    }

    fn was_set(&self) -> bool {
        self.event.load() & !SET != self.waiter.data().0.load(Ordering::Relaxed)
    }

    fn begin_to_wait(self: Pin<&mut Self>, waker: Waker) -> Poll<()> {
        let this = self.project();
        let waiter = this.waiter.into_ref();
        let mut waiting = this.event.waiting.lock();
        let word = this.event.word.load(Ordering::Relaxed);
        if word & SET != 0 {
            drop(waiting);
            drop_caught("a waker", waker);
            return Poll::Ready(());
        }
        waiter.data().0.store(word, Ordering::Relaxed);
        // SAFETY: it is in no list, and there is one list. Our destructor takes it out.
        unsafe { waiting.push_back(waiter, waker) };
        *this.waits = true;
        Poll::Pending
    }

    fn replace_waker(self: Pin<&mut Self>, waker: Waker) -> Option<Waker> {
        let this = self.project();
        // SAFETY: there is one list.
        unsafe { this.event.waiting.lock().replace_waker(this.waiter.into_ref(), waker) }
    }

    fn leave(self: Pin<&mut Self>) {
        let this = self.project();
        // SAFETY: there is one list.
        let waker = unsafe { this.event.waiting.lock().remove(this.waiter.into_ref()) };
        *this.waits = false;
        drop_caught("a waker", waker);
    }
}

impl Future for Wait<'_> {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        context::within_budget(cx, |cx| self.poll_event(cx.waker()))
    }
}

impl fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").field("event", &self.event).finish_non_exhaustive()
    }
}
