//! The co-operative budget: at most so many operations of our leaf futures in one poll of a task.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use futures::{AsyncReadExt, AsyncWriteExt};
use loopool::net::TcpStream;
use loopool::signal::{SIGUSR2, Signal};
use loopool::{create_local_task, create_task, sleep, sleep_until, yield_now};
use socket2::SockRef;

use super::{listen, pair, run};

/// Operations that one poll of a task may do.
const BUDGET: u64 = 128;

/// So many operations are done in each test, each of which is ready at once.
const OPERATIONS: u64 = 1000;

/// The most operations of `leaf` that were done in one poll of a task which did [`OPERATIONS`] of them.
/// Another task has its turn between any two of its polls.
async fn most_in_one_poll<F>(leaf: impl Fn(Arc<AtomicU64>) -> F) -> u64
where
    F: Future<Output = ()> + 'static,
{
    let done = Arc::new(AtomicU64::new(0));
    let work = leaf(done.clone());
    let other = Arc::new(AtomicU64::new(0));
    let counting = other.clone();
    let others = create_local_task(async move {
        loop {
            counting.fetch_add(1, Ordering::Relaxed);
            yield_now().await;
        }
    });
    let most = create_local_task(async move {
        let mut work = pin!(work);
        let (mut most, mut polls) = (0, 0);
        poll_fn(|cx| {
            let before = done.load(Ordering::Relaxed);
            let poll = work.as_mut().poll(cx);
            most = most.max(done.load(Ordering::Relaxed) - before);
            polls += 1;
            poll
        })
        .await;
        assert_eq!(done.load(Ordering::Relaxed), OPERATIONS, "something was lost");
        let turns = other.load(Ordering::Relaxed);
        assert!(turns + 1 >= polls, "{polls} polls, and another task had {turns}");
        most
    });
    let most = most.await.unwrap();
    others.cancel();
    most
}

