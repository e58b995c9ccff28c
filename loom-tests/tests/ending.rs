//! The end of a runtime: the last task, the last owner, and tasks that are made meanwhile.

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../runtime/src/scheduler/ending.rs"]
mod ending;

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../runtime/src/scheduler/idle.rs"]
mod idle;

use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use loom::thread;
use loopool_loom_tests::{Bounds, Eventfd, model, shim};

use self::ending::{End, Ending, Phase};
use self::idle::Idle;

/// What of a runtime takes part in its end. The order of the calls is that of `scheduler/mod.rs`,
/// `drain.rs` and `find_work.rs`.
struct Runtime {
    ending: Ending<u32>,
    idle: Idle,
    eventfd: Eventfd,
    registry: Mutex<Registry>,
    queue: Mutex<Vec<u32>>,
}

#[derive(Default)]
struct Registry {
    closed: bool,
    tasks: usize,
}

impl Runtime {
    fn new(owners: usize) -> Arc<Self> {
        Arc::new(Runtime {
            ending: Ending::new(owners),
            idle: Idle::new(1, 0),
            eventfd: Eventfd::default(),
            registry: Mutex::default(),
            queue: Mutex::default(),
        })
    }

    /// True when the task was taken in.
    fn spawn(&self, task: u32) -> bool {
        if self.ending.phase() == Phase::Stopped {
            return false;
        }
        self.ending.count_in();
        let entered = {
            let mut registry = self.registry.lock().unwrap();
            registry.tasks += usize::from(!registry.closed);
            !registry.closed
        };
        if entered {
            self.queue.lock().unwrap().push(task);
        } else if self.ending.count_out() {
            self.wake();
        }
        entered
    }

    fn end_task(&self, task: u32, how: End) {
        self.ending.note(how, || task);
        self.registry.lock().unwrap().tasks -= 1;
        if self.ending.count_out() {
            self.wake();
        }
    }

    fn wake(&self) {
        if self.idle.notify(0) {
            self.eventfd.write();
        }
    }

    /// On loop 0.
    fn wait_for_the_last_task(&self) {
        self.idle.enter(0);
        while self.ending.live() > 0 {
            self.idle.announce_park(0);
            if self.ending.phase() == Phase::Closing && self.ending.live() == 0 {
                self.idle.unpark(0);
                break;
            }
            self.eventfd.wait();
            self.idle.unpark(0);
        }
    }

    /// For the one who leaves last.
    fn finish(&self) {
        while self.ending.live() > 0 {
            let task = self.queue.lock().unwrap().pop();
            match task {
                Some(task) => self.end_task(task, End::Dropped),
                None => thread::yield_now(),
            }
        }
    }
}

#[test]
fn whoever_waits_for_the_last_task_is_woken() {
    model(Bounds { small: 3, full: None }, || {
        let runtime = Runtime::new(1);
        for task in 0..2 {
            assert!(runtime.spawn(task));
        }
        let ending = [0, 1].map(|task| {
            let runtime = runtime.clone();
            thread::spawn(move || runtime.end_task(task, End::Finished))
        });
        runtime.ending.advance(Phase::Closing);
        runtime.wait_for_the_last_task();
        assert_eq!(runtime.registry.lock().unwrap().tasks, 0);
        for thread in ending {
            thread.join().unwrap();
        }
        assert!(runtime.ending.take_tally().finished <= 2);
    });
}

/// Every task that was taken in is dropped by the end, and no other.
#[test]
fn a_task_that_is_made_while_the_runtime_ends_is_dropped_or_refused() {
    model(Bounds { small: 3, full: None }, || {
        let runtime = Runtime::new(1);
        let spawning = thread::spawn({
            let runtime = runtime.clone();
            move || usize::from(runtime.spawn(1)) + usize::from(runtime.spawn(2))
        });
        runtime.ending.advance(Phase::Stopped);
        runtime.registry.lock().unwrap().closed = true;
        assert!(runtime.ending.leave());
        runtime.finish();
        let dropped = runtime.ending.take_tally().dropped.len();
        assert_eq!(spawning.join().unwrap(), dropped);
        assert_eq!((runtime.registry.lock().unwrap().tasks, runtime.ending.live()), (0, 0));
        assert!(runtime.queue.lock().unwrap().is_empty());
    });
}

/// As when a loop is stuck beyond the grace period: nobody knows who comes last.
#[test]
fn the_last_to_leave_has_everything_to_itself() {
    model(Bounds { small: 3, full: None }, || {
        let runtime = Runtime::new(3);
        let halves: Arc<[UnsafeCell<u32>; 3]> = Arc::default();
        let empty = |index: usize| {
            let (runtime, halves) = (runtime.clone(), halves.clone());
            move || {
                // SAFETY: the owner has not left.
                halves[index].with_mut(|half| unsafe { *half = 1 });
                let last = runtime.ending.leave();
                if last {
                    for half in halves.iter() {
                        // SAFETY: everybody has left; loom checks it.
                        half.with_mut(|half| unsafe {
                            assert_eq!(*half, 1);
                            *half = 2;
                        });
                    }
                }
                last
            }
        };
        let workers = [1, 2].map(|index| thread::spawn(empty(index)));
        let mut last = usize::from(empty(0)());
        for worker in workers {
            last += usize::from(worker.join().unwrap());
        }
        assert_eq!(last, 1, "one of them is the last");
    });
}

/// It comes late, and goes while the runtime goes on or with everybody else: it may be the last.
#[test]
fn a_spare_worker_comes_and_goes_while_everybody_leaves() {
    model(Bounds { small: 3, full: None }, || {
        let runtime = Runtime::new(1);
        let halves: Arc<[UnsafeCell<u32>; 2]> = Arc::default();
        let finish = |halves: &[UnsafeCell<u32>; 2]| {
            for half in halves {
                // SAFETY: everybody has left; loom checks it.
                half.with_mut(|half| unsafe { *half += 1 });
            }
        };
        let spare = thread::spawn({
            let (runtime, halves) = (runtime.clone(), halves.clone());
            move || {
                if !runtime.ending.join() {
                    return false;
                }
                // SAFETY: we are its owner.
                halves[1].with_mut(|half| unsafe { *half += 1 });
                let last = !runtime.ending.retire() && runtime.ending.leave();
                if last {
                    finish(&halves);
                }
                last
            }
        });
        // SAFETY: as above.
        halves[0].with_mut(|half| unsafe { *half += 1 });
        let last = runtime.ending.leave();
        if last {
            finish(&halves);
        }
        assert_eq!(usize::from(last) + usize::from(spare.join().unwrap()), 1);
    });
}
