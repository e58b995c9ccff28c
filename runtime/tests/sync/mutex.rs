//! The lock.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use loopool::sync::Mutex;
use loopool::{create_local_task, create_task, yield_now};

use super::support::{BUDGET, Dropped, Woken, budget_is_kept, run};

#[test]
fn one_at_a_time() {
    let mutex = Mutex::new(1);
    let mut guard = mutex.try_lock().unwrap();
    *guard += 1;
    assert!(mutex.try_lock().is_none());
    assert_eq!(format!("{guard:?} {mutex:?}"), "2 Mutex { value: <locked> }");
    drop(guard);
    assert_eq!(*mutex.try_lock().unwrap(), 2);
    assert_eq!(format!("{mutex:?}"), "Mutex { value: 2 }");
}

#[test]
fn the_value_comes_out_and_is_dropped_once() {
    let dropped = Dropped::new();
    let mut mutex = Mutex::new(dropped.value());
    *mutex.get_mut() = dropped.value();
    assert_eq!(dropped.count(), 1);
    let value = mutex.into_inner();
    assert_eq!(dropped.count(), 1);
    drop(value);
    assert_eq!(dropped.count(), 2);
    drop(Mutex::new(dropped.value()));
    assert_eq!(dropped.count(), 3);
}

/// The owner unlocks in the moment in which the first one who waits gives up: the second one gets the lock.
#[test]
fn who_gives_up_in_the_moment_of_unlocking_hands_it_on() {
    for unlock_first in [true, false] {
        let mutex = Mutex::new(());
        let guard = mutex.try_lock().unwrap();
        let (first_woken, second_woken) = (Woken::new(), Woken::new());
        let mut first = Box::pin(mutex.lock());
        let mut second = pin!(mutex.lock());
        assert!(first_woken.poll_pinned(first.as_mut()).is_pending());
        assert!(second_woken.poll_pinned(second.as_mut()).is_pending());
        if unlock_first {
            drop(guard);
            drop(first);
        } else {
            drop(first);
            drop(guard);
        }
        assert_eq!(first_woken.count(), usize::from(unlock_first));
        assert_eq!(second_woken.count(), 1);
        assert!(second_woken.poll_pinned(second.as_mut()).is_ready());
        assert!(mutex.try_lock().is_some());
    }
}

/// Unlocked, and the woken one gives up, while two more wait: one of them gets it, not both.
#[test]
fn exactly_one_more_gets_it() {
    let mutex = Mutex::new(());
    let guard = mutex.try_lock().unwrap();
    let woken = [(); 3].map(|()| Woken::new());
    let mut waiting = [(); 3].map(|()| Some(Box::pin(mutex.lock())));
    for (lock, woken) in waiting.iter_mut().zip(&woken) {
        assert!(woken.poll_pinned(lock.as_mut().unwrap().as_mut()).is_pending());
    }
    drop(guard);
    waiting[0] = None;
    assert_eq!(woken.each_ref().map(Woken::count), [1, 1, 0]);
    let guard = woken[1].poll_pinned(waiting[1].as_mut().unwrap().as_mut());
    assert!(guard.is_ready());
    assert!(woken[2].poll_pinned(waiting[2].as_mut().unwrap().as_mut()).is_pending());
}

#[test]
fn a_panic_does_not_poison_it() {
    run(1, async {
        let mutex = Arc::new(Mutex::new(0));
        let other = mutex.clone();
        let task = create_task(async move {
            *other.lock().await = 1;
            let mut guard = other.lock().await;
            *guard = 2;
            panic!("by design");
        });
        assert!(task.await.unwrap_err().is_panic());
        assert_eq!(*mutex.lock().await, 2);
    });
}

#[test]
fn it_is_held_across_an_await_and_handed_on_in_order() {
    run(1, async {
        let mutex = Rc::new(Mutex::new(()));
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..5)
            .map(|number| {
                let (mutex, order) = (mutex.clone(), order.clone());
                create_local_task(async move {
                    let _guard = mutex.lock().await;
                    for _ in 0..3 {
                        yield_now().await;
                        order.borrow_mut().push(number);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.borrow(), [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
    });
}

/// No convoy: tasks that lock again and again, and hold the lock across no `await`, never wait for each other
/// on one loop. Each is polled once per budget.
#[test]
fn who_runs_out_of_budget_does_not_hold_the_lock() {
    const TASKS: usize = 10;
    const LOCKS: usize = 10 * BUDGET;
    run(1, async {
        let mutex = Rc::new(Mutex::new(0));
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let mutex = mutex.clone();
                create_local_task(async move {
                    let mut polls = 0;
                    let mut work = pin!(async {
                        for _ in 0..LOCKS {
                            *mutex.lock().await += 1;
                        }
                    });
                    std::future::poll_fn(|cx| {
                        polls += 1;
                        work.as_mut().poll(cx)
                    })
                    .await;
                    polls
                })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), LOCKS / BUDGET);
        }
        assert_eq!(*mutex.lock().await, TASKS * LOCKS);
    });
}

#[test]
fn an_owned_guard_may_go_to_another_task() {
    run(2, async {
        let mutex = Arc::new(Mutex::new(Vec::new()));
        let mut guard = mutex.clone().lock_owned().await;
        guard.push(1);
        let task = create_task(async move {
            guard.push(2);
            yield_now().await;
            guard.push(3);
        });
        assert_eq!(*mutex.lock().await, [1, 2, 3]);
        task.await.unwrap();
    });
}

/// A counter that would lose additions without the lock: two loops, a foreign thread, some hold it while
/// they yield, some give up.
#[test]
fn two_loops_and_a_thread() {
    const TASKS: usize = 30;
    const ROUNDS: usize = 500;
    let mutex = Arc::new(Mutex::new(0_usize));
    let add = {
        let mutex = mutex.clone();
        move |number: usize| {
            let mutex = mutex.clone();
            async move {
                for round in 0..ROUNDS {
                    if (number + round).is_multiple_of(7) {
                        let mut lock = Box::pin(mutex.lock());
                        drop(super::support::poll_once(&mut lock).await);
                        drop(lock);
                    }
                    let mut guard = mutex.lock().await;
                    let before = *guard;
                    if (number * round).is_multiple_of(11) {
                        yield_now().await;
                    }
                    *guard = before + 1;
                }
            }
        }
    };
    let foreign = std::thread::spawn({
        let future = add(TASKS);
        move || futures::executor::block_on(future)
    });
    run(2, async {
        let tasks: Vec<_> = (0..TASKS).map(|number| create_task(add(number))).collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    foreign.join().unwrap();
    assert_eq!(*mutex.try_lock().unwrap(), (TASKS + 1) * ROUNDS);
}

#[test]
fn the_budget_is_looked_at_first() {
    let mutex = Arc::new(Mutex::new(()));
    budget_is_kept(move || {
        let mutex = mutex.clone();
        async move { drop(mutex.lock().await) }
    });
}
