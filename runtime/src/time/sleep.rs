//! [`sleep`] and [`sleep_until`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::timers::{Timer, TimerState};
use crate::context;
use crate::fork::Forked;

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
/// The time counts from the call, not from the first poll. A sleep that is past when it is first polled
/// ends at once and sets no timer; one whose time passes while its own thread does something long between the
/// call and the first poll may end a turn of the loop later.
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
    context::with_core(|core| core.looked_at_clock(now));
    now.checked_add(delay).unwrap_or(now + FAR)
}

/// Waits until `deadline`; see [`sleep`].
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, timer: None }
}

/// The future of [`sleep`].
#[must_use = "a sleep does nothing unless it is awaited"]
pub struct Sleep {
    deadline: Instant,
    /// In the wheel of a loop of the runtime on which the sleep was last polled.
    timer: Option<Timer>,
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
        if first { self.is_past() } else { self.poll_timer(cx).is_ready() }
    }

    /// Sets the timer. It wakes even if its time is past.
    #[track_caller]
    pub(super) fn arm(&mut self, cx: &Context<'_>) {
        let armed = context::with_core(|core| {
            let (shared, place) = (core.shared(), core.place());
            assert!(!shared.is_forked(), "{Forked}");
            let timers = &shared.loops[place].timers;
            self.timer = Some(timers.insert(self.deadline, cx.waker().clone()));
            if place != core.index() {
                // Its owner may be back, and asleep until a later timer.
                shared.timer_was_set_at(place);
            }
        });
        armed.expect("a sleep or timeout was polled outside a running loopool event loop");
    }

    /// Whether the time was past when this thread's loop last looked at the clock, or is past now. Only
    /// deadlines that were near then make it look again.
    #[inline]
    fn is_past(&self) -> bool {
        let far = context::with_core(|core| core.is_far(self.deadline));
        !far.unwrap_or(false) && self.is_elapsed()
    }

    #[track_caller]
    fn poll_timer(&mut self, cx: &Context<'_>) -> Poll<()> {
        if let Some(timer) = &self.timer {
            assert!(!timer.is_forked(), "{Forked}");
            if context::with_core(|core| core.shared().has_timer(timer)).unwrap_or(false) {
                if timer.poll(cx.waker()) == TimerState::Waiting {
                    return Poll::Pending;
                }
                self.timer = None;
                return Poll::Ready(());
            }
            // On another runtime now: that of the first poll may have ended.
            self.timer = None;
        }
        if self.is_past() {
            return Poll::Ready(());
        }
        self.arm(cx);
        Poll::Pending
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
