//! [`CancelToken`]: how a job that runs learns that it is to end.
//!
//! A thread can't be stopped, so a job that runs on one is asked: the question is kept in the cell of its promise,
//! and the thread knows the cell of the job that it runs.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::in_hand::{self, InHand, with_in_hand};
use crate::job::{deadline_after, park_until, unpark_this_thread};
use crate::promise::Cell;

/// What a job asks whether it is to end: because somebody has called [`Job::cancel`](crate::Job::cancel), a
/// [guard](crate::Job::cancel_on_drop) was dropped, or its time is up.
///
/// On the job's own thread it is the [current](Self::current) one; to other threads, those of `rayon::join` and
/// `par_iter` included, it is given, as a clone: the current one there is none, or another job's. As long as a token
/// is kept, so is an outcome that nobody has taken. (A job in a pool of processes has one if the
/// pool has a [`cancel_grace`](crate::ProcessPoolBuilder::cancel_grace); else its process is killed at once.)
///
/// ```
/// use loopool_executors::{CancelToken, Executor, ThreadPoolExecutor};
/// # use std::sync::mpsc;
///
/// let pool = ThreadPoolExecutor::new(1);
/// # let (begin, begun) = mpsc::channel();
/// let mut job = pool.submit(move || {
///     # begin.send(()).unwrap();
///     let token = CancelToken::current().unwrap();
///     let mut rounds = 0u64;
///     loop {
///         token.check(); // Ends the job here, once it is cancelled.
///         rounds = rounds.wrapping_add(1);
///     }
/// })?;
/// # begun.recv().unwrap();
/// job.cancel();
/// let outcome: Result<(), _> = job.result(None);
/// assert!(outcome.unwrap_err().is_cancelled());
/// # Ok::<(), loopool_executors::JobError>(())
/// ```
#[derive(Clone)]
pub struct CancelToken {
    job: Arc<dyn Askable>,
}

impl CancelToken {
    /// That of the job which the calling thread runs; `None` when it runs none.
    pub fn current() -> Option<CancelToken> {
        in_hand::current_token()
    }

    /// Whether the job is to end.
    pub fn is_cancelled(&self) -> bool {
        self.job.is_asked()
    }

    /// Ends the job if it is to end, by unwinding: its outcome is
    /// [`is_cancelled`](crate::JobError::is_cancelled), or that its time is up. What is on the stack is dropped,
    /// nothing is reported. In a destructor that runs because of that, it does nothing.
    ///
    /// On another thread than the job's it unwinds that thread, so there it belongs into what hands a panic on to
    /// the job: a scope, or `rayon::join`. In a program built with `panic = "abort"` it ends the program.
    pub fn check(&self) {
        if self.is_cancelled() && !std::thread::panicking() {
            std::panic::resume_unwind(Box::new(Heeded(self.job.address())));
        }
    }

    /// Sleeps until the job is to end, at most `timeout`; whether it is to end. It is not when the job is over
    /// before.
    ///
    /// For jobs that would otherwise sleep: they are woken by their cancellation.
    pub fn wait(&self, timeout: impl Into<Option<Duration>>) -> bool {
        let deadline = deadline_after(timeout.into());
        let waker = unpark_this_thread();
        let (mut to_leave, mut in_time) = (Some(&waker), true);
        loop {
            if let Poll::Ready(asked) = self.job.poll_asked(to_leave.take()) {
                return asked;
            }
            // What comes in the very last moment is found by the look above.
            if !in_time {
                self.job.forget(&waker);
                return false;
            }
            in_time = park_until(deadline);
        }
    }

    /// Is ready when the job is to end, with `true`, or is over, with `false`: for jobs that run a loop of their own.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub fn cancelled(&self) -> impl Future<Output = bool> + Send + use<> {
        Cancelled { token: self.clone(), waker: None }
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("cancelled", &self.is_cancelled()).finish()
    }
}

