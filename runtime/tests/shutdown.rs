//! `Runtime::shutdown`: the order, the report, and that nothing keeps it from ending.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, Once, mpsc};
use std::time::{Duration, Instant};

use futures::{AsyncReadExt, AsyncWriteExt};
use loopool::net::{TcpListener, TcpStream};
use loopool::{
    Runtime, ShutdownJobs, ShutdownPolicy, ThreadPoolExecutor, cancellable, create_local_task,
    create_task, set_default_executor, sleep, spawn_on, to_thread, yield_now,
};

/// Nothing here takes this long; it is the limit against hanging.
const HANG: Duration = Duration::from_secs(30);

fn runtime(loops: usize) -> Runtime {
    Runtime::builder().loops(loops).build().unwrap()
}

fn patient() -> ShutdownPolicy {
    ShutdownPolicy::default().grace(HANG)
}

#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn get(&self) -> usize {
        self.0.load(SeqCst)
    }
    fn guard(&self) -> OnDrop {
        OnDrop(self.clone())
    }
}

struct OnDrop(Count);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, SeqCst);
    }
}

/// A door that blocks threads.
#[derive(Clone, Default)]
struct Door(Arc<(Mutex<bool>, Condvar)>);

impl Door {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
    fn wait(&self) {
        let open = self.0.0.lock().unwrap();
        let (_open, waited) = self.0.1.wait_timeout_while(open, HANG, |open| !*open).unwrap();
        assert!(!waited.timed_out());
    }
}

/// Waits with a timer: who could not be woken would be dropped.
async fn forever() {
    sleep(Duration::from_secs(3600)).await;
}

/// Until so many tasks have come to wait [`forever`].
async fn wait_forever(tasks: u64) {
    while loopool::metrics().loops.iter().map(|each| each.timers).sum::<u64>() < tasks {
        yield_now().await;
    }
}

fn jobs(done: usize, cancelled: usize, running: usize) -> ShutdownJobs {
    let mut jobs = ShutdownJobs::default();
    (jobs.done, jobs.cancelled, jobs.running) = (done, cancelled, running);
    jobs
}

/// Waits, is asked to end, and cleans up with everything that there is.
async fn careful(steps: Arc<AtomicUsize>, stream: TcpStream) {
    let asked = cancellable(forever()).await;
    assert!(asked.is_err());
    sleep(Duration::from_millis(2)).await;
    steps.fetch_add(1, SeqCst);
    (&stream).write_all(b"bye").await.unwrap();
    steps.fetch_add(1, SeqCst);
    assert_eq!(to_thread(|| 4).await.unwrap(), 4);
    steps.fetch_add(1, SeqCst);
}

#[test]
fn clean_up_has_timers_sockets_and_threads() {
    for loops in [1, 2] {
        let runtime = runtime(loops);
        let steps = Arc::new(AtomicUsize::new(0));
        let mut peer = runtime.run_until_complete(async {
            let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = listener.local_addr().unwrap();
            let (client, server) = futures::join!(TcpStream::connect(address), listener.accept());
            drop(create_task(careful(steps.clone(), server.unwrap().0)));
            for _ in 0..10 {
                drop(create_task(forever()));
            }
            drop(create_local_task(forever()));
            wait_forever(12).await;
            client.unwrap()
        });
        let report = runtime.shutdown(patient());
        assert_eq!(steps.load(SeqCst), 3);
        assert_eq!((report.finished, report.cancelled), (1, 11), "{report}");
        assert!(report.is_clean(), "{report}");
        let mut bytes = Vec::new();
        let outcome = futures::executor::block_on(peer.read_to_end(&mut bytes));
        // It was not registered, or it says that the runtime has ended.
        assert!(outcome.is_err() || bytes == b"bye");
    }
}

#[test]
fn each_task_is_asked_once() {
    for loops in [1, 3] {
        let runtime = runtime(loops);
        let asked = Count::default();
        let begun = Count::default();
        for index in 0..20 {
            let (asked, begun) = (asked.clone(), begun.clone());
            let task = move || async move {
                let _ = begun.guard();
                while cancellable(forever()).await.is_err() {
                    drop(asked.guard());
                    // Would be cut short by a second request.
                    if cancellable(sleep(Duration::from_millis(3))).await.is_ok() {
                        return;
                    }
                }
            };
            drop(runtime.handle().spawn_on(index % loops, task).unwrap());
        }
        runtime.run_until_complete(async {
            while begun.get() < 20 {
                yield_now().await;
            }
        });
        let report = runtime.shutdown(patient());
        assert_eq!((asked.get(), report.finished, report.cancelled), (20, 20, 0), "{report}");
    }
}

