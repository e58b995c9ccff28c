//! Several loops: tasks that move, panics, cancellation, shutdown.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use loopool::{Runtime, create_local_task, create_task, yield_now};

fn runtime(loops: usize) -> Runtime {
    Runtime::builder().loops(loops).build().unwrap()
}

#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
    fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct OnDrop(Count);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.add();
    }
}

#[test]
fn many_tasks_all_finish_once() {
    for loops in [1, 2, 4] {
        let polls = Count::default();
        let sum: usize = runtime(loops).run(async {
            let tasks: Vec<_> = (0..10_000)
                .map(|n| {
                    let polls = polls.clone();
                    create_task(async move {
                        yield_now().await;
                        polls.add();
                        n
                    })
                })
                .collect();
            let mut sum = 0;
            for task in tasks {
                sum += task.await.unwrap();
            }
            sum
        });
        assert_eq!((sum, polls.get()), (10_000 * 9_999 / 2, 10_000));
    }
}

#[test]
fn a_task_behind_a_blocked_one_is_taken_by_another_loop() {
    runtime(2).run(async {
        let (release, wait) = mpsc::channel::<()>();
        // The blocker frees itself only when the task behind it, on the same loop, has run.
        let blocker = create_task(async move {
            let behind = create_task(async move { release.send(()).unwrap() });
            wait.recv_timeout(Duration::from_secs(30)).unwrap();
            behind.await.unwrap();
        });
        blocker.await.unwrap();
    });
}

#[test]
fn local_tasks_stay_on_their_thread() {
    runtime(4).run(async {
        let here = std::thread::current().id();
        let tasks: Vec<_> = (0..50)
            .map(|n| {
                let shared = Rc::new(n);
                create_local_task(async move {
                    for _ in 0..20 {
                        yield_now().await;
                        assert_eq!(std::thread::current().id(), here);
                    }
                    *shared
                })
            })
            .collect();
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.unwrap(), n);
        }
    });
}

#[test]
fn a_local_task_on_a_worker_stays_there_too() {
    runtime(3).run(async {
        let outer: Vec<_> = (0..30)
            .map(|_| {
                create_task(poll_fn(|_| {
                    // Made and awaited elsewhere, polled only where it was made.
                    let here = std::thread::current().id();
                    let local = create_local_task(async move {
                        let kept = Rc::new(());
                        for _ in 0..20 {
                            yield_now().await;
                            assert_eq!(std::thread::current().id(), here);
                        }
                        drop(kept);
                    });
                    Poll::Ready(local)
                }))
            })
            .collect();
        for task in outer {
            task.await.unwrap().await.unwrap();
        }
    });
}

/// Something that could return.
fn panic_with(number: u32) -> u32 {
    if number > 0 {
        panic!("boom {number}");
    }
    number
}

#[test]
fn a_panic_is_the_handles_and_the_runtime_goes_on() {
    runtime(2).run(async {
        let error = create_task(async { panic_with(7) }).await.unwrap_err();
        assert!(error.is_panic());
        assert_eq!(loopool::panic_message(&*error.into_panic().unwrap()), "boom 7");
        assert_eq!(create_task(async { 1 }).await.unwrap(), 1);
    });
}

#[test]
fn panics_in_destructors_are_caught() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    runtime(2).run(async {
        let in_future = create_task(async {
            let _bomb = Bomb;
            std::future::pending::<()>().await
        });
        yield_now().await;
        in_future.cancel();
        assert!(in_future.await.unwrap_err().is_panic());
        // An output that nobody takes.
        drop(create_task(async { Bomb }));
        let finished = create_task(async { Bomb });
        while !finished.is_finished() {
            yield_now().await;
        }
        drop(finished);
        assert_eq!(create_task(async { 1 }).await.unwrap(), 1);
    });
}

#[test]
fn cancelling_before_the_first_poll_runs_nothing() {
    runtime(1).run(async {
        let drops = Count::default();
        let guard = OnDrop(drops.clone());
        let task = create_task(async move {
            let _guard = guard;
            unreachable!("never polled");
        });
        assert!(task.cancel().is_some());
        let outcome: Result<(), _> = task.await;
        assert!(outcome.unwrap_err().is_cancelled());
        assert_eq!(drops.get(), 1);
    });
}

#[test]
fn a_value_that_is_ready_beats_the_request_to_cancel() {
    runtime(1).run(async {
        let go = Arc::new(AtomicBool::new(false));
        let gate = go.clone();
        let task = create_task(poll_fn(move |_| {
            if gate.load(Ordering::SeqCst) { Poll::Ready("value") } else { Poll::Pending }
        }));
        // Its first poll, after which nothing but the request wakes it; the handle keeps it.
        yield_now().await;
        go.store(true, Ordering::SeqCst);
        assert!(task.cancel().is_some());
        assert_eq!(task.await.unwrap(), "value");
    });
}

