//! Tasks: the state word, the cell, running, waking, cancelling and the handle, all as they ship.
//! Only the queue is a stand-in.

#[allow(dead_code, unused_imports, unreachable_pub, reason = "the models use a part")]
#[path = "../../runtime/src/task/mod.rs"]
mod task;

#[allow(dead_code, unused_imports, unreachable_pub, reason = "the models use a part")]
#[path = "../../runtime/src/cancel/mod.rs"]
mod cancel;

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../runtime/src/scheduler/registry.rs"]
mod registry;

/// Stand-in: how the lock works is modelled with the timers; here it is one that loom knows.
mod short_lock {
    pub(crate) use loopool_loom_tests::ShortLock;
}

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../runtime/src/scheduler/ending.rs"]
mod ending;

extern crate self as loopool_executors;

use std::any::Any;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::thread;
use loopool_loom_tests::{Alarm, Bounds, Drops, Token, model, shim};

use self::scheduler::Shared;
use self::task::{JoinError, Task};

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../executors/src/caught.rs"]
pub mod caught;

/// Stand-in: no model has a panic in it, so one that was caught is loom's.
#[doc(hidden)]
pub fn panic_message(_: &(dyn Any + Send)) -> &str {
    "caught"
}

/// Stand-in: see `panic_message`.
mod error {
    pub(crate) use crate::panic_message;
}

/// Stand-in: no model forks.
mod fork {
    #[derive(Debug)]
    pub(crate) struct Forked;

    impl std::fmt::Display for Forked {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            Ok(())
        }
    }
}

/// Stand-in: no thread drives a loop, so that every wake goes the long way; and the pointer to the
/// record is in a thread-local of loom's, because its threads share those of the standard library.
mod context {
    use std::cell::Cell;
    use std::ptr;
    use std::task::{Poll, Waker};

    use crate::cancel::Record;
    use crate::event_loop::Core;
    use crate::scheduler::Shared;
    use crate::task::Recycler;

    loom::thread_local! {
        static RECORD: Cell<*const Record> = Cell::new(ptr::null());
    }

    pub(crate) fn with_loop_of<A>(
        _: *const Shared,
        argument: A,
        _: impl FnOnce(&Core, A),
    ) -> Result<(), A> {
        Err(argument)
    }

    /// Every cell is allocated, so that loom sees where it is used after its end.
    pub(crate) fn with_recycler<R>(f: impl FnOnce(Option<&Recycler>) -> R) -> R {
        f(None)
    }

    pub(crate) struct Entered(*const Record);

    impl Drop for Entered {
        fn drop(&mut self) {
            RECORD.with(|record| record.set(self.0));
        }
    }

    pub(crate) fn enter(record: &Record) -> Entered {
        Entered(RECORD.with(|place| place.replace(ptr::from_ref(record))))
    }

    pub(crate) fn hide_record() -> Entered {
        Entered(RECORD.with(|place| place.replace(ptr::null())))
    }

    pub(crate) fn with_record<R>(f: impl FnOnce(Option<&Record>) -> R) -> R {
        let record = RECORD.with(Cell::get);
        // SAFETY: whoever entered it is on the stack below us.
        f(unsafe { record.as_ref() })
    }

    /// No model sets a record aside.
    pub(crate) fn with_record_around<R>(f: impl FnOnce(Option<&Record>) -> R) -> R {
        with_record(f)
    }

    pub(crate) fn with_own_record<T>(f: impl FnOnce(&Record) -> Poll<T>) -> Poll<T> {
        with_record(|record| f(record.expect("every model polls in tasks")))
    }

    pub(crate) fn wake_caught(waker: Waker) {
        waker.wake();
    }
}

/// Stand-in: see `context`.
mod time {
    use std::task::Waker;
    use std::time::Instant;

    pub(crate) struct Timer;

    pub(crate) fn wake_at(_: Instant, _: impl FnOnce() -> Waker) -> Option<Timer> {
        None
    }
}

/// Stand-in: see `context`.
mod event_loop {
    use crate::task::Runnable;

    pub(crate) struct Core;

    impl Core {
        pub(crate) fn schedule(&self, _: Runnable) {
            unreachable!("no thread drives a loop")
        }
    }
}