#[test]
fn what_clean_up_spawns_is_born_cancelled_and_waited_for() {
    for loops in [1, 2] {
        let runtime = runtime(loops);
        let drops = Count::default();
        let counted = drops.clone();
        let task = async move {
            let _ = cancellable(forever()).await;
            for _ in 0..5 {
                let guard = counted.guard();
                drop(create_task(async move {
                    let _guard = guard;
                    unreachable!("born cancelled");
                }));
                let guard = counted.guard();
                drop(create_local_task(async move {
                    let _guard = guard;
                    unreachable!("born cancelled");
                }));
            }
        };
        let task = runtime.handle().create_task(task);
        runtime.run_until_complete(wait_forever(1));
        let report = runtime.shutdown(patient());
        assert!(task.is_finished());
        assert_eq!((drops.get(), report.finished, report.cancelled), (10, 1, 10), "{report}");
    }
}

#[test]
fn those_who_do_not_end_are_dropped_after_the_grace_period_and_named() {
    for loops in [1, 2] {
        let runtime = runtime(loops);
        let drops = Count::default();
        let stubborn = |guard: OnDrop| async move {
            let _guard = guard;
            loop {
                let _ = cancellable(forever()).await;
            }
        };
        let handle = runtime.handle();
        let task = handle.create_task(stubborn(drops.guard()));
        task.set_name("mule");
        let local = handle.create_local_task(stubborn(drops.guard()));
        local.set_name("donkey");
        drop(handle.create_task(forever()));
        runtime.run_until_complete(wait_forever(3));
        let begun = Instant::now();
        let policy = ShutdownPolicy::default().grace(Duration::from_millis(30));
        let report = runtime.shutdown(policy);
        assert!(begun.elapsed() >= Duration::from_millis(30));
        let mut dropped: Vec<_> =
            report.dropped.iter().map(|task| task.name.as_deref().unwrap().to_owned()).collect();
        dropped.sort();
        assert_eq!(dropped, ["donkey", "mule"]);
        assert!(report.dropped.iter().all(|task| task.spawned_at.file().ends_with("shutdown.rs")));
        assert_eq!((drops.get(), report.left.len()), (2, 0));
        assert!(!report.is_clean());
        let said = report.to_string();
        assert!(said.contains("2 dropped") && said.contains("\"mule\", made at"), "{said}");
    }
}

#[test]
fn no_grace_at_all() {
    for loops in [1, 2] {
        let runtime = runtime(loops);
        let drops = Count::default();
        for index in 0..10 {
            let guard = drops.guard();
            let wait = move || async move {
                let _guard = guard;
                forever().await
            };
            drop(runtime.handle().spawn_on(index % loops, wait).unwrap());
        }
        let report = runtime.shutdown(ShutdownPolicy::default().grace(Duration::ZERO));
        assert_eq!(drops.get(), 10);
        assert_eq!(report.cancelled + report.dropped.len(), 10, "{report}");
    }
}

#[test]
fn queued_jobs_are_cancelled_and_nobody_waits_for_a_job_that_blocks() {
    let runtime = runtime(2);
    let door = Door::default();
    let mut outcomes = runtime.run_until_complete(async {
        set_default_executor(ThreadPoolExecutor::new(1));
        let (begin, begun) = futures::channel::oneshot::channel();
        let inside = door.clone();
        let running = to_thread(move || {
            begin.send(()).unwrap();
            inside.wait();
        });
        begun.await.unwrap();
        [running, to_thread(|| unreachable!("never begun")), to_thread(|| unreachable!("nor this"))]
    });
    let report = runtime.shutdown(patient());
    assert_eq!(report.jobs, jobs(0, 2, 1));
    assert!(!report.is_clean());
    for outcome in &mut outcomes[1..] {
        assert!(futures::executor::block_on(outcome).unwrap_err().is_cancelled());
    }
    door.open();
    let [running, ..] = outcomes;
    futures::executor::block_on(running).unwrap();
}

