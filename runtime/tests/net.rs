//! TCP and signals on the loops.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use loopool::net::{TcpListener, TcpStream};
use loopool::{Runtime, create_task, yield_now};
use socket2::{Domain, Socket, Type};

/// Nothing here takes this long; it is the limit against hanging.
const HANG: Duration = Duration::from_secs(30);

fn run<T>(loops: usize, main: impl Future<Output = T>) -> T {
    Runtime::builder().loops(loops).build().unwrap().run(main)
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn echo(stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        let count = (&stream).read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        (&stream).write_all(&buffer[..count]).await?;
    }
}

#[test]
fn echo_over_many_connections() {
    for loops in [1, 2, 4] {
        run(loops, async {
            let (listener, address) = listen();
            let server = create_task(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    drop(create_task(echo(stream)));
                }
            });
            let clients: Vec<_> = (0..50u32)
                .map(|client| {
                    create_task(async move {
                        let mut stream = TcpStream::connect(address).await.unwrap();
                        for round in 0..50u32 {
                            let sent = [client.to_le_bytes(), round.to_le_bytes()].concat();
                            stream.write_all(&sent).await.unwrap();
                            let mut got = [0; 8];
                            stream.read_exact(&mut got).await.unwrap();
                            assert_eq!(sent, got);
                        }
                    })
                })
                .collect();
            for client in clients {
                client.await.unwrap();
            }
            server.cancel();
        });
    }
}

#[test]
fn large_transfers_arrive_whole() {
    run(2, async {
        let (listener, address) = listen();
        let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n * 7 % 251) as u8).collect();
        let expected = sent.clone();
        let receiver = create_task(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut got = Vec::new();
            stream.read_to_end(&mut got).await.unwrap();
            got
        });
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&sent).await.unwrap();
        stream.close().await.unwrap();
        assert_eq!(receiver.await.unwrap(), expected);
    });
}

#[test]
fn the_end_is_seen_when_it_comes_with_the_last_bytes() {
    run(1, async {
        let (listener, address) = listen();
        for _ in 0..200 {
            let client = std::thread::spawn(move || {
                use std::io::Write;
                let mut stream = std::net::TcpStream::connect(address).unwrap();
                stream.write_all(b"last words").unwrap();
            });
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut got = Vec::new();
            let read = stream.read_to_end(&mut got);
            loopool::timeout(Duration::from_secs(30), read).await.unwrap().unwrap();
            assert_eq!(got, b"last words");
            client.join().unwrap();
        }
    });
}

#[test]
fn urgent_data_hides_nothing_behind_it() {
    for early in [false, true] {
        run(1, async {
            let (listener, address) = listen();
            let client = std::net::TcpStream::connect(address).unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            if early {
                assert!(futures::poll!(server.read(&mut [0; 8])).is_pending());
            }
            let send = |bytes: &[u8], flags| {
                let sent = socket2::SockRef::from(&client).send_with_flags(bytes, flags).unwrap();
                assert_eq!(sent, bytes.len());
            };
            // A read stops at the mark, short.
            for _ in 0..2 {
                send(b"aaa", 0);
                send(b"!", libc::MSG_OOB);
                send(b"bbb", 0);
                let mut got = Vec::new();
                while got.len() < 6 {
                    let mut buffer = [0; 100];
                    let read = loopool::timeout(HANG, server.read(&mut buffer)).await;
                    let count = read.expect("it has all come").unwrap();
                    got.extend_from_slice(&buffer[..count]);
                }
                assert_eq!(got, b"aaabbb");
                assert!(futures::poll!(server.read(&mut [0; 8])).is_pending());
            }
        });
    }
}

#[test]
fn nagle_is_off() {
    run(1, async {
        let (listener, address) = listen();
        let client = TcpStream::connect(address).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        for stream in [&client, &server] {
            assert!(socket2::SockRef::from(stream).tcp_nodelay().unwrap());
        }
    });
}

