//! Loops that are blocked: who does their work, who is blamed, and what it costs when nothing happens.

#![cfg_attr(loopool_portable_reactor, allow(unused, reason = "what only sockets need"))]

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use futures::{AsyncReadExt, AsyncWriteExt};
use loopool::net::{TcpListener, TcpStream};
use loopool::{
    EventLoop, Runtime, RuntimeBuilder, RuntimeMetrics, Task, ThreadsafeHandle, block_in_place,
    create_local_task, create_task, get_running_loop, sleep, timeout, yield_now,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Nothing here takes this long; it is the limit against hanging.
const HANG: Duration = Duration::from_secs(30);

fn builder(loops: usize) -> RuntimeBuilder {
    Runtime::builder().loops(loops)
}

fn runtime(loops: usize) -> Runtime {
    builder(loops).build().unwrap()
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = futures::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

/// A task that has its thread to itself until it is released.
struct Blocker {
    release: mpsc::Sender<()>,
    task: Task<()>,
}

impl Blocker {
    /// Blocks this thread until the task runs on another one. In a runtime of two loops both are
    /// blocked then, as long as the caller does not return.
    fn start() -> Blocker {
        let (begin, begun) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let task = create_task(async move {
            begin.send(()).unwrap();
            released.recv_timeout(HANG).unwrap();
        });
        begun.recv_timeout(HANG).unwrap();
        Blocker { release, task }
    }

    async fn release(self) {
        self.release.send(()).unwrap();
        self.task.await.unwrap();
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < HANG, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Which spare worker this thread is. Mostly the first one; but one that waits long for a processor
/// passes for blocked, and the next one is called.
fn spare() -> Option<String> {
    let name = thread::current().name()?.to_owned();
    name.contains("-spare-").then_some(name)
}

#[test]
fn the_task_that_a_blocked_loop_would_run_next_runs_elsewhere() {
    runtime(2).run(async {
        create_task(async {
            for _ in 0..20 {
                let (send, receive) = mpsc::channel();
                // Woken in a task: it goes to the slot.
                drop(create_task(async move { send.send(()) }));
                receive.recv_timeout(HANG).unwrap();
            }
        })
        .await
        .unwrap();
    });
}

#[test]
fn when_every_loop_is_blocked_a_spare_worker_runs_what_is_queued() {
    let runtime = builder(2).thread_name("queued").build().unwrap();
    runtime.run(async {
        let blocker = Blocker::start();
        let (send, receive) = mpsc::channel();
        for _ in 0..100 {
            let send = send.clone();
            drop(create_task(async move {
                yield_now().await;
                send.send(spare()).unwrap();
            }));
        }
        for _ in 0..100 {
            let name = receive.recv_timeout(HANG).unwrap().expect("every loop is blocked");
            assert!(name.starts_with("queued-spare-"), "{name}");
        }
        let metrics = loopool::metrics();
        assert!((1..=2).contains(&metrics.spare_workers), "{metrics:?}");
        assert!(metrics.spare_polls >= 199, "{metrics:?}");
        blocker.release().await;
    });
}

#[test]
fn when_every_loop_is_blocked_wakes_from_outside_are_heard() {
    let runtime = runtime(2);
    let handle = runtime.threadsafe_handle();
    runtime.run(async {
        let blocker = Blocker::start();
        let outside = thread::spawn(move || {
            let job = handle.run_coroutine_threadsafe(async {
                yield_now().await;
                6 * 7
            });
            let mut job = job;
            job.result(HANG).unwrap()
        });
        assert_eq!(outside.join().unwrap(), 42);
        blocker.release().await;
    });
}

#[test]
fn when_every_loop_is_blocked_timers_are_kept() {
    runtime(2).run(async {
        let (begin, begun) = oneshot::channel();
        let (send, receive) = mpsc::channel();
        let ticker = create_task(async move {
            begin.send(()).unwrap();
            for _ in 0..20 {
                sleep(Duration::from_millis(5)).await;
                send.send(()).unwrap();
            }
        });
        begun.await.unwrap();
        let blocker = Blocker::start();
        for _ in 0..20 {
            receive.recv_timeout(HANG).unwrap();
        }
        blocker.release().await;
        ticker.await.unwrap();
    });
}

// Only the epoll driver may be asked by others than the loop.
#[cfg(not(loopool_portable_reactor))]
#[test]
fn when_every_loop_is_blocked_sockets_are_served() {
    runtime(2).run(async {
        let (mut client, mut server) = pair().await;
        let (send, receive) = mpsc::channel();
        let echo = create_task(async move {
            let mut byte = [0];
            while server.read(&mut byte).await.unwrap() == 1 {
                server.write_all(&byte).await.unwrap();
            }
        });
        // Both have waited on some loop before all block.
        client.write_all(&[0]).await.unwrap();
        let mut byte = [0];
        client.read_exact(&mut byte).await.unwrap();
        let talk = create_task(async move {
            for number in 1..50 {
                client.write_all(&[number]).await.unwrap();
                client.read_exact(&mut byte).await.unwrap();
                send.send(byte[0]).unwrap();
            }
        });
        let blocker = Blocker::start();
        for number in 1..50 {
            assert_eq!(receive.recv_timeout(HANG), Ok(number));
        }
        blocker.release().await;
        talk.await.unwrap();
        echo.await.unwrap();
    });
}

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

#[test]
fn between_two_runs_the_main_loop_is_looked_after() {
    for _ in 0..3 {
        let runtime = runtime(2);
        let (send, receive) = mpsc::channel();
        let said = send.clone();
        let (server, client) = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| Ok((listener.local_addr()?, listener)))
            .and_then(|(address, listener)| {
                let client = std::net::TcpStream::connect(address)?;
                Ok((listener.accept()?.0, client))
            })
            .unwrap();
        server.set_nonblocking(true).unwrap();
        runtime.run_until_complete(async {
            // Polled by hand, on the main loop, which has their timer and socket from then on.
            let mut nap = Box::pin(sleep(Duration::from_millis(20)));
            let mut server = TcpStream::from_std(server).unwrap();
            let mut read = Box::pin(async move {
                let mut byte = [0];
                server.read_exact(&mut byte).await.unwrap();
                byte[0]
            });
            assert!(futures::poll!(&mut nap).is_pending());
            assert!(futures::poll!(&mut read).is_pending());
            drop(create_task(async move {
                nap.await;
                send.send(0).unwrap();
            }));
            #[cfg(not(loopool_portable_reactor))]
            drop(create_task(async move { said.send(read.await).unwrap() }));
        });
        assert_eq!(receive.recv_timeout(HANG), Ok(0));
        #[cfg(not(loopool_portable_reactor))]
        {
            std::io::Write::write_all(&mut &client, &[9]).unwrap();
            assert_eq!(receive.recv_timeout(HANG), Ok(9));
        }
        drop(client);
        // And it is its own master again.
        runtime.run_until_complete(async { sleep(Duration::from_millis(5)).await });
    }
}

mod blocking_in_place {
    use super::*;

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

    #[test]
    fn is_no_stall() {
        for loops in [1, 2] {
            let runtime = builder(loops).slow_poll_threshold(Duration::from_millis(20));
            let here = Location::caller().line();
            runtime.build().unwrap().run(async {
                let task = create_task(async {
                    block_in_place(|| thread::sleep(Duration::from_millis(150)));
                });
                task.await.unwrap();
                // The main task's own poll, on whose loop the task may run, is none either.
                block_in_place(|| thread::sleep(Duration::from_millis(150)));
            });
            let said =
                said(|line| (here..here + 10).any(|n| line.contains(&format!("stalls.rs:{n}:"))));
            assert_eq!(said, Vec::<String>::new());
        }
    }
}

/// What `tracing` was told.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Notebook;

impl Subscriber for Notebook {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        SAID.lock().unwrap().push(line.0);
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!(" {field}={value:?}");
    }
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Notebook).unwrap());
}

