//! Tasks on a loop of the caller's choice.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread::ThreadId;
use std::time::Duration;

use loopool::{Runtime, create_task, get_running_loop, spawn_on, spawn_on_each, yield_now};

/// Nothing here takes this long; it is the limit against hanging.
const HANG: Duration = Duration::from_secs(30);

fn runtime(loops: usize) -> Runtime {
    Runtime::builder().loops(loops).build().unwrap()
}

fn thread() -> ThreadId {
    std::thread::current().id()
}

/// Notes on which thread it is dropped.
struct NoteDrop(Arc<Mutex<Vec<ThreadId>>>);

impl Drop for NoteDrop {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(thread());
    }
}

#[derive(Clone, Default)]
struct Drops(Arc<Mutex<Vec<ThreadId>>>);

impl Drops {
    fn guard(&self) -> NoteDrop {
        NoteDrop(self.0.clone())
    }

    fn get(&self) -> Vec<ThreadId> {
        self.0.lock().unwrap().clone()
    }
}

/// What is made there stays there, with what is not `Send` in it.
async fn visit(index: usize) -> ThreadId {
    let here = (thread(), Rc::new(index));
    for _ in 0..20 {
        yield_now().await;
        assert_eq!((thread(), get_running_loop().index()), (here.0, *here.1));
    }
    here.0
}

#[test]
fn every_loop_can_be_chosen_from_everywhere() {
    for loops in [1, 2, 4] {
        let runtime = runtime(loops);
        assert_eq!((runtime.handle().loops(), runtime.threadsafe_handle().loops()), (loops, loops));
        let remote = runtime.threadsafe_handle();
        let from_outside = std::thread::spawn(move || {
            (0..loops).map(|i| remote.spawn_on(i, move || visit(i)).unwrap()).collect::<Vec<_>>()
        });
        let from_outside = from_outside.join().unwrap();
        let from_here: Vec<_> =
            (0..loops).map(|i| runtime.handle().spawn_on(i, move || visit(i)).unwrap()).collect();
        runtime.run(async move {
            let from_main: Vec<_> =
                (0..loops).map(|i| spawn_on(i, move || visit(i)).unwrap()).collect();
            let from_any = create_task(async move {
                (0..loops).map(|i| spawn_on(i, move || visit(i)).unwrap()).collect::<Vec<_>>()
            });
            let mut threads = Vec::new();
            for tasks in [from_outside, from_here, from_main, from_any.await.unwrap()] {
                let mut of_each = Vec::new();
                for task in tasks {
                    of_each.push(task.await.unwrap());
                }
                threads.push(of_each);
            }
            assert!(threads.iter().all(|of_each| *of_each == threads[0]));
            assert_eq!(threads[0][0], thread());
            threads[0].sort_unstable_by_key(|thread| format!("{thread:?}"));
            threads[0].dedup();
            assert_eq!(threads[0].len(), loops);
        });
    }
}

#[test]
fn one_future_per_loop() {
    for loops in [1, 3] {
        runtime(loops).run(async move {
            let calls = Arc::new(AtomicUsize::new(0));
            let made = calls.clone();
            let tasks = spawn_on_each(move |index| {
                made.fetch_add(1, SeqCst);
                visit(index)
            });
            assert_eq!(tasks.len(), loops);
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(calls.load(SeqCst), loops);
        });
    }
}

#[test]
fn a_number_too_large_hands_the_maker_back() {
    let runtime = runtime(2);
    let make = |text: &str| {
        let text = text.to_owned();
        move || async move { text }
    };
    let error = runtime.handle().spawn_on(2, make("kept")).unwrap_err();
    assert_eq!((error.loop_index(), error.loops()), (2, 2));
    assert_eq!(error.to_string(), "there is no loop 2: the runtime's loops are 0 to 1");
    let maker = error.into_maker();
    let task = runtime.handle().spawn_on(1, maker).unwrap();
    assert_eq!(runtime.run(task).unwrap(), "kept");
}

#[test]
fn a_task_of_the_main_loop_waits_until_that_is_driven() {
    let runtime = runtime(2);
    let calls = Arc::new(AtomicUsize::new(0));
    let called = calls.clone();
    let task =
        runtime.handle().spawn_on(0, move || async move { called.fetch_add(1, SeqCst) }).unwrap();
    let (send, receive) = mpsc::channel();
    let elsewhere =
        runtime.handle().spawn_on(1, move || async move { send.send(()).unwrap() }).unwrap();
    receive.recv_timeout(HANG).unwrap();
    assert_eq!((calls.load(SeqCst), task.is_finished()), (0, false));
    runtime.run_until_complete(async {
        task.await.unwrap();
        elsewhere.await.unwrap();
    });
    assert_eq!(calls.load(SeqCst), 1);
}

