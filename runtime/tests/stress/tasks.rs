//! The state word of a task under everything that may happen to it at the same time.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::thread::ThreadId;

use futures::executor::block_on;
use loopool::{Task, create_task};

use crate::support::{Crowd, Gate, Guard, Guards, Lock, Random, Tally, until};

const THREADS: usize = 3;

/// Each runs to its end, and is dropped, once.
pub(crate) fn made_joined_and_detached(random: &mut Random) {
    const EACH: usize = 10;
    let runtime = random.runtime();
    let (guards, ran, mut crowd) = (Guards::default(), Tally::default(), Crowd::default());
    let work = {
        let (guards, ran) = (guards.clone(), ran.clone());
        move |mut random: Random, number: usize| {
            let (guard, ran) = (guards.make(), ran.clone());
            async move {
                random.hops(3).await;
                ran.add(1);
                drop(guard);
                number
            }
        }
    };
    for _ in 0..THREADS {
        let (mut random, handle, work) =
            (random.split(), runtime.threadsafe_handle(), work.clone());
        crowd.add(move || {
            for number in 0..EACH {
                let task = handle.create_task(work(random.split(), number));
                random.pause();
                match random.below(3) {
                    0 => drop(task),
                    1 => assert_eq!(block_on(task).unwrap(), number),
                    _ => {
                        while !task.is_finished() {
                            random.pause();
                        }
                    }
                }
            }
        });
    }
    let random = &mut *random;
    runtime.run_until_complete(async {
        for number in 0..EACH {
            let task = create_task(work(random.split(), number));
            random.hops(1).await;
            if random.one_in(2) {
                assert_eq!(task.await.unwrap(), number);
            }
        }
        crowd.gone().await;
        until(|| ran.get() == (THREADS + 1) * EACH && guards.left() == 0).await;
    });
    let report = runtime.shutdown(Default::default());
    assert!(report.is_clean() && report.cancelled == 0, "{report}");
}

/// None is lost: the task ends with what was asked for before the last one. And no poll comes from
/// nowhere.
pub(crate) fn wakes_meet_polls(random: &mut Random) {
    const EACH: usize = 40;
    let runtime = random.runtime();
    let (asked, polls, mut crowd) = (Tally::default(), Tally::default(), Crowd::default());
    let shelf = Arc::<Lock<Option<Waker>>>::default();
    let future = {
        let (asked, polls, shelf, mut random) =
            (asked.clone(), polls.clone(), shelf.clone(), random.split());
        move || {
            poll_fn(move |cx| {
                polls.add(1);
                if polls.get() == 1 || random.one_in(3) {
                    let waker = cx.waker().clone();
                    let _previous = shelf.lock().replace(waker);
                }
                random.pause();
                let done = asked.get() == THREADS * EACH;
                random.pause();
                if done { Poll::Ready(()) } else { Poll::Pending }
            })
        }
    };
    let task = match random.one_in(2) {
        true => runtime.threadsafe_handle().create_task(future()),
        false => runtime.handle().spawn_on(random.below(runtime.handle().loops()), future).unwrap(),
    };
    for _ in 0..THREADS {
        let (mut random, asked, shelf) = (random.split(), asked.clone(), shelf.clone());
        crowd.add(move || {
            let fetch = || loop {
                let waker = shelf.lock().clone();
                match waker {
                    Some(waker) => break waker,
                    None => std::thread::yield_now(),
                }
            };
            let mut waker = fetch();
            for _ in 0..EACH {
                random.pause();
                asked.add(1);
                match random.below(3) {
                    0 => waker.wake_by_ref(),
                    1 => {
                        let another = waker.clone();
                        random.pause();
                        another.wake();
                    }
                    _ => std::mem::replace(&mut waker, fetch()).wake(),
                }
            }
        });
    }
    runtime.run_until_complete(async {
        task.await.unwrap();
        crowd.gone().await;
    });
    assert!(polls.get() <= 1 + THREADS * EACH, "{} polls", polls.get());
}

/// Cancelled, woken, completed, joined, its handle dropped: by whom and when does not matter, the
/// future is dropped once, and the outcome fits.
pub(crate) fn a_request_meets_everything(random: &mut Random) {
    const TASKS: usize = 4;
    let runtime = random.runtime();
    let (guards, mut crowd) = (Guards::default(), Crowd::default());
    for number in 0..TASKS {
        let (gate, guard, mut inside) = (Gate::default(), guards.make(), random.split());
        let output = guards.make();
        let through = gate.clone();
        let task = Arc::new(runtime.threadsafe_handle().create_task(async move {
            let _guard = guard;
            inside.hops(3).await;
            if !inside.one_in(4) {
                through.pass().await;
            }
            inside.hops(1).await;
            (number, output)
        }));
        let asked = Tally::default();
        for what in 0..THREADS {
            let (mut random, task, gate, asked) =
                (random.split(), task.clone(), gate.clone(), asked.clone());
            crowd.add(move || {
                for _ in 0..3 {
                    random.pause();
                    match what {
                        0 if random.one_in(2) => {
                            asked.add(1);
                            task.cancel();
                        }
                        1 => gate.rattle(),
                        2 if random.one_in(8) => _ = task.uncancel(),
                        _ => _ = (task.is_finished(), task.cancelling()),
                    }
                }
                if what == 1 {
                    gate.open(&mut random);
                }
                random.pause();
                let Some(task) = Arc::into_inner(task) else { return };
                if random.one_in(4) {
                    return;
                }
                match block_on(task) {
                    Ok((value, _output)) => assert_eq!(value, number),
                    // The others have let go of the task, so what they have asked for is known here.
                    Err(error) => assert!(error.is_cancelled() && asked.get() > 0, "{error}"),
                }
            });
        }
    }
    runtime.run_until_complete(async {
        crowd.gone().await;
        until(|| guards.left() == 0).await;
    });
}

/// A local future and what it owns are made, polled and dropped on one thread.
pub(crate) fn local_tasks_stay_at_home(random: &mut Random) {
    struct Local(ThreadId, Rc<Guard>);
    impl Local {
        fn look(&self) {
            assert_eq!(self.0, std::thread::current().id());
        }
    }
    impl Drop for Local {
        fn drop(&mut self) {
            self.look();
            let _ = Rc::clone(&self.1);
        }
    }
    let runtime = random.runtime();
    let (guards, mut crowd) = (Guards::default(), Crowd::default());
    for _ in 0..THREADS {
        let (mut random, handle, guards) =
            (random.split(), runtime.threadsafe_handle(), guards.clone());
        crowd.add(move || {
            for number in 0..10 {
                let (guard, mut inside) = (guards.make(), random.split());
                let make = move || {
                    let local = Local(std::thread::current().id(), Rc::new(guard));
                    async move {
                        for _ in 0..3 {
                            inside.hops(1).await;
                            local.look();
                        }
                        number
                    }
                };
                let task: Task<_> = handle.spawn_on(random.below(handle.loops()), make).unwrap();
                random.pause();
                let asked = random.one_in(2) && task.cancel().is_some();
                random.pause();
                if random.one_in(2) {
                    match block_on(task) {
                        Ok(value) => assert_eq!(value, number),
                        Err(error) => assert!(error.is_cancelled() && asked, "{error}"),
                    }
                }
            }
        });
    }
    runtime.run_until_complete(async {
        crowd.gone().await;
        if random.one_in(2) {
            until(|| guards.left() == 0).await;
        }
    });
    drop(runtime);
    guards.wait_for_all();
}