/// Stand-in: one queue under a lock, and the registry that ships.
mod scheduler {
    use std::collections::VecDeque;
    use std::panic::Location;
    use std::ptr::NonNull;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use loom::sync::{Condvar, Mutex};

    pub(crate) use crate::ending::End;
    use crate::registry::Registry;
    use crate::task::{Header, Runnable, Task, new_task};

    pub(crate) struct Shared {
        queue: Mutex<Queue>,
        changed: Condvar,
        pub(crate) registry: crate::shim::Mutex<Registry>,
        /// Outlives the rest.
        freed: Arc<AtomicBool>,
    }

    struct Queue {
        ready: VecDeque<Runnable>,
        live: usize,
    }

    impl Shared {
        pub(crate) fn new() -> Arc<Shared> {
            Arc::new(Shared {
                queue: Mutex::new(Queue { ready: VecDeque::new(), live: 0 }),
                changed: Condvar::new(),
                registry: crate::shim::Mutex::new(Registry::new()),
                freed: Arc::default(),
            })
        }

        pub(crate) fn spawn<F>(self: &Arc<Self>, future: F) -> Task<F::Output>
        where
            F: Future + Send + 'static,
        {
            let shared = NonNull::from(&**self);
            // SAFETY: every model ends its tasks before it frees the runtime.
            let (runnable, task) =
                unsafe { new_task(future, shared, 0, false, Location::caller()) };
            assert!(self.registry.lock().insert(runnable.header_pointer()));
            self.queue.lock().unwrap().live += 1;
            self.push(runnable);
            task
        }

        /// As the real one does it: out of the registry, then out of the count.
        pub(crate) fn unregister(&self, task: NonNull<Header>, _: End) {
            let mut registry = self.registry.lock();
            let before = registry.count();
            registry.remove(task);
            assert_eq!(registry.count() + 1, before, "a task ended twice");
            drop(registry);
            let mut queue = self.queue.lock().unwrap();
            queue.live -= 1;
            if queue.live == 0 {
                self.changed.notify_all();
            }
        }

        pub(crate) fn schedule_remote(&self, task: Runnable) {
            let freed = self.freed.clone();
            self.push(task);
            // Where the real one looks for a sleeper.
            loom::thread::yield_now();
            assert!(!freed.load(Relaxed), "the runtime was freed under a wake");
        }

        fn push(&self, task: Runnable) {
            let mut queue = self.queue.lock().unwrap();
            let twice =
                queue.ready.iter().any(|other| other.header_pointer() == task.header_pointer());
            assert!(!twice, "a task is in the queue twice");
            queue.ready.push_back(task);
            self.changed.notify_one();
        }

        pub(crate) fn try_next(&self) -> Option<Runnable> {
            self.queue.lock().unwrap().ready.pop_front()
        }

        /// Waits for a task; none when all are complete. A task that nobody wakes is a deadlock.
        fn next(&self) -> Option<Runnable> {
            let mut queue = self.queue.lock().unwrap();
            loop {
                if let Some(task) = queue.ready.pop_front() {
                    return Some(task);
                }
                if queue.live == 0 {
                    return None;
                }
                queue = self.changed.wait(queue).unwrap();
            }
        }

        /// Runs tasks until all are complete.
        pub(crate) fn work(&self) {
            while let Some(task) = self.next() {
                task.run(self, |again| self.push(again), || ());
            }
        }

        /// Runs what is in the queue.
        pub(crate) fn work_a_while(&self) {
            while let Some(task) = self.try_next() {
                task.run(self, |again| self.push(again), || ());
            }
        }

        /// As the real `Shared::drain`: drops futures until none is left.
        pub(crate) fn drain(&self) {
            loop {
                while let Some(task) = self.try_next() {
                    task.shut_down(self);
                }
                self.claim();
                match self.next() {
                    Some(task) => task.shut_down(self),
                    None => return,
                }
            }
        }

        pub(crate) fn claim(&self) {
            let claimed = self.registry.lock().claim(|_| true);
            for task in claimed {
                task.finish(self);
            }
        }

