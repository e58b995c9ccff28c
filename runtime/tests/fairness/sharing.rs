//! What is queued for anybody is had by somebody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use loopool::{Runtime, create_task};

use super::{HANG, listen, pair, run};

/// Sockets that are all served in each turn, and ready again in the next one, with polls so long that the
/// reactor is due each time that nothing is left to run.
#[test]
fn sockets_that_keep_a_loop_busy_do_not_keep_it_from_what_comes_from_outside() {
    const PAIRS: usize = 8;
    const TURNS: usize = 10;
    // With a spare worker, so that the loop does not stand alone.
    let runtime = Runtime::builder().loops(1).spare_workers(1).build().unwrap();
    let handle = runtime.threadsafe_handle();
    let worst = runtime.run_until_complete(async move {
        let over = Arc::new(AtomicBool::new(false));
        let polls = Arc::new(AtomicUsize::new(0));
        let listener = listen();
        let mut tasks = Vec::new();
        for _ in 0..PAIRS {
            let (mut one, other) = pair(&listener).await;
            one.write_all(b"x").await.unwrap();
            for mut stream in [one, other] {
                let (over, polls) = (over.clone(), polls.clone());
                tasks.push(create_task(async move {
                    // Until it is over, or the other side has seen that.
                    while stream.read_exact(&mut [0]).await.is_ok() {
                        polls.fetch_add(1, Ordering::SeqCst);
                        thread::sleep(Duration::from_micros(250));
                        if over.load(Ordering::SeqCst) || stream.write_all(b"x").await.is_err() {
                            break;
                        }
                    }
                }));
            }
        }
        let foreign = thread::spawn(move || {
            let mut worst = 0;
            for _ in 0..TURNS {
                let before = polls.load(Ordering::SeqCst);
                let seen = polls.clone();
                let look = async move { seen.load(Ordering::SeqCst) };
                let after = handle.run_coroutine_threadsafe(look).result(HANG).unwrap();
                worst = worst.max(after - before);
                thread::sleep(Duration::from_millis(5));
            }
            over.store(true, Ordering::SeqCst);
            worst
        });
        for task in tasks {
            task.await.unwrap();
        }
        foreign.join().unwrap()
    });
    assert!(worst < 300, "{worst} polls of others before it was run");
}

/// The runtime has learned that tasks are short when long ones come.
#[test]
fn a_burst_of_long_tasks_after_many_short_ones_is_shared() {
    const LONG: usize = 200;
    let helped = run(2, async {
        for _ in 0..20 {
            let short: Vec<_> = (0..1000).map(|_| create_task(async {})).collect();
            for task in short {
                task.await.unwrap();
            }
        }
        let here = Arc::new(AtomicUsize::new(0));
        let spawner = create_task(async move {
            let me = thread::current().id();
            let long: Vec<_> = (0..LONG)
                .map(|_| {
                    let here = here.clone();
                    create_task(async move {
                        thread::sleep(Duration::from_millis(1));
                        if thread::current().id() == me {
                            here.fetch_add(1, Ordering::SeqCst);
                        }
                    })
                })
                .collect();
            for task in long {
                task.await.unwrap();
            }
            LONG - here.load(Ordering::SeqCst)
        });
        spawner.await.unwrap()
    });
    assert!(helped >= LONG / 10, "{helped} of {LONG} were run by the other loop");
}

/// With more local tasks ready than a loop runs between two looks at the rest.
#[test]
fn tasks_that_may_move_waited_behind_a_long_queue_of_those_that_stay() {
    const STAY: usize = 10_000;
    const MOVE: usize = 200;
    let runtime = Runtime::builder().loops(2).spare_workers(0).build().unwrap();
    let runs = Arc::new(AtomicUsize::new(0));
    let last = runtime.run(async {
        let (begin, begun) = std::sync::mpsc::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let blocker = loopool::spawn_on(1, move || async move {
            begin.send(()).unwrap();
            released.recv_timeout(HANG).unwrap();
        });
        begun.recv_timeout(HANG).unwrap();
        let run = |runs: &Arc<AtomicUsize>| {
            let runs = runs.clone();
            async move { runs.fetch_add(1, Ordering::SeqCst) }
        };
        let stay: Vec<_> = (0..STAY).map(|_| loopool::create_local_task(run(&runs))).collect();
        let moves: Vec<_> = (0..MOVE).map(|_| create_task(run(&runs))).collect();
        let mut last = 0;
        for task in moves {
            last = last.max(task.await.unwrap());
        }
        for task in stay {
            task.await.unwrap();
        }
        release.send(()).unwrap();
        blocker.unwrap().await.unwrap();
        last
    });
    assert!(last < 3 * MOVE, "the last of them ran after {last} others");
}
