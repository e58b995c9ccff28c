//! Permits and those who wait for them, as they ship: nobody has a permit that was not there, none is lost,
//! whoever leaves.

/// The room under its own name, because the files say `super`.
#[path = "."]
mod sync {
    #[allow(dead_code, reason = "the models use a part")]
    #[path = "../../runtime/src/sync/permits/mod.rs"]
    pub(crate) mod permits;
    #[allow(dead_code, reason = "the models use a part")]
    #[path = "../../runtime/src/sync/waiters.rs"]
    mod waiters;

    // As visible as the models need it.
    pub(crate) mod open {
        use super::permits::Permits;

        pub(crate) struct Lot(Permits);

        impl Lot {
            pub(crate) fn new(permits: usize) -> Self {
                Lot(Permits::new(permits))
            }

            pub(crate) fn acquire(&self, wanted: u32) -> impl Future<Output = bool> + '_ {
                let acquire = self.0.acquire(wanted);
                async move { acquire.await.is_ok() }
            }

            pub(crate) fn try_acquire(&self) -> bool {
                self.0.try_acquire(1).is_ok()
            }

            pub(crate) fn release(&self, permits: u32) {
                self.0.release(permits);
            }

            pub(crate) fn close(&self) {
                self.0.close();
            }

            /// Nobody waits, nothing is promised.
            pub(crate) fn is_quiet(&self, available: usize) -> bool {
                let quiet = "promised: 0, waiting: false, fair: false";
                self.0.available() == available && format!("{:?}", self.0).contains(quiet)
            }
        }
    }
}

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../executors/src/caught.rs"]
pub mod caught;

extern crate self as loopool_executors;

include!("sync/outside.rs");

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use loopool_loom_tests::{Alarm, Bounds, model, shim};

use self::sync::open::Lot;

const BOUNDS: Bounds = Bounds { small: 2, full: Some(3) };

fn poll<F: Future>(future: Pin<&mut F>, alarm: &Arc<Alarm>) -> Poll<F::Output> {
    let waker = Alarm::waker(alarm);
    future.poll(&mut Context::from_waker(&waker))
}

fn block_on<F: Future>(future: F) -> F::Output {
    wait(pin!(future), &Alarm::new())
}

fn wait<F: Future>(mut future: Pin<&mut F>, alarm: &Arc<Alarm>) -> F::Output {
    loop {
        match poll(future.as_mut(), alarm) {
            Poll::Ready(output) => return output,
            Poll::Pending => alarm.wait(),
        }
    }
}

/// What a lock protects; loom sees it if two have it at once, or if one does not see what another has done.
struct Protected {
    lot: Lot,
    count: UnsafeCell<usize>,
}

// SAFETY: used with the permit only, which is what is checked here.
unsafe impl Sync for Protected {}

impl Protected {
    fn new() -> Arc<Self> {
        Arc::new(Protected { lot: Lot::new(1), count: UnsafeCell::new(0) })
    }

    /// With the lock.
    fn add(&self) {
        // SAFETY: we have the lock.
        self.count.with_mut(|count| unsafe { *count += 1 });
        self.lot.release(1);
    }
}

#[test]
fn one_at_a_time() {
    model(BOUNDS, || {
        let shared = Protected::new();
        let others = [(), ()].map(|()| {
            let shared = shared.clone();
            thread::spawn(move || {
                assert!(block_on(shared.lot.acquire(1)));
                shared.add();
            })
        });
        assert!(block_on(shared.lot.acquire(1)));
        shared.add();
        others.into_iter().for_each(|other| other.join().unwrap());
        // SAFETY: everybody is done.
        shared.count.with(|count| assert_eq!(unsafe { *count }, 3));
        assert!(shared.lot.is_quiet(1));
    });
}

/// One waits, and another one runs and takes the lock again and again: it does not do so for ever.
#[test]
fn who_is_overtaken_gets_in() {
    model(BOUNDS, || {
        let shared = Protected::new();
        let other = shared.clone();
        assert!(shared.lot.try_acquire());
        let other = thread::spawn(move || {
            other.add();
            for _ in 0..4 {
                if other.lot.try_acquire() {
                    other.add();
                }
            }
        });
        assert!(block_on(shared.lot.acquire(1)));
        shared.add();
        other.join().unwrap();
        assert!(shared.lot.is_quiet(1));
    });
}

/// Of two who wait one leaves, maybe with the promise: the other one gets the permit.
#[test]
fn who_leaves_hands_the_promise_on() {
    model(BOUNDS, || {
        let lot = Arc::new(Lot::new(1));
        assert!(lot.try_acquire());
        let releasing = {
            let lot = lot.clone();
            thread::spawn(move || lot.release(1))
        };
        let second = {
            let lot = lot.clone();
            thread::spawn(move || {
                assert!(block_on(lot.acquire(1)));
                lot.release(1);
            })
        };
        {
            let mut first = pin!(lot.acquire(1));
            if poll(first.as_mut(), &Alarm::new()).is_ready() {
                lot.release(1);
            }
        }
        releasing.join().unwrap();
        second.join().unwrap();
        assert!(lot.is_quiet(1));
    });
}

/// Who wants two gets them, while another one wants one; each comes back from a thread of its own.
#[test]
fn who_wants_several_is_not_forgotten() {
    model(BOUNDS, || {
        let lot = Arc::new(Lot::new(2));
        assert!(lot.try_acquire() && lot.try_acquire());
        let one = {
            let lot = lot.clone();
            thread::spawn(move || {
                lot.release(1);
                assert!(block_on(lot.acquire(1)));
                lot.release(1);
            })
        };
        let alarm = Alarm::new();
        let mut two = pin!(lot.acquire(2));
        let polled = poll(two.as_mut(), &alarm);
        lot.release(1);
        assert!(polled.is_ready() || wait(two, &alarm));
        lot.release(2);
        one.join().unwrap();
        assert!(lot.is_quiet(2));
    });
}

#[test]
fn the_last_one_to_poll_is_woken() {
    model(BOUNDS, || {
        let lot = Arc::new(Lot::new(0));
        let releasing = {
            let lot = lot.clone();
            thread::spawn(move || lot.release(1))
        };
        let (first, second) = (Alarm::new(), Alarm::new());
        let mut acquire = pin!(lot.acquire(1));
        if poll(acquire.as_mut(), &first).is_pending() {
            assert!(wait(acquire, &second));
        }
        lot.release(1);
        releasing.join().unwrap();
        assert!(lot.is_quiet(1));
    });
}

#[test]
fn the_end_reaches_who_waits() {
    model(BOUNDS, || {
        let lot = Arc::new(Lot::new(0));
        let closing = {
            let lot = lot.clone();
            thread::spawn(move || lot.close())
        };
        let other = {
            let lot = lot.clone();
            thread::spawn(move || assert!(!block_on(lot.acquire(1))))
        };
        assert!(!block_on(lot.acquire(2)));
        closing.join().unwrap();
        other.join().unwrap();
    });
}

/// A waiter that was woken, overtaken, and comes when it is all over does not wait again.
#[test]
fn the_end_reaches_who_was_overtaken() {
    model(BOUNDS, || {
        let lot = Arc::new(Lot::new(0));
        let closing = {
            let lot = lot.clone();
            thread::spawn(move || {
                lot.release(1);
                lot.try_acquire();
                lot.close();
            })
        };
        block_on(lot.acquire(1));
        closing.join().unwrap();
    });
}
