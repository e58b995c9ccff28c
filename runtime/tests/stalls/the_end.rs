//! The end of a runtime in which something is blocked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use loopool::{block_in_place, create_task, get_running_loop, yield_now};

use crate::support::{Blocker, HANG, builder, runtime, spare};

#[test]
fn comes_while_a_spare_worker_helps() {
    let (release, released) = mpsc::channel();
    let ran = Arc::new(AtomicUsize::new(0));
    let count = ran.clone();
    runtime(2).run(async {
        let (begin, begun) = mpsc::channel();
        drop(create_task(async move {
            begin.send(()).unwrap();
            released.recv_timeout(HANG).unwrap();
        }));
        begun.recv_timeout(HANG).unwrap();
        let (send, receive) = mpsc::channel();
        drop(create_task(async move {
            send.send(()).unwrap();
            loop {
                count.fetch_add(1, Ordering::SeqCst);
                yield_now().await;
            }
        }));
        receive.recv_timeout(HANG).unwrap();
        // Later, when the end has begun.
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            release.send(()).unwrap();
        });
    });
    assert!(ran.load(Ordering::SeqCst) > 0);
}

#[test]
fn comes_though_a_spare_worker_is_stuck() {
    let runtime = builder(2).shutdown_timeout(Duration::from_millis(50)).build().unwrap();
    let (release, released) = mpsc::channel::<()>();
    let (done, finished) = mpsc::channel();
    let handle = runtime.run(async {
        let blocker = Blocker::start();
        let (send, receive) = mpsc::channel();
        drop(create_task(async move {
            send.send(spare()).unwrap();
            released.recv_timeout(HANG).unwrap();
            done.send(()).unwrap();
        }));
        assert!(receive.recv_timeout(HANG).unwrap().is_some());
        blocker.release().await;
        get_running_loop().threadsafe()
    });
    assert!(handle.is_closed());
    // It was left behind, and what it uses is still there.
    release.send(()).unwrap();
    finished.recv_timeout(HANG).unwrap();
}

#[test]
fn comes_while_something_blocks_in_place() {
    let (begin, begun) = oneshot::channel();
    let (done, finished) = mpsc::channel();
    runtime(2).run(async {
        drop(create_task(async move {
            block_in_place(|| {
                begin.send(()).unwrap();
                thread::sleep(Duration::from_millis(50));
                done.send(()).unwrap();
            });
        }));
        begun.await.unwrap();
    });
    assert_eq!(finished.try_recv(), Ok(()), "run has waited for it");
}

#[test]
fn comes_at_once_with_a_spare_worker_at_rest() {
    let begun = Instant::now();
    runtime(2).run(async {
        let blocker = Blocker::start();
        let (send, receive) = mpsc::channel();
        drop(create_task(async move { send.send(()) }));
        receive.recv_timeout(HANG).unwrap();
        blocker.release().await;
    });
    // Not after its ten seconds, nor after a grace period.
    assert!(begun.elapsed() < Duration::from_secs(9));
}
