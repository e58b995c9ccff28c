//! `block_in_place`.

use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::executor::block_on;
use loopool::sync::mpsc::{Receiver, unbounded_channel};
use loopool::{
    EventLoop, block_in_place, cancellable, cancelling, create_local_task, create_task,
    get_running_loop, sleep, timeout, yield_now,
};

use crate::reports::{in_one_of_five_attempts, listen, take_said};
use crate::support::{Blocker, HANG, builder, runtime, spare};

#[test]
fn calls_the_function_anywhere() {
    assert_eq!(block_in_place(|| 1), 1);
    let event_loop = EventLoop::new().unwrap();
    let main = async { block_in_place(|| block_in_place(|| 2)) };
    assert_eq!(event_loop.run_until_complete(main), Ok(2));
    assert_eq!(runtime(1).run(async { block_in_place(|| 3) }), 3);
    assert_eq!(runtime(2).run(async { block_in_place(|| block_in_place(|| 4)) }), 4);
}

/// On one loop, with the other one asleep.
#[test]
fn others_run_what_was_queued_and_what_it_wakes() {
    runtime(2).run(async {
        let (send, receive) = mpsc::channel();
        let (go, gone) = oneshot::channel();
        let waiting = send.clone();
        drop(create_task(async move {
            gone.await.unwrap();
            waiting.send("woken").unwrap();
        }));
        yield_now().await;
        sleep(Duration::from_millis(150)).await;
        drop(create_task(async move { send.send("queued") }));
        block_in_place(|| {
            assert_eq!(receive.recv_timeout(HANG), Ok("queued"));
            go.send(()).unwrap();
            assert_eq!(receive.recv_timeout(HANG), Ok("woken"));
            let (send, receive) = mpsc::channel();
            drop(create_task(async move { send.send(()) }));
            receive.recv_timeout(HANG).unwrap();
        });
    });
}