#[test]
fn a_refused_connection_is_an_error() {
    run(2, async {
        // Bound, so that nobody else gets the port, but not listening.
        let taken = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        taken.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = taken.local_addr().unwrap().as_socket().unwrap();
        let error = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn one_task_reads_while_another_writes() {
    run(2, async {
        let (listener, address) = listen();
        let server = create_task(async move { echo(listener.accept().await.unwrap().0).await });
        let stream = std::sync::Arc::new(TcpStream::connect(address).await.unwrap());
        let reading = stream.clone();
        let reader = create_task(async move {
            let mut got = vec![0; 500_000];
            (&*reading).read_exact(&mut got).await.unwrap();
            got
        });
        let sent: Vec<u8> = (0..500_000u32).map(|n| n as u8).collect();
        (&*stream).write_all(&sent).await.unwrap();
        assert_eq!(reader.await.unwrap(), sent);
        (&*stream).close().await.unwrap();
        server.await.unwrap().unwrap();
    });
}

#[test]
fn sources_are_given_back() {
    run(2, async {
        let (listener, address) = listen();
        for _ in 0..100 {
            let accept = create_task({
                let accepted = listener.accept();
                let (stream, _) = {
                    let client = TcpStream::connect(address);
                    let (client, server) = futures::join!(client, accepted);
                    drop(client);
                    server.unwrap()
                };
                echo(stream)
            });
            accept.await.unwrap().unwrap();
        }
        let sources: u64 = loopool::metrics().loops.iter().map(|l| l.sources).sum();
        assert!(sources <= 1, "{sources}");
    });
}

#[test]
fn an_always_ready_socket_lets_others_run() {
    run(1, async {
        let (listener, address) = listen();
        // Both sides pump without ever running dry on purpose.
        let pump = create_task(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let chunk = [7; 64];
            while (&stream).write_all(&chunk).await.is_ok() {}
        });
        let drain = create_task(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let mut byte = [0; 1];
            while stream.read_exact(&mut byte).await.is_ok() {}
        });
        for _ in 0..50 {
            loopool::sleep(Duration::from_micros(100)).await;
        }
        pump.cancel();
        drain.cancel();
    });
}

#[test]
fn whoever_waits_for_a_socket_of_a_closed_runtime_is_told() {
    let (send, receive) = std::sync::mpsc::channel();
    let stream = run(2, async move {
        let (listener, address) = listen();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _server = listener.accept().await.unwrap();
        send.send(()).unwrap();
        // Registered by a read that has to wait.
        let mut byte = [0; 1];
        let read = stream.read(&mut byte);
        assert!(loopool::timeout(Duration::from_millis(1), read).await.is_err());
        stream
    });
    receive.recv().unwrap();
    let mut byte = [0; 1];
    let error = futures::executor::block_on((&stream).read(&mut byte)).unwrap_err();
    assert!(error.to_string().contains("closed"), "{error}");
}

/// Says each time that `future` goes on waiting.
async fn saying<F: Future>(waits: mpsc::Sender<()>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            let _ = waits.send(());
        }
        polled
    })
    .await
}

/// Tokio's `drop_wakes`, for who waits in a thread and who waits in a task of another runtime.
#[test]
fn those_who_wait_for_sockets_while_their_runtime_ends_are_woken_and_told() {
    let first = Runtime::builder().loops(2).build().unwrap();
    let (listener, mut stream, _peer) = first.run_until_complete(async {
        let (listener, address) = listen();
        let (client, server) = futures::join!(TcpStream::connect(address), listener.accept());
        let mut client = client.unwrap();
        // Registered by those who have to wait.
        assert!(futures::poll!(client.read(&mut [0])).is_pending());
        assert!(futures::poll!(pin!(listener.accept())).is_pending());
        (listener, client, server.unwrap().0)
    });
    let (tell, told) = mpsc::channel();
    let (wait, reader_waits) = mpsc::channel();
    let tell_of_reader = tell.clone();
    let reader = std::thread::spawn(move || {
        let mut byte = [0];
        let read = futures::executor::block_on(saying(wait, stream.read(&mut byte)));
        tell_of_reader.send(read.map(|_| ())).unwrap();
    });
    let (wait, accepter_waits) = mpsc::channel();
    let accepter = std::thread::spawn(move || {
        let accept = saying(wait, async move { listener.accept().await.map(|_| ()) });
        let accepted = run(2, async { create_task(accept).await.unwrap() });
        tell.send(accepted).unwrap();
    });
    reader_waits.recv_timeout(HANG).unwrap();
    accepter_waits.recv_timeout(HANG).unwrap();
    drop(first);
    for _ in 0..2 {
        let error = told.recv_timeout(HANG).expect("they are woken").unwrap_err();
        assert!(error.to_string().contains("closed"), "{error}");
    }
    reader.join().unwrap();
    accepter.join().unwrap();
}