        /// As the real one.
        pub(crate) fn cancel_all(&self) {
            let mut tasks = Vec::new();
            self.registry.lock().for_each(|task| {
                // SAFETY: in the registry, under its lock.
                tasks.push(unsafe { crate::task::handle_for_cancel(task) });
            });
            for task in tasks {
                task.cancel();
            }
        }
    }

    impl Drop for Shared {
        fn drop(&mut self) {
            self.freed.store(true, Relaxed);
        }
    }
}

/// What a model knows of a task besides its handle.
#[derive(Clone, Default)]
struct Log {
    polls: std::sync::Arc<AtomicUsize>,
    futures: Drops,
    outputs: Drops,
}

impl Log {
    fn polls(&self) -> usize {
        self.polls.load(Relaxed)
    }

    /// A future that counts its polls and its drops, and becomes a token when `ready` says so.
    fn future(
        &self,
        mut ready: impl FnMut(&mut Context<'_>) -> bool + Send + 'static,
    ) -> impl Future<Output = Token> + Send + 'static {
        let (log, token) = (self.clone(), self.futures.token());
        poll_fn(move |cx| {
            let _owned = &token;
            log.polls.fetch_add(1, Relaxed);
            if ready(cx) { Poll::Ready(log.outputs.token()) } else { Poll::Pending }
        })
    }

    fn assert_over(&self, outputs: usize) {
        assert_eq!(self.futures.count(), 1, "the future is dropped once");
        assert_eq!(self.outputs.count(), outputs, "the output is dropped once");
    }
}

/// Where a future leaves its wakers.
#[derive(Clone, Default)]
struct Wakers(std::sync::Arc<std::sync::Mutex<Vec<Waker>>>);

impl Wakers {
    fn put(&self, cx: &mut Context<'_>) {
        let waker = cx.waker().clone();
        self.0.lock().unwrap().push(waker);
    }

    fn take(&self) -> Waker {
        self.0.lock().unwrap().pop().expect("the future left a waker")
    }
}

fn poll<T>(task: &mut Task<T>, waker: &Waker) -> Poll<Result<T, JoinError>> {
    Pin::new(task).poll(&mut Context::from_waker(waker))
}

/// Awaits a task.
fn join<T>(mut task: Task<T>) -> Result<T, JoinError> {
    let alarm = Alarm::new();
    loop {
        match poll(&mut task, &Alarm::waker(&alarm)) {
            Poll::Ready(result) => return result,
            Poll::Pending => alarm.wait(),
        }
    }
}

const SMALL: Bounds = Bounds { small: 3, full: None };
const LARGE: Bounds = Bounds { small: 2, full: Some(4) };

/// Two flags; each is set before a wake, and a poll after the wake must see it.
type Flags = Arc<[AtomicBool; 2]>;

fn both(flags: &Flags) -> bool {
    // Relaxed, so that only the wakes order anything.
    flags.iter().all(|flag| flag.load(Relaxed))
}

#[test]
fn a_wake_by_reference_and_a_wake_by_value_are_both_seen() {
    model(Bounds { small: 2, full: Some(3) }, || {
        let (shared, log, wakers, flags) =
            (Shared::new(), Log::default(), Wakers::default(), Flags::default());
        let task = shared.spawn({
            let (wakers, flags) = (wakers.clone(), flags.clone());
            let mut first = true;
            log.future(move |cx| {
                if std::mem::take(&mut first) {
                    wakers.put(cx);
                    wakers.put(cx);
                }
                both(&flags)
            })
        });
        shared.work_a_while();
        let (one, other) = (wakers.take(), wakers.take());
        let by_reference = thread::spawn({
            let flags = flags.clone();
            move || {
                flags[0].store(true, Relaxed);
                one.wake_by_ref();
            }
        });
        let by_value = thread::spawn(move || {
            flags[1].store(true, Relaxed);
            other.wake();
        });
        shared.work();
        assert!(matches!(log.polls(), 2..=3), "a wake is one poll at most: {}", log.polls());
        by_reference.join().unwrap();
        by_value.join().unwrap();
        assert!(join(task).is_ok());
        log.assert_over(1);
    });
}