#[test]
fn every_loop_may_do_it_at_once() {
    runtime(2).run(async {
        let rounds = 20;
        // Two loops and two spare workers: one is left.
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                create_task(async move {
                    for _ in 0..rounds {
                        let (send, receive) = mpsc::channel();
                        drop(create_task(async move {
                            sleep(Duration::from_millis(1)).await;
                            send.send(()).unwrap();
                        }));
                        block_in_place(|| receive.recv_timeout(HANG).unwrap());
                        yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            timeout(HANG, task).await.unwrap().unwrap();
        }
    });
}

#[test]
fn a_panic_passes_through_and_leaves_the_loop_as_it_was() {
    runtime(2).run(async {
        for _ in 0..3 {
            let failing = create_task(async {
                block_in_place(|| {
                    assert!(catch_unwind(|| block_in_place(|| panic!("inner"))).is_err());
                    panic!("outer")
                })
            });
            assert!(failing.await.unwrap_err().is_panic());
            let caught = catch_unwind(AssertUnwindSafe(|| block_in_place(|| panic!("main"))));
            assert!(caught.is_err());
            // A loop that still passed for blocking would have to be helped.
            create_task(async { yield_now().await }).await.unwrap();
        }
        assert_eq!(loopool::metrics().spare_workers, 0);
    });
}

#[test]
fn works_in_local_tasks_and_callbacks_and_local_work_waits() {
    runtime(2).run(async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let (first, second, third) = (order.clone(), order.clone(), order.clone());
        let (done, finished) = oneshot::channel();
        let local = create_local_task(async move {
            first.borrow_mut().push("begin");
            let (send, receive) = mpsc::channel();
            drop(create_task(async move { send.send(()) }));
            block_in_place(|| receive.recv_timeout(HANG).unwrap());
            first.borrow_mut().push("end");
        });
        get_running_loop().call_soon(move || {
            second.borrow_mut().push("callback");
            let (send, receive) = mpsc::channel();
            drop(create_task(async move { send.send(()) }));
            block_in_place(|| receive.recv_timeout(HANG).unwrap());
            second.borrow_mut().push("called");
            done.send(()).unwrap();
        });
        local.await.unwrap();
        finished.await.unwrap();
        third.borrow_mut().push("main");
        assert_eq!(*order.borrow(), ["begin", "end", "callback", "called", "main"]);
    });
}

#[test]
fn a_spare_worker_may_do_it_too() {
    runtime(2).run(async {
        let blocker = Blocker::start();
        let (send, receive) = mpsc::channel();
        drop(create_task(async move {
            let (inner, wait) = mpsc::channel();
            drop(create_task(async move { inner.send(spare()) }));
            let name = block_in_place(|| wait.recv_timeout(HANG).unwrap());
            send.send((spare(), name)).unwrap();
        }));
        let (outer, inner) = receive.recv_timeout(HANG).unwrap();
        assert!(outer.is_some() && inner.is_some() && outer != inner, "{outer:?} {inner:?}");
        blocker.release().await;
    });
}

async fn receive_200(from: &mut Receiver<u32>) {
    for _ in 0..200 {
        from.recv().await.unwrap();
    }
}

#[test]
fn another_executor_in_it_was_held_up_by_the_budget_of_the_task() {
    runtime(2).run(async {
        let task = create_task(async {
            let (send, mut receive) = unbounded_channel();
            for number in 0..600 {
                send.send(number).unwrap();
            }
            // `block_on` would poll again at once, for ever: once is enough to see.
            let polled_once = || receive_200(&mut receive).now_or_never();
            assert!(block_in_place(polled_once).is_some());
            block_in_place(|| block_on(receive_200(&mut receive)));
            // What the task polls itself has a budget, after a panic, too.
            assert!(catch_unwind(|| block_in_place(|| panic!("caught"))).is_err());
            assert!(receive_200(&mut receive).now_or_never().is_none());
        });
        timeout(HANG, task).await.unwrap().unwrap();
    });
}

#[test]
fn a_scope_in_it_took_the_request_of_the_task() {
    runtime(2).run(async {
        let (begin, begun) = oneshot::channel();
        let mut begin = Some(begin);
        let task = create_task(async move {
            let mut seen = Vec::new();
            let scope = cancellable(poll_fn(|_| {
                let inner = || cancellable(pending::<()>()).now_or_never();
                let taken = block_in_place(inner).is_some();
                // The function itself may ask.
                seen.push((taken, block_in_place(|| block_in_place(cancelling))));
                if let Some(begin) = begin.take() {
                    begin.send(()).unwrap();
                }
                if taken { Poll::Ready(()) } else { Poll::Pending }
            }));
            let cancelled = scope.await.is_err();
            (cancelled, seen)
        });
        begun.await.unwrap();
        task.cancel();
        let (cancelled, seen) = timeout(HANG, task).await.unwrap().unwrap();
        assert_eq!((cancelled, &*seen), (true, &[(false, 0), (false, 1)][..]));
    });
}

#[test]
fn what_is_raised_again_and_dropped_in_it_is_withdrawn() {
    runtime(2).run(async {
        let (begin, begun) = oneshot::channel();
        let task = create_task(async move {
            begin.send(()).unwrap();
            let cancelled = cancellable(pending::<()>()).await.unwrap_err();
            let mut raised = Box::pin(cancelled.reraise());
            assert!(futures::poll!(&mut raised).is_pending());
            block_in_place(move || drop(raised));
            yield_now().await;
        });
        begun.await.unwrap();
        task.cancel();
        timeout(HANG, task).await.unwrap().unwrap();
    });
}

#[test]
fn is_no_stall() {
    const THRESHOLD: Duration = Duration::from_millis(30);
    // Of the looks of the watch thread two are further apart than the threshold.
    const LONG: Duration = Duration::from_millis(100);
    listen();
    for loops in [1, 2] {
        in_one_of_five_attempts(|| {
            let runtime = builder(loops).slow_poll_threshold(THRESHOLD).build().unwrap();
            let here = Location::caller().line();
            runtime.run(async {
                let task = create_task(async { block_in_place(|| thread::sleep(LONG)) });
                task.await.unwrap();
                // The main task's own poll, on whose loop the task may run, is none either.
                block_in_place(|| thread::sleep(LONG));
            });
            let ours =
                |line: &str| (1..3).any(|n| line.contains(&format!("{}:{}:", file!(), here + n)));
            let said = take_said(ours);
            if said.is_empty() { Ok(()) } else { Err(said) }
        });
    }
}
