//! Requests to cancel from several threads, and those who answer them.

use std::collections::HashSet;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use loopool::{RequestId, cancellable, create_task};

use crate::support::{Crowd, Gate, Guards, Lock, Random, Tally, until};

/// Two threads ask, scopes answer: every request is delivered once, and none comes from nowhere.
pub(crate) fn are_delivered_once(random: &mut Random) {
    let runtime = random.runtime();
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Tally::default();
    let task = Arc::new(runtime.threadsafe_handle().create_task({
        let (stop, begun, mut random) = (stop.clone(), begun.clone(), random.split());
        async move {
            begun.add(1);
            let mut seen = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                random.pause();
                let wait = random.one_in(2);
                let outcome = match wait {
                    true => cancellable(pending::<()>()).await,
                    false => cancellable(random.hops(2)).await,
                };
                if let Err(cancelled) = outcome {
                    seen.push(cancelled.request());
                }
            }
            seen
        }
    }));
    let asked = Arc::<Lock<HashSet<RequestId>>>::default();
    let seen = runtime.run_until_complete(async {
        until(|| begun.get() == 1).await;
        let mut crowd = Crowd::default();
        for _ in 0..2 {
            let (mut random, task, asked) = (random.split(), task.clone(), asked.clone());
            crowd.add(move || {
                let mut ids = Vec::new();
                for _ in 0..50 {
                    random.pause();
                    ids.extend(task.cancel());
                }
                drop(task);
                asked.lock().extend(ids);
            });
        }
        crowd.gone().await;
        stop.store(true, Ordering::Relaxed);
        // In case it waits in a scope.
        asked.lock().extend(task.cancel());
        Arc::into_inner(task).unwrap().await.expect("every one of its waits is in a scope")
    });
    let asked = std::mem::take(&mut *asked.lock());
    let distinct: HashSet<_> = seen.iter().copied().collect();
    assert_eq!(distinct.len(), seen.len(), "a request was delivered twice");
    assert!(distinct.is_subset(&asked), "a request came from nowhere");
    // The task's last poll may see one and complete all the same, and one more may come during it.
    assert!(asked.len() - seen.len() <= 2, "{} of {} were delivered", seen.len(), asked.len());
}

/// Who awaits a task passes its request on, while the task is woken, completes, or has taken it.
pub(crate) fn are_passed_on(random: &mut Random) {
    let runtime = random.runtime();
    let guards = Guards::default();
    let mut crowd = Crowd::default();
    let mut chains = Vec::new();
    for _ in 0..4 {
        let (gate, taken) = (Gate::default(), Tally::default());
        let outer = {
            let (gate, taken, guards) = (gate.clone(), taken.clone(), guards.clone());
            let mut random = random.split();
            async move {
                let _guard = guards.make();
                let middle = create_task(async move {
                    let _guard = guards.make();
                    let inner = create_task({
                        let (mut random, guard) = (random.split(), guards.make());
                        async move {
                            let _guard = guard;
                            let wait = async {
                                random.hops(2).await;
                                gate.pass().await;
                            };
                            if let Err(cancelled) = cancellable(wait).await {
                                taken.add(1);
                                random.hops(2).await;
                                match cancelled.reraise().await {}
                            }
                        }
                    });
                    random.hops(1).await;
                    match inner.await {
                        Ok(()) => 1,
                        Err(error) => match error.passed_on().unwrap().reraise().await {},
                    }
                });
                middle.await.map_err(|error| error.passed_on().is_some())
            }
        };
        let outer = Arc::new(runtime.threadsafe_handle().create_task(outer));
        let ask = random.one_in(2);
        let (mut one, mut two) = (random.split(), random.split());
        let asking = outer.clone();
        crowd.add(move || {
            (0..one.below(6)).for_each(|_| one.pause());
            if ask {
                asking.cancel();
            }
        });
        crowd.add(move || {
            (0..two.below(6)).for_each(|_| two.pause());
            gate.rattle();
            gate.open(&mut two);
        });
        chains.push((outer, taken, ask));
    }
    runtime.run_until_complete(async {
        crowd.gone().await;
        for (outer, taken, ask) in chains {
            let outcome = Arc::into_inner(outer).unwrap().await;
            assert!(taken.get() <= 1, "one request was taken twice");
            match outcome {
                Ok(Ok(value)) => assert_eq!((value, taken.get()), (1, 0)),
                Ok(Err(passed_on)) => assert!(ask && passed_on),
                Err(error) => assert!(ask && error.is_cancelled(), "{error}"),
            }
        }
        until(|| guards.left() == 0).await;
    });
}
