//! [`sleep`] and [`sleep_until`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::wheel::{Action, TimerKey};
use crate::context;
use crate::scheduler::Shared;
use crate::task::drop_caught;

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
}

impl Future for Sleep {
    type Output = ();

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(entry) = &self.entry {
            let updated =
                entry.shared.loops[entry.loop_index].timers.lock().update(entry.key, cx.waker());
            return match updated {
                Some(previous) => {
                    drop_caught("a waker", previous);
                    Poll::Pending
                }
                None => {
                    self.entry = None;
                    Poll::Ready(())
                }
            };
        }
        if self.is_elapsed() {
            return Poll::Ready(());
        }
        let core = context::current_core()
            .expect("a sleep or timeout was polled outside a running loopool event loop");
        let (shared, loop_index) = (core.shared_arc(), core.index());
        let action = Action::Wake(cx.waker().clone());
        let key = shared.loops[loop_index].timers.lock().insert(self.deadline, action);
        self.entry = Some(Entry { shared, loop_index, key });
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            let action = entry.shared.loops[entry.loop_index].timers.lock().cancel(entry.key);
            if let Some(Action::Wake(waker)) = action {
                drop_caught("a waker", waker);
            }
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
