//! What once went wrong, each named after it.

use std::cell::Cell;
use std::future::pending;
use std::io::{IoSlice, IoSliceMut};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use futures::{AsyncReadExt, AsyncWriteExt};
use loopool::net::{TcpListener, TcpStream};
use loopool::{
    EventLoop, LoopHandle, Runtime, ShutdownPolicy, ThreadPoolExecutor, block_in_place,
    create_task, get_running_loop, set_default_executor, sleep, spawn_on, timeout, to_thread,
    yield_now,
};

/// Nothing here takes this long; it is the limit against hanging.
const HANG: Duration = Duration::from_secs(30);

fn runtime(loops: usize) -> Runtime {
    Runtime::builder().loops(loops).build().unwrap()
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = futures::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

#[test]
fn more_buffers_than_one_call_writes_are_not_taken_for_a_full_socket() {
    const TOTAL: usize = 2000;
    runtime(2).run(async {
        let (mut client, mut server) = pair().await;
        let reader = create_task(async move {
            let mut got = Vec::new();
            server.read_to_end(&mut got).await.unwrap();
            got.len()
        });
        // Registered by a read that has to wait.
        let mut byte = [0];
        assert!(timeout(Duration::from_millis(1), client.read(&mut byte)).await.is_err());
        let mut written = 0;
        while written < TOTAL {
            let slices: Vec<_> = (written..TOTAL).map(|_| IoSlice::new(b"four")).collect();
            let write = timeout(HANG, client.write_vectored(&slices)).await.unwrap();
            written += write.unwrap() / 4;
        }
        client.close().await.unwrap();
        assert_eq!(reader.await.unwrap(), 4 * TOTAL);
    });
}

#[test]
fn more_buffers_than_one_call_reads_are_not_taken_for_an_empty_socket() {
    const TOTAL: usize = 2000;
    runtime(2).run(async {
        let (mut client, mut server) = pair().await;
        let mut byte = [0];
        assert!(timeout(Duration::from_millis(1), server.read(&mut byte)).await.is_err());
        client.write_all(&[1; TOTAL]).await.unwrap();
        let mut got = 0;
        while got < TOTAL {
            let mut bytes = vec![[0]; TOTAL - got];
            let mut slices: Vec<_> = bytes.iter_mut().map(|b| IoSliceMut::new(b)).collect();
            got += timeout(HANG, server.read_vectored(&mut slices)).await.unwrap().unwrap();
        }
    });
}

#[test]
fn a_task_pushed_while_the_main_loop_is_left_is_not_forgotten() {
    for _ in 0..30 {
        let runtime = runtime(2);
        let handle = runtime.threadsafe_handle();
        let (done, main) = futures::channel::oneshot::channel();
        let (ran, run) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            drop(handle.create_task(async move { ran.send(()) }));
            done.send(()).unwrap();
        });
        runtime.run_until_complete(async { main.await.unwrap() });
        run.recv_timeout(HANG).unwrap();
        thread.join().unwrap();
    }
}

#[test]
fn a_task_made_by_the_handle_of_a_loop_that_is_not_driven_runs_elsewhere() {
    let outer = runtime(2);
    let (ran, run) = mpsc::channel();
    let again = ran.clone();
    drop(outer.handle().create_task(async move { ran.send(1) }));
    assert_eq!(run.recv_timeout(HANG), Ok(1));
    // Also from inside a task of another runtime.
    runtime(1).run(async { drop(outer.handle().create_task(async move { again.send(2) })) });
    assert_eq!(run.recv_timeout(HANG), Ok(2));
}

#[test]
fn a_sleep_that_was_begun_on_a_loop_that_ended_goes_on_elsewhere() {
    let first = EventLoop::new().unwrap();
    let mut nap = Box::pin(sleep(Duration::from_millis(100)));
    first.run_until_complete(async { assert!(futures::poll!(&mut nap).is_pending()) }).unwrap();
    drop(first);
    let second = EventLoop::new().unwrap();
    second.run_until_complete(async { timeout(HANG, nap).await.unwrap() }).unwrap();
}