#[test]
fn cancelling_a_finished_task_is_too_late() {
    runtime(2).run(async {
        let mut task = create_task(async { 3 });
        while !task.is_finished() {
            yield_now().await;
        }
        assert!(task.cancel().is_none());
        assert_eq!((&mut task).await.unwrap(), 3);
        assert!(task.await.is_err(), "the output was taken");
    });
}

#[test]
fn dropping_the_handle_detaches() {
    runtime(2).run(async {
        let (send, receive) = mpsc::channel();
        drop(create_task(async move {
            yield_now().await;
            send.send(()).unwrap();
        }));
        while receive.try_recv().is_err() {
            yield_now().await;
        }
    });
}

#[test]
fn a_task_that_nothing_can_wake_is_dropped_when_its_handle_is() {
    runtime(2).run(async {
        let drops = Count::default();
        let guard = OnDrop(drops.clone());
        let task = create_task(async move {
            let _guard = guard;
            std::future::pending::<()>().await
        });
        while loopool::metrics().loops.iter().map(|l| l.polls).sum::<u64>() < 2 {
            yield_now().await;
        }
        assert_eq!(drops.get(), 0);
        drop(task);
        while drops.get() == 0 {
            yield_now().await;
        }
        assert_eq!(loopool::metrics().tasks, 1);
    });
}

/// Tokio's `test_abort_wakes_task_3964`.
#[test]
fn a_sleeping_task_that_is_cancelled_and_let_go_is_dropped_while_the_runtime_lives() {
    let sleepers = || loopool::metrics().loops.iter().map(|l| l.timers).sum::<u64>();
    for loops in [1, 2] {
        runtime(loops).run(async {
            let drops = Count::default();
            let guard = OnDrop(drops.clone());
            let task = create_task(async move {
                let _guard = guard;
                loopool::sleep(Duration::from_secs(3600)).await;
            });
            while sleepers() == 0 {
                yield_now().await;
            }
            assert!(task.cancel().is_some());
            drop(task);
            // On the only loop it is next; another one may be about to do it.
            let begun = Instant::now();
            let mut turns = 0;
            while drops.get() == 0 {
                assert!(loops > 1 || turns < 3, "it goes on after {turns} turns");
                assert!(begun.elapsed() < Duration::from_secs(30), "it goes on");
                turns += 1;
                yield_now().await;
            }
            while loopool::metrics().tasks > 1 {
                assert!(begun.elapsed() < Duration::from_secs(30), "it does not end");
                yield_now().await;
            }
            assert_eq!((drops.get(), sleepers()), (1, 0));
        });
    }
}

#[test]
fn a_waker_may_outlive_its_task_and_its_runtime() {
    let kept: Arc<Mutex<Vec<Waker>>> = Arc::default();
    let store = kept.clone();
    runtime(2).run(async move {
        let store = store.clone();
        create_task(poll_fn(move |cx| {
            store.lock().unwrap().push(cx.waker().clone());
            Poll::Ready(())
        }))
        .await
        .unwrap();
    });
    for waker in std::mem::take(&mut *kept.lock().unwrap()) {
        waker.wake_by_ref();
        let other = waker.clone();
        waker.wake();
        drop(other);
    }
}

#[test]
fn run_drops_what_is_left_before_it_returns() {
    for loops in [1, 3] {
        let drops = Count::default();
        let (in_task, in_local) = (drops.clone(), drops.clone());
        runtime(loops).run(async move {
            for _ in 0..100 {
                let guard = OnDrop(in_task.clone());
                drop(create_task(async move {
                    let _guard = guard;
                    loopool::sleep(Duration::from_secs(3600)).await;
                }));
            }
            for _ in 0..10 {
                let guard = OnDrop(in_local.clone());
                drop(create_local_task(async move {
                    let _guard = Rc::new(guard);
                    loopool::sleep(Duration::from_secs(3600)).await;
                }));
            }
            yield_now().await;
        });
        assert_eq!(drops.get(), 110);
    }
}

#[test]
fn dropping_a_runtime_that_never_ran_drops_its_tasks() {
    for loops in [1, 2] {
        let drops = Count::default();
        let runtime = runtime(loops);
        let guard = OnDrop(drops.clone());
        let task = runtime.handle().create_task(async move {
            let _guard = guard;
            std::future::pending::<()>().await
        });
        drop(runtime);
        assert_eq!(drops.get(), 1);
        assert!(task.is_finished());
    }
}

