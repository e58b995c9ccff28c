//! A loop that stands alone: callbacks, timers, order, stop and close.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use loopool::{EventLoop, create_task, get_running_loop};

type Log = Rc<RefCell<Vec<&'static str>>>;

fn logger(log: &Log, word: &'static str) -> impl FnOnce() + 'static {
    let log = log.clone();
    move || log.borrow_mut().push(word)
}

#[test]
fn tasks_and_callbacks_share_one_order() {
    let event_loop = EventLoop::new().unwrap();
    let log = Log::default();
    let handle = event_loop.handle();
    let _a = handle.create_local_task({
        let log = log.clone();
        async move { log.borrow_mut().push("task A") }
    });
    handle.call_soon(logger(&log, "Tom"));
    let _b = handle.create_local_task({
        let log = log.clone();
        async move { log.borrow_mut().push("task B") }
    });
    let main = log.clone();
    event_loop.run_until_complete(async move { main.borrow_mut().push("main") }).unwrap();
    assert_eq!(*log.borrow(), ["task A", "Tom", "task B", "main"]);
}

#[test]
fn what_a_callback_adds_waits_for_the_next_turn() {
    let event_loop = EventLoop::new().unwrap();
    let log = Log::default();
    let handle = event_loop.handle();
    let (inner, again) = (log.clone(), handle.clone());
    handle.call_soon(move || {
        inner.borrow_mut().push("first");
        let last = inner.clone();
        again.call_soon(move || last.borrow_mut().push("added"));
    });
    handle.call_soon(logger(&log, "second"));
    handle.stop();
    event_loop.run_forever().unwrap();
    assert_eq!(*log.borrow(), ["first", "second"]);
    handle.stop();
    event_loop.run_forever().unwrap();
    assert_eq!(*log.borrow(), ["first", "second", "added"]);
}

#[test]
fn a_loop_stopped_before_it_runs_makes_one_turn_and_can_run_again() {
    let event_loop = EventLoop::new().unwrap();
    event_loop.stop();
    event_loop.run_forever().unwrap();
    assert_eq!(event_loop.run_until_complete(async { 5 }).unwrap(), 5);
}

#[test]
fn stopped_before_main_is_done_is_an_error() {
    let event_loop = EventLoop::new().unwrap();
    let dropped = Rc::new(Cell::new(0));
    let guard = CountDrop(dropped.clone());
    event_loop.handle().call_soon(|| get_running_loop().stop());
    let outcome = event_loop.run_until_complete(async move {
        let _guard = guard;
        std::future::pending::<()>().await
    });
    assert!(outcome.unwrap_err().is_stopped());
    assert_eq!(dropped.get(), 1, "the main future may borrow, so it is dropped before we return");
}

#[test]
fn a_main_that_raises_a_cancellation_again_was_cancelled_and_its_loop_is_open() {
    let event_loop = EventLoop::new().unwrap();
    let dropped = Rc::new(Cell::new(0));
    let guard = CountDrop(dropped.clone());
    let outcome = event_loop.run_until_complete(async move {
        let _guard = guard;
        let task = create_task(async {
            loopool::cancellable(std::future::pending::<()>()).await.unwrap_err()
        });
        loopool::yield_now().await;
        task.cancel();
        task.await.unwrap().reraise().await;
    });
    let error = outcome.unwrap_err();
    assert!(error.is_cancelled() && !error.is_closed(), "{error}");
    assert!(error.to_string().contains("cancelled"), "{error}");
    assert_eq!(dropped.get(), 1);
    assert!(!event_loop.is_closed());
    assert_eq!(event_loop.run_until_complete(async { 5 }).unwrap(), 5);
    event_loop.close();
    assert!(event_loop.run_until_complete(async {}).unwrap_err().is_closed());
}

struct CountDrop(Rc<Cell<u32>>);

fn never_called(_owned: &CountDrop) {
    panic!("called");
}

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn main_may_borrow() {
    let event_loop = EventLoop::new().unwrap();
    let text = String::from("borrowed");
    let borrowed: &str = event_loop.run_until_complete(async { text.as_str() }).unwrap();
    assert_eq!(borrowed, "borrowed");
}

#[test]
fn a_panic_of_main_comes_through_and_leaves_the_loop_usable() {
    let event_loop = EventLoop::new().unwrap();
    let run = std::panic::AssertUnwindSafe(|| {
        let _ = event_loop.run_until_complete(async { panic!("main's own") });
    });
    let payload = std::panic::catch_unwind(run).unwrap_err();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"main's own"));
    assert!(!event_loop.is_running());
    assert_eq!(event_loop.run_until_complete(async { 1 }).unwrap(), 1);
}

