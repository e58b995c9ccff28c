//! Requests from other threads.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use loopool::{Runtime, cancellable, create_task, yield_now};

use crate::support::Count;

/// Only a hang lasts so long.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn every_request_is_delivered_once_or_counted_with_another() {
    let runtime = Runtime::builder().loops(2).build().unwrap();
    let taken = Count::default();
    let stop = Arc::new(AtomicBool::new(false));
    let (task, ids) = runtime.run_until_complete(async {
        let task = Arc::new(create_task({
            let (taken, stop) = (taken.clone(), stop.clone());
            async move {
                let mut seen = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    if let Err(cancelled) = cancellable(pending::<()>()).await {
                        seen.push(cancelled.request());
                        taken.add();
                    }
                    yield_now().await;
                }
                seen
            }
        }));
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
        stop.store(true, Ordering::SeqCst);
        // In case it waits in a scope.
        ids.extend(task.cancel());
        let begin = Instant::now();
        while !task.is_finished() && begin.elapsed() < PATIENCE {
            yield_now().await;
        }
        (Arc::into_inner(task).unwrap(), ids)
    });
    let seen = runtime.run_until_complete(async move {
        assert!(task.is_finished(), "it hangs");
        // The last request may have met it between two scopes.
        task.await
    });
    if let Ok(seen) = seen {
        assert_eq!(seen.len(), taken.get());
        let distinct: std::collections::HashSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len(), "a request was delivered twice");
        assert!(seen.iter().all(|id| ids.contains(id)), "a request came from nowhere");
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
