//! The roll of those that the program's end waits for, and its door, as they ship.

#[allow(dead_code, unreachable_pub, reason = "the models use a part")]
#[path = "../../executors/src/exit/roll.rs"]
mod roll;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use loom::thread;
use loopool_loom_tests::{Bounds, model, shim};

use self::roll::{Roll, Ticket};

const BOUNDS: Bounds = Bounds { small: 3, full: None };

fn roll() -> shim::Arc<Roll> {
    shim::Arc::new(Roll::default())
}

fn enter(roll: &shim::Arc<Roll>) -> Option<Ticket> {
    Roll::enter(roll, "somebody")
}

/// Waits for as long as it takes, and sees the door closed then.
fn close(roll: &shim::Arc<Roll>) {
    assert_eq!(roll.close_when_empty(Duration::MAX), Ok(()));
    assert!(!roll.is_open());
    assert!(enter(roll).is_none());
}

/// A counter that loom knows nothing of.
#[derive(Clone, Default)]
struct Count(std::sync::Arc<AtomicUsize>);

impl Count {
    fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Relaxed)
    }
}

#[test]
fn everybody_on_the_roll_is_waited_for() {
    model(BOUNDS, || {
        let (roll, work) = (roll(), Count::default());
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (ticket, work) = (enter(&roll), work.clone());
                assert!(ticket.is_some());
                thread::spawn(move || {
                    work.add();
                    drop(ticket);
                })
            })
            .collect();
        close(&roll);
        assert_eq!(work.get(), 2);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn so_are_those_that_they_start() {
    model(BOUNDS, || {
        let (roll, work) = (roll(), Count::default());
        let ticket = enter(&roll);
        let parent = {
            let (roll, work) = (roll.clone(), work.clone());
            move || {
                let its = enter(&roll);
                assert!(its.is_some(), "the door closed on a family");
                let child = {
                    let work = work.clone();
                    thread::spawn(move || {
                        work.add();
                        drop(its);
                    })
                };
                work.add();
                drop(ticket);
                child
            }
        };
        let parent = thread::spawn(parent);
        close(&roll);
        assert_eq!(work.get(), 2);
        parent.join().unwrap().join().unwrap();
    });
}

/// Somebody who is not on the roll starts one, at any time.
#[test]
fn who_comes_late_is_refused_or_waited_for() {
    model(BOUNDS, || {
        let (roll, work) = (roll(), Count::default());
        let stranger = {
            let (roll, work) = (roll.clone(), work.clone());
            thread::spawn(move || {
                let ticket = enter(&roll);
                let is_in = ticket.is_some();
                if is_in {
                    thread::yield_now();
                    work.add();
                }
                drop(ticket);
                is_in
            })
        };
        close(&roll);
        let done = work.get();
        assert_eq!(done, usize::from(stranger.join().unwrap()));
    });
}