#[test]
fn queued_jobs_are_finished_while_the_loops_turn() {
    for loops in [1, 2] {
        let runtime = runtime(loops);
        let remote = runtime.threadsafe_handle();
        let calls = Count::default();
        runtime.run_until_complete(async {
            set_default_executor(ThreadPoolExecutor::new(1));
            for _ in 0..3 {
                let (remote, calls) = (remote.clone(), calls.clone());
                std::mem::forget(to_thread(move || {
                    // Needs the loop that waits for it.
                    let (send, receive) = mpsc::channel();
                    remote.call_soon_threadsafe(move || send.send(()).unwrap()).unwrap();
                    receive.recv_timeout(HANG).unwrap();
                    drop(calls.guard());
                }));
            }
        });
        let policy = patient().finish_queued_jobs(true).wait_for_jobs(HANG);
        let report = runtime.shutdown(policy);
        assert_eq!((report.jobs, calls.get()), (jobs(3, 0, 0), 3));
        assert!(report.is_clean(), "{report}");
    }
}

#[test]
fn waiting_for_jobs_has_an_end() {
    let runtime = runtime(1);
    let door = Door::default();
    runtime.run_until_complete(async {
        set_default_executor(ThreadPoolExecutor::new(1));
        let (begin, begun) = futures::channel::oneshot::channel();
        let inside = door.clone();
        std::mem::forget(to_thread(move || {
            begin.send(()).unwrap();
            inside.wait();
        }));
        begun.await.unwrap();
        std::mem::forget(to_thread(|| unreachable!("never begun")));
    });
    let policy = patient().finish_queued_jobs(true).wait_for_jobs(Duration::from_millis(20));
    let report = runtime.shutdown(policy);
    assert_eq!(report.jobs, jobs(0, 1, 1));
    door.open();
}

#[test]
fn after_the_end_the_default_executor_takes_nothing() {
    let runtime = runtime(2);
    let kept = runtime.run_until_complete(async {
        let (send, receive) = mpsc::channel();
        struct Submit(mpsc::Sender<loopool::CancelOnDrop<()>>);
        impl Drop for Submit {
            fn drop(&mut self) {
                self.0.send(to_thread(|| unreachable!("refused"))).unwrap();
            }
        }
        // Dropped after the executor was closed, on the loop.
        let submit = Submit(send);
        std::mem::forget(loopool::get_running_loop().call_later(HANG, move || drop(submit)));
        receive
    });
    runtime.shutdown(patient());
    let refused = futures::executor::block_on(kept.try_recv().unwrap()).unwrap_err();
    assert!(refused.is_rejected(), "{refused}");
}

/// Blocks loop 1 of `runtime` until the door opens. Returns when it does.
fn block_a_loop(runtime: &Runtime, door: &Door, ended: &Arc<AtomicBool>) {
    let (send, receive) = mpsc::channel();
    let (door, ended) = (door.clone(), ended.clone());
    let blocker = move || async move {
        send.send(()).unwrap();
        door.wait();
        ended.store(true, SeqCst);
        // Taken by the end.
        forever().await;
    };
    let task = runtime.handle().spawn_on(1, blocker).unwrap();
    task.set_name("blocker");
    receive.recv_timeout(HANG).unwrap();
}

#[test]
fn a_stuck_loop_is_named_and_left_behind_and_finishes_the_runtime_when_it_comes_back() {
    let runtime = Runtime::builder().loops(2).thread_name("stucky").build().unwrap();
    let (door, ended) = (Door::default(), Arc::new(AtomicBool::new(false)));
    // One that is bound to the loop, and has been polled there.
    let (here, there) = (Count::default(), Count::default());
    let guard = there.guard();
    let (send, receive) = mpsc::channel();
    let bound = move || async move {
        let _guard = std::rc::Rc::new(guard);
        send.send(()).unwrap();
        forever().await;
    };
    let bound = runtime.handle().spawn_on(1, bound).unwrap();
    bound.set_name("bound");
    receive.recv_timeout(HANG).unwrap();
    // One that may be anywhere.
    let guard = here.guard();
    let free = runtime.handle().create_task(async move {
        let _guard = guard;
        loop {
            let _ = cancellable(forever()).await;
        }
    });
    free.set_name("free");
    runtime.run_until_complete(wait_forever(2));
    block_a_loop(&runtime, &door, &ended);
    let handle = runtime.threadsafe_handle();
    let report = runtime.shutdown(ShutdownPolicy::default().grace(Duration::from_millis(20)));
    assert_eq!(report.stuck_loops, ["stucky-1"]);
    let mut left: Vec<_> = report.left.iter().map(|task| task.name.clone().unwrap()).collect();
    left.sort();
    assert_eq!(left.iter().map(|name| &**name).collect::<Vec<_>>(), ["blocker", "bound"]);
    assert_eq!((here.get(), there.get()), (1, 0));
    assert_eq!(report.dropped.len(), 1, "{report}");
    assert_eq!(report.dropped[0].name.as_deref(), Some("free"));
    assert!(free.is_finished() && !bound.is_finished() && !report.is_clean());
    assert!(handle.is_closed() && handle.call_soon_threadsafe(|| ()).is_err());
    assert!(handle.spawn_on(1, || async {}).unwrap().is_finished());
    // What cannot end before the thread comes back, ends then.
    let waiting = std::thread::spawn(move || futures::executor::block_on(bound));
    door.open();
    assert!(waiting.join().unwrap().unwrap_err().is_cancelled());
    assert!(ended.load(SeqCst));
    assert_eq!(there.get(), 1);
}