#[test]
fn cancelled_before_its_first_poll_the_maker_is_dropped_uncalled_on_its_loop() {
    let runtime = runtime(2);
    let drops = Drops::default();
    let guard = drops.guard();
    let remote = runtime.threadsafe_handle();
    let task = std::thread::spawn(move || {
        let make = move || {
            drop(guard);
            async { unreachable!("never made") }
        };
        let task = remote.spawn_on(0, make).unwrap();
        assert!(task.cancel().is_some());
        task
    });
    let task = task.join().unwrap();
    assert_eq!(drops.get(), []);
    let outcome: Result<(), _> = runtime.run_until_complete(task);
    assert!(outcome.unwrap_err().is_cancelled());
    assert_eq!(drops.get(), [thread()]);
}

#[test]
fn a_panic_of_the_maker_is_the_tasks() {
    runtime(2).run(async {
        let make = || {
            if get_running_loop().loops() == 2 {
                panic!("no future today");
            }
            std::future::pending::<()>()
        };
        let error = spawn_on(1, make).unwrap().await.unwrap_err();
        assert_eq!(loopool::panic_message(&*error.into_panic().unwrap()), "no future today");
        assert_eq!(spawn_on(1, || async { 1 }).unwrap().await.unwrap(), 1);
    });
}

#[test]
fn a_wake_from_anywhere_leads_back_to_the_loop() {
    runtime(3).run(async {
        let wakers: Arc<Mutex<Vec<Waker>>> = Arc::default();
        let left = wakers.clone();
        let task = spawn_on(1, move || {
            let polls = Rc::new(RefCell::new(Vec::new()));
            poll_fn(move |cx| {
                polls.borrow_mut().push(thread());
                if polls.borrow().len() == 100 {
                    return Poll::Ready(polls.take());
                }
                left.lock().unwrap().push(cx.waker().clone());
                Poll::Pending
            })
        })
        .unwrap();
        let waking = std::thread::spawn(move || {
            let mut woken = 0;
            while woken < 99 {
                let waker = wakers.lock().unwrap().pop();
                woken += usize::from(waker.map(Waker::wake).is_some());
                std::thread::yield_now();
            }
        });
        let polls = task.await.unwrap();
        assert!(polls.len() == 100 && polls.iter().all(|polled| *polled == polls[0]));
        waking.join().unwrap();
    });
}

#[test]
fn what_still_waits_at_the_end_is_dropped_on_its_loop() {
    let runtime = runtime(3);
    let drops = Drops::default();
    let keep = drops.clone();
    let (send, receive) = mpsc::channel();
    let waiting = runtime.handle().spawn_on_each(move |_| {
        let guard = Rc::new(keep.guard());
        let send = send.clone();
        async move {
            let _guard = guard;
            send.send(thread()).unwrap();
            std::future::pending::<()>().await
        }
    });
    // Only two of them are driven.
    let mut homes: Vec<_> = (0..2).map(|_| receive.recv_timeout(HANG).unwrap()).collect();
    runtime.run_until_complete(async { yield_now().await });
    homes.push(receive.recv_timeout(HANG).unwrap());
    drop(runtime);
    let mut dropped = drops.get();
    let order = |threads: &mut Vec<ThreadId>| threads.sort_by_key(|thread| format!("{thread:?}"));
    order(&mut homes);
    order(&mut dropped);
    assert_eq!(dropped, homes);
    assert!(waiting.iter().all(|task| task.is_finished()));
}

#[test]
fn a_runtime_that_has_ended_takes_none() {
    let runtime = runtime(2);
    let handle = runtime.threadsafe_handle();
    drop(runtime);
    for index in 0..2 {
        let drops = Drops::default();
        let guard = drops.guard();
        let make = move || {
            drop(guard);
            async { unreachable!("never made") }
        };
        let task = handle.spawn_on(index, make).unwrap();
        assert_eq!((task.is_finished(), drops.get()), (true, vec![thread()]));
        let outcome: Result<(), _> = futures::executor::block_on(task);
        assert!(outcome.unwrap_err().is_cancelled());
    }
}

#[test]
fn while_the_runtime_ends_each_maker_is_dropped_once_and_each_task_ends() {
    for round in 0..200 {
        let runtime = runtime(2);
        let handle = runtime.threadsafe_handle();
        let drops = Drops::default();
        let keep = drops.clone();
        let (send, begun) = mpsc::channel();
        let spawning = std::thread::spawn(move || {
            let spawn = |number: usize| {
                let guard = keep.guard();
                let make = move || async move {
                    let _guard = guard;
                    yield_now().await;
                };
                if number == round % 20 {
                    send.send(()).unwrap();
                }
                handle.spawn_on(number % 2, make).unwrap()
            };
            (0..40).map(spawn).collect::<Vec<_>>()
        });
        begun.recv_timeout(HANG).unwrap();
        drop(runtime);
        let tasks = spawning.join().unwrap();
        assert!(tasks.iter().all(|task| task.is_finished()));
        assert_eq!(drops.get().len(), 40);
    }
}
