//! Between loops and pools: loop → pool with [`run_in_executor`] and [`to_thread`]. (Pool → loop is
//! [`ThreadsafeHandle`](crate::ThreadsafeHandle).)

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use loopool_executors::engine::{Serving, Turn, in_the_name_of};
use loopool_executors::{BoxedWork, CancelOnDrop, Executor, Rejected, Work};

use crate::event_loop::{Core, LoopHandle};
use crate::fork::Forked;
use crate::reactor::registration::Done;
use crate::reactor::{Direction, Registration};
use crate::time::timeout_at;
use crate::yield_now;

/// Gives `work` to `executor`; await what comes back for the outcome.
///
/// Dropping what comes back cancels the job: one that waits is never run, one that runs in a process
/// is killed, one that runs in a thread is asked to end ([`CancelToken`](crate::CancelToken)) and its outcome is
/// dropped.
///
/// A pool of processes is served by the loop that calls this, from the first call on until the loop ends: no other thread
/// stands between it and the workers. While the only loop is blocked, its pool stands still.
///
/// ```
/// use loopool::{CpuExecutor, run_in_executor};
///
/// let pool = CpuExecutor::new(1)?;
/// let sum = loopool::run(async {
///     run_in_executor(&pool, || (1..=100u32).sum::<u32>()).unwrap().await.unwrap()
/// });
/// assert_eq!(sum, 5050);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// Hands the work back when the executor does not take it.
pub fn run_in_executor<W, E>(executor: &E, work: W) -> Result<CancelOnDrop<W::Output>, Rejected<W>>
where
    W: Work,
    E: Executor<W> + ?Sized,
{
    if let Some(core) = crate::context::current_core()
        && let Some(serving) = in_the_name_of(runtime_of(&core), || executor.serve())
    {
        serve_engine(core, serving);
    }
    executor.submit(work).map(|job| job.cancel_on_drop())
}

fn runtime_of(core: &Core) -> usize {
    std::ptr::from_ref(core.shared()).addr()
}

/// Serves an executor from the loop of this thread: then no other thread stands between the loop and the executor's
/// processes.
fn serve_engine(core: Rc<Core>, serving: Serving) {
    let engine = Arc::downgrade(serving.engine());
    core.look_at(engine);
    drop(LoopHandle::new(core).create_task(serve(serving)));
}

/// Turns an executor's engine until it is over, or this loop is.
async fn serve(serving: Serving) {
    let io = Registration::new(serving);
    let mut deadline = None;
    loop {
        let mut next = Turn::Again;
        let turned = io.io(Direction::Read, |serving| {
            next = serving.turn();
            match next {
                Turn::Until(until) if until == deadline => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(Done { value: (), drained: false }),
            }
        });
        match deadline {
            None => {
                if turned.await.is_err() {
                    return;
                }
            }
            Some(time) => match timeout_at(time, turned).await {
                Ok(Err(_)) => return,
                Ok(Ok(())) => {}
                Err(_) => next = io.get().turn(),
            },
        }
        match next {
            Turn::Over => return,
            Turn::Again => yield_now().await,
            Turn::Until(until) => {
                deadline = until;
                if until.is_some_and(|until| until <= Instant::now()) {
                    // It would be past again without ever having waited.
                    yield_now().await;
                }
            }
        }
    }
}

/// Runs `function` in the runtime's default executor, a pool of threads: for calls that block.
///
/// ```
/// # loopool::run(async {
/// let text = loopool::to_thread(|| std::fs::read_to_string("/etc/hostname")).await;
/// assert!(text.is_ok());
/// # });
/// ```
///
/// # Cancel safety
/// Dropped before the function began, it is never called; after that it runs to its end, unless it heeds its
/// [`CancelToken`](crate::CancelToken).
///
/// # Panics
/// Outside a running event loop.
#[track_caller]
pub fn to_thread<F, T>(function: F) -> CancelOnDrop<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let core = running_core();
    assert!(!core.shared().is_forked(), "{Forked}");
    core.shared().default_executor.submit(function).cancel_on_drop()
}

/// Sets the executor that [`to_thread`] uses, for the runtime of this thread. The one before goes on
/// with what it has.
///
/// # Panics
/// Outside a running event loop.
#[track_caller]
pub fn set_default_executor(executor: impl Executor<BoxedWork> + 'static) {
    let core = running_core();
    assert!(!core.shared().is_forked(), "{Forked}");
    core.shared().default_executor.set(Arc::new(executor));
}

#[track_caller]
fn running_core() -> Rc<Core> {
    crate::context::current_core().expect("there is no running loopool event loop on this thread")
}