struct Cancelled {
    token: CancelToken,
    /// The one that was left: every one that is left is forgotten, or taken by whoever wakes, and no other one.
    waker: Option<Waker>,
}

impl Future for Cancelled {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let job = self.token.job.clone();
        if let Some(other) = self.waker.take_if(|waker| !waker.will_wake(cx.waker())) {
            job.forget(&other);
        }
        if self.waker.is_some() {
            return job.poll_asked(None);
        }
        let waker = cx.waker().clone();
        let polled = job.poll_asked(Some(&waker));
        if polled.is_pending() {
            self.waker = Some(waker);
        }
        polled
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        if let Some(waker) = &self.waker {
            self.token.job.forget(waker);
        }
    }
}

/// A job that can be asked to end.
pub(crate) trait Askable: Send + Sync {
    /// Whether it has been.
    fn is_asked(&self) -> bool;

    /// Ready when it has been, or when it is over without; until then the waker is kept, once for each time that it
    /// is given.
    fn poll_asked(&self, waker: Option<&Waker>) -> Poll<bool>;

    /// Whoever has left the waker waits no more: it is kept once less.
    fn forget(&self, waker: &Waker);

    /// Its thread will never come back: it fails, if it is still open.
    fn abandon(&self);

    /// What tells it from the other jobs that are there.
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

/// What a job unwinds with that ends because it was asked to; whose token it was that was checked.
pub(crate) struct Heeded(usize);

impl Heeded {
    pub(crate) fn is_for<T: Send>(&self, job: &Cell<T>) -> bool {
        self.0 == job.address()
    }

    /// Whether it is for the job that the calling thread runs.
    pub(crate) fn is_for_current(&self) -> bool {
        CancelToken::current().is_some_and(|token| self.0 == token.job.address())
    }
}

impl<T: Send + 'static> InHand for Arc<Cell<T>> {
    fn token(&self) -> Option<CancelToken> {
        Some(CancelToken { job: self.clone() })
    }

    fn take_over(&self) {
        self.abandon();
    }
}

impl InHand for Arc<dyn Askable> {
    fn token(&self) -> Option<CancelToken> {
        Some(CancelToken { job: self.clone() })
    }

    fn take_over(&self) {
        self.abandon();
    }
}

/// Runs `work` as the job of `cell`.
pub(crate) fn while_current<T: Send + 'static, R>(
    cell: &Arc<Cell<T>>,
    work: impl FnOnce() -> R,
) -> R {
    with_in_hand(cell, work)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::SeqCst};
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Counts the wakers that were left and not forgotten.
    #[derive(Default)]
    struct Counting {
        is_asked: AtomicBool,
        left: AtomicIsize,
    }

    impl Askable for Counting {
        fn is_asked(&self) -> bool {
            self.is_asked.load(SeqCst)
        }

        fn poll_asked(&self, waker: Option<&Waker>) -> Poll<bool> {
            if self.is_asked() {
                return Poll::Ready(true);
            }
            self.left.fetch_add(isize::from(waker.is_some()), SeqCst);
            Poll::Pending
        }

        fn forget(&self, _: &Waker) {
            self.left.fetch_sub(1, SeqCst);
        }

        fn abandon(&self) {}
    }

    /// Both in one task, so with the same waker, which whoever asks is about to take.
    #[test]
    fn who_found_the_job_asked_at_the_first_look_took_anothers_waker_along() {
        let job = Arc::new(Counting::default());
        let token = CancelToken { job: job.clone() };
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = Box::pin(token.cancelled());
        for _ in 0..2 {
            assert!(first.as_mut().poll(&mut cx).is_pending());
            assert_eq!(job.left.load(SeqCst), 1, "one, however often it is polled");
        }
        job.is_asked.store(true, SeqCst);
        let mut second = Box::pin(token.cancelled());
        assert!(second.as_mut().poll(&mut cx).is_ready());
        drop(second);
        assert_eq!(job.left.load(SeqCst), 1);
        drop(first);
        assert_eq!(job.left.load(SeqCst), 0);
    }
}
