//! Ours.

mod network;
mod primitives;

use std::future::Future;
use std::io;
use std::ops::Range;
use std::sync::LazyLock;
use std::time::Duration;

use futures::StreamExt;
use loopool::{CpuExecutor, Runtime, ThreadPoolExecutor, ThreadsafeHandle};

use super::{Peer, THREADS};

/// For programs that compute beside the runtime.
static POOL: LazyLock<CpuExecutor> =
    LazyLock::new(|| CpuExecutor::new(THREADS).expect("the system has threads for a pool"));

/// For functions over many items.
static THREAD_POOL: LazyLock<ThreadPoolExecutor> = LazyLock::new(ThreadPoolExecutor::default);

/// So many items of these are one job.
const CHUNK: usize = 64;

/// Our runtime.
#[derive(Debug)]
pub struct Loopool(Runtime);

impl Peer for Loopool {
    type Remote = ThreadsafeHandle;

    fn start(threads: usize) -> io::Result<Self> {
        Runtime::builder().loops(threads).build().map(Loopool)
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

    async fn timeout<F>(limit: Duration, future: F) -> Option<F::Output>
    where
        F: Future + Send,
        F::Output: Send,
    {
        loopool::timeout(limit, future).await.ok()
    }

    fn remote() -> ThreadsafeHandle {
        loopool::get_running_loop().threadsafe()
    }

    fn spawn_remote(remote: &ThreadsafeHandle, future: impl Future<Output = ()> + Send + 'static) {
        drop(remote.create_task(future));
    }

    fn call<F>(remote: &ThreadsafeHandle, future: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let mut job = remote.run_coroutine_threadsafe(future);
        job.result(None).expect("a benchmark's task neither panics nor is cancelled")
    }

    fn spawn_blocking<T: Send + 'static>(
        function: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        let job = loopool::to_thread(function);
        async { job.await.expect("a benchmark's function does not panic") }
    }

    async fn map_blocking(function: fn(u64) -> u64, numbers: Range<u64>) -> u64 {
        let results = loopool::jobs::map(&*THREAD_POOL, function, numbers).chunksize(CHUNK);
        let value = |result: Result<u64, _>| result.expect("a benchmark's function does not panic");
        results.map(value).fold(0, |sum, number| async move { sum + number }).await
    }

    fn allow_blocking(threads: usize) {
        loopool::set_default_executor(ThreadPoolExecutor::new(threads));
    }

    fn compute<T: Send + 'static>(
        function: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        let job = loopool::run_in_executor(&*POOL, function);
        async {
            let job = job.map_err(|_| "refused").expect("the pool has no limit and does not end");
            job.await.expect("a benchmark's function does not panic")
        }
    }
}
