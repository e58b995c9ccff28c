//! [`sleep`] and [`sleep_until`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use loopool_executors::caught::drop_caught;

use super::wheel::{Action, TimerKey, Wheel};
use crate::context;
use crate::fork::Forked;
use crate::scheduler::Shared;
use crate::shim::Mutex;

/// Waits for `duration`, never less.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// # loopool::run(async {
/// let before = Instant::now();
/// loopool::sleep(Duration::from_millis(10)).await;
/// assert!(before.elapsed() >= Duration::from_millis(10));
/// # });
/// ```
///
/// # Cancel safety
/// Dropping it removes the timer.
///
/// # Panics
/// When it is polled outside a running event loop.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(from_now(duration))
}

/// The time in `delay` from now. A time beyond what the clock can say is beyond everybody's patience,
/// too, so there it is thirty years.
pub(crate) fn from_now(delay: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    let now = Instant::now();
    now.checked_add(delay).unwrap_or(now + FAR)
}

/// Waits until `deadline`; see [`sleep`].
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, entry: None }
}

/// The future of [`sleep`].
#[must_use = "a sleep does nothing unless it is awaited"]
pub struct Sleep {
    deadline: Instant,
    entry: Option<Entry>,
}

/// A timer in the wheel of the loop on which the sleep was first polled.
struct Entry {
    shared: Arc<Shared>,
    loop_index: usize,
    key: TimerKey,
}

impl Sleep {
    /// When it ends.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether it has ended.
    pub fn is_elapsed(&self) -> bool {
        Instant::now() >= self.deadline
    }

    fn cancel(&mut self) {
        if let Some(entry) = self.entry.take()
            && !entry.shared.is_forked()
        {
            let action = entry.timers().lock().cancel(entry.key);
            if let Some(Action::Wake(waker)) = action {
                drop_caught("a waker", waker);
            }
        }
    }
}

enum Polled {
    Waiting,
    Elapsed,
    Moved,
}

impl Entry {
    fn timers(&self) -> &Mutex<Wheel> {
        &self.shared.loops[self.loop_index].timers
    }

    fn poll(&self, waker: &Waker) -> Polled {
        if context::with_loop_of(&*self.shared, (), |_, ()| ()).is_err() {
            return Polled::Moved;
        }
        // No foreign code under the lock: wakers are cloned before and dropped after.
        let known = self.timers().lock().would_wake(self.key, waker);
        let updated = match known {
            None => None,
            Some(true) => Some(None),
            Some(false) => {
                let waker = waker.clone();
                self.timers().lock().replace_waker(self.key, waker)
            }
        };
        match updated {
            None => Polled::Elapsed,
            Some(previous) => {
                drop_caught("a waker", previous);
                Polled::Waiting
            }
        }
    }
}

impl Future for Sleep {
    type Output = ();

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !context::has_budget(cx) {
            return Poll::Pending;
        }
        let polled = self.poll_timer(cx);
        if polled.is_ready() {
            context::spend_budget();
        }
        polled
    }
}

/// For timeouts, which spend no budget of what they limit.
impl Sleep {
    /// Whether the time is up. The first look is at the clock; the later ones are at the timer.
    #[inline]
    pub(super) fn has_fired(&mut self, first: bool, cx: &Context<'_>) -> bool {
        if first { self.is_elapsed() } else { self.poll_timer(cx).is_ready() }
    }

    /// Sets the timer. It wakes even if its time is past.
    #[track_caller]
    pub(super) fn arm(&mut self, cx: &Context<'_>) {
        let core = context::current_core()
            .expect("a sleep or timeout was polled outside a running loopool event loop");
        let (shared, loop_index) = (core.shared_arc(), core.place());
        assert!(!shared.is_forked(), "{Forked}");
        let action = Action::Wake(cx.waker().clone());
        let key = shared.loops[loop_index].timers.lock().insert(self.deadline, action);
        if loop_index != core.index() {
            // Its owner may be back, and asleep until a later timer.
            shared.timer_was_set_at(loop_index);
        }
        self.entry = Some(Entry { shared, loop_index, key });
    }

    #[track_caller]
    fn poll_timer(&mut self, cx: &Context<'_>) -> Poll<()> {
        if let Some(entry) = &self.entry {
            assert!(!entry.shared.is_forked(), "{Forked}");
            match entry.poll(cx.waker()) {
                Polled::Waiting => return Poll::Pending,
                Polled::Elapsed => {
                    self.entry = None;
                    return Poll::Ready(());
                }
                // On another runtime now: that of the first poll may have ended.
                Polled::Moved => self.cancel(),
            }
        }
        if self.is_elapsed() {
            return Poll::Ready(());
        }
        self.arm(cx);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
