//! async-executor and async-io, put together as the smol crate does with `SMOL_THREADS=2`: a static
//! executor, run by threads that wait in async-io. Unlike smol's, the threads end with the instance.

use std::future::Future;
use std::io;
use std::net;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_executor::Executor;
use async_io::{Async, Timer};
use futures::channel::oneshot;
use futures_lite::{AsyncReadExt, AsyncWriteExt, future};

use super::{Peer, THREADS};

static EXECUTOR: Executor<'static> = Executor::new();

/// The threads that run the executor, and what stops each of them when it is dropped.
#[derive(Debug)]
pub struct Smol {
    workers: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Drop for Smol {
    fn drop(&mut self) {
        let (stops, threads): (Vec<_>, Vec<_>) = self.workers.drain(..).unzip();
        drop(stops);
        for thread in threads {
            thread.join().expect("a worker only runs tasks, which catch nothing and never panic");
        }
    }
}

impl Peer for Smol {
    type Listener = Async<net::TcpListener>;
    type Stream = Async<net::TcpStream>;

    fn start() -> io::Result<Self> {
        let mut smol = Smol { workers: Vec::new() };
        for number in 0..THREADS {
            let (stop, stopped) = oneshot::channel();
            // Only ever ends because the sender was dropped, hence with an error.
            let work = || {
                let _ = async_io::block_on(EXECUTOR.run(stopped));
            };
            let thread = thread::Builder::new().name(format!("smol-{number}")).spawn(work)?;
            smol.workers.push((stop, thread));
        }
        Ok(smol)
    }

    fn run<F>(&self, work: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        future::block_on(EXECUTOR.spawn(work))
    }

    fn spawn<F>(future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        EXECUTOR.spawn(future)
    }

    fn spawn_detached(future: impl Future<Output = ()> + Send + 'static) {
        EXECUTOR.spawn(future).detach();
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        future::yield_now()
    }

    async fn sleep(duration: Duration) {
        Timer::after(duration).await;
    }

    fn listen(listener: net::TcpListener) -> io::Result<Self::Listener> {
        Async::new(listener)
    }

    async fn accept(listener: &Self::Listener) -> io::Result<Self::Stream> {
        let (stream, _) = listener.accept().await?;
        stream.get_ref().set_nodelay(true)?;
        Ok(stream)
    }

    fn read<'a>(
        stream: &'a mut Self::Stream,
        buffer: &'a mut [u8],
    ) -> impl Future<Output = io::Result<usize>> + Send + 'a {
        stream.read(buffer)
    }

    fn write_all<'a>(
        stream: &'a mut Self::Stream,
        bytes: &'a [u8],
    ) -> impl Future<Output = io::Result<()>> + Send + 'a {
        stream.write_all(bytes)
    }
}