#[test]
fn a_runtime_may_end_inside_another_ones_task() {
    runtime(2).run(async {
        let drops = Count::default();
        let inner = runtime(2);
        for _ in 0..20 {
            let guard = OnDrop(drops.clone());
            drop(inner.handle().create_task(async move {
                let _guard = guard;
                std::future::pending::<()>().await
            }));
        }
        drop(inner);
        assert_eq!(drops.get(), 20);
        create_task(async {}).await.unwrap();
    });
}

#[test]
fn tasks_made_while_the_runtime_ends_are_born_cancelled() {
    struct SpawnOnDrop(Count);
    impl Drop for SpawnOnDrop {
        fn drop(&mut self) {
            let guard = OnDrop(self.0.clone());
            drop(create_task(async move {
                let _guard = guard;
                unreachable!("born cancelled");
            }));
        }
    }
    let drops = Count::default();
    let spawner = SpawnOnDrop(drops.clone());
    runtime(2).run(async move {
        drop(create_task(async move {
            let _spawner = spawner;
            std::future::pending::<()>().await
        }));
        yield_now().await;
    });
    assert_eq!(drops.get(), 1);
}

#[test]
fn the_main_future_completes_while_others_spin() {
    let runtime = runtime(2);
    let remote = runtime.threadsafe_handle();
    runtime.run(async move {
        for _ in 0..8 {
            drop(create_task(async {
                loop {
                    yield_now().await;
                }
            }));
        }
        // A wake-up from a foreign thread gets through.
        let job =
            std::thread::spawn(move || remote.run_coroutine_threadsafe(async { 4 }).result(None));
        let (send, receive) = mpsc::channel();
        let relay = std::thread::spawn(move || send.send(job.join().unwrap()));
        loop {
            if let Ok(outcome) = receive.try_recv() {
                break assert_eq!(outcome.unwrap(), 4);
            }
            yield_now().await;
        }
        relay.join().unwrap().unwrap();
    });
}