#[test]
fn destructors_may_spawn_and_call_while_a_loop_is_closed() {
    struct Busy;
    impl Drop for Busy {
        fn drop(&mut self) {
            let event_loop = loopool::get_running_loop();
            assert!(event_loop.create_task(async {}).is_finished());
            event_loop.call_soon(|| unreachable!("the loop is being closed"));
            event_loop.call_later(Duration::ZERO, || unreachable!("the loop is being closed"));
        }
    }
    let wait = || async {
        let _both = (Busy, Busy);
        std::future::pending::<()>().await
    };
    let event_loop = EventLoop::new().unwrap();
    let _task = event_loop.handle().create_local_task(wait());
    let task = event_loop.handle().create_task(wait());
    event_loop.run_until_complete(async {}).unwrap();
    event_loop.close();
    assert!(futures::executor::block_on(task).unwrap_err().is_cancelled());

    let (runtime, other) = (runtime(2), EventLoop::new().unwrap());
    let task = runtime.handle().create_task(wait());
    runtime.run_until_complete(yield_now());
    // Inside another loop nothing goes on: the tasks are dropped.
    other.run_until_complete(async { drop(runtime) }).unwrap();
    assert!(futures::executor::block_on(task).unwrap_err().is_cancelled());
}

#[test]
fn a_blocking_call_that_waits_when_the_runtime_ends_was_cancelled() {
    let pool = ThreadPoolExecutor::new(1);
    let (release, blocked) = mpsc::channel::<()>();
    let waiting = runtime(2).run(async move {
        set_default_executor(pool);
        let (begin, begun) = futures::channel::oneshot::channel();
        let blocker = to_thread(move || {
            begin.send(()).unwrap();
            blocked.recv()
        });
        begun.await.unwrap();
        std::mem::forget(blocker);
        Some(to_thread(|| unreachable!("never begun")))
    });
    let outcome: Result<(), _> = futures::executor::block_on(waiting.unwrap());
    assert!(outcome.unwrap_err().is_cancelled());
    release.send(()).unwrap();
}

#[test]
fn a_blocking_call_that_is_given_up_gives_its_place_in_the_queue_away() {
    let pool = ThreadPoolExecutor::builder().max_workers(1).queue_limit(1).build();
    runtime(1).run(async move {
        set_default_executor(pool);
        let (release, blocked) = mpsc::channel::<()>();
        let (begin, begun) = futures::channel::oneshot::channel();
        let blocker = to_thread(move || {
            begin.send(()).unwrap();
            blocked.recv()
        });
        begun.await.unwrap();
        for _ in 0..10 {
            let given_up = to_thread(|| ());
            assert!(!given_up.job().done(), "it waits");
            drop(given_up);
        }
        release.send(()).unwrap();
        blocker.await.unwrap().unwrap();
    });
}

#[test]
fn those_who_gave_up_waiting_for_a_connection_are_not_kept() {
    runtime(1).run(async {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap());
        let kept = Arc::new(());
        for _ in 0..100 {
            let (listener, kept) = (listener.clone(), kept.clone());
            let waiter = create_task(async move {
                let _in_the_cell = kept;
                let accept = timeout(Duration::from_micros(1), listener.accept());
                assert!(accept.await.is_err());
            });
            waiter.await.unwrap();
        }
        assert_eq!(Arc::strong_count(&kept), 1);
    });
}

type Accept = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Counts its wakes, and gives an accept up when it is woken, if it has one.
#[derive(Default)]
struct GivesUp {
    wakes: AtomicUsize,
    accept: Mutex<Option<Accept>>,
}

