//! What executors run: closures, and calls that can cross to another process.

use std::fmt;
use std::time::Duration;

use crate::engine::Serving;
use crate::error::{RejectReason, Rejected};
use crate::job::Job;
use crate::place::{Place, SubmitAsync};
use crate::stats::ExecutorStats;

/// Work that an executor can run: any closure, or a [`Call`].
pub trait Work: Send + 'static {
    /// What it gives.
    type Output: Send + 'static;

    /// Does it.
    fn run(self) -> Self::Output;
}

impl<F, T> Work for F
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Output = T;

    fn run(self) -> T {
        self()
    }
}

/// A function and its argument: work that can run in another process, because a function travels as
/// its place in the binary and an argument as bytes. Made by [`call`].
pub struct Call<A, R> {
    pub(crate) function: fn(A) -> R,
    pub(crate) argument: A,
}

/// Pairs a function with its argument, for any executor.
///
/// The function is any `fn` item, generic instance or closure that captures nothing; a closure that
/// captures does not compile:
///
/// ```compile_fail,E0308
/// use loopool_executors::call;
/// let factor = 3;
/// let work = call(move |n: u32| n * factor, 5);
/// ```
///
/// ```
/// use loopool_executors::{Work, call};
/// assert_eq!(call(|n: u32| n * 3, 5).run(), 15);
/// ```
pub fn call<A, R>(function: fn(A) -> R, argument: A) -> Call<A, R> {
    Call { function, argument }
}

impl<A, R> Work for Call<A, R>
where
    A: Send + 'static,
    R: Send + 'static,
{
    type Output = R;

    fn run(self) -> R {
        (self.function)(self.argument)
    }
}

impl<A, R> fmt::Debug for Call<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("function", &std::any::type_name::<fn(A) -> R>()).finish()
    }
}

/// Somebody who runs work of kind `W`, some time, somewhere.
///
/// Threads and the CPU pool take any closure; processes take a [`Call`], which crosses. An executor
/// of one's own is short:
///
/// ```
/// use loopool_executors::{Executor, ExecutorStats, Job, Promise, Rejected, Work};
///
/// /// Runs everything at once, in the calling thread.
/// struct Inline;
///
/// impl<W: Work> Executor<W> for Inline {
///     fn submit(&self, work: W) -> Result<Job<W::Output>, Rejected<W>> {
///         let (promise, job) = Promise::new();
///         promise.fulfil(|| work.run());
///         Ok(job)
///     }
///     fn shutdown(&self, _wait: bool, _cancel_futures: bool) -> ExecutorStats {
///         ExecutorStats::default()
///     }
/// }
///
/// assert_eq!(Inline.submit(|| 2 + 2).unwrap().result(None).unwrap(), 4);
/// ```
pub trait Executor<W: Work>: Send + Sync {
    /// Takes `work` to be run, at once or never: it does not wait for a place in a full queue.
    ///
    /// # Errors
    /// Hands the work back, with the reason, when the queue is full or the executor is shut down or
    /// broken.
    fn submit(&self, work: W) -> Result<Job<W::Output>, Rejected<W>>;

    /// Takes no more work. With `cancel_futures`, what has not started is cancelled, else it is still
    /// run. With `wait`, returns when all that is over. Tells what became of the jobs.
    fn shutdown(&self, wait: bool, cancel_futures: bool) -> ExecutorStats;

    /// As [`submit`](Self::submit), but blocks the calling thread while the queue is full, at most `timeout`.
    ///
    /// Never call this on an event loop's thread: it stops the loop. In a job of the same pool, of threads or cores,
    /// whose place might never become free, the work is run there and then instead, for as long as it takes. In a
    /// done-callback of a pool of processes it is refused like by [`submit`](Self::submit), and so it is by an executor
    /// without [places](Self::place).
    ///
    /// # Errors
    /// Hands the work back, with the reason, when the executor is shut down or broken, or its queue is still full
    /// when the time is up.
    ///
    /// ```
    /// use loopool_executors::{Executor, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::builder().max_workers(1).queue_limit(10).build();
    /// for line in 0..1000 {
    ///     let _ = pool.submit_wait(move || line * 2, None)?;
    /// }
    /// assert_eq!(pool.shutdown(true, false).finished, 1000);
    /// # Ok::<(), loopool_executors::JobError>(())
    /// ```
    fn submit_wait(
        &self,
        work: W,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Job<W::Output>, Rejected<W>>
    where
        Self: Sized,
    {
        let mut place = self.place();
        if place.wait(timeout.into()) {
            self.submit_to(place, work)
        } else {
            Err(Rejected::new(work, RejectReason::QueueFull))
        }
    }

    /// As [`submit`](Self::submit), but waits while the queue is full; in any runtime. (Who waits first is first.)
    /// Polled by a thread of the same pool, it does what [`submit_wait`](Self::submit_wait) does there.
    ///
    /// # Errors
    /// Hands the work back, with the reason, when the executor is shut down or broken.
    fn submit_async(&self, work: W) -> SubmitAsync<'_, Self, W>
    where
        Self: Sized,
    {
        SubmitAsync::new(self, self.place(), work)
    }

    /// For an event loop, which is to turn the executor's [`Engine`](crate::engine::Engine) from now on; none when
    /// there is nothing to be turned, or somebody does.
    #[doc(hidden)]
    fn serve(&self) -> Option<Serving> {
        None
    }

    /// A place to be waited for in the executor's queue, if that is bounded. By default it is free at once.
    fn place(&self) -> Place {
        Place::default()
    }

    /// As [`submit`](Self::submit), to a place that was found free.
    ///
    /// # Errors
    /// As for [`submit`](Self::submit).
    fn submit_to(&self, place: Place, work: W) -> Result<Job<W::Output>, Rejected<W>> {
        drop(place);
        self.submit(work)
    }
}

/// A closure in a box: what an executor behind `dyn` takes.
pub type BoxedWork = Box<dyn FnOnce() + Send>;