#[test]
fn two_tasks_that_wake_each_other_do_not_starve_a_third() {
    runtime(2).run(async {
        struct Pair {
            wakers: [Option<Waker>; 2],
        }
        let pair = Arc::new(Mutex::new(Pair { wakers: [None, None] }));
        for me in 0..2 {
            let pair = pair.clone();
            drop(create_task(poll_fn(move |cx| -> Poll<()> {
                let mut pair = pair.lock().unwrap();
                pair.wakers[me] = Some(cx.waker().clone());
                if let Some(other) = &pair.wakers[1 - me] {
                    other.wake_by_ref();
                } else {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            })));
        }
        for _ in 0..100 {
            create_task(async {}).await.unwrap();
        }
    });
}

#[test]
fn blocking_functions_run_in_threads_and_their_panics_come_back() {
    runtime(2).run(async {
        let here = std::thread::current().id();
        let there = loopool::to_thread(|| std::thread::current().id()).await.unwrap();
        assert_ne!(here, there);
        let error = loopool::to_thread(|| panic_with(8)).await.unwrap_err();
        assert_eq!(error.panic_message(), Some("boom 8"));
    });
}

#[test]
fn the_default_executor_can_be_any_executor_of_closures() {
    let pool = loopool::ThreadPoolExecutor::builder().thread_name_prefix("mine").build();
    runtime(2).run(async move {
        loopool::set_default_executor(pool);
        let name = loopool::to_thread(|| std::thread::current().name().map(str::to_owned)).await;
        assert_eq!(name.unwrap().as_deref(), Some("mine-0"));
    });
}

#[test]
fn giving_up_on_an_executor_cancels_what_waits() {
    let pool = loopool::ThreadPoolExecutor::new(1);
    runtime(2).run(async {
        let (release, blocked) = mpsc::channel::<()>();
        let first = loopool::run_in_executor(&pool, move || blocked.recv()).unwrap();
        let called = Count::default();
        let count = called.clone();
        let second = loopool::run_in_executor(&pool, move || count.add()).unwrap();
        drop(second);
        release.send(()).unwrap();
        first.await.unwrap().unwrap();
        loopool::run_in_executor(&pool, || ()).unwrap().await.unwrap();
        assert_eq!((called.get(), pool.stats().cancelled), (0, 1));
    });
}

#[test]
fn a_timeout_polls_first_and_drops_what_is_late() {
    runtime(2).run(async {
        assert_eq!(loopool::timeout(Duration::ZERO, async { 1 }).await.unwrap(), 1);
        let drops = Count::default();
        let guard = OnDrop(drops.clone());
        let late = async move {
            let _guard = guard;
            std::future::pending::<()>().await
        };
        assert!(loopool::timeout(Duration::from_millis(3), late).await.is_err());
        assert_eq!(drops.get(), 1);
        assert!(loopool::metrics().loops.iter().all(|l| l.timers == 0));
    });
}

#[test]
fn sleeps_are_never_early_and_all_end() {
    runtime(2).run(async {
        let tasks: Vec<_> = (0..500u64)
            .map(|n| {
                create_task(async move {
                    let wish = Duration::from_micros(n * 37 % 20_000);
                    let before = std::time::Instant::now();
                    loopool::sleep(wish).await;
                    assert!(before.elapsed() >= wish);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn a_sleep_that_moves_to_another_task_wakes_that_one() {
    runtime(2).run(async {
        let mut sleep = Box::pin(loopool::sleep(Duration::from_millis(30)));
        let polled = poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx).is_pending())).await;
        assert!(polled);
        create_task(sleep).await.unwrap();
    });
}

#[test]
fn an_idle_runtime_sleeps() {
    let runtime = runtime(3);
    let handle = runtime.threadsafe_handle();
    runtime.run(async {
        let far = create_task(loopool::sleep(Duration::from_secs(3600)));
        let looker = move || {
            let parks = || handle.metrics().loops.iter().map(|l| l.parks).sum::<u64>();
            let begun = Instant::now();
            // For a moment after something was done, somebody looks whether all is well. Then not one
            // loop wakes up to go to sleep again.
            loop {
                let before = parks();
                std::thread::sleep(Duration::from_millis(200));
                if parks() == before {
                    break;
                }
                assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", handle.metrics());
            }
        };
        loopool::to_thread(looker).await.unwrap();
        far.cancel();
    });
}

#[test]
fn wakes_from_many_threads_are_neither_lost_nor_doubled() {
    struct Shared {
        waker: Mutex<Option<Waker>>,
        due: AtomicUsize,
    }
    struct Take(Arc<Shared>, usize);
    impl Future for Take {
        type Output = ();
        fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
            *self.0.waker.lock().unwrap() = Some(cx.waker().clone());
            self.1 -= self.0.due.swap(0, Ordering::SeqCst);
            if self.1 == 0 { Poll::Ready(()) } else { Poll::Pending }
        }
    }
    const THREADS: usize = 4;
    const WAKES: usize = 20_000;
    runtime(2).run(async {
        let shared = Arc::new(Shared { waker: Mutex::new(None), due: AtomicUsize::new(0) });
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let shared = shared.clone();
                std::thread::spawn(move || {
                    for _ in 0..WAKES {
                        shared.due.fetch_add(1, Ordering::SeqCst);
                        let waker = shared.waker.lock().unwrap().clone();
                        if let Some(waker) = waker {
                            waker.wake();
                        }
                    }
                })
            })
            .collect();
        let task = create_task(Take(shared, THREADS * WAKES));
        loopool::timeout(Duration::from_secs(60), task).await.unwrap().unwrap();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// A task that is cancelled asks the job that it waits for to end, through both ways to a pool of threads.
#[test]
fn a_cancelled_task_asks_its_job_to_end() {
    let pool = std::sync::Arc::new(loopool::ThreadPoolExecutor::new(1));
    loopool::run(async move {
        for through_default in [false, true] {
            let (begin, begun) = loopool::sync::oneshot::channel();
            let (end, ended) = loopool::sync::oneshot::channel();
            let work = move || {
                let token = loopool::CancelToken::current().unwrap();
                begin.send(()).unwrap();
                end.send(token.wait(Duration::from_secs(60))).unwrap();
            };
            let pool = pool.clone();
            let task = loopool::create_task(async move {
                if through_default {
                    loopool::to_thread(work).await.unwrap();
                } else {
                    loopool::run_in_executor(&*pool, work).unwrap().await.unwrap();
                }
            });
            begun.await.unwrap();
            task.cancel();
            assert!(task.await.unwrap_err().is_cancelled(), "at once, whatever the job does");
            assert!(ended.await.unwrap(), "the job was asked");
        }
    });
}

/// Back-pressure without a blocked loop.
#[test]
fn a_place_in_a_full_queue_is_awaited() {
    let pool = loopool::ThreadPoolExecutor::builder().max_workers(1).queue_limit(1).build();
    let sum = loopool::run(async {
        let mut jobs = Vec::new();
        for n in 0..100u32 {
            jobs.push(loopool::Executor::submit_async(&pool, move || n).await.unwrap());
        }
        let mut sum = 0;
        for job in jobs {
            sum += job.await.unwrap();
        }
        sum
    });
    assert_eq!(sum, 4950);
}
