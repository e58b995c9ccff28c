//! Spare workers: how many there are, how they end, and what of theirs stays.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use futures::channel::mpsc::unbounded;
use futures::channel::oneshot;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use loopool::{create_local_task, create_task, get_running_loop, sleep, timeout, yield_now};

use crate::support::{Blocker, HANG, builder, pair, runtime, spare};

#[test]
fn a_runtime_of_one_loop_has_a_spare_worker_if_it_is_given_one() {
    let runtime = builder(1).spare_workers(1).build().unwrap();
    runtime.run(async {
        let (send, receive) = mpsc::channel();
        let task = create_task(async move {
            sleep(Duration::from_millis(5)).await;
            send.send(()).unwrap();
        });
        receive.recv_timeout(HANG).unwrap();
        task.await.unwrap();
    });
}

// It makes a connection while its loop is blocked: see above.
#[cfg(not(loopool_portable_reactor))]
#[test]
fn what_a_spare_worker_registered_outlives_it() {
    let runtime = builder(2).spare_keep_alive(Duration::from_millis(1)).build().unwrap();
    runtime.run(async {
        let blocker = Blocker::start();
        let (connected, connection) = mpsc::channel();
        let (begin, begun) = mpsc::channel();
        let reader = create_task(async move {
            let (client, mut server) = pair().await;
            connected.send(client).unwrap();
            let mut byte = [0];
            server.read_exact(&mut byte).await.unwrap();
            byte[0]
        });
        let sleeper = create_task(async move {
            let nap = sleep(Duration::from_millis(300));
            begin.send(spare()).unwrap();
            nap.await;
            timeout(Duration::from_millis(1), std::future::pending::<()>()).await.unwrap_err();
        });
        let mut client = connection.recv_timeout(HANG).unwrap();
        assert!(begun.recv_timeout(HANG).unwrap().is_some());
        blocker.release().await;
        while loopool::metrics().spare_workers > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        client.write_all(&[7]).await.unwrap();
        assert_eq!(timeout(HANG, reader).await.unwrap().unwrap(), 7);
        timeout(HANG, sleeper).await.unwrap().unwrap();
        assert!(loopool::metrics().loops.iter().all(|l| l.timers == 0));
    });
}

