//! The end of a runtime: the last task, the last owner, and tasks that are made meanwhile.

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../runtime/src/scheduler/ending.rs"]
mod ending;

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../runtime/src/scheduler/registry.rs"]
mod registry;

/// Stand-in: how the lock works is modelled with the timers; here it is one that loom knows.
mod short_lock {
    pub(crate) use loopool_loom_tests::ShortLock;
}

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../runtime/src/scheduler/idle.rs"]
mod idle;

#[path = "../../runtime/src/runtime/life.rs"]
mod life;

use std::ptr::NonNull;

use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use loom::thread;
use loopool_loom_tests::{Bounds, Eventfd, model, shim};

use self::ending::{End, Ending, Phase};
use self::idle::Idle;
use self::life::Life;
use self::registry::{Registry, count_all};
use self::short_lock::ShortLock;
use self::task::Task;

/// Stand-in: of a task only its place in a registry matters here.
mod task {
    use std::ptr::NonNull;

    use crate::shim::UnsafeCell;

    #[derive(Default)]
    pub(crate) struct Header {
        pub(crate) links: UnsafeCell<Links>,
    }

    #[derive(Default)]
    pub(crate) struct Links {
        pub(crate) prev: Option<NonNull<Header>>,
        pub(crate) next: Option<NonNull<Header>>,
    }

    pub(crate) struct Task {
        pub(crate) header: Box<Header>,
        pub(crate) home: usize,
    }

    impl Task {
        pub(crate) fn new(home: usize) -> Self {
            Task { header: Box::default(), home }
        }
    }

    // SAFETY: the links are touched under the registry's lock; loom checks it.
    unsafe impl Send for Task {}

    pub(crate) struct Claimed;

    /// # Safety
    /// Never called.
    pub(crate) unsafe fn claim_for_shutdown(_: NonNull<Header>) -> Option<Claimed> {
        unreachable!("no model claims")
    }
}

/// What of a runtime takes part in its end. The order of the calls is that of `scheduler/mod.rs`,
/// `drain.rs` and `find_work.rs`.
struct Runtime {
    ending: Ending<()>,
    idle: Idle,
    eventfd: Eventfd,
    registries: [ShortLock<Registry>; 2],
    queue: Mutex<Vec<Task>>,
}

impl Runtime {
    fn new(owners: usize) -> Arc<Self> {
        Arc::new(Runtime {
            ending: Ending::new(owners),
            idle: Idle::new(1, 0),
            eventfd: Eventfd::default(),
            registries: [0, 1].map(|_| ShortLock::new(Registry::new())),
            queue: Mutex::default(),
        })
    }

    fn enter(&self, task: &Task) -> bool {
        self.registries[task.home].with(|registry| registry.insert(NonNull::from(&*task.header)))
    }

    /// `Shared::admit`, by a thread outside. True when the task was taken in.
    fn spawn(&self, task: Task) -> bool {
        if self.ending.phase() != Phase::Open || !self.enter(&task) {
            return false;
        }
        if self.ending.phase() != Phase::Open {
            self.take_out(&task);
            return false;
        }
        self.queue.lock().unwrap().push(task);
        true
    }

    fn end_task(&self, task: &Task, how: End) {
        self.ending.note(how, || ());
        self.take_out(task);
    }

    fn take_out(&self, task: &Task) {
        let header = NonNull::from(&*task.header);
        let emptied = self.registries[task.home].with(|registry| registry.remove(header));
        if emptied && self.ending.phase() != Phase::Open {
            self.wake();
        }
    }

    fn live(&self) -> usize {
        count_all(self.registries.iter())
    }

    fn wake(&self) {
        if self.idle.notify(0) {
            self.eventfd.write();
        }
    }

    /// On loop 0.
    fn wait_for_the_last_task(&self) {
        self.idle.enter(0);
        while self.live() > 0 {
            self.idle.announce_park(0);
            if self.ending.phase() == Phase::Closing && self.live() == 0 {
                self.idle.unpark(0);
                break;
            }
            self.eventfd.wait();
            self.idle.unpark(0);
        }
    }

    /// For the one who leaves last.
    fn finish(&self) {
        while self.live() > 0 {
            let task = self.queue.lock().unwrap().pop();
            match task {
                Some(task) => self.end_task(&task, End::Dropped),
                None => thread::yield_now(),
            }
        }
    }
}

