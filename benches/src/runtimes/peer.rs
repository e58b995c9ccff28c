//! What a workload may ask of a runtime's tasks, timers and threads.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::time::Duration;

use super::{Network, Primitives};

/// One runtime, running.
pub trait Peer: Network + Primitives + Sized + 'static {
    /// What another thread needs to give this runtime work.
    type Remote: Clone + Send + 'static;

    /// Starts the runtime with so many threads; dropping it ends them.
    ///
    /// # Errors
    /// When the system refuses descriptors or threads.
    fn start(threads: usize) -> io::Result<Self>;

    /// Runs `work` as a task among the runtime's others, so on one of its workers, and waits for it.
    fn run<F>(&self, work: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;

    /// Makes a task that goes on even if nobody awaits it; inside a task only.
    fn spawn<F>(future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;

    /// Makes a task that nobody waits for; inside a task only.
    fn spawn_detached(future: impl Future<Output = ()> + Send + 'static);

    /// Lets others run.
    fn yield_now() -> impl Future<Output = ()> + Send;

    /// Waits.
    fn sleep(duration: Duration) -> impl Future<Output = ()> + Send;

    /// What comes of `future`, or nothing if that takes longer than `limit`.
    fn timeout<F>(limit: Duration, future: F) -> impl Future<Output = Option<F::Output>> + Send
    where
        F: Future + Send,
        F::Output: Send;

    /// The way in for other threads; inside a task only.
    fn remote() -> Self::Remote;

    /// Makes a task from another thread.
    fn spawn_remote(remote: &Self::Remote, future: impl Future<Output = ()> + Send + 'static);

    /// Makes a task from another thread and blocks that thread until the task has ended.
    fn call<F>(remote: &Self::Remote, future: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;

    /// Runs `function` where the runtime lets functions block; inside a task only.
    fn spawn_blocking<T: Send + 'static>(
        function: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static;

    /// Calls `function` with each of `numbers` where the runtime lets functions block, and adds up what it gives; with
    /// whatever the runtime has for many. Inside a task only.
    fn map_blocking(
        function: fn(u64) -> u64,
        numbers: Range<u64>,
    ) -> impl Future<Output = u64> + Send {
        let spawn = move |number| Self::spawn_blocking(move || function(number));
        let jobs: Vec<_> = numbers.map(spawn).collect();
        async {
            let mut sum = 0;
            for job in jobs {
                sum += job.await;
            }
            sum
        }
    }

    /// Lets at least so many functions block at a time; inside a task only. Without effect where that is the
    /// default, or can't be had.
    fn allow_blocking(threads: usize) {
        let _ = threads;
    }

    /// Runs `function`, which computes and never waits, on a pool of [`THREADS`](super::THREADS)
    /// threads: ours on our pool, the others on rayon's, as their handbooks advise.
    fn compute<T: Send + 'static>(
        function: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static;
}
