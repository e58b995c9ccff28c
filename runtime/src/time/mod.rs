//! Time: each loop's wheel of timers, and the futures that wait for it.

mod nodes;
mod sleep;
mod timeout;
mod timers;
mod try_timeout;
mod wheel;

pub use self::sleep::{Sleep, sleep, sleep_until};
pub(crate) use self::sleep::{from_now, wake_at};
pub use self::timeout::{Timeout, TimeoutError, timeout, timeout_at};
pub(crate) use self::timers::{Timer, Timers};
pub use self::try_timeout::{CancelCause, TryTimeout, try_timeout};
pub(crate) use self::wheel::{Action, Due, TimerKey};

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;
    use std::task::{RawWaker, RawWakerVTable, Waker};
    use std::time::Instant;

    use super::Timers;
    use super::timers::TimerState;

    thread_local! {
        static TIMERS: RefCell<Option<Rc<Timers>>> = const { RefCell::new(None) };
        static DROPS: Cell<usize> = const { Cell::new(0) };
    }

    fn timers() -> Rc<Timers> {
        TIMERS.with_borrow(|timers| timers.clone().unwrap())
    }

    /// Hands out all timers when it is cloned, and needs their lock when it is dropped.
    const MEDDLER: RawWaker = RawWaker::new(std::ptr::null(), &VTABLE);
    const VTABLE: RawWakerVTable = RawWakerVTable::new(
        |_| {
            timers().expire(&mut Vec::new());
            MEDDLER
        },
        |_| {},
        |_| {},
        |_| {
            timers().with(|_| DROPS.set(DROPS.get() + 1));
        },
    );

    #[test]
    fn a_waker_that_comes_too_late_is_dropped_without_the_lock() {
        TIMERS.set(Some(Rc::new(Timers::new())));
        let timer = timers().insert(Instant::now(), Waker::noop().clone());
        // SAFETY: there is no data, and the functions may be called by the only thread that has it.
        let meddler = unsafe { Waker::from_raw(MEDDLER) };
        assert_eq!(timer.poll(&meddler), TimerState::Fired);
        assert_eq!(DROPS.get(), 1, "the clone");
    }
}