#[test]
fn whoever_waits_for_the_last_task_is_woken() {
    model(Bounds { small: 3, full: Some(5) }, || {
        let runtime = Runtime::new(1);
        let ending = [0, 1].map(|home| {
            let task = Task::new(home);
            assert!(runtime.enter(&task));
            let runtime = runtime.clone();
            thread::spawn(move || runtime.end_task(&task, End::Finished))
        });
        runtime.ending.advance(Phase::Closing);
        runtime.wait_for_the_last_task();
        assert_eq!(runtime.live(), 0);
        for thread in ending {
            thread.join().unwrap();
        }
        assert!(runtime.ending.take_tally().finished <= 2);
    });
}

#[test]
fn a_task_that_makes_another_one_elsewhere_does_not_look_like_the_last() {
    model(Bounds { small: 3, full: None }, || {
        let runtime = Runtime::new(1);
        let (parent, child) = (Task::new(1), Task::new(0));
        assert!(runtime.enter(&parent));
        let tasks = thread::spawn({
            let runtime = runtime.clone();
            move || {
                assert!(runtime.enter(&child));
                runtime.end_task(&parent, End::Finished);
                child
            }
        });
        assert!(runtime.live() > 0, "the parent or the child is there");
        let child = tasks.join().unwrap();
        assert_eq!(runtime.live(), 1);
        runtime.end_task(&child, End::Finished);
    });
}

/// Every task that was taken in is dropped by the end, and no other.
#[test]
fn a_task_that_is_made_while_the_runtime_ends_is_dropped_or_refused() {
    model(Bounds { small: 3, full: None }, || {
        let runtime = Runtime::new(1);
        let spawning = thread::spawn({
            let runtime = runtime.clone();
            move || {
                // As a task's, which is taken in also while the runtime closes.
                let task = Task::new(1);
                let entered = runtime.enter(&task);
                if entered {
                    runtime.queue.lock().unwrap().push(task);
                }
                usize::from(entered)
            }
        });
        runtime.ending.advance(Phase::Stopped);
        runtime.registries.iter().for_each(|registry| registry.with(Registry::close));
        assert!(runtime.ending.leave());
        runtime.finish();
        let dropped = runtime.ending.take_tally().dropped.len();
        assert_eq!(spawning.join().unwrap(), dropped);
        assert_eq!(runtime.live(), 0);
        assert!(runtime.queue.lock().unwrap().is_empty());
    });
}

#[test]
fn a_task_from_outside_is_among_those_that_are_cancelled_or_is_refused() {
    model(Bounds { small: 3, full: None }, || {
        let runtime = Runtime::new(1);
        let spawning = thread::spawn({
            let runtime = runtime.clone();
            move || (0..2).filter(|&home| runtime.spawn(Task::new(home))).count()
        });
        runtime.ending.advance(Phase::Closing);
        // `Shared::cancel_all`.
        let cancelled =
            [0, 1].map(|index| runtime.registries[index].with(|registry| registry.count()));
        let taken = spawning.join().unwrap();
        // Those that were on the way in were found, too, and are gone.
        assert!(taken <= cancelled.iter().sum(), "{taken} {cancelled:?}");
        assert_eq!(runtime.live(), taken);
        std::mem::take(&mut *runtime.queue.lock().unwrap())
            .iter()
            .for_each(|task| runtime.end_task(task, End::Cancelled));
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

/// What belongs to the owner of a loop.
#[derive(Default)]
struct Half(UnsafeCell<u32>);

// SAFETY: touched by one owner after the other; loom checks it.
unsafe impl Sync for Half {}
// SAFETY: as above.
unsafe impl Send for Half {}

/// Who ends the runtime leaves for it, or waits for it: either way there is nobody else afterwards.
#[test]
fn a_thread_that_has_not_begun_is_not_waited_for() {
    model(Bounds { small: 3, full: None }, || {
        let runtime = Runtime::new(2);
        let half: Arc<Half> = Arc::default();
        let life = Arc::new(Life::new({
            let (runtime, half) = (runtime.clone(), half.clone());
            move || {
                // SAFETY: its owner does it, or who stands in.
                half.0.with_mut(|half| unsafe { *half += 1 });
                assert!(!runtime.ending.leave());
            }
        }));
        let thread = thread::spawn({
            let life = life.clone();
            move || life.live()
        });
        // `Threads::join`.
        let here = life.live();
        if !here {
            assert!(thread.join().unwrap());
        }
        assert!(runtime.ending.leave(), "who ends the runtime is the last");
        // SAFETY: everybody has left; loom checks it.
        half.0.with(|half| assert_eq!(unsafe { *half }, 1));
    });
}