fn said(about: impl Fn(&str) -> bool) -> Vec<String> {
    SAID.lock().unwrap().iter().filter(|line| about(line)).cloned().collect()
}

/// Waits until the metrics say that a loop is stuck in what was made there.
fn wait_until_blamed(
    handle: &ThreadsafeHandle,
    name: Option<&str>,
    made_at: Option<&'static Location<'static>>,
) {
    let blamed = |metrics: RuntimeMetrics| {
        metrics.loops.into_iter().any(|l| {
            let stuck = l.stuck.filter(|stuck| stuck.spawned_at == made_at);
            let stuck = stuck.filter(|stuck| stuck.task.as_deref() == name);
            stuck.is_some_and(|stuck| stuck.duration >= Duration::from_millis(20) && l.stalls > 0)
        })
    };
    wait_until("nobody is blamed", || blamed(handle.metrics()));
}

#[test]
fn the_culprit_is_named_while_it_is_stuck() {
    listen();
    // With one loop only the watch thread can tell.
    for (loops, named) in [(1, false), (2, false), (1, true), (2, true)] {
        let runtime =
            builder(loops).slow_poll_threshold(Duration::from_millis(20)).build().unwrap();
        let handle = runtime.threadsafe_handle();
        runtime.run(async move {
            let (release, released) = mpsc::channel();
            let task = create_task(async move { released.recv_timeout(HANG).unwrap() });
            if named {
                task.set_name("the culprit");
            }
            let location = task.spawn_location();
            let mut about = format!("spawned_at={location}");
            if named {
                about = format!("task=\"the culprit\" {about}");
            }
            // What was said of the task before, which was made here as well.
            SAID.lock().unwrap().retain(|line| !line.contains(&location.to_string()));
            let (looking, about_it) = (handle.clone(), about.clone());
            let looker = thread::spawn(move || {
                wait_until_blamed(&looking, named.then_some("the culprit"), Some(location));
                wait_until("it was not reported twice", || {
                    said(|line| line.starts_with("WARN") && line.contains(&about_it)).len() >= 2
                });
                let said = said(|line| line.contains(&about_it));
                release.send(()).unwrap();
                said
            });
            task.await.unwrap();
            while said(|line| line.starts_with("INFO") && line.contains(&about)).is_empty() {
                sleep(Duration::from_millis(1)).await;
            }
            let said = looker.join().unwrap();
            assert!(said.iter().all(|line| line.contains("what=\"a task\"")), "{said:#?}");
            assert!(said.iter().all(|line| line.contains("duration_ms=")), "{said:#?}");
            assert!(handle.metrics().loops.iter().all(|l| l.stuck.is_none()));
        });
    }
}