#[test]
fn pending_tasks_keep_their_place_between_runs() {
    let event_loop = EventLoop::new().unwrap();
    let task = event_loop.handle().create_local_task(async {
        for _ in 0..10 {
            loopool::yield_now().await;
        }
        "finished"
    });
    event_loop.run_until_complete(async {}).unwrap();
    assert!(!task.is_finished());
    assert_eq!(event_loop.run_until_complete(task).unwrap().unwrap(), "finished");
}

#[test]
fn a_nested_run_panics_and_says_what_to_do() {
    let event_loop = EventLoop::new().unwrap();
    let message = event_loop
        .run_until_complete(async {
            let other = EventLoop::new().unwrap();
            let run = std::panic::AssertUnwindSafe(|| other.run_until_complete(async {}));
            let payload = std::panic::catch_unwind(run).unwrap_err();
            loopool::panic_message(&*payload).to_owned()
        })
        .unwrap();
    assert!(message.contains("create_task"), "{message}");
    assert_eq!(event_loop.run_until_complete(async { 2 }).unwrap(), 2);
}

#[test]
fn close_is_final_and_may_be_repeated() {
    let event_loop = EventLoop::new().unwrap();
    let handle = event_loop.handle();
    let remote = event_loop.threadsafe_handle();
    let dropped = Rc::new(Cell::new(0));
    let (in_task, in_callback, in_timer) =
        (CountDrop(dropped.clone()), CountDrop(dropped.clone()), CountDrop(dropped.clone()));
    let task = handle.create_local_task(async move {
        let _guard = in_task;
        std::future::pending::<()>().await
    });
    event_loop.run_until_complete(async {}).unwrap();
    handle.call_soon(move || drop(in_callback));
    handle.call_later(Duration::from_secs(3600), move || drop(in_timer));
    event_loop.close();
    event_loop.close();
    assert!(event_loop.is_closed());
    assert_eq!(dropped.get(), 3);
    assert!(task.is_finished());
    assert!(event_loop.run_until_complete(async {}).unwrap_err().is_closed());
    assert!(event_loop.run_forever().unwrap_err().is_closed());
    assert!(remote.call_soon_threadsafe(|| {}).is_err());
    let refused = remote.run_coroutine_threadsafe(async { 1 }).result(None).unwrap_err();
    assert!(refused.is_rejected(), "{refused}");
    let call = std::panic::AssertUnwindSafe(|| handle.call_soon(|| {}));
    assert!(std::panic::catch_unwind(call).is_err());
}

#[test]
fn close_inside_the_loop_panics_and_changes_nothing() {
    let event_loop = Rc::new(EventLoop::new().unwrap());
    let inner = event_loop.clone();
    let refused = event_loop
        .run_until_complete(async move {
            let close = std::panic::AssertUnwindSafe(|| inner.close());
            std::panic::catch_unwind(close).is_err()
        })
        .unwrap();
    assert!(refused && !event_loop.is_closed());
}