/// Tokio's `dropping_loops_does_not_cause_starvation`.
#[test]
fn a_signal_reaches_a_runtime_when_another_one_that_listened_has_ended() {
    use loopool::signal::{SIGWINCH, Signal};
    let raise = || nix::sys::signal::raise(nix::sys::signal::Signal::SIGWINCH).unwrap();
    let mut runtimes = [(); 2].map(|()| {
        let runtime = Runtime::builder().loops(2).build().unwrap();
        let mut signal = Signal::new(SIGWINCH).unwrap();
        runtime.run_until_complete(async {
            // Registered with this runtime by a wait.
            assert!(futures::poll!(pin!(signal.recv())).is_pending());
        });
        (runtime, signal)
    });
    raise();
    for (runtime, signal) in &mut runtimes {
        runtime.run_until_complete(async {
            loopool::timeout(HANG, signal.recv()).await.unwrap().unwrap();
        });
    }
    let [(first, mut its_signal), (second, mut signal)] = runtimes;
    // The first one goes while somebody waits there.
    first.run_until_complete(async {
        let (wait, waits) = mpsc::channel();
        drop(create_task(saying(wait, async move { its_signal.recv().await })));
        while waits.try_recv().is_err() {
            yield_now().await;
        }
    });
    drop(first);
    second.run_until_complete(async {
        for _ in 0..3 {
            let mut next = pin!(signal.recv());
            assert!(futures::poll!(&mut next).is_pending());
            raise();
            loopool::timeout(HANG, next).await.unwrap().unwrap();
        }
    });
}

#[test]
fn a_signal_reaches_everyone_who_waits() {
    use loopool::signal::{SIGUSR1, Signal};
    run(2, async {
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let mut signal = Signal::new(SIGUSR1).unwrap();
                create_task(async move { signal.recv().await })
            })
            .collect();
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGUSR1).unwrap();
        for waiter in waiters {
            waiter.await.unwrap().unwrap();
        }
        assert!(Signal::new(libc::SIGKILL).is_err());
    });
}

async fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listen();
    let (client, server) = futures::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

/// A waker that is counted while it is there.
struct Counted(Arc<AtomicUsize>);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn wakers_of_those_who_have_gone_are_forgotten() {
    run(2, async {
        let (client, mut server) = pair().await;
        let alive = Arc::new(AtomicUsize::new(0));
        for _ in 0..10_000 {
            alive.fetch_add(1, Ordering::SeqCst);
            let waker = Waker::from(Arc::new(Counted(alive.clone())));
            let mut cx = Context::from_waker(&waker);
            assert!(Pin::new(&mut server).poll_read(&mut cx, &mut [0; 8]).is_pending());
            drop(waker);
            assert!(alive.load(Ordering::SeqCst) < 100);
        }
        drop((client, server));
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn as_many_as_like_may_wait_for_one_socket() {
    const READERS: usize = 1000;
    run(2, async {
        let (mut client, server) = pair().await;
        let server = Arc::new(server);
        let waiting = Arc::new(AtomicUsize::new(0));
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                let (server, waiting) = (server.clone(), waiting.clone());
                create_task(async move {
                    waiting.fetch_add(1, Ordering::SeqCst);
                    (&*server).read_exact(&mut [0]).await.unwrap();
                })
            })
            .collect();
        while waiting.load(Ordering::SeqCst) < READERS {
            yield_now().await;
        }
        client.write_all(&[7; READERS]).await.unwrap();
        for reader in readers {
            reader.await.unwrap();
        }
    });
}

#[test]
fn signals_that_nobody_had_looked_at_counted_several_times() {
    use loopool::signal::{SIGUSR2, Signal};
    loopool::run(async {
        let mut signal = Signal::new(SIGUSR2).unwrap();
        for _ in 0..200 {
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGUSR2).unwrap();
        }
        signal.recv().await.unwrap();
        let mut next = std::pin::pin!(signal.recv());
        for _ in 0..10 {
            assert!(futures::poll!(&mut next).is_pending());
            loopool::yield_now().await;
        }
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGUSR2).unwrap();
        next.await.unwrap();
    });
}
