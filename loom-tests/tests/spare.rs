//! The watch thread and the spare workers: while a loop is awake somebody watches, whoever is called comes,
//! and what a spare worker gives away is found.
//!
//! `idle.rs` and `bell.rs` are the files that ship. How they are called is written out here, after
//! `runtime/watch.rs`, `runtime/spares.rs`, `event_loop/spare.rs` and `Shared::ring`.

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../runtime/src/scheduler/bell.rs"]
mod bell;

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../runtime/src/scheduler/idle.rs"]
mod idle;

use loom::sync::Arc;
use loom::thread;
use loopool_loom_tests::shim::atomic::{AtomicBool, AtomicUsize, Ordering};
use loopool_loom_tests::{Bounds, Eventfd, model, shim};

use self::bell::Bell;
use self::idle::Idle;

const SMALL: Bounds = Bounds { small: 3, full: None };

struct Runtime {
    idle: Idle,
    bell: Bell,
    /// What the watch thread parks on.
    park: Eventfd,
    /// What each loop and spare sleeps on; the main loop's is also that of the watch thread, abroad.
    reactors: Vec<Eventfd>,
    stopped: AtomicBool,
    called: AtomicBool,
    injected: AtomicUsize,
}

impl Runtime {
    fn new(loops: usize, spares: usize) -> Arc<Self> {
        Arc::new(Runtime {
            idle: Idle::new(loops, spares),
            bell: Bell::new(),
            park: Eventfd::default(),
            reactors: (0..loops + spares).map(|_| Eventfd::default()).collect(),
            stopped: AtomicBool::new(false),
            called: AtomicBool::new(false),
            injected: AtomicUsize::new(0),
        })
    }

    /// `Shared::ring`.
    fn ring(&self) {
        let abroad = self.bell.ring();
        self.park.write();
        if abroad {
            self.reactors[0].write();
        }
    }

    /// `Shared::see_to_a_watch`.
    fn see_to_a_watch(&self) {
        if self.bell.must_ring() {
            self.ring();
        }
    }

    /// `Watch::work`, with the shortest of quiet times, until somebody is awake.
    fn watch(&self) {
        while !self.idle.anybody_awake() {
            if self.bell.may_sleep(&self.idle) {
                self.park.wait();
                self.bell.wake_up();
            }
        }
    }

    /// `Watch::sleep_abroad`.
    fn sleep_abroad(&self) {
        if self.bell.go_abroad(&self.idle, true) {
            self.reactors[0].wait();
        }
        self.bell.come_back();
    }

    /// `Spares::call`, for the only seat. False when somebody has to be put there.
    fn call(&self, seat: usize) -> bool {
        if self.idle.is_absent(seat) {
            return false;
        }
        if self.idle.is_parked(seat) || !self.called.load(Ordering::Relaxed) {
            self.called.store(true, Ordering::Release);
            if self.idle.notify(seat) {
                self.reactors[seat].write();
            }
        }
        true
    }

    /// `Spare::work`. True when it has helped; else it has retired.
    fn spare(&self, seat: usize, patient: bool) -> bool {
        self.idle.enter(seat);
        let helped = loop {
            if self.called.load(Ordering::Acquire) {
                self.called.store(false, Ordering::Relaxed);
                break true;
            }
            // `Spare::rest`.
            self.idle.announce_park(seat);
            let called = self.called.load(Ordering::Acquire);
            if patient && !called {
                self.reactors[seat].wait();
            }
            if !self.idle.unpark(seat) && !patient && !called {
                break false;
            }
        };
        self.idle.leave(seat);
        helped
    }

    /// `Core::park` of a loop that looks for a task for anybody, until it has found one.
    fn find_one(&self, index: usize) {
        while self.injected.swap(0, Ordering::Acquire) == 0 {
            self.idle.announce_park(index);
            if self.injected.load(Ordering::Relaxed) == 0 {
                self.reactors[index].wait();
            }
            self.idle.unpark(index);
        }
    }

    /// `Spare::stand_down`.
    fn stand_down(&self) {
        self.injected.fetch_add(1, Ordering::Release);
        if let Some(index) = self.idle.notify_any(|_| true) {
            self.reactors[index].write();
        }
    }
}

