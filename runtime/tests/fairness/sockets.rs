//! Ready sockets are served in turn.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

use futures::{AsyncReadExt, AsyncWriteExt};
use loopool::net::TcpStream;
use loopool::{create_local_task, create_task, spawn_on, yield_now};
use socket2::SockRef;

use super::{listen, pair, run};

/// More than one wait of a reactor brings.
const BUSY: usize = 600;

async fn pairs(count: usize) -> Vec<(TcpStream, TcpStream)> {
    let listener = listen();
    let mut pairs = Vec::new();
    for _ in 0..count {
        pairs.push(pair(&listener).await);
    }
    pairs
}

/// How often each was served.
#[derive(Clone)]
struct Served(Rc<Cells>);

struct Cells {
    times: RefCell<Vec<u64>>,
    /// How many were served just so often: indices are times.
    having: RefCell<Vec<usize>>,
    /// How far they were apart at most.
    spread: Cell<u64>,
}

impl Served {
    fn new(count: usize) -> Self {
        let times = RefCell::new(vec![0; count]);
        Served(Rc::new(Cells { times, having: RefCell::new(vec![count]), spread: Cell::new(0) }))
    }

    fn count(&self, number: usize) {
        let time = &mut self.0.times.borrow_mut()[number];
        let having = &mut self.0.having.borrow_mut();
        having[*time as usize] -= 1;
        *time += 1;
        if having.len() == *time as usize {
            having.push(0);
        }
        having[*time as usize] += 1;
        let least = having.iter().position(|count| *count > 0).unwrap();
        let spread = (having.len() - 1 - least) as u64;
        self.0.spread.set(self.0.spread.get().max(spread));
    }

    fn times(&self, number: usize) -> u64 {
        self.0.times.borrow()[number]
    }

    fn spread(&self) -> u64 {
        self.0.spread.get()
    }
}

/// Without the runtime, whose budget would spread it over several turns.
fn send(client: &TcpStream, bytes: &[u8]) {
    assert_eq!(SockRef::from(client).send(bytes).unwrap(), bytes.len());
}

#[test]
fn connections_that_never_run_dry_take_turns() {
    const ROUNDS: u64 = 6;
    const BYTES: usize = 5_000;
    run(1, async {
        let served = Served::new(BUSY);
        let mut pairs = pairs(BUSY + 1).await;
        let (quiet_client, mut quiet) = pairs.pop().unwrap();
        let mut keep = Vec::new();
        for (number, (client, mut server)) in pairs.into_iter().enumerate() {
            send(&client, &[7; BYTES]);
            keep.push(client);
            let served = served.clone();
            drop(create_local_task(async move {
                let mut read = pin!(async move {
                    for _ in 0..BYTES {
                        server.read_exact(&mut [0]).await.unwrap();
                    }
                });
                poll_fn(|cx| {
                    // A service is a poll, which reads as much as its budget allows.
                    served.count(number);
                    read.as_mut().poll(cx)
                })
                .await;
            }));
        }
        // What comes for the quiet one is read before anybody else was served three times.
        let mut longest = 0;
        for _ in 0..ROUNDS {
            let before = served.times(0);
            let read = async { quiet.read(&mut [0]).await.unwrap() };
            let write = async {
                yield_now().await;
                send(&quiet_client, b"x");
            };
            futures::join!(read, write);
            longest = longest.max(served.times(0) - before);
        }
        assert!(longest <= 3, "others were served {longest} times meanwhile");
        assert!(served.times(0) >= ROUNDS, "they ran dry");
        assert_eq!(served.spread(), 1, "one was served again before everybody was");
    });
}

#[test]
fn readiness_that_comes_again_and_again_is_served_in_turn() {
    const ROUNDS: u64 = 20;
    run(1, async {
        let served = Served::new(BUSY);
        let mut tasks = Vec::new();
        for (number, (client, mut server)) in pairs(BUSY).await.into_iter().enumerate() {
            let served = served.clone();
            tasks.push(create_local_task(async move {
                for _ in 0..ROUNDS {
                    // The byte is sent when the read waits already, so it comes through the reactor.
                    let (mut buffer, write) = ([0; 64], async { send(&client, b"x") });
                    let (read, ()) = futures::join!(server.read(&mut buffer), write);
                    assert_eq!(read.unwrap(), 1);
                    served.count(number);
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        // The reactor is asked between any two services of the same one, and the system has a queue.
        assert!(served.spread() <= 2, "one was served {} times more", served.spread());
    });
}

#[test]
fn connections_are_spread_over_the_loops() {
    const CONNECTIONS: usize = 800;
    run(2, async {
        // A loop whose thread has not come up yet is given nothing.
        spawn_on(1, || async {}).unwrap().await.unwrap();
        let listener = listen();
        let mut keep = Vec::new();
        for _ in 0..CONNECTIONS {
            let (client, mut server) = pair(&listener).await;
            keep.push(client);
            // Registered by a read that has to wait.
            drop(create_task(async move { server.read(&mut [0]).await }));
        }
        let sources = || loopool::metrics().loops.iter().map(|of| of.sources).collect::<Vec<_>>();
        while sources().iter().sum::<u64>() < CONNECTIONS as u64 {
            yield_now().await;
        }
        let sources = sources();
        // The first 256 stay together; later ones are dealt out.
        assert!(sources.iter().all(|count| *count >= CONNECTIONS as u64 / 2 - 50), "{sources:?}");
        for mut client in keep {
            client.write_all(b"x").await.unwrap();
        }
    });
}