#[test]
fn timers_keep_deadline_order_then_registration_order() {
    let event_loop = EventLoop::new().unwrap();
    let log = Log::default();
    let handle = event_loop.handle();
    let now = handle.time();
    handle.call_at(now + Duration::from_millis(20), logger(&log, "late"));
    handle.call_at(now - Duration::from_millis(1), logger(&log, "past"));
    handle.call_at(now - Duration::from_millis(2), logger(&log, "longer past"));
    for word in ["equal 1", "equal 2", "equal 3"] {
        handle.call_at(now + Duration::from_millis(10), logger(&log, word));
    }
    handle.call_later(Duration::from_millis(30), || get_running_loop().stop());
    event_loop.run_forever().unwrap();
    let expected = ["longer past", "past", "equal 1", "equal 2", "equal 3", "late"];
    assert_eq!(*log.borrow(), expected);
}

#[test]
fn cancelled_callbacks_are_dropped_at_once_and_never_called() {
    let event_loop = EventLoop::new().unwrap();
    let handle = event_loop.handle();
    let dropped = Rc::new(Cell::new(0));
    let (soon, later) = (CountDrop(dropped.clone()), CountDrop(dropped.clone()));
    let soon = handle.call_soon(move || never_called(&soon));
    let later = handle.call_later(Duration::ZERO, move || never_called(&later));
    soon.cancel();
    later.cancel();
    soon.cancel();
    assert_eq!(dropped.get(), 2);
    assert!(soon.cancelled() && later.cancelled());
    event_loop.stop();
    event_loop.run_forever().unwrap();
    assert_eq!(event_loop.threadsafe_handle().metrics().loops[0].timers, 0);
}

#[test]
fn a_timer_cancelled_when_it_is_already_due_is_not_called() {
    let event_loop = EventLoop::new().unwrap();
    let handle = event_loop.handle();
    let victim = Rc::new(RefCell::new(None::<loopool::TimerHandle>));
    let killer = victim.clone();
    let at = handle.time();
    handle.call_at(at, move || killer.borrow().as_ref().unwrap().cancel());
    *victim.borrow_mut() = Some(handle.call_at(at, || panic!("called")));
    handle.call_later(Duration::from_millis(2), || get_running_loop().stop());
    event_loop.run_forever().unwrap();
    assert!(victim.borrow().as_ref().unwrap().cancelled());
}

#[test]
fn a_panicking_callback_does_not_stop_the_others() {
    let event_loop = EventLoop::new().unwrap();
    let log = Log::default();
    let handle = event_loop.handle();
    handle.call_soon(|| panic!("reported"));
    handle.call_soon(logger(&log, "next"));
    event_loop.stop();
    event_loop.run_forever().unwrap();
    assert_eq!(*log.borrow(), ["next"]);
}

