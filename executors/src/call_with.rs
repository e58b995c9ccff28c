//! [`CallWith`]: a call that finds what its worker has prepared.

use std::fmt;

use crate::process::with_state;
use crate::work::Work;

/// A function, its argument, and the state of whichever worker runs it. Made by [`call_with`].
pub struct CallWith<S, A, R> {
    pub(crate) function: fn(&mut S, A) -> R,
    pub(crate) argument: A,
}

/// Pairs a function with its argument, for a pool of processes whose workers have a
/// [state](crate::ProcessPoolBuilder::state) of type `S`. Like that of [`call`](crate::call), the function captures
/// nothing.
///
/// The state stays from job to job, and what a job changes in it the next one in that worker finds. A pool without
/// such a state refuses the work when it is submitted. Threads and cores have none: there the job panics and says so.
///
/// When a job of this kind panics, the state may be half changed: it is dropped, the job fails, and another worker
/// takes that one's place, with a state of its own.
///
/// ```
/// use std::collections::HashMap;
/// use loopool_executors::{Executor, ProcessPoolExecutor, call_with};
///
/// type Cache = HashMap<u64, u64>;
///
/// fn square(cache: &mut Cache, n: u64) -> u64 {
///     *cache.entry(n).or_insert_with(|| n * n)
/// }
///
/// let pool = ProcessPoolExecutor::builder().workers(1).state(|| Ok(Cache::new())).build()?;
/// assert_eq!(pool.submit(call_with(square, 12))?.result(None)?, 144);
/// let size = |cache: &mut Cache, _: ()| cache.len();
/// assert_eq!(pool.submit(call_with(size, ()))?.result(None)?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn call_with<S, A, R>(function: fn(&mut S, A) -> R, argument: A) -> CallWith<S, A, R> {
    CallWith { function, argument }
}

impl<S, A, R> CallWith<S, A, R> {
    /// The argument, unused.
    pub fn into_argument(self) -> A {
        self.argument
    }
}

impl<S, A, R> Work for CallWith<S, A, R>
where
    S: 'static,
    A: Send + 'static,
    R: Send + 'static,
{
    type Output = R;

    /// # Panics
    /// Where there is no such state: everywhere but in a worker that has it.
    fn run(self) -> R {
        with_state(|state| (self.function)(state, self.argument))
    }
}

impl<S, A, R> fmt::Debug for CallWith<S, A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let function = std::any::type_name::<fn(&mut S, A) -> R>();
        f.debug_struct("CallWith").field("function", &function).finish()
    }
}
