//! async-executor and async-io, put together as the smol crate does with `SMOL_THREADS=2`: a static
//! executor, run by threads that wait in async-io. Unlike smol's, the threads end with the instance.

mod network;
mod primitives;

use std::future::Future;
use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_executor::Executor;
use async_io::Timer;
use futures::channel::oneshot;
use futures_lite::future;

use super::{Peer, rayon};

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
    type Remote = ();

    fn start(threads: usize) -> io::Result<Self> {
        let mut smol = Smol { workers: Vec::new() };
        for number in 0..threads {
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

    async fn timeout<F>(limit: Duration, future: F) -> Option<F::Output>
    where
        F: Future + Send,
        F::Output: Send,
    {
        let late = async {
            Timer::after(limit).await;
            None
        };
        future::or(async { Some(future.await) }, late).await
    }

    fn remote() {}

    fn spawn_remote((): &(), future: impl Future<Output = ()> + Send + 'static) {
        EXECUTOR.spawn(future).detach();
    }

    fn call<F>((): &(), future: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        future::block_on(EXECUTOR.spawn(future))
    }

    fn spawn_blocking<T: Send + 'static>(
        function: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        blocking::unblock(function)
    }

    fn compute<T: Send + 'static>(
        function: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        rayon::compute(function)
    }
}