#[test]
fn a_shutdown_inside_another_runtimes_task_does_not_wait() {
    runtime(1).run(async {
        let inner = runtime(2);
        let drops = Count::default();
        for index in 0..10 {
            let guard = drops.guard();
            let wait = move || async move {
                let _guard = guard;
                loop {
                    let _ = cancellable(forever()).await;
                }
            };
            drop(inner.handle().spawn_on(index % 2, wait).unwrap());
        }
        let report = inner.shutdown(patient());
        assert_eq!((drops.get(), report.left.len()), (10, 0), "{report}");
        create_task(async {}).await.unwrap();
    });
}

/// Tokio's `can_shutdown_with_zero_timeout_in_runtime`. The job is let go only afterwards: who waited for it would wait
/// for ever.
#[test]
fn inside_another_runtimes_task_a_job_that_blocks_is_not_waited_for() {
    for dropped in [false, true] {
        let door = Door::default();
        let (end, ended) = mpsc::channel();
        let inside = door.clone();
        runtime(1).run(async move {
            let inner = runtime(2);
            let (begin, begun) = mpsc::channel();
            let job = move || {
                begin.send(()).unwrap();
                inside.wait();
                end.send(()).unwrap();
            };
            let waiting = inner.handle().spawn_on(1, || async { to_thread(job).await }).unwrap();
            begun.recv_timeout(HANG).unwrap();
            if dropped {
                drop(inner);
            } else {
                let report = inner.shutdown(ShutdownPolicy::default().grace(Duration::ZERO));
                assert_eq!(report.jobs, jobs(0, 0, 1), "{report}");
            }
            // Who waits for it is told, though.
            assert!(waiting.await.unwrap_err().is_cancelled());
            create_task(async {}).await.unwrap();
        });
        assert_eq!(ended.try_recv(), Err(mpsc::TryRecvError::Empty), "nobody has let it go yet");
        door.open();
        ended.recv_timeout(HANG).expect("it goes on by itself");
    }
}

#[test]
fn tasks_that_are_spawned_from_everywhere_all_the_time_do_not_keep_it_from_ending() {
    for _ in 0..20 {
        let runtime = runtime(2);
        let remote = runtime.threadsafe_handle();
        let stop = Arc::new(AtomicBool::new(false));
        let (made, dropped) = (Count::default(), Count::default());
        let spawning: Vec<_> = (0..2)
            .map(|index| {
                let (remote, stop) = (remote.clone(), stop.clone());
                let (made, dropped) = (made.clone(), dropped.clone());
                std::thread::spawn(move || {
                    while !stop.load(SeqCst) {
                        let guard = dropped.guard();
                        drop(made.guard());
                        let task = async move {
                            let _guard = guard;
                            yield_now().await;
                        };
                        if index == 0 {
                            drop(remote.create_task(task));
                        } else {
                            drop(remote.spawn_on(1, move || task).unwrap());
                        }
                    }
                })
            })
            .collect();
        runtime.run_until_complete(sleep(Duration::from_millis(2)));
        let report = runtime.shutdown(patient());
        assert!(report.is_clean(), "{report}");
        stop.store(true, SeqCst);
        for thread in spawning {
            thread.join().unwrap();
        }
        assert_eq!(dropped.get(), made.get());
    }
}

