//! Where a loop may be run: anywhere but inside a task or callback of a loop.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;

use loopool::{
    EventLoop, Runtime, create_local_task, create_task, get_running_loop, timeout, to_thread,
    try_get_running_loop, yield_now,
};

fn runtime(loops: usize) -> Runtime {
    Runtime::builder().loops(loops).build().unwrap()
}

thread_local! {
    /// Message and place of this thread's last panic.
    static LAST: RefCell<(String, String, u32)> = const { RefCell::new((String::new(), String::new(), 0)) };
}

/// Calls `run`, which panics in line `line` of this file, saying what to use instead.
fn is_refused<T>(line: u32, run: impl FnOnce() -> T) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let location = info.location().unwrap();
            let last = (info.to_string(), location.file().to_owned(), location.line());
            let _ = LAST.try_with(|cell| *cell.borrow_mut() = last);
        }));
    });
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    let (message, file, at) = LAST.with_borrow(Clone::clone);
    assert!(message.contains("create_task"), "{message}");
    assert!(file.ends_with("entering.rs"), "{file}");
    assert_eq!(at, line);
}

/// Each way to run a loop, tried where none may be run. (The inner ones have three loops.)
fn nothing_may_be_run() {
    let outer = get_running_loop();
    let event_loop = EventLoop::new().unwrap();
    is_refused(line!(), || event_loop.run_until_complete(async {}));
    is_refused(line!(), || event_loop.run_forever());
    let inner = runtime(3);
    is_refused(line!(), || inner.run_until_complete(async {}));
    is_refused(line!(), || inner.run(async {}));
    is_refused(line!(), || loopool::run(async {}));
    let inside = get_running_loop();
    assert_eq!((inside.index(), inside.loops()), (outer.index(), outer.loops()));
    assert!(!event_loop.is_running() && !event_loop.is_closed());
}

#[test]
fn not_inside_a_task() {
    for loops in [1, 2] {
        runtime(loops).run(async {
            nothing_may_be_run();
            create_local_task(async { nothing_may_be_run() }).await.unwrap();
            for index in 0..get_running_loop().loops() {
                let task = loopool::spawn_on(index, || async { nothing_may_be_run() });
                task.unwrap().await.unwrap();
            }
            // The task that tried is still the one that runs.
            yield_now().await;
            create_task(async { 1 }).await.unwrap();
        });
    }
}

#[test]
fn not_inside_a_callback() {
    let event_loop = EventLoop::new().unwrap();
    let handle = event_loop.handle();
    let tried = Rc::new(RefCell::new(0));
    let count = |tried: &Rc<RefCell<u32>>| {
        let tried = tried.clone();
        move || {
            nothing_may_be_run();
            *tried.borrow_mut() += 1;
        }
    };
    handle.call_soon(count(&tried));
    handle.call_later(Duration::from_millis(1), count(&tried));
    let (send, receive) = std::sync::mpsc::channel();
    let remote = move || {
        nothing_may_be_run();
        send.send(()).unwrap();
    };
    handle.threadsafe().call_soon_threadsafe(remote).unwrap();
    let all = async {
        while *tried.borrow() < 2 || receive.try_recv().is_err() {
            loopool::sleep(Duration::from_millis(1)).await;
        }
    };
    event_loop.run_until_complete(timeout(Duration::from_secs(30), all)).unwrap().unwrap();
}

#[test]
fn not_the_loop_that_runs_already() {
    let event_loop = Rc::new(EventLoop::new().unwrap());
    let again = event_loop.clone();
    let main = async move {
        is_refused(line!(), || again.run_forever());
        assert!(again.is_running());
        7
    };
    assert_eq!(event_loop.run_until_complete(main).unwrap(), 7);
    let runtime = Rc::new(runtime(2));
    let again = runtime.clone();
    runtime.run_until_complete(async move {
        is_refused(line!(), || again.run_until_complete(async {}));
        create_task(async {}).await.unwrap();
    });
    runtime.run_until_complete(async { create_task(async {}).await.unwrap() });
}

#[test]
fn not_in_a_destructor_that_a_closing_loop_calls() {
    struct RunInDrop(std::sync::mpsc::Sender<()>);
    impl Drop for RunInDrop {
        fn drop(&mut self) {
            nothing_may_be_run();
            self.0.send(()).unwrap();
        }
    }
    let (send, receive) = std::sync::mpsc::channel();
    let event_loop = EventLoop::new().unwrap();
    let guard = RunInDrop(send.clone());
    let task = event_loop.handle().create_local_task(async move {
        let _guard = guard;
        std::future::pending::<()>().await
    });
    event_loop.run_until_complete(async {}).unwrap();
    event_loop.close();
    assert!(task.is_finished());
    receive.try_recv().unwrap();
}

#[test]
fn on_plain_threads_and_in_jobs() {
    assert!(try_get_running_loop().is_none());
    runtime(2).run(async {
        let plain = std::thread::spawn(|| loopool::run(async { 1 }));
        let job = to_thread(|| {
            assert!(try_get_running_loop().is_none());
            loopool::run(async { create_task(async { 2 }).await.unwrap() })
        });
        assert_eq!(job.await.unwrap(), 2);
        assert_eq!(plain.join().unwrap(), 1);
    });
}

#[test]
fn two_loops_on_one_thread_by_turns() {
    let (one, other) = (EventLoop::new().unwrap(), runtime(2));
    let of_one = one.handle().create_local_task(async {
        yield_now().await;
        assert_eq!(get_running_loop().loops(), 1);
        1
    });
    for _ in 0..5 {
        one.run_until_complete(async { assert_eq!(get_running_loop().loops(), 1) }).unwrap();
        assert!(try_get_running_loop().is_none());
        other.run_until_complete(async { assert_eq!(get_running_loop().loops(), 2) });
        assert!(try_get_running_loop().is_none());
    }
    assert_eq!(one.run_until_complete(of_one).unwrap().unwrap(), 1);
}

#[test]
fn a_run_that_is_left_by_a_panic_leaves_nothing_behind() {
    let event_loop = EventLoop::new().unwrap();
    let (several, last) = (runtime(2), runtime(2));
    for _ in 0..3 {
        let run = || event_loop.run_until_complete(async { panic!("main") });
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
        assert!(try_get_running_loop().is_none());
        let run = || several.run_until_complete(async { panic!("main") });
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
        assert!(try_get_running_loop().is_none());
    }
    let run = || last.run(async { panic!("main") });
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    assert!(try_get_running_loop().is_none());
    event_loop.run_until_complete(async {}).unwrap();
    several.run_until_complete(async { create_task(async {}).await.unwrap() });
}
