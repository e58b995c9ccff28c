//! Time: each loop's wheel of timers, and the futures that wait for it.

mod nodes;
mod short_lock;
mod sleep;
mod timeout;
mod timers;
mod try_timeout;
mod wheel;

pub(crate) use self::sleep::from_now;
pub use self::sleep::{Sleep, sleep, sleep_until};
pub use self::timeout::{Timeout, TimeoutError, timeout, timeout_at};
pub(crate) use self::timers::{Timer, Timers};
pub use self::try_timeout::{CancelCause, TryTimeout, try_timeout};
pub(crate) use self::wheel::{Action, Due, TimerKey};
