//! The timers of a loop, as they ship: handed out or cancelled, once, and their memory freed by the last one.

/// The room under its own name, because the files say `super`.
#[path = "."]
mod time {
    #[path = "../../runtime/src/time/nodes.rs"]
    mod nodes;
    #[allow(dead_code, reason = "the models use a part")]
    #[path = "../../runtime/src/time/timers.rs"]
    pub(crate) mod timers;
    #[allow(dead_code, reason = "the models use a part")]
    #[path = "../../runtime/src/time/wheel.rs"]
    pub(crate) mod wheel;
}

#[path = "../../runtime/src/short_lock.rs"]
mod short_lock;

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../executors/src/caught.rs"]
pub mod caught;

extern crate self as loopool_executors;

/// Stand-in: no model has a panic in it, so one that was caught is loom's.
mod error {
    pub(crate) fn panic_message(_: &(dyn std::any::Any + Send)) -> &str {
        "caught"
    }
}

/// Stand-in: there is one process.
mod origin {
    #[derive(Clone, Copy)]
    pub(crate) struct Origin;

    impl Origin {
        pub(crate) fn here() -> Self {
            Origin
        }

        pub(crate) fn is_left_behind(self) -> bool {
            false
        }
    }
}

use std::time::{Duration, Instant};

use loom::sync::Arc;
use loom::thread;
use loopool_loom_tests::{Alarm, Bounds, model, shim};

use self::time::timers::{Timer, TimerState, Timers};
use self::time::wheel::Action;

const BOUNDS: Bounds = Bounds { small: 3, full: None };
/// With three threads.
const MANY: Bounds = Bounds { small: 2, full: Some(4) };
const FAR: Duration = Duration::from_secs(3600);

/// As a loop does, or one who looks after it. Gives how many were woken.
fn expire(timers: &Timers, now: Instant) -> usize {
    let mut due = Vec::new();
    timers.expire_for_peer(now, &mut due);
    let woken = due.len();
    for timer in due {
        if let Action::Wake(waker) = timer.action {
            waker.wake();
        }
    }
    woken
}

fn far_timer(timers: &Timers, alarm: &Arc<Alarm>) -> Timer {
    timers.insert(Instant::now() + FAR, Alarm::waker(alarm))
}

#[test]
fn a_timer_is_handed_out_or_cancelled() {
    model(BOUNDS, || {
        let timers = Arc::new(Timers::new());
        let alarm = Alarm::new();
        let timer = far_timer(&timers, &alarm);
        let expiring = {
            let timers = timers.clone();
            thread::spawn(move || expire(&timers, Instant::now() + 2 * FAR))
        };
        // It may take the place of the one that is handed out.
        let other = far_timer(&timers, &Alarm::new());
        drop(timer);
        let woken = expiring.join().unwrap();
        assert!(alarm.rings() <= woken);
        let fired = timers.with(|wheel| wheel.len()) == 0;
        assert_eq!(woken - alarm.rings(), usize::from(fired));
        drop(other);
        assert_eq!(timers.with(|wheel| wheel.len()), 0);
    });
}

#[test]
fn two_who_look_hand_out_everything_once() {
    model(MANY, || {
        let timers = Arc::new(Timers::new());
        let alarms = [(); 2].map(|()| Alarm::new());
        let held = alarms.each_ref().map(|alarm| far_timer(&timers, alarm));
        let expiring = [(); 2].map(|()| {
            let timers = timers.clone();
            thread::spawn(move || expire(&timers, Instant::now() + 2 * FAR))
        });
        let woken: usize = expiring.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(woken, 2);
        assert_eq!(alarms.map(|alarm| alarm.rings()), [1, 1]);
        drop(held);
    });
}

#[test]
fn whoever_polled_last_is_woken() {
    model(BOUNDS, || {
        let timers = Arc::new(Timers::new());
        let timer = far_timer(&timers, &Alarm::new());
        let expiring = {
            let timers = timers.clone();
            thread::spawn(move || expire(&timers, Instant::now() + 2 * FAR))
        };
        let alarm = Alarm::new();
        while timer.poll(&Alarm::waker(&alarm)) == TimerState::Waiting {
            alarm.wait();
        }
        assert_eq!(expiring.join().unwrap(), 1);
    });
}

/// Loom finds memory that is freed twice, too early, or never. Two threads: of three, two may wait in turns
/// for ever, as far as loom knows.
#[test]
fn timers_outlive_their_runtime() {
    model(BOUNDS, || {
        let timers = Timers::new();
        let alarm = Alarm::new();
        let first = far_timer(&timers, &alarm);
        let second = far_timer(&timers, &alarm);
        let cancelling = thread::spawn(move || drop(first));
        // As `Shared::finish`: wakers go with the runtime.
        drop(timers.with(|wheel| wheel.clear()));
        drop(timers);
        drop(second);
        cancelling.join().unwrap();
        assert_eq!(alarm.rings(), 0);
    });
}