/// Two workers; the wake comes during the first poll or after it.
#[test]
fn a_task_that_is_woken_while_it_runs_runs_again() {
    model(LARGE, || {
        let (shared, log, flag) = (Shared::new(), Log::default(), Arc::new(AtomicBool::new(false)));
        let waking = std::sync::Arc::new(std::sync::Mutex::new(None));
        let task = shared.spawn({
            let waking = waking.clone();
            let mut first = true;
            log.future(move |cx| {
                if std::mem::take(&mut first) {
                    let (waker, flag) = (cx.waker().clone(), flag.clone());
                    *waking.lock().unwrap() = Some(thread::spawn(move || {
                        flag.store(true, Relaxed);
                        waker.wake();
                    }));
                }
                flag.load(Relaxed)
            })
        });
        let worker = thread::spawn({
            let shared = shared.clone();
            move || shared.work()
        });
        shared.work();
        worker.join().unwrap();
        let waking = waking.lock().unwrap().take();
        waking.expect("the first poll made a thread").join().unwrap();
        assert!(matches!(log.polls(), 1..=2));
        drop(task);
        log.assert_over(1);
    });
}

#[test]
fn a_request_to_cancel_a_new_task_comes_before_its_only_poll_or_after() {
    model(SMALL, || {
        let (shared, log) = (Shared::new(), Log::default());
        let task = shared.spawn(log.future(|_| true));
        let worker = thread::spawn({
            let shared = shared.clone();
            move || shared.work()
        });
        let in_time = task.cancel();
        match join(task) {
            Ok(_token) => assert_eq!(log.polls(), 1),
            Err(error) => {
                assert!(error.is_cancelled() && in_time.is_some());
                assert_eq!(log.polls(), 0);
            }
        }
        worker.join().unwrap();
        log.assert_over(log.polls());
    });
}

/// Each of the two must win the right to queue the task, or leave it to the other.
#[test]
fn a_request_to_cancel_and_a_wake_queue_a_task_once() {
    model(Bounds { small: 2, full: Some(3) }, || {
        let (shared, log, wakers, flag) =
            (Shared::new(), Log::default(), Wakers::default(), Arc::new(AtomicBool::new(false)));
        let task = shared.spawn({
            let (wakers, flag) = (wakers.clone(), flag.clone());
            let mut first = true;
            log.future(move |cx| {
                if std::mem::take(&mut first) {
                    wakers.put(cx);
                }
                flag.load(Relaxed)
            })
        });
        shared.work_a_while();
        let waker = wakers.take();
        let waking = thread::spawn(move || {
            flag.store(true, Relaxed);
            waker.wake();
        });
        let worker = thread::spawn({
            let shared = shared.clone();
            move || shared.work()
        });
        let in_time = task.cancel();
        let value = match join(task) {
            Ok(_token) => 1,
            Err(error) => {
                assert!(error.is_cancelled() && in_time.is_some());
                0
            }
        };
        waking.join().unwrap();
        worker.join().unwrap();
        assert_eq!(log.polls(), 2, "once to wait, once for the request or the wake");
        log.assert_over(value);
    });
}

/// A request during a poll waits for the next one.
#[test]
fn a_request_to_cancel_a_waiting_task_ends_it() {
    model(SMALL, || {
        let (shared, log) = (Shared::new(), Log::default());
        let task = shared.spawn({
            let wakers = Wakers::default();
            log.future(move |cx| {
                // Its own waker: never woken, never an orphan.
                wakers.put(cx);
                false
            })
        });
        let worker = thread::spawn({
            let shared = shared.clone();
            move || shared.work()
        });
        assert!(task.cancel().is_some());
        worker.join().unwrap();
        assert!(matches!(log.polls(), 0..=2));
        assert!(join(task).is_err_and(|error| error.is_cancelled()));
        log.assert_over(0);
    });
}

#[test]
fn the_one_who_awaits_is_woken() {
    model(SMALL, || {
        let (shared, log) = (Shared::new(), Log::default());
        let task = shared.spawn(log.future(|_| true));
        let worker = thread::spawn({
            let shared = shared.clone();
            move || shared.work()
        });
        assert!(join(task).is_ok());
        worker.join().unwrap();
        log.assert_over(1);
    });
}