#[test]
fn a_panic_while_cleaning_up_counts_as_finished() {
    let runtime = runtime(2);
    let task = runtime.handle().create_task(async {
        let _ = cancellable(forever()).await;
        panic!("while cleaning up");
    });
    runtime.run_until_complete(wait_forever(1));
    let report = runtime.shutdown(patient());
    assert_eq!((report.finished, report.cancelled), (1, 0), "{report}");
    let outcome: Result<(), _> = futures::executor::block_on(task);
    assert!(outcome.unwrap_err().is_panic());
}

/// How often the process's panic hook was told of `ON_PURPOSE`, which it keeps to itself.
fn told_of_panics() -> usize {
    static LISTEN: Once = Once::new();
    static TOLD: AtomicUsize = AtomicUsize::new(0);
    LISTEN.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() == Some(&ON_PURPOSE) {
                TOLD.fetch_add(1, SeqCst);
            } else {
                before(info);
            }
        }));
    });
    TOLD.load(SeqCst)
}

const ON_PURPOSE: &str = "while cleaning up, and nobody awaits it";

/// CPython's `test_asyncio_run_reports_hanging_tasks_errors`. Whoever awaits a task hears of its panic; of the others
/// only the panic hook does.
#[test]
fn after_a_panic_while_cleaning_up_the_result_of_main_is_there() {
    for loops in [1, 2] {
        let before = told_of_panics();
        let cleaned = Count::default();
        let other = cleaned.guard();
        let result = runtime(loops).run(async move {
            drop(create_task(async {
                let _ = cancellable(forever()).await;
                std::panic::panic_any(ON_PURPOSE);
            }));
            drop(create_task(async move {
                let _ = cancellable(forever()).await;
                yield_now().await;
                drop(other);
            }));
            wait_forever(2).await;
            "the result"
        });
        assert_eq!((result, told_of_panics() - before, cleaned.get()), ("the result", 1, 1));
    }
}

#[test]
fn run_gives_tasks_the_time_to_clean_up_on_every_loop() {
    let (begun, cleaned) = (Count::default(), Count::default());
    let main = cleaned.clone();
    runtime(2).run(async move {
        for index in 0..2 {
            let (begun, cleaned) = (begun.clone(), main.clone());
            let wait = move || async move {
                drop(begun.guard());
                let _ = cancellable(forever()).await;
                sleep(Duration::from_millis(2)).await;
                drop(cleaned.guard());
            };
            drop(spawn_on(index, wait).unwrap());
        }
        while begun.get() < 2 {
            yield_now().await;
        }
    });
    assert_eq!(cleaned.get(), 2);
}

/// Its threads may not even have begun; what was sent to them is gone all the same.
#[test]
fn of_a_runtime_that_ends_at_once_nothing_is_left() {
    for _ in 0..50 {
        let runtime = Runtime::builder().loops(4).build().unwrap();
        let handle = runtime.threadsafe_handle();
        let kept = Arc::new(());
        let in_tasks = kept.clone();
        drop(handle.spawn_on_each(move |_| {
            let kept = in_tasks.clone();
            async move { drop(kept) }
        }));
        let report = runtime.shutdown(ShutdownPolicy::default());
        assert!(report.is_clean(), "{report}");
        assert!(handle.is_closed());
        assert_eq!(Arc::strong_count(&kept), 1);
        let report =
            Runtime::builder().loops(4).build().unwrap().shutdown(ShutdownPolicy::default());
        assert!(report.is_clean(), "{report}");
    }
}

#[test]
fn whoever_waited_for_jobs_at_the_end_looked_all_the_time() {
    fn processor_time() -> Duration {
        let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
        Duration::from(time)
    }
    let runtime = runtime(2);
    let (begin, begun) = mpsc::channel();
    let time = Duration::from_millis(400);
    let job = move || {
        begin.send(()).unwrap();
        std::thread::sleep(time);
    };
    let job = runtime.run_until_complete(async { Some(to_thread(job)) });
    begun.recv_timeout(HANG).unwrap();
    let before = processor_time();
    let report = runtime.shutdown(patient().wait_for_jobs(HANG));
    let used = processor_time() - before;
    assert!(used < time / 2, "{used:?} of {time:?}");
    assert_eq!(report.jobs.running, 0, "{report:?}");
    drop(job);
}