fn one_more(done: &AtomicU64) {
    done.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn reading() {
    for loops in [1, 2] {
        let most = run(loops, async {
            let (mut client, server) = pair(&listen()).await;
            let bytes: Vec<u8> = (0..OPERATIONS).map(|n| n as u8).collect();
            client.write_all(&bytes).await.unwrap();
            let server = Arc::new(server);
            most_in_one_poll(|done| {
                let (server, bytes) = (server.clone(), bytes.clone());
                async move {
                    for expected in bytes {
                        let mut byte = [0];
                        (&*server).read_exact(&mut byte).await.unwrap();
                        assert_eq!(byte, [expected]);
                        one_more(&done);
                    }
                }
            })
            .await
        });
        assert_eq!(most, BUDGET);
    }
}

#[test]
fn writing() {
    let most = run(1, async {
        let (client, mut server) = pair(&listen()).await;
        let client = Arc::new(client);
        let most = most_in_one_poll(|done| {
            let client = client.clone();
            async move {
                for n in 0..OPERATIONS {
                    (&*client).write_all(&[n as u8]).await.unwrap();
                    one_more(&done);
                }
            }
        })
        .await;
        let mut got = vec![0; OPERATIONS as usize];
        server.read_exact(&mut got).await.unwrap();
        assert!(got.iter().enumerate().all(|(n, byte)| *byte == n as u8));
        most
    });
    assert_eq!(most, BUDGET);
}

#[test]
fn accepting() {
    let most = run(1, async {
        let listener = Arc::new(listen());
        let address = listener.local_addr().unwrap();
        let connect = |_| std::net::TcpStream::connect(address).unwrap();
        let clients: Vec<_> = (0..OPERATIONS).map(connect).collect();
        let most = most_in_one_poll(|done| {
            let listener = listener.clone();
            async move {
                for _ in 0..OPERATIONS {
                    listener.accept().await.unwrap();
                    one_more(&done);
                }
            }
        })
        .await;
        drop(clients);
        most
    });
    assert_eq!(most, BUDGET);
}

#[test]
fn connecting() {
    // Never ready at once, so never more than one.
    let most = run(1, async {
        let listener = listen();
        let address = listener.local_addr().unwrap();
        let accept = create_task(async move { while listener.accept().await.is_ok() {} });
        let most = most_in_one_poll(|done| async move {
            for _ in 0..OPERATIONS {
                TcpStream::connect(address).await.unwrap();
                one_more(&done);
            }
        })
        .await;
        accept.cancel();
        most
    });
    assert!(most <= BUDGET, "{most}");
}

#[test]
fn signals() {
    let most = run(1, async {
        let signal = Signal::new(SIGUSR2).unwrap();
        let signal = Arc::new(std::sync::Mutex::new(Some(signal)));
        most_in_one_poll(|done| {
            let signal = signal.lock().unwrap().take();
            async move {
                let mut signal = signal.unwrap();
                for _ in 0..OPERATIONS {
                    nix::sys::signal::raise(nix::sys::signal::Signal::SIGUSR2).unwrap();
                    signal.recv().await.unwrap();
                    one_more(&done);
                }
            }
        })
        .await
    });
    assert!(most <= BUDGET, "{most}");
}

#[test]
fn joining() {
    let most = run(1, async {
        let make = |n| create_task(async move { n });
        let tasks: Vec<_> = (0..OPERATIONS).map(make).collect();
        while !tasks.iter().all(|task| task.is_finished()) {
            yield_now().await;
        }
        let tasks = std::cell::RefCell::new(tasks);
        most_in_one_poll(|done| {
            let tasks = tasks.take();
            async move {
                for (expected, task) in tasks.into_iter().enumerate() {
                    assert_eq!(task.await.unwrap(), expected as u64);
                    one_more(&done);
                }
            }
        })
        .await
    });
    assert_eq!(most, BUDGET);
}

#[test]
fn sleeping() {
    let most = run(1, async {
        most_in_one_poll(|done| async move {
            for _ in 0..OPERATIONS {
                sleep(Duration::ZERO).await;
                one_more(&done);
            }
        })
        .await
    });
    assert_eq!(most, BUDGET);
}

#[test]
fn what_only_waits_uses_up_nothing() {
    // More leaves than one poll has budget, all polled each time: the last one must be waited for, too.
    run(1, async {
        let listener = listen();
        let (mut clients, mut servers) = (Vec::new(), Vec::new());
        for _ in 0..LEAVES {
            let (client, server) = pair(&listener).await;
            clients.push(client);
            servers.push(server);
        }
        let reads = servers.into_iter().map(|mut server| async move {
            server.read_exact(&mut [0]).await.unwrap();
        });
        let write = || clients.iter().for_each(|client| assert_eq!(send(client, b"x"), 1));
        waits_for_all(reads, write).await;

        let (senders, tasks): (Vec<_>, Vec<_>) = (0..LEAVES)
            .map(|_| {
                let (sender, receiver) = oneshot::channel();
                (sender, create_task(async { receiver.await.unwrap() }))
            })
            .unzip();
        let joins = tasks.into_iter().map(|task| async { task.await.unwrap() });
        let send = || senders.into_iter().for_each(|sender| sender.send(()).unwrap());
        waits_for_all(joins, send).await;

        let until = Instant::now() + Duration::from_millis(300);
        waits_for_all((0..LEAVES).map(|_| sleep_until(until)), || ()).await;
    });
}

/// More than the budget of a poll.
const LEAVES: usize = 3 * BUDGET as usize;

/// Waits for all of `leaves` in one task, which polls all of them whenever it is polled, and which is
/// not polled while there is nothing to do. `happen` makes them ready.
async fn waits_for_all<F>(leaves: impl Iterator<Item = F>, happen: impl FnOnce())
where
    F: Future<Output = ()> + 'static,
{
    let mut leaves: Vec<_> = leaves.map(Box::pin).collect();
    let polls = Rc::new(Cell::new(0));
    let counting = polls.clone();
    let waiting = create_local_task(poll_fn(move |cx| {
        counting.set(counting.get() + 1);
        leaves.retain_mut(|leaf| leaf.as_mut().poll(cx).is_pending());
        if leaves.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }));
    for _ in 0..20 {
        yield_now().await;
    }
    assert_eq!(polls.get(), 1, "it is polled though there is nothing to do");
    happen();
    waiting.await.unwrap();
}

fn send(client: &TcpStream, bytes: &[u8]) -> usize {
    SockRef::from(client).send(bytes).unwrap()
}

#[test]
fn a_future_outside_a_task_has_no_budget() {
    let event_loop = loopool::EventLoop::new().unwrap();
    let stream = event_loop
        .run_until_complete(async {
            let (mut client, server) = pair(&listen()).await;
            client.write_all(&[7; OPERATIONS as usize]).await.unwrap();
            server
        })
        .unwrap();
    let mut read = 0;
    futures::executor::block_on(async {
        while read < OPERATIONS {
            (&stream).read_exact(&mut [0]).await.unwrap();
            read += 1;
        }
    });
    assert_eq!(read, OPERATIONS);
}