#[test]
fn what_must_not_move_stays_on_the_spare_worker_until_it_is_done() {
    let runtime = builder(2).spare_keep_alive(Duration::from_millis(1)).build().unwrap();
    runtime.run(async {
        let blocker = Blocker::start();
        let (send, receive) = mpsc::channel();
        let (go, gone) = oneshot::channel::<()>();
        drop(create_task(async move {
            let here = thread::current().id();
            let log = Rc::new(RefCell::new(Vec::new()));
            let (soon, later) = (log.clone(), log.clone());
            get_running_loop().call_soon(move || soon.borrow_mut().push("soon"));
            get_running_loop()
                .call_later(Duration::from_millis(50), move || later.borrow_mut().push("later"));
            let local = create_local_task(async move {
                // Over only when the loops are not blocked any more.
                gone.await.unwrap();
                while log.borrow().len() < 2 {
                    sleep(Duration::from_millis(1)).await;
                    assert_eq!(thread::current().id(), here);
                }
                log.take()
            });
            send.send((spare(), local)).unwrap();
        }));
        let (name, local) = receive.recv_timeout(HANG).unwrap();
        assert!(name.is_some());
        blocker.release().await;
        go.send(()).unwrap();
        assert_eq!(timeout(HANG, local).await.unwrap().unwrap(), ["soon", "later"]);
        while loopool::metrics().spare_workers > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn a_spare_worker_that_ended_is_followed_by_another_one() {
    let runtime = builder(2).spare_keep_alive(Duration::from_millis(1)).build().unwrap();
    runtime.run(async {
        for _ in 0..5 {
            let blocker = Blocker::start();
            let (send, receive) = mpsc::channel();
            drop(create_task(async move { send.send(()) }));
            receive.recv_timeout(HANG).unwrap();
            blocker.release().await;
            while loopool::metrics().spare_workers > 0 {
                sleep(Duration::from_millis(1)).await;
            }
        }
    });
}

#[test]
fn a_spare_worker_is_used_again_and_again() {
    runtime(2).run(async {
        for _ in 0..10 {
            let blocker = Blocker::start();
            let (send, receive) = mpsc::channel();
            drop(create_task(async move { send.send(spare()) }));
            assert!(receive.recv_timeout(HANG).unwrap().is_some());
            blocker.release().await;
            sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn there_are_no_more_spare_workers_than_allowed() {
    const SPARES: usize = 2;
    let runtime = builder(2).spare_workers(SPARES).build().unwrap();
    runtime.run(async {
        let at_once = Arc::new(AtomicUsize::new(0));
        let (begin, begun) = mpsc::channel();
        let (mut tasks, mut releases) = (Vec::new(), Vec::new());
        for _ in 0..SPARES + 4 {
            let (release, released) = mpsc::channel::<()>();
            let (at_once, begin) = (at_once.clone(), begin.clone());
            tasks.push(create_task(async move {
                begin.send(at_once.fetch_add(1, Ordering::SeqCst) + 1).unwrap();
                released.recv_timeout(HANG).unwrap();
                at_once.fetch_sub(1, Ordering::SeqCst);
            }));
            releases.push(release);
        }
        // This loop is blocked by us, the other one and the spare workers by the tasks.
        for _ in 0..SPARES + 1 {
            begun.recv_timeout(HANG).unwrap();
        }
        // Time for one more to come, if it were wrong.
        thread::sleep(Duration::from_millis(100));
        assert!(begun.try_recv().is_err());
        assert_eq!(loopool::metrics().spare_workers, SPARES);
        for release in releases {
            release.send(()).unwrap();
        }
        for task in tasks {
            task.await.unwrap();
        }
        // With this loop, which is free again.
        assert!(begun.try_iter().all(|at_once| at_once <= SPARES + 2));
    });
}

/// In such a pause the watch thread goes to sleep where the main loop will.
#[test]
fn after_a_pause_the_watch_thread_slept_on_when_the_main_loop_was_driven() {
    let runtime = runtime(2);
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(100));
        runtime.run_until_complete(async {
            sleep(Duration::from_millis(1)).await;
            let blocker = Blocker::start();
            let (send, receive) = mpsc::channel();
            drop(create_task(async move { send.send(spare()).unwrap() }));
            assert!(receive.recv_timeout(HANG).unwrap().is_some(), "both loops are blocked");
            blocker.release().await;
        });
    }
}

/// It has no time to rest before it is needed again.
#[test]
fn a_spare_worker_with_a_local_task_to_run_passed_for_one_that_helps() {
    let runtime = builder(2).spare_workers(1).build().unwrap();
    runtime.run(async {
        let blocker = Blocker::start();
        let (send, receive) = mpsc::channel();
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        drop(create_task(async move {
            let busy = create_local_task(async move {
                while !is_over.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_micros(500));
                    yield_now().await;
                }
            });
            send.send((spare(), busy)).unwrap();
        }));
        let (name, busy) = receive.recv_timeout(HANG).unwrap();
        assert!(name.is_some());
        blocker.release().await;
        for _ in 0..3 {
            let blocker = Blocker::start();
            let (send, receive) = mpsc::channel();
            drop(create_task(async move {
                sleep(Duration::from_millis(1)).await;
                send.send(spare()).unwrap();
            }));
            let ran_by = receive.recv_timeout(HANG).expect("somebody helps");
            assert!(ran_by.is_some(), "both loops are blocked");
            blocker.release().await;
        }
        over.store(true, Ordering::SeqCst);
        timeout(HANG, busy).await.unwrap().unwrap();
    });
}

/// By what has to stay there, while all loops sleep, and the watch thread, too.
#[test]
fn a_spare_worker_that_was_woken_from_its_rest_did_not_ring_for_the_watch_thread() {
    let runtime = builder(2).spare_workers(1).build().unwrap();
    runtime.run(async {
        let blocker = Blocker::start();
        let (send, receive) = mpsc::channel();
        let (go, mut gone) = unbounded();
        let (tell, mut told) = unbounded();
        drop(create_task(async move {
            let local = create_local_task(async move {
                while gone.next().await.is_some() {
                    let (send, receive) = mpsc::channel();
                    // It goes to the slot.
                    drop(create_task(async move { send.send(spare()) }));
                    tell.unbounded_send(receive.recv_timeout(HANG)).unwrap();
                }
            });
            send.send((spare(), local)).unwrap();
        }));
        let (name, local) = receive.recv_timeout(HANG).unwrap();
        assert!(name.is_some());
        blocker.release().await;
        for _ in 0..2 {
            let go = go.clone();
            let outside = thread::spawn(move || {
                // Longer than the watch thread goes on looking.
                thread::sleep(Duration::from_millis(300));
                go.unbounded_send(()).unwrap();
            });
            assert_eq!(told.next().await, Some(Ok(None)), "a loop runs what is in the slot");
            outside.join().unwrap();
        }
        drop(go);
        timeout(HANG, local).await.unwrap().unwrap();
    });
}