/// The handle writes a waker, writes another over it, maybe gets the output, and goes.
#[test]
fn a_changed_waker_and_the_end_of_the_handle_meet_the_completion() {
    model(SMALL, || {
        let (shared, log) = (Shared::new(), Log::default());
        let mut task = shared.spawn(log.future(|_| true));
        let worker = thread::spawn({
            let shared = shared.clone();
            move || shared.work()
        });
        let (first, second) = (Alarm::new(), Alarm::new());
        let mut output = poll(&mut task, &Alarm::waker(&first));
        if output.is_pending() {
            output = poll(&mut task, &Alarm::waker(&second));
        }
        let ready = output.is_ready();
        drop(output);
        drop(task);
        worker.join().unwrap();
        assert!(first.rings() + second.rings() <= 1);
        if ready {
            assert!(log.outputs.count() == 1);
        }
        log.assert_over(1);
    });
}

/// The waker that is there already is not written again.
#[test]
fn polling_a_handle_again_with_the_same_waker_loses_no_wake() {
    model(SMALL, || {
        let (shared, log) = (Shared::new(), Log::default());
        let mut task = shared.spawn(log.future(|_| true));
        let worker = thread::spawn({
            let shared = shared.clone();
            move || shared.work()
        });
        let alarm = Alarm::new();
        let waker = Alarm::waker(&alarm);
        if poll(&mut task, &waker).is_pending() && poll(&mut task, &waker).is_pending() {
            alarm.wait();
            assert!(poll(&mut task, &waker).is_ready());
        }
        worker.join().unwrap();
        drop(waker);
        drop(task);
        log.assert_over(1);
    });
}

/// The last waker, the handle and the runner give the task up at the same time.
#[test]
fn a_task_that_nobody_can_wake_is_dropped_once() {
    model(Bounds { small: 3, full: Some(5) }, || {
        let (shared, log) = (Shared::new(), Log::default());
        let dropping = std::sync::Arc::new(std::sync::Mutex::new(None));
        let task = shared.spawn({
            let dropping = dropping.clone();
            log.future(move |cx| {
                let waker = cx.waker().clone();
                let thread = thread::spawn(move || drop(waker));
                assert!(dropping.lock().unwrap().replace(thread).is_none());
                false
            })
        });
        let detaching = thread::spawn(move || drop(task));
        shared.work();
        detaching.join().unwrap();
        dropping.lock().unwrap().take().expect("a thread").join().unwrap();
        assert_eq!(log.polls(), 1);
        log.assert_over(0);
    });
}

/// The same with a wake, which uses the last waker up.
#[test]
fn the_last_wake_is_not_lost_when_the_handle_goes() {
    model(SMALL, || {
        let (shared, log, wakers, flag) =
            (Shared::new(), Log::default(), Wakers::default(), Arc::new(AtomicBool::new(false)));
        let task = shared.spawn({
            let (wakers, flag) = (wakers.clone(), flag.clone());
            let mut first = true;
            log.future(move |cx| {
                if std::mem::take(&mut first) {
                    wakers.put(cx);
                }
                flag.load(Relaxed)
            })
        });
        shared.work_a_while();
        let waker = wakers.take();
        let waking = thread::spawn(move || {
            flag.store(true, Relaxed);
            waker.wake();
        });
        let detaching = thread::spawn(move || drop(task));
        shared.work();
        waking.join().unwrap();
        detaching.join().unwrap();
        assert_eq!(log.polls(), 2);
        log.assert_over(1);
    });
}

/// Shutdown takes sleeping tasks while a worker still runs and a waker still wakes.
#[test]
fn shutdown_drops_each_future_once() {
    model(LARGE, || {
        let (shared, log, wakers) = (Shared::new(), Log::default(), Wakers::default());
        let task = shared.spawn({
            let wakers = wakers.clone();
            let mut first = true;
            log.future(move |cx| {
                if std::mem::take(&mut first) {
                    wakers.put(cx);
                }
                false
            })
        });
        shared.work_a_while();
        let waker = wakers.take();
        let waking = thread::spawn(move || {
            waker.wake_by_ref();
            waker.wake();
        });
        let worker = thread::spawn({
            let shared = shared.clone();
            move || shared.work_a_while()
        });
        shared.claim();
        worker.join().unwrap();
        shared.drain();
        waking.join().unwrap();
        assert!(join(task).is_err_and(|error| error.is_cancelled()));
        log.assert_over(0);
    });
}

