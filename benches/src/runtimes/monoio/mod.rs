//! monoio on one thread: tasks that never move, over io_uring where the kernel has it.
//!
//! Its tasks can't be given to it by another thread, so a task of its own takes them from a channel,
//! as its users do it.

mod network;
mod one_thread;
mod primitives;

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::time::Duration;

use futures::channel::oneshot;
use futures_lite::future;
use monoio::blocking::DefaultThreadPool;
use monoio::time::TimeDriver;
use monoio::{FusionDriver, FusionRuntime, IoUringDriver, LegacyDriver, RuntimeBuilder};

use self::one_thread::OneThread;
use super::{Peer, THREADS, rayon};

/// monoio's runtime, on the thread that waits.
pub struct Monoio(RefCell<FusionRuntime<TimeDriver<IoUringDriver>, TimeDriver<LegacyDriver>>>);

impl fmt::Debug for Monoio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monoio").finish_non_exhaustive()
    }
}

/// Makes a task, on the runtime's thread.
type Start = Box<dyn FnOnce() + Send>;

impl Peer for Monoio {
    type Remote = async_channel::Sender<Start>;

    fn start(_: usize) -> io::Result<Self> {
        let pool = Box::new(DefaultThreadPool::new(THREADS));
        let builder = RuntimeBuilder::<FusionDriver>::new().attach_thread_pool(pool);
        Ok(Monoio(RefCell::new(builder.enable_timer().build()?)))
    }

    fn run<F>(&self, work: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.borrow_mut().block_on(async { Self::spawn(work).await })
    }

    fn spawn<F>(future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        OneThread::new(monoio::spawn(future))
    }

    fn spawn_detached(future: impl Future<Output = ()> + Send + 'static) {
        drop(monoio::spawn(future));
    }

    /// A task that wakes itself is the next one to run, before all others; so a task that does nothing
    /// is put at the end of the queue, and waited for.
    fn yield_now() -> impl Future<Output = ()> + Send {
        Self::spawn(async {})
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + Send {
        OneThread::new(monoio::time::sleep(duration))
    }

    async fn timeout<F>(limit: Duration, future: F) -> Option<F::Output>
    where
        F: Future + Send,
        F::Output: Send,
    {
        OneThread::new(monoio::time::timeout(limit, future)).await.ok()
    }

    fn remote() -> Self::Remote {
        let (remote, starts) = async_channel::unbounded::<Start>();
        drop(monoio::spawn(async move {
            while let Ok(start) = starts.recv().await {
                start();
            }
        }));
        remote
    }

    fn spawn_remote(remote: &Self::Remote, future: impl Future<Output = ()> + Send + 'static) {
        let start = Box::new(|| Self::spawn_detached(future));
        remote.try_send(start).expect("the runtime waits for tasks");
    }

    fn call<F>(remote: &Self::Remote, future: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (done, result) = oneshot::channel();
        Self::spawn_remote(remote, async {
            // The thread that calls waits.
            let _ = done.send(future.await);
        });
        future::block_on(result).expect("a benchmark's task does not panic")
    }

    fn spawn_blocking<T: Send + 'static>(
        function: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        let task = monoio::spawn_blocking(function);
        OneThread::new(async { task.await.expect("a benchmark's function does not panic") })
    }

    fn compute<T: Send + 'static>(
        function: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        rayon::compute(function)
    }
}
