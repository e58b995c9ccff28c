//! tokio's two schedulers, with their default options.

mod network;
mod primitives;

use std::future::Future;
use std::io;
use std::time::Duration;

use futures_lite::future;
use tokio::runtime::{Builder, Handle, Runtime};

use super::{Peer, rayon};

/// tokio: the scheduler with several threads or, for one, that which runs on the thread that waits.
#[derive(Debug)]
pub struct Tokio(Runtime);

impl Peer for Tokio {
    type Remote = Handle;

    fn start(threads: usize) -> io::Result<Self> {
        let mut builder = match threads {
            1 => Builder::new_current_thread(),
            _ => Builder::new_multi_thread(),
        };
        builder.worker_threads(threads).enable_all().build().map(Tokio)
    }

    fn run<F>(&self, work: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.block_on(async { Self::spawn(work).await })
    }

    fn spawn<F>(future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = tokio::spawn(future);
        async move { task.await.expect("a benchmark's task neither panics nor is cancelled") }
    }

    fn spawn_detached(future: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(future));
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        tokio::task::yield_now()
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(duration)
    }

    async fn timeout<F>(limit: Duration, future: F) -> Option<F::Output>
    where
        F: Future + Send,
        F::Output: Send,
    {
        tokio::time::timeout(limit, future).await.ok()
    }

    fn remote() -> Handle {
        Handle::current()
    }

    fn spawn_remote(remote: &Handle, future: impl Future<Output = ()> + Send + 'static) {
        drop(remote.spawn(future));
    }

    fn call<F>(remote: &Handle, future: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        future::block_on(remote.spawn(future)).expect("a benchmark's task does not panic")
    }

    fn spawn_blocking<T: Send + 'static>(
        function: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        let task = tokio::task::spawn_blocking(function);
        async { task.await.expect("a benchmark's function does not panic") }
    }

    fn compute<T: Send + 'static>(
        function: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        rayon::compute(function)
    }
}