impl GivesUp {
    fn poll(self: &Arc<Self>, accept: &mut Accept) {
        let waker = Waker::from(self.clone());
        assert!(accept.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
}

impl Wake for GivesUp {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        let accept = self.accept.lock().unwrap().take();
        drop(accept);
    }
}

#[test]
fn those_who_gave_up_when_a_crowd_was_asked_who_still_waits_are_not_kept() {
    /// With so many, the others are asked by the last one.
    const CROWD: usize = 33;
    for meanwhile in [false, true] {
        runtime(1).run(async {
            let listener = Arc::new(TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap());
            let wakers: Vec<Arc<GivesUp>> = (0..CROWD).map(|_| Arc::default()).collect();
            let mut accepts: Vec<Accept> = (0..CROWD)
                .map(|_| {
                    let listener = listener.clone();
                    Box::pin(async move { drop(listener.accept().await) }) as Accept
                })
                .collect();
            let mut last = accepts.pop().unwrap();
            for (accept, waker) in accepts.iter_mut().zip(&wakers) {
                waker.poll(accept);
            }
            assert!(wakers[..CROWD - 1].iter().all(|waker| Arc::strong_count(waker) > 1));
            if meanwhile {
                // The first one who is asked makes another one give up, who is being asked as well.
                *wakers[0].accept.lock().unwrap() = accepts.pop();
            }
            wakers[CROWD - 1].poll(&mut last);
            assert!(wakers[0].wakes.load(Ordering::SeqCst) > 0, "nobody was asked");
            if meanwhile {
                assert_eq!(Arc::strong_count(&wakers[CROWD - 2]), 1, "its waker was kept");
            }
            drop((accepts, last));
            let kept = wakers.iter().filter(|waker| Arc::strong_count(waker) > 1).count();
            assert_eq!(kept, 0, "of {CROWD}, while the listener is still there");
            drop(listener);
        });
    }
}

#[test]
fn a_timer_of_the_past_does_not_wait_behind_busy_callbacks() {
    fn again(event_loop: LoopHandle, turns: Rc<Cell<u32>>) {
        turns.set(turns.get() + 1);
        let next = event_loop.clone();
        event_loop.call_soon(move || again(next, turns));
    }
    let event_loop = EventLoop::new().unwrap();
    let handle = event_loop.handle();
    let turns = Rc::new(Cell::new(0));
    again(handle.clone(), turns.clone());
    let (counter, inner) = (turns.clone(), handle.clone());
    handle.call_soon(move || {
        let before = counter.get();
        let stop = inner.clone();
        inner.call_at(Instant::now(), move || {
            assert!(counter.get() - before <= 2, "{} turns later", counter.get() - before);
            stop.stop();
        });
    });
    event_loop.run_forever().unwrap();
    assert!(turns.get() > 0);
}

#[test]
fn what_a_blocked_loop_has_queued_starts_elsewhere_though_all_slept_before() {
    for loops in [2, 4] {
        runtime(loops).run(async {
            sleep(Duration::from_millis(200)).await;
            let (begin, begun) = mpsc::channel();
            for _ in 0..2 {
                let begin = begin.clone();
                drop(create_task(async move { begin.send(()) }));
            }
            // Blocks this loop's thread until both have run.
            begun.recv_timeout(HANG).unwrap();
            begun.recv_timeout(HANG).unwrap();
        });
    }
}

/// Tells where a task got to when all that it waited for was served.
fn report(to: &mpsc::Sender<u8>, what: u8) {
    to.send(what).unwrap();
}

// Only the epoll driver may be asked by peers.
#[cfg(not(loopool_portable_reactor))]
#[test]
fn sockets_of_a_blocked_loop_are_served_by_its_peers() {
    runtime(2).run(async {
        let (mut client, mut server) = pair().await;
        let (send, receive) = mpsc::channel();
        let reader = create_task(async move {
            let mut byte = [0];
            server.read_exact(&mut byte).await.unwrap();
            report(&send, byte[0]);
        });
        // It has waited on some loop, likely this one, before this one blocks.
        sleep(Duration::from_millis(5)).await;
        client.write_all(&[2]).await.unwrap();
        assert_eq!(receive.recv_timeout(HANG), Ok(2));
        reader.await.unwrap();
    });
}

#[test]
fn timers_of_a_blocked_loop_are_served_by_its_peers() {
    runtime(2).run(async {
        let (send, receive) = mpsc::channel();
        let timer = create_task(async move {
            sleep(Duration::from_millis(20)).await;
            report(&send, 1);
        });
        sleep(Duration::from_millis(5)).await;
        assert_eq!(receive.recv_timeout(HANG), Ok(1));
        timer.await.unwrap();
    });
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < HANG, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_timer_that_a_spare_worker_sets_at_the_main_loop_that_was_left_is_not_forgotten() {
    let runtime = Runtime::builder().loops(2).spare_workers(1).build().unwrap();
    let (release_loop, loop_released) = mpsc::channel();
    let (release_spare, spare_released) = mpsc::channel();
    let (send, receive) = mpsc::channel();
    let (begin, begun) = mpsc::channel();
    let blocker = runtime.handle().spawn_on(1, move || async move {
        begin.send(()).unwrap();
        block_in_place(|| loop_released.recv_timeout(HANG)).unwrap();
    });
    let blocker = blocker.unwrap();
    runtime.run_until_complete(async {
        begun.recv_timeout(HANG).unwrap();
        drop(create_task(async move {
            report(&send, 1);
            block_in_place(|| spare_released.recv_timeout(HANG)).unwrap();
            sleep(Duration::from_millis(10)).await;
            report(&send, 2);
        }));
        // It runs on the spare worker: both loops are blocked.
        assert_eq!(block_in_place(|| receive.recv_timeout(HANG)), Ok(1));
    });
    release_loop.send(()).unwrap();
    wait_until("the loop goes on", || blocker.is_finished());
    // Longer than it takes the watch thread to sleep without limit, if it sees nobody awake: the spare
    // worker is.
    std::thread::sleep(Duration::from_millis(100));
    release_spare.send(()).unwrap();
    assert_eq!(receive.recv_timeout(HANG), Ok(2));
}

#[test]
fn a_spare_worker_rests_between_the_runs_of_a_single_loop() {
    let keep_alive = Duration::from_millis(1);
    let builder = Runtime::builder().loops(1).spare_workers(1).spare_keep_alive(keep_alive);
    let runtime = builder.build().unwrap();
    runtime.run_until_complete(async {
        let (send, receive) = mpsc::channel();
        drop(create_task(async move {
            report(&send, 1);
            loop {
                // So long that the run is over before it is looked whether the loop goes on.
                std::thread::sleep(Duration::from_millis(5));
                yield_now().await;
            }
        }));
        assert_eq!(block_in_place(|| receive.recv_timeout(HANG)), Ok(1));
    });
    wait_until("it ends", || runtime.metrics().spare_workers == 0);
}

#[test]
fn inside_a_task_of_another_runtime_a_loop_that_is_stuck_is_not_waited_for() {
    let inner = runtime(2);
    let (release, released) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let stuck = inner.handle().spawn_on(1, move || async move {
        begin.send(()).unwrap();
        // Until the report is there.
        let _ = released.recv();
    });
    begun.recv_timeout(HANG).unwrap();
    let took = runtime(1).run(async move {
        let begun = Instant::now();
        let report = inner.shutdown(ShutdownPolicy::default().grace(2 * HANG));
        assert_eq!(report.left.len(), 1, "{report}");
        begun.elapsed()
    });
    assert!(took < HANG, "{took:?}");
    drop((release, stuck));
}

#[test]
fn on_a_spare_worker_the_number_of_the_loop_is_that_of_a_loop() {
    Runtime::builder().loops(1).spare_workers(1).build().unwrap().run(async {
        let (send, receive) = mpsc::channel();
        let task = create_task(async move {
            let here = get_running_loop();
            send.send((here.index(), spawn_on(here.index(), || async {}).is_ok())).unwrap();
        });
        assert_eq!(block_in_place(|| receive.recv_timeout(HANG)), Ok((0, true)));
        task.await.unwrap();
    });
}

/// What is dropped at the end of a loop wakes others, on its own thread, after its queue was emptied. (A round
/// out of a hundred or two has another thread come in the right moment.)
#[test]
fn a_loop_ends_whose_tasks_are_woken_meanwhile_and_wake_each_other() {
    for _ in 0..20 {
        let event_loop = EventLoop::new().unwrap();
        let mut gates = Vec::new();
        let mut tasks = Vec::new();
        for _ in 0..1000 {
            let ((go, gone), (tell, told)) = (oneshot::channel::<()>(), oneshot::channel::<()>());
            gates.push(go);
            tasks.push(event_loop.handle().create_task(async move {
                let _ = told.await;
                pending::<()>().await;
            }));
            tasks.push(event_loop.handle().create_task(async move {
                let _ = gone.await;
                pending::<()>().await;
                drop(tell);
            }));
        }
        event_loop.run_until_complete(yield_now()).unwrap();
        let waker = std::thread::spawn(move || {
            for go in gates {
                let _ = go.send(());
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_micros(20) {
                    std::hint::spin_loop();
                }
            }
        });
        event_loop.close();
        waker.join().unwrap();
    }
}
