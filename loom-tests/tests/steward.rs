//! Who does a blocked loop's work for it: one at a time, while the owner may come back at any moment.

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../runtime/src/scheduler/steward.rs"]
mod steward;

use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use loom::thread;
use loopool_loom_tests::{Bounds, model, shim};

use self::steward::Stewardship;

/// What is due at the loop, and who is at it.
struct Loop {
    stewardship: Stewardship,
    /// What nobody but the steward touches.
    stewards: UnsafeCell<usize>,
    /// As the wheel: under its lock.
    due: Mutex<usize>,
    done: Mutex<usize>,
}

// SAFETY: loom checks that the cell is touched by one at a time.
unsafe impl Sync for Loop {}

impl Loop {
    fn new(due: usize) -> Arc<Self> {
        Arc::new(Loop {
            stewardship: Stewardship::default(),
            stewards: UnsafeCell::new(0),
            due: Mutex::new(due),
            done: Mutex::new(0),
        })
    }

    /// As `Shared::collect` and `Ready::wake`.
    fn serve(&self) -> bool {
        let due = {
            let Some(_steward) = self.stewardship.take() else { return false };
            // SAFETY: that this thread is the only one is what the model shows.
            self.stewards.with_mut(|stewards| unsafe { *stewards += 1 });
            std::mem::take(&mut *self.due.lock().unwrap())
        };
        *self.done.lock().unwrap() += due;
        true
    }

    /// The owner, who needs no role.
    fn turn(&self) {
        let due = std::mem::take(&mut *self.due.lock().unwrap());
        *self.done.lock().unwrap() += due;
    }
}

#[test]
fn there_is_one_steward_and_the_owner_may_come_back() {
    model(Bounds { small: 3, full: None }, || {
        let the_loop = Loop::new(2);
        let peers = [(); 2].map(|()| {
            let the_loop = the_loop.clone();
            thread::spawn(move || the_loop.serve())
        });
        the_loop.turn();
        let served = peers.map(|peer| usize::from(peer.join().unwrap()));
        let served: usize = served.iter().sum();
        // One who found the role taken left it to the other.
        assert!(served > 0);
        // SAFETY: the others have ended.
        assert_eq!(the_loop.stewards.with(|stewards| unsafe { *stewards }), served);
        assert_eq!((*the_loop.due.lock().unwrap(), *the_loop.done.lock().unwrap()), (0, 2));
        // The role was given back.
        assert!(the_loop.serve());
    });
}
