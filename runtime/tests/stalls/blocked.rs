//! Who does a blocked loop's work, and a loop's that nobody drives.

use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures::channel::mpsc::unbounded;
use futures::channel::oneshot;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use loopool::net::TcpStream;
use loopool::{block_in_place, create_task, sleep, spawn_on, yield_now};

use crate::support::{Blocker, HANG, builder, pair, runtime, spare};

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
        // Each of the two may not have counted its last one yet.
        assert!(metrics.spare_polls >= 198, "{metrics:?}");
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
    const NUMBERS: Range<u8> = 1..15;
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
            for number in NUMBERS {
                client.write_all(&[number]).await.unwrap();
                client.read_exact(&mut byte).await.unwrap();
                send.send(byte[0]).unwrap();
            }
        });
        let blocker = Blocker::start();
        for number in NUMBERS {
            assert_eq!(receive.recv_timeout(HANG), Ok(number));
        }
        blocker.release().await;
        talk.await.unwrap();
        echo.await.unwrap();
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

struct Calls<F>(F);

impl<F: Fn() + Send + Sync + 'static> Wake for Calls<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

fn waker(call: impl Fn() + Send + Sync + 'static) -> Waker {
    Arc::new(Calls(call)).into()
}

/// Another loop has to take the role, for it and for the one that it looked after.
#[test]
fn the_sentinel_kept_its_role_while_it_was_stuck_in_a_waker() {
    runtime(3).run(async {
        // All come to rest. So this loop is the next one that does, and becomes the sentinel.
        sleep(Duration::from_millis(20)).await;
        let (begin, begun) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let block = move || async move {
            block_in_place(|| {
                begin.send(()).unwrap();
                released.recv_timeout(2 * HANG).unwrap();
            });
        };
        let blocker = spawn_on(1, block).unwrap();
        begun.recv_timeout(HANG).unwrap();

        let (send, receive) = mpsc::channel();
        let (tell, mut told) = unbounded();
        let receive = Mutex::new(receive);
        let stuck = waker(move || {
            let received = receive.lock().unwrap().recv_timeout(HANG);
            tell.unbounded_send(received).unwrap();
        });
        let sends = waker(move || send.send(()).unwrap());
        // Both timers lie here.
        let mut first = Box::pin(sleep(Duration::from_millis(200)));
        let mut second = Box::pin(sleep(Duration::from_millis(400)));
        assert!(first.as_mut().poll(&mut Context::from_waker(&stuck)).is_pending());
        assert!(second.as_mut().poll(&mut Context::from_waker(&sends)).is_pending());
        assert_eq!(told.next().await, Some(Ok(())));
        release.send(()).unwrap();
        blocker.await.unwrap();
    });
}
