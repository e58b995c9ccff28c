//! What is counted: wakes, wakers, drops, polls.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use loopool::{Runtime, create_local_task};

/// Nothing here takes so long; it is the limit against hanging.
const HANG: Duration = Duration::from_secs(120);

/// Runs `main` on so many loops. A hang ends the tests.
pub(crate) fn run<T>(loops: usize, main: impl Future<Output = T>) -> T {
    let runtime = Runtime::builder().loops(loops).build().unwrap();
    let (done, over) = std::sync::mpsc::channel::<()>();
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let watch = std::thread::spawn(move || {
        if over.recv_timeout(HANG) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "{test}: nothing has happened for {HANG:?}");
            std::process::abort();
        }
    });
    let output = runtime.run(main);
    drop(done);
    watch.join().unwrap();
    output
}

/// Somebody who is woken. Counts that, and the wakers that exist.
pub(crate) struct Woken(Arc<Count>);

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Woken {
    pub(crate) fn new() -> Self {
        Woken(Arc::default())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.0.load(Ordering::Relaxed)
    }

    /// How many wakers are kept somewhere.
    pub(crate) fn wakers(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }

    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Context<'_>) -> R) -> R {
        let waker = Waker::from(self.0.clone());
        f(&mut Context::from_waker(&waker))
    }

    pub(crate) fn poll<F: Future + Unpin>(&self, future: &mut F) -> Poll<F::Output> {
        self.poll_pinned(Pin::new(future))
    }

    pub(crate) fn poll_pinned<F: Future + ?Sized>(&self, future: Pin<&mut F>) -> Poll<F::Output> {
        self.with(|cx| future.poll(cx))
    }
}

/// A waker that panics when it wakes.
pub(crate) fn panicking_waker() -> Waker {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("by design");
        }
    }
    Waker::from(Arc::new(Panics))
}

/// Counts drops of its values.
pub(crate) struct Dropped(Arc<AtomicUsize>);

#[derive(Debug)]
pub(crate) struct Value(Arc<AtomicUsize>);

impl Dropped {
    pub(crate) fn new() -> Self {
        Dropped(Arc::default())
    }

    pub(crate) fn value(&self) -> Value {
        Value(self.0.clone())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What one poll of `future` in the current task returns.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

/// Operations that one poll of a task may do.
pub(crate) const BUDGET: usize = 128;

/// A task does `leaf`, which is always ready, again and again: it pauses after so many, and loses none.
pub(crate) fn budget_is_kept<F: Future<Output = ()>>(mut leaf: impl FnMut() -> F + 'static) {
    const OPERATIONS: usize = 4 * BUDGET;
    run(1, async {
        let task = create_local_task(async move {
            let done = std::cell::Cell::new(0);
            let mut work = pin!(async {
                for _ in 0..OPERATIONS {
                    leaf().await;
                    done.set(done.get() + 1);
                }
            });
            let mut polls = Vec::new();
            poll_fn(|cx| {
                let before = done.get();
                let polled = work.as_mut().poll(cx);
                polls.push(done.get() - before);
                polled
            })
            .await;
            polls
        });
        let polls = task.await.unwrap();
        assert_eq!(polls.iter().sum::<usize>(), OPERATIONS);
        assert_eq!(polls.iter().max(), Some(&BUDGET), "{polls:?}");
    });
}