#[test]
fn a_foreign_thread_wakes_a_sleeping_loop_in_order() {
    let event_loop = EventLoop::new().unwrap();
    let remote = event_loop.threadsafe_handle();
    let thread = std::thread::spawn(move || {
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        for number in 0..100 {
            let order = order.clone();
            remote.call_soon_threadsafe(move || order.lock().unwrap().push(number)).unwrap();
        }
        remote.call_soon_threadsafe(|| get_running_loop().stop()).unwrap();
        order
    });
    event_loop.run_forever().unwrap();
    let order = thread.join().unwrap();
    assert_eq!(*order.lock().unwrap(), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_threadsafe_callback_can_be_taken_back_from_another_thread() {
    let event_loop = EventLoop::new().unwrap();
    let remote = event_loop.threadsafe_handle();
    let handle = remote.call_soon_threadsafe(|| panic!("called")).unwrap();
    let other = handle.clone();
    std::thread::spawn(move || other.cancel()).join().unwrap();
    assert!(handle.cancelled());
    event_loop.stop();
    event_loop.run_forever().unwrap();
}

#[test]
fn many_cancelled_timers_leave_nothing() {
    let event_loop = EventLoop::new().unwrap();
    event_loop
        .run_until_complete(async {
            for _ in 0..10_000 {
                let task = create_task(loopool::sleep(Duration::from_secs(3600)));
                loopool::yield_now().await;
                task.cancel();
                assert!(task.await.unwrap_err().is_cancelled());
            }
            let metrics = loopool::metrics();
            assert_eq!((metrics.loops[0].timers, metrics.tasks), (0, 1));
        })
        .unwrap();
}

#[test]
fn a_self_waking_task_starves_neither_timers_nor_callbacks() {
    let event_loop = EventLoop::new().unwrap();
    let handle = event_loop.handle();
    let _spinner = handle.create_local_task(async {
        loop {
            loopool::yield_now().await;
        }
    });
    let before = Instant::now();
    event_loop
        .run_until_complete(async {
            loopool::sleep(Duration::from_millis(5)).await;
        })
        .unwrap();
    assert!(before.elapsed() >= Duration::from_millis(5));
}

#[test]
fn a_coroutine_sent_by_a_thread_is_waited_for_and_cancelled_there() {
    let event_loop = EventLoop::new().unwrap();
    let remote = event_loop.threadsafe_handle();
    let drops = Arc::new(AtomicUsize::new(0));
    let count = drops.clone();
    let thread = std::thread::spawn(move || {
        let value = remote.run_coroutine_threadsafe(async { 7 }).result(None).unwrap();
        let mut panic = remote.run_coroutine_threadsafe(async {
            if value_is(7) {
                panic!("inside");
            }
        });
        let panic = panic.result(None).unwrap_err();
        let guard = SendDrop(count);
        let mut stuck = remote.run_coroutine_threadsafe(async move {
            let _guard = guard;
            std::future::pending::<()>().await
        });
        assert!(stuck.result(Duration::ZERO).unwrap_err().is_wait_timeout());
        assert!(stuck.cancel());
        assert!(stuck.result(None).unwrap_err().is_cancelled());
        remote.call_soon_threadsafe(|| get_running_loop().stop()).unwrap();
        (value, panic.panic_message().map(str::to_owned))
    });
    event_loop.run_forever().unwrap();
    assert_eq!(thread.join().unwrap(), (7, Some("inside".to_owned())));
    event_loop.close();
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

#[test]
fn a_coroutine_that_nothing_can_wake_and_whose_job_is_dropped_stayed_until_the_end() {
    let event_loop = EventLoop::new().unwrap();
    let remote = event_loop.threadsafe_handle();
    let turns = || {
        event_loop
            .run_until_complete(async {
                for _ in 0..5 {
                    loopool::yield_now().await;
                }
            })
            .unwrap()
    };
    let (drops, called) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let send = || {
        let guard = SendDrop(drops.clone());
        let job = remote.run_coroutine_threadsafe(async move {
            let _guard = guard;
            std::future::pending::<()>().await
        });
        let called = called.clone();
        job.add_done_callback(move |outcome: &Result<(), loopool::JobError>| {
            assert!(outcome.as_ref().is_err_and(|error| error.is_cancelled()));
            called.fetch_add(1, Ordering::Relaxed);
        });
        job
    };
    let seen = || (drops.load(Ordering::Relaxed), called.load(Ordering::Relaxed));
    let job = send();
    turns();
    assert_eq!(seen(), (0, 0), "it may be cancelled yet");
    drop(job);
    turns();
    assert_eq!(seen(), (1, 1));
    // Before it was polled.
    drop(send());
    turns();
    assert_eq!(seen(), (2, 2));
    // What can be woken goes on.
    let (go, wait) = loopool::sync::oneshot::channel::<()>();
    let guard = SendDrop(drops.clone());
    let count = called.clone();
    drop(remote.run_coroutine_threadsafe(async move {
        let _guard = guard;
        wait.await.unwrap();
        count.fetch_add(1, Ordering::Relaxed);
    }));
    turns();
    assert_eq!(seen(), (2, 2));
    go.send(()).unwrap();
    turns();
    assert_eq!(seen(), (3, 3));
}

/// Always true, which the compiler does not see.
fn value_is(number: u32) -> bool {
    std::hint::black_box(number) == 7
}

struct SendDrop(Arc<AtomicUsize>);

impl Drop for SendDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
