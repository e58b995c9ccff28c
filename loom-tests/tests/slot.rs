//! The task that a loop runs next: whoever takes it, it is one, and it sees what was written before.

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../runtime/src/scheduler/slot.rs"]
mod slot;

/// Stand-in: the slot only passes them on.
mod task {
    use std::ptr::NonNull;

    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    pub(crate) struct Header {
        /// Written before the task is put in, and read by who runs it.
        pub(crate) written: UnsafeCell<bool>,
    }

    /// One count of it. A task that is run twice, or never, is found by loom, which watches the counts.
    pub(crate) struct Runnable(Arc<Header>);

    impl Runnable {
        pub(crate) fn new() -> Self {
            let header = Arc::new(Header { written: UnsafeCell::new(false) });
            // SAFETY: nobody else has it yet.
            header.written.with_mut(|written| unsafe { *written = true });
            Runnable(header)
        }

        pub(crate) fn run(self) {
            // SAFETY: who runs it has it alone; loom checks.
            assert!(self.0.written.with_mut(|written| unsafe { std::mem::take(&mut *written) }));
        }

        pub(crate) fn into_header(self) -> NonNull<Header> {
            NonNull::new(Arc::into_raw(self.0).cast_mut()).expect("not null")
        }

        /// # Safety
        /// From `into_header`, once.
        pub(crate) unsafe fn from_header(header: NonNull<Header>) -> Self {
            // SAFETY: the caller's promise.
            Runnable(unsafe { Arc::from_raw(header.as_ptr()) })
        }
    }
}

use std::sync::atomic::{AtomicUsize, Ordering};

use loom::sync::Arc;
use loom::thread;
use loopool_loom_tests::{Bounds, model, shim};

use self::slot::Slot;
use self::task::Runnable;

struct Loop {
    slot: Slot,
    /// The standard library's: loom need not know.
    runs: AtomicUsize,
}

impl Loop {
    fn run(&self, task: Option<Runnable>) {
        if let Some(task) = task {
            task.run();
            self.runs.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// As `Core::schedule`: what was there before goes elsewhere.
    fn wake(&self) {
        self.run(self.slot.put(Runnable::new()));
    }
}

/// The owner may be stuck, or not: it puts, exchanges and takes while thieves come.
fn thieves_and_owner(thieves: usize) {
    let the_loop = Arc::new(Loop { slot: Slot::new(), runs: AtomicUsize::new(0) });
    let thieves: Vec<_> = (0..thieves)
        .map(|_| {
            let the_loop = the_loop.clone();
            thread::spawn(move || the_loop.run(the_loop.slot.take()))
        })
        .collect();
    the_loop.wake();
    the_loop.wake();
    the_loop.run(the_loop.slot.take());
    thieves.into_iter().for_each(|thief| thief.join().unwrap());
    assert!(the_loop.slot.is_empty());
    assert_eq!(the_loop.runs.load(Ordering::Relaxed), 2);
}

#[test]
fn a_task_is_run_by_the_owner_or_a_thief() {
    model(Bounds { small: 3, full: None }, || thieves_and_owner(1));
}

#[test]
fn two_thieves_do_not_take_the_same_task() {
    model(Bounds { small: 3, full: None }, || thieves_and_owner(2));
}
