//! The event.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use loopool::sync::Event;
use loopool::{create_local_task, create_task, yield_now};

use super::support::{Woken, budget_is_kept, panicking_waker, run};

#[test]
fn who_comes_later_does_not_wait() {
    let event = Event::new();
    assert!(!event.is_set());
    event.set();
    event.set();
    assert!(event.is_set());
    let woken = Woken::new();
    assert!(woken.poll_pinned(pin!(event.wait())).is_ready());
    assert_eq!(woken.count(), 0);
    event.clear();
    event.clear();
    assert!(woken.poll_pinned(pin!(event.wait())).is_pending());
    assert_eq!(woken.wakers(), 0);
}

/// More than are woken with one lock, and each once.
#[test]
fn everybody_is_woken_once() {
    for waiters in [1, 2, 31, 32, 33, 64, 65, 200] {
        let event = Event::new();
        let mut waits: Vec<_> = (0..waiters).map(|_| Box::pin(event.wait())).collect();
        let woken: Vec<_> = waits.iter().map(|_| Woken::new()).collect();
        for (wait, woken) in waits.iter_mut().zip(&woken) {
            assert!(woken.poll_pinned(wait.as_mut()).is_pending());
        }
        event.set();
        event.set();
        for (wait, woken) in waits.iter_mut().zip(&woken) {
            assert_eq!((woken.count(), woken.wakers()), (1, 0));
            assert!(woken.poll_pinned(wait.as_mut()).is_ready());
        }
    }
}

/// asyncio's rule.
#[test]
fn clear_does_not_call_back_who_was_woken() {
    let event = Event::new();
    let mut before = pin!(event.wait());
    let (woken, late) = (Woken::new(), Woken::new());
    assert!(woken.poll_pinned(before.as_mut()).is_pending());
    event.set();
    event.clear();
    let mut after = pin!(event.wait());
    assert!(late.poll_pinned(after.as_mut()).is_pending());
    assert!(woken.poll_pinned(before.as_mut()).is_ready());
    assert!(late.poll_pinned(after.as_mut()).is_pending());
    assert_eq!((woken.count(), late.count()), (1, 0));
    event.set();
    assert_eq!((woken.count(), late.count()), (1, 1));
    assert!(late.poll_pinned(after.as_mut()).is_ready());
}

/// A waker that clears the event, and waits again, does not make `set` go on for ever, or wake those who
/// came after it.
#[test]
fn who_comes_while_others_are_woken_waits() {
    struct Clears(Arc<Event>, AtomicUsize);
    impl std::task::Wake for Clears {
        fn wake(self: Arc<Self>) {
            self.0.clear();
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
    let event = Arc::new(Event::new());
    let clears = Arc::new(Clears(event.clone(), AtomicUsize::new(0)));
    let waker = clears.clone().into();
    let mut cx = Context::from_waker(&waker);
    let mut waits: Vec<_> = (0..100).map(|_| Box::pin(event.wait())).collect();
    for wait in &mut waits {
        assert!(wait.as_mut().poll(&mut cx).is_pending());
    }
    event.set();
    assert_eq!(clears.1.load(Ordering::Relaxed), 100);
    assert!(!event.is_set());
    assert!(waits.iter_mut().all(|wait| wait.as_mut().poll(&mut cx).is_ready()));
}

#[test]
fn who_leaves_is_not_woken() {
    let event = Event::new();
    let woken = [(); 3].map(|()| Woken::new());
    let mut waits: Vec<_> = woken.iter().map(|_| Some(Box::pin(event.wait()))).collect();
    for (wait, woken) in waits.iter_mut().zip(&woken) {
        assert!(woken.poll_pinned(wait.as_mut().unwrap().as_mut()).is_pending());
    }
    waits[1] = None;
    assert_eq!(woken[1].wakers(), 0);
    event.set();
    assert_eq!(woken.each_ref().map(Woken::count), [1, 0, 1]);
    // One that was woken may leave without having been polled.
    waits[0] = None;
    assert!(woken[2].poll_pinned(waits[2].as_mut().unwrap().as_mut()).is_ready());
}

#[test]
fn the_last_waker_is_woken() {
    let event = Event::new();
    let (first, second) = (Woken::new(), Woken::new());
    let mut wait = pin!(event.wait());
    assert!(first.poll_pinned(wait.as_mut()).is_pending());
    assert!(second.poll_pinned(wait.as_mut()).is_pending());
    assert_eq!((first.wakers(), second.wakers()), (0, 1));
    event.set();
    assert_eq!((first.count(), second.count()), (0, 1));
}

#[test]
fn a_waker_that_panics_does_not_keep_the_others_asleep() {
    let event = Event::new();
    let (mut bad, mut good) = (pin!(event.wait()), pin!(event.wait()));
    let waker = panicking_waker();
    assert!(bad.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let woken = Woken::new();
    assert!(woken.poll_pinned(good.as_mut()).is_pending());
    event.set();
    assert_eq!(woken.count(), 1);
}

#[test]
fn a_future_that_was_ready_may_wait_again() {
    let event = Event::new();
    let woken = Woken::new();
    let mut wait = pin!(event.wait());
    assert!(woken.poll_pinned(wait.as_mut()).is_pending());
    event.set();
    assert!(woken.poll_pinned(wait.as_mut()).is_ready());
    event.clear();
    assert_eq!(woken.poll_pinned(wait.as_mut()), Poll::Pending);
    event.set();
    assert_eq!(woken.count(), 2);
}

#[test]
fn tasks_wait_in_order_on_one_loop() {
    run(1, async {
        let event = std::rc::Rc::new(Event::new());
        let order = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..5)
            .map(|number| {
                let (event, order) = (event.clone(), order.clone());
                create_local_task(async move {
                    event.wait().await;
                    order.borrow_mut().push(number);
                })
            })
            .collect();
        yield_now().await;
        event.set();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.borrow(), [0, 1, 2, 3, 4]);
    });
}

/// Rounds of waiting on two loops, set from a thread: nobody misses one.
#[test]
fn two_loops_and_a_thread() {
    const WAITERS: usize = 50;
    const ROUNDS: usize = 200;
    let shared = Arc::new((Event::new(), AtomicUsize::new(0)));
    let setting = shared.clone();
    run(2, async move {
        let tasks: Vec<_> = (0..WAITERS)
            .map(|_| {
                let shared = shared.clone();
                create_task(async move {
                    let mut rounds = 0;
                    while rounds < ROUNDS {
                        let mut wait = pin!(shared.0.wait());
                        if super::support::poll_once(&mut wait).await.is_ready() {
                            // Still set from the round before.
                            yield_now().await;
                            continue;
                        }
                        shared.1.fetch_add(1, Ordering::AcqRel);
                        wait.await;
                        rounds += 1;
                    }
                })
            })
            .collect();
        let thread = std::thread::spawn(move || {
            for round in 1..=ROUNDS {
                while setting.1.load(Ordering::Acquire) < round * WAITERS {
                    std::thread::yield_now();
                }
                setting.0.set();
                setting.0.clear();
            }
        });
        for task in tasks {
            task.await.unwrap();
        }
        thread.join().unwrap();
    });
}

#[test]
fn the_budget_is_looked_at_first() {
    let event = std::rc::Rc::new(Event::new());
    event.set();
    budget_is_kept(move || {
        let event = event.clone();
        async move { event.wait().await }
    });
}
