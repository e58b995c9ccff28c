//! Ours.

use std::future::Future;
use std::io;
use std::net;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use loopool::Runtime;
use loopool::net::{TcpListener, TcpStream};

use super::Peer;

/// A runtime of so many loops.
#[derive(Debug)]
pub struct Loopool<const LOOPS: usize>(Runtime);

impl<const LOOPS: usize> Peer for Loopool<LOOPS> {
    type Listener = TcpListener;
    type Stream = TcpStream;

    fn start() -> io::Result<Self> {
        Runtime::builder().loops(LOOPS).build().map(Loopool)
    }

    fn run<F>(&self, work: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.run_until_complete(async { Self::spawn(work).await })
    }

    fn spawn<F>(future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = loopool::create_task(future);
        async move { task.await.expect("a benchmark's task neither panics nor is cancelled") }
    }

    fn spawn_detached(future: impl Future<Output = ()> + Send + 'static) {
        drop(loopool::create_task(future));
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        loopool::yield_now()
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + Send {
        loopool::sleep(duration)
    }

    fn listen(listener: net::TcpListener) -> io::Result<TcpListener> {
        TcpListener::from_std(listener)
    }

    async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
        // Nagle's algorithm is off by default.
        Ok(listener.accept().await?.0)
    }

    fn read<'a>(
        stream: &'a mut TcpStream,
        buffer: &'a mut [u8],
    ) -> impl Future<Output = io::Result<usize>> + Send + 'a {
        stream.read(buffer)
    }

    fn write_all<'a>(
        stream: &'a mut TcpStream,
        bytes: &'a [u8],
    ) -> impl Future<Output = io::Result<()>> + Send + 'a {
        stream.write_all(bytes)
    }
}