#[test]
fn a_callback_is_named_as_such() {
    listen();
    let runtime = builder(2).slow_poll_threshold(Duration::from_millis(20)).build().unwrap();
    let handle = runtime.threadsafe_handle();
    runtime.run(async move {
        let (done, finished) = oneshot::channel();
        get_running_loop().call_soon(move || {
            let looker = thread::spawn(move || wait_until_blamed(&handle, None, None));
            looker.join().unwrap();
            done.send(()).unwrap();
        });
        finished.await.unwrap();
        let said = said(|line| line.contains("what=\"a callback\""));
        assert!(said.iter().any(|line| line.starts_with("WARN")), "{said:#?}");
    });
}

#[test]
fn a_loop_that_slept_or_ran_much_is_not_reported() {
    const THRESHOLD: Duration = Duration::from_secs(1);
    let runtime = builder(2).slow_poll_threshold(THRESHOLD).build().unwrap();
    runtime.run(async {
        for _ in 0..2 {
            sleep(THRESHOLD * 3 / 2).await;
            let begun = Instant::now();
            // Both loops, so that the watch thread looks, too.
            let busy = create_task(async move {
                while begun.elapsed() < THRESHOLD * 3 / 2 {
                    yield_now().await;
                }
            });
            while begun.elapsed() < THRESHOLD * 3 / 2 {
                let turns = Rc::new(Cell::new(0));
                let counter = turns.clone();
                get_running_loop().call_soon(move || counter.set(1));
                while turns.get() == 0 {
                    yield_now().await;
                }
            }
            busy.await.unwrap();
        }
        let metrics = loopool::metrics();
        assert!(metrics.loops.iter().all(|l| l.stalls == 0 && l.stuck.is_none()), "{metrics:?}");
    });
}

mod the_end {
    use super::*;

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
}

/// Counts how often the threads of this runtime were switched away from.
#[cfg(target_os = "linux")]
fn switches(prefix: &str) -> (usize, u64) {
    let (mut threads, mut switches) = (0, 0);
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        let Ok(name) = std::fs::read_to_string(path.join("comm")) else { continue };
        if !name.starts_with(prefix) {
            continue;
        }
        threads += 1;
        let status = std::fs::read_to_string(path.join("status")).unwrap();
        let counts = status.lines().filter_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.ends_with("ctxt_switches").then(|| value.trim().parse::<u64>().unwrap())
        });
        switches += counts.sum::<u64>();
    }
    (threads, switches)
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_happens_in_an_idle_runtime() {
    let runtime = builder(2).thread_name("quiet").build().unwrap();
    let idle = |driven: bool| {
        // The watch thread stays awake for a second.
        thread::sleep(Duration::from_millis(1500));
        let before = switches("quiet-");
        thread::sleep(Duration::from_secs(1));
        let after = switches("quiet-");
        // The other loop, the watch thread and at least one spare worker at rest.
        assert!((3..=4).contains(&before.0), "driven: {driven}: {before:?}");
        assert!(after.1 - before.1 < 5, "driven: {driven}: {before:?} {after:?}");
    };
    let looker = runtime.run_until_complete(async {
        let blocker = Blocker::start();
        let (send, receive) = mpsc::channel();
        drop(create_task(async move { send.send(()) }));
        receive.recv_timeout(HANG).unwrap();
        blocker.release().await;
        loopool::to_thread(move || {
            idle(true);
            idle
        })
        .await
        .unwrap()
    });
    // While nobody drives the main loop, too.
    looker(false);
}
