//! rayon's pool: for the workloads that need no more than jobs, and where the other runtimes compute.

use std::future::Future;
use std::sync::LazyLock;

use futures::channel::oneshot;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use super::THREADS;

/// For programs that compute beside a runtime.
static POOL: LazyLock<ThreadPool> =
    LazyLock::new(|| start().expect("the system has threads for a pool"));

/// A pool of [`THREADS`] threads.
///
/// # Errors
/// When the system refuses threads.
pub(crate) fn start() -> Result<ThreadPool, ThreadPoolBuildError> {
    ThreadPoolBuilder::new().num_threads(THREADS).build()
}

/// Runs `function` on the program's pool.
pub(super) fn compute<T: Send + 'static>(
    function: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = T> + Send + 'static {
    let (done, result) = oneshot::channel();
    POOL.spawn(move || {
        // Nobody waits any more when the program ends.
        let _ = done.send(function());
    });
    async { result.await.expect("the pool drops no job") }
}
