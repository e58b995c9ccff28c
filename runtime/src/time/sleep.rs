//! [`sleep`] and [`sleep_until`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::timers::{Timer, TimerState};
use crate::context;
use crate::event_loop::Core;
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
/// ends at once and sets no timer. One whose time passes while the thread that polls it does something long
/// may end a turn of the loop later: the clock was read for the call, and is not always read again for the
/// first poll.
///
/// # Cancel safety
/// Dropping it removes the timer.
///
/// # Panics
/// When it is polled outside a running event loop.
pub fn sleep(duration: Duration) -> Sleep {
    Sleep { deadline: from_now(duration), alarm: Alarm::Unset { looked: true } }
}

/// The time in `delay` from now. A time beyond what the clock can say is beyond everybody's patience,
/// too, so there it is thirty years.
pub(crate) fn from_now(delay: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    let now = Instant::now();
    context::with_core(|core| core.looked_at_clock(now));
    now.checked_add(delay).unwrap_or(now + FAR)
}

/// Waits until `deadline`; see [`sleep`]. The first poll always reads the clock: what is past then ends at
/// once.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, alarm: Alarm::Unset { looked: false } }
}

/// The future of [`sleep`].
#[must_use = "a sleep does nothing unless it is awaited"]
pub struct Sleep {
    deadline: Instant,
    alarm: Alarm,
}

enum Alarm {
    /// `looked`: the clock was read when the sleep was made.
    Unset { looked: bool },
    /// In the wheel of a loop of the runtime on which the sleep was last polled.
    Set(Timer),
}

const _: () = assert!(size_of::<Alarm>() == size_of::<Timer>());

/// One lies in every future that sleeps or has a limit, for as long as that lives.
const _: () = assert!(size_of::<Sleep>() <= 40);

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
        let timer = wake_at(self.deadline, || cx.waker().clone());
        let timer =
            timer.expect("a sleep or timeout was polled outside a running loopool event loop");
        self.alarm = Alarm::Set(timer);
    }

    /// Whether the time is past. The clock is not read again if it was when the sleep was made and the
    /// deadline was far when this thread's loop last looked. That look says nothing of a deadline that came
    /// from elsewhere: it may have been past since before.
    #[inline]
    fn is_past(&self) -> bool {
        let looked = matches!(self.alarm, Alarm::Unset { looked: true });
        let far = looked && context::with_core(|core| core.is_far(self.deadline)).unwrap_or(false);
        !far && self.is_elapsed()
    }

    #[track_caller]
    fn poll_timer(&mut self, cx: &Context<'_>) -> Poll<()> {
        if let Alarm::Set(timer) = &self.alarm {
            assert!(!timer.is_forked(), "{Forked}");
            let has_timer = |core: &Core| core.shared().has_timer(core.place(), timer);
            if context::with_core(has_timer).unwrap_or(false) {
                if timer.poll(cx.waker()) == TimerState::Waiting {
                    return Poll::Pending;
                }
                self.alarm = Alarm::Unset { looked: false };
                return Poll::Ready(());
            }
            // On another runtime now: that of the first poll may have ended.
            self.alarm = Alarm::Unset { looked: false };
        }
        if self.is_past() {
            return Poll::Ready(());
        }
        self.arm(cx);
        Poll::Pending
    }
}

/// A timer of the loop that this thread drives, if it does.
#[inline]
pub(crate) fn wake_at(deadline: Instant, waker: impl FnOnce() -> Waker) -> Option<Timer> {
    context::with_core(|core| {
        let (shared, place) = (core.shared(), core.place());
        assert!(!shared.is_forked(), "{Forked}");
        let timer = shared.loops[place].timers.insert(deadline, waker());
        if place != core.index() {
            // Its owner may be back, and asleep until a later timer.
            shared.timer_was_set_at(place);
        }
        timer
    })
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
