//! The event, as it ships: whoever waited when it was set returns, whatever comes after.

/// The room under its own name, because the files say `super`.
#[path = "."]
mod sync {
    #[allow(dead_code, unreachable_pub, reason = "the models use a part")]
    #[path = "../../runtime/src/sync/event.rs"]
    pub(crate) mod event;
    #[allow(dead_code, reason = "the models use a part")]
    #[path = "../../runtime/src/sync/waiters.rs"]
    mod waiters;
}

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../executors/src/caught.rs"]
pub mod caught;

extern crate self as loopool_executors;

include!("sync/outside.rs");

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use loom::sync::Arc;
use loom::thread;
use loopool_loom_tests::{Alarm, Bounds, model, shim};

use self::sync::event::{Event, Wait};

const BOUNDS: Bounds = Bounds { small: 3, full: Some(5) };

fn poll(wait: Pin<&mut Wait<'_>>, alarm: &Arc<Alarm>) -> Poll<()> {
    let waker = Alarm::waker(alarm);
    wait.poll(&mut Context::from_waker(&waker))
}

fn wait(mut wait: Pin<&mut Wait<'_>>, alarm: &Arc<Alarm>) {
    while poll(wait.as_mut(), alarm).is_pending() {
        alarm.wait();
    }
}

#[test]
fn whoever_waits_is_woken() {
    model(BOUNDS, || {
        let event = Arc::new(Event::new());
        let setting = {
            let event = event.clone();
            thread::spawn(move || event.set())
        };
        let other = {
            let event = event.clone();
            thread::spawn(move || wait(pin!(event.wait()), &Alarm::new()))
        };
        wait(pin!(event.wait()), &Alarm::new());
        other.join().unwrap();
        setting.join().unwrap();
        assert!(event.is_set());
    });
}

#[test]
fn who_waited_returns_though_it_is_cleared_at_once() {
    model(BOUNDS, || {
        let event = Arc::new(Event::new());
        let alarm = Alarm::new();
        let mut waiting = pin!(event.wait());
        assert!(poll(waiting.as_mut(), &alarm).is_pending());
        let setting = {
            let event = event.clone();
            thread::spawn(move || {
                event.set();
                event.clear();
            })
        };
        // Another one, who may have come too late.
        let late = poll(pin!(event.wait()), &Alarm::new());
        wait(waiting, &alarm);
        setting.join().unwrap();
        assert!(!event.is_set());
        let _ = late;
    });
}

#[test]
fn the_last_one_to_poll_is_woken() {
    model(BOUNDS, || {
        let event = Arc::new(Event::new());
        let setting = {
            let event = event.clone();
            thread::spawn(move || event.set())
        };
        let (first, second) = (Alarm::new(), Alarm::new());
        let mut waiting = pin!(event.wait());
        if poll(waiting.as_mut(), &first).is_pending() {
            wait(waiting, &second);
        }
        setting.join().unwrap();
    });
}

/// Who sees that it was set sees what was before that, without the lock, too.
#[test]
fn what_was_before_is_seen() {
    model(BOUNDS, || {
        let shared = Arc::new((Event::new(), loom::cell::UnsafeCell::new(0)));
        let setting = {
            let shared = shared.clone();
            thread::spawn(move || {
                // SAFETY: nobody looks before the event is set.
                shared.1.with_mut(|number| unsafe { *number = 1 });
                shared.0.set();
            })
        };
        while !shared.0.is_set() {
            thread::yield_now();
        }
        // SAFETY: nobody writes any more.
        shared.1.with(|number| assert_eq!(unsafe { *number }, 1));
        setting.join().unwrap();
    });
}