fn spawn<R: 'static>(runtime: &Arc<Runtime>, act: fn(&Runtime) -> R) -> thread::JoinHandle<R> {
    let runtime = runtime.clone();
    thread::spawn(move || act(&runtime))
}

/// W1 and W2: a loop sleeps, and the watch thread would, too; then the loop does not.
#[test]
fn a_sleeper_that_wakes_up_rings_for_the_watch() {
    model(SMALL, || {
        let runtime = Runtime::new(1, 0);
        runtime.idle.enter(0);
        runtime.idle.announce_park(0);
        let watch = spawn(&runtime, Runtime::watch);
        runtime.idle.unpark(0);
        runtime.see_to_a_watch();
        watch.join().unwrap();
    });
}

#[test]
fn of_two_that_wake_up_at_once_one_rings() {
    model(Bounds { small: 2, full: Some(4) }, || {
        let runtime = Runtime::new(2, 0);
        for index in 0..2 {
            runtime.idle.enter(index);
            runtime.idle.announce_park(index);
        }
        let watch = spawn(&runtime, Runtime::watch);
        let other = spawn(&runtime, |runtime| {
            runtime.idle.unpark(1);
            runtime.see_to_a_watch();
        });
        runtime.idle.unpark(0);
        runtime.see_to_a_watch();
        other.join().unwrap();
        watch.join().unwrap();
    });
}

/// W3 and W4: the watch thread is about to sleep in the main loop's reactor.
#[test]
fn the_watch_is_sent_home_when_the_main_loop_is_driven() {
    model(SMALL, || {
        let runtime = Runtime::new(2, 0);
        let watch = spawn(&runtime, Runtime::sleep_abroad);
        // `Driving::begin`, and `Shared::main_loop_changed`.
        runtime.idle.enter(0);
        if runtime.bell.is_abroad() {
            runtime.reactors[0].write();
            while runtime.bell.stays_abroad() {
                loom::thread::yield_now();
                runtime.reactors[0].write();
            }
        }
        // It sleeps there itself, and takes the wake-ups that are left.
        runtime.reactors[0].take();
        watch.join().unwrap();
    });
}

#[test]
fn a_ring_is_heard_abroad() {
    model(SMALL, || {
        let runtime = Runtime::new(2, 0);
        let watch = spawn(&runtime, |runtime| {
            while !runtime.stopped.load(Ordering::Acquire) {
                runtime.sleep_abroad();
            }
        });
        // `Shared::advance`.
        runtime.stopped.store(true, Ordering::Release);
        runtime.ring();
        watch.join().unwrap();
    });
}

#[test]
fn a_call_reaches_a_spare_worker_that_goes_to_rest() {
    model(SMALL, || {
        let runtime = Runtime::new(1, 1);
        runtime.idle.enter(1);
        let spare = spawn(&runtime, |runtime| runtime.spare(1, true));
        // Once: from then on it passes for one that will help.
        assert!(runtime.call(1));
        assert!(spare.join().unwrap());
    });
}

/// It retires while it is called: either it comes after all, or it is seen to have gone.
#[test]
fn a_call_that_meets_the_end_of_a_spare_worker_is_not_taken_for_help() {
    model(SMALL, || {
        let runtime = Runtime::new(1, 1);
        runtime.idle.enter(1);
        let spare = spawn(&runtime, |runtime| runtime.spare(1, false));
        let called = runtime.call(1);
        if !spare.join().unwrap() {
            assert!(!runtime.call(1), "nobody sits there: one is started");
        } else {
            assert!(called);
        }
        assert!(!runtime.idle.could_use_help(), "a spare worker is no sleeper to be woken");
    });
}

/// The loop for which it stood in is back, has nothing to do and goes to sleep.
#[test]
fn what_a_spare_worker_gives_away_is_found() {
    model(SMALL, || {
        let runtime = Runtime::new(1, 1);
        runtime.idle.enter(0);
        runtime.idle.enter(1);
        let spare = spawn(&runtime, Runtime::stand_down);
        runtime.find_one(0);
        spare.join().unwrap();
    });
}
