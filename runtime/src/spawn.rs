//! Free functions that act on the running loop.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::event_loop::get_running_loop;
use crate::metrics::RuntimeMetrics;
use crate::placement::NoSuchLoop;
use crate::task::Task;

/// Makes a task of `future`: it runs by itself, on any loop of this runtime, from now on.
///
/// Dropping the handle lets it go on.
///
/// ```
/// # loopool::run(async {
/// let task = loopool::create_task(async { "done" });
/// assert_eq!(task.await.unwrap(), "done");
/// # });
/// ```
///
/// # Panics
/// Outside a running event loop.
#[track_caller]
pub fn create_task<F>(future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    get_running_loop().create_task(future)
}

/// [`create_task`] under the name that Rust programmers look for.
///
/// # Panics
/// Outside a running event loop.
#[track_caller]
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    create_task(future)
}

/// Makes a task that never leaves this loop, so that it may hold what is not `Send`.
///
/// ```
/// use std::rc::Rc;
///
/// # loopool::run(async {
/// let shared = Rc::new(5);
/// let task = loopool::create_local_task(async move { *shared });
/// assert_eq!(task.await.unwrap(), 5);
/// # });
/// ```
///
/// # Panics
/// Outside a running event loop.
#[track_caller]
pub fn create_local_task<F>(future: F) -> Task<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    get_running_loop().create_local_task(future)
}

/// Makes a task on loop `loop_index` of this runtime, which it never leaves; see
/// [`ThreadsafeHandle::spawn_on`](crate::ThreadsafeHandle::spawn_on).
///
/// ```
/// use std::rc::Rc;
///
/// # loopool::run(async {
/// let last = loopool::get_running_loop().loops() - 1;
/// let task = loopool::spawn_on(last, || async { *Rc::new(5) }).unwrap();
/// assert_eq!(task.await.unwrap(), 5);
/// # });
/// ```
///
/// # Errors
/// [`NoSuchLoop`], with the maker, when there is no loop of this number.
///
/// # Panics
/// Outside a running event loop.
#[track_caller]
pub fn spawn_on<M, F>(loop_index: usize, make: M) -> Result<Task<F::Output>, NoSuchLoop<M>>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    get_running_loop().spawn_on(loop_index, make)
}

/// Makes a task on each loop of this runtime; `make` gets the loop's number. See
/// [`ThreadsafeHandle::spawn_on_each`](crate::ThreadsafeHandle::spawn_on_each).
///
/// ```
/// # loopool::run(async {
/// let tasks = loopool::spawn_on_each(|index| async move { index });
/// for (index, task) in tasks.into_iter().enumerate() {
///     assert_eq!(task.await.unwrap(), index);
/// }
/// # });
/// ```
///
/// # Panics
/// Outside a running event loop.
#[track_caller]
pub fn spawn_on_each<M, F>(make: M) -> Vec<Task<F::Output>>
where
    M: Fn(usize) -> F + Send + Clone + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    get_running_loop().spawn_on_each(make)
}

/// What the loops of this thread's runtime are doing.
///
/// # Panics
/// Outside a running event loop.
#[track_caller]
pub fn metrics() -> RuntimeMetrics {
    get_running_loop().threadsafe().metrics()
}

/// Lets everything else that is ready run first.
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// The future of [`yield_now`].
#[derive(Debug)]
#[must_use = "a yield does nothing unless it is awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
