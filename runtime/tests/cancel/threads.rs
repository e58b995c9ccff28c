//! Requests from other threads.

use std::collections::HashSet;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use loopool::{RequestId, Runtime, cancellable, create_task, yield_now};

use crate::support::Count;

/// Only a hang lasts so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Every wait of the task is in a scope, so no request can end it, wherever it meets it.
#[test]
fn every_request_is_delivered_once_or_counted_with_another() {
    let runtime = Runtime::builder().loops(2).build().unwrap();
    let (begun, taken) = (Count::default(), Count::default());
    let stop = Arc::new(AtomicBool::new(false));
    let (task, ids) = runtime.run_until_complete(async {
        let task = Arc::new(create_task({
            let (begun, taken, stop) = (begun.clone(), taken.clone(), stop.clone());
            async move {
                begun.add();
                let mut seen = Vec::new();
                for round in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let outcome = match round % 2 {
                        0 => cancellable(pending::<()>()).await,
                        _ => cancellable(yield_now()).await,
                    };
                    if let Err(cancelled) = outcome {
                        seen.push(cancelled.request());
                        taken.add();
                    }
                }
                seen
            }
        }));
        // Before its first poll, not a line of it would run.
        until(|| begun.get() == 1).await;
        let asking = task.clone();
        let ids = loopool::to_thread(move || {
            let both = Barrier::new(2);
            std::thread::scope(|scope| {
                let ask = || {
                    both.wait();
                    (0..500).filter_map(|_| asking.cancel()).collect::<Vec<_>>()
                };
                let (one, two) = (scope.spawn(ask), scope.spawn(ask));
                let mut ids = one.join().unwrap();
                ids.extend(two.join().unwrap());
                ids
            })
        });
        let mut ids = ids.await.unwrap();
        // It waits for requests in every other round, so it takes the last one of those at the latest.
        until(|| taken.get() > 0).await;
        stop.store(true, Ordering::SeqCst);
        // In case it waits in a scope.
        ids.extend(task.cancel());
        until(|| task.is_finished()).await;
        (Arc::into_inner(task).unwrap(), HashSet::<RequestId>::from_iter(ids))
    });
    let seen = runtime.run_until_complete(task).expect("no request ends it");
    assert!(!seen.is_empty());
    assert_eq!(seen.len(), taken.get());
    let distinct: HashSet<_> = seen.iter().copied().collect();
    assert_eq!(distinct.len(), seen.len(), "a request was delivered twice");
    assert!(distinct.is_subset(&ids), "a request came from nowhere");
    // The task's last poll may see one and complete all the same, and one more may come during it.
    let lost = ids.len() - seen.len();
    assert!(lost <= 2, "{lost} of {} were not delivered", ids.len());
}

async fn until(done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "it hangs");
        yield_now().await;
    }
}

#[test]
fn a_request_meets_the_end_of_its_task() {
    let runtime = Runtime::builder().loops(2).build().unwrap();
    for round in 0..300 {
        runtime.run_until_complete(async {
            let dropped = Count::default();
            struct OnDrop(Count);
            impl Drop for OnDrop {
                fn drop(&mut self) {
                    self.0.add();
                }
            }
            let guard = OnDrop(dropped.clone());
            let task = Arc::new(create_task(async move {
                let _guard = guard;
                for _ in 0..round % 7 {
                    yield_now().await;
                }
                round
            }));
            let asking = task.clone();
            let asked = loopool::to_thread(move || asking.cancel()).await.unwrap();
            let outcome = Arc::into_inner(task).unwrap().await;
            match outcome {
                Ok(value) => assert_eq!(value, round),
                Err(error) => assert!(error.is_cancelled() && asked.is_some()),
            }
            assert_eq!(dropped.get(), 1);
        });
    }
}