/// The registry holds no reference, yet shutdown makes one from it: as late as that may be.
#[test]
fn shutdown_finds_a_task_that_is_losing_its_last_waker() {
    model(SMALL, || {
        let (shared, log, wakers) = (Shared::new(), Log::default(), Wakers::default());
        let task = shared.spawn({
            let wakers = wakers.clone();
            log.future(move |cx| {
                wakers.put(cx);
                false
            })
        });
        shared.work_a_while();
        drop(task);
        let waker = wakers.take();
        let dropping = thread::spawn(move || drop(waker));
        shared.cancel_all();
        // The request makes it due, or its orphanhood does.
        shared.work();
        dropping.join().unwrap();
        drop(wakers);
        assert!(log.polls() <= 2);
        log.assert_over(0);
    });
}

/// The same with a shutdown that takes the task itself.
#[test]
fn shutdown_takes_a_task_that_is_losing_its_last_waker() {
    model(SMALL, || {
        let (shared, log, wakers) = (Shared::new(), Log::default(), Wakers::default());
        let task = shared.spawn({
            let wakers = wakers.clone();
            log.future(move |cx| {
                wakers.put(cx);
                false
            })
        });
        shared.work_a_while();
        drop(task);
        let waker = wakers.take();
        let dropping = thread::spawn(move || drop(waker));
        shared.drain();
        dropping.join().unwrap();
        log.assert_over(0);
    });
}

/// The runtime goes as soon as its last task is complete; a wake from outside is still on its way.
#[test]
fn a_wake_from_outside_keeps_the_runtime() {
    model(Bounds { small: 3, full: Some(4) }, || {
        let (shared, log, wakers, flag) =
            (Shared::new(), Log::default(), Wakers::default(), Arc::new(AtomicBool::new(false)));
        let task = shared.spawn({
            let (wakers, flag) = (wakers.clone(), flag.clone());
            let mut first = true;
            log.future(move |cx| {
                if std::mem::take(&mut first) {
                    wakers.put(cx);
                    wakers.put(cx);
                }
                flag.load(Relaxed)
            })
        });
        shared.work_a_while();
        let wakings = [(); 2].map(|()| {
            let (waker, flag) = (wakers.take(), flag.clone());
            thread::spawn(move || {
                flag.store(true, Relaxed);
                waker.wake();
            })
        });
        shared.work();
        drop(shared);
        for waking in wakings {
            waking.join().unwrap();
        }
        assert!(join(task).is_ok());
        log.assert_over(1);
    });
}

#[path = "task/requests.rs"]
mod requests;

/// The shutting thread does not wait for the worker, and the worker not for it; whoever leaves last drops
/// what is left, while a wake from outside is on its way, and the runtime goes with the last of the three.
#[test]
fn whoever_leaves_last_drops_what_is_left_while_a_wake_comes() {
    model(Bounds { small: 2, full: Some(3) }, || {
        let (shared, log, wakers) = (Shared::new(), Log::default(), Wakers::default());
        let ending = Arc::new(ending::Ending::<()>::new(2));
        let task = shared.spawn({
            let wakers = wakers.clone();
            let mut first = true;
            log.future(move |cx| {
                if std::mem::take(&mut first) {
                    wakers.put(cx);
                }
                false
            })
        });
        shared.work_a_while();
        let waker = wakers.take();
        let waking = thread::spawn(move || waker.wake());
        let leave = |shared: std::sync::Arc<Shared>| {
            let ending = ending.clone();
            move || {
                if ending.leave() {
                    shared.drain();
                }
            }
        };
        let worker = thread::spawn(leave(shared.clone()));
        leave(shared)();
        waking.join().unwrap();
        worker.join().unwrap();
        assert!(join(task).is_err_and(|error| error.is_cancelled()));
        log.assert_over(0);
    });
}
