//! A loop that is turned by hand, and futures that wait until they are told to go on.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use loopool::{EventLoop, JoinError, Task};

/// A loop that is turned until it rests.
pub(crate) struct Hands(EventLoop);

impl Hands {
    pub(crate) fn new() -> Self {
        Hands(EventLoop::new().unwrap())
    }

    /// Starts a task and lets it go as far as it does.
    pub(crate) fn start<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let task = self.spawn(future);
        self.rest();
        task
    }

    /// Makes a task that has not been polled yet.
    pub(crate) fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.0.handle().create_local_task(future)
    }

    /// Far more turns than any of these tests needs: what moves after that is busy for nothing.
    pub(crate) fn rest(&self) {
        for _ in 0..60 {
            self.0.stop();
            self.0.run_forever().unwrap();
        }
    }

    /// Cancels the task and lets it act upon that.
    pub(crate) fn cancel<T>(&self, task: &Task<T>) -> Option<loopool::RequestId> {
        let request = task.cancel();
        self.rest();
        request
    }

    /// Turns the loop until the task is done.
    pub(crate) fn run<T>(&self, task: &mut Task<T>) -> Result<T, JoinError> {
        self.0.run_until_complete(task).expect("the loop is open")
    }

    /// Lets go on what waits there.
    pub(crate) fn go(&self, wait: &Wait) {
        wait.go();
        self.rest();
    }
}

/// The outcome of a task that must be done.
#[track_caller]
pub(crate) fn outcome<T>(mut task: Task<T>) -> Result<T, JoinError> {
    match Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("the task is not done"),
    }
}

#[track_caller]
pub(crate) fn assert_cancelled<T: std::fmt::Debug>(task: Task<T>) {
    let outcome = outcome(task);
    assert!(outcome.as_ref().is_err_and(JoinError::is_cancelled), "{outcome:?}");
}

/// A place to wait at, any number of times. Counts.
#[derive(Clone, Default)]
pub(crate) struct Wait(Arc<Place>);

#[derive(Default)]
struct Place {
    waker: Mutex<Option<Waker>>,
    passes: AtomicUsize,
    polls: AtomicUsize,
    drops: AtomicUsize,
}

impl Wait {
    pub(crate) fn new() -> Self {
        Wait::default()
    }

    /// Waits until somebody says [`go`](Self::go).
    pub(crate) fn here(&self) -> Waiting {
        Waiting { place: self.0.clone(), waits: false }
    }

    pub(crate) fn go(&self) {
        self.0.passes.fetch_add(1, Ordering::SeqCst);
        if let Some(waker) = lock(&self.0.waker).take() {
            waker.wake();
        }
    }

    pub(crate) fn polls(&self) -> usize {
        self.0.polls.load(Ordering::SeqCst)
    }

    /// How often a future that waited here was dropped.
    pub(crate) fn drops(&self) -> usize {
        self.0.drops.load(Ordering::SeqCst)
    }
}

pub(crate) struct Waiting {
    place: Arc<Place>,
    waits: bool,
}

impl Future for Waiting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.place.polls.fetch_add(1, Ordering::SeqCst);
        // The waker first, so that who goes on another thread finds it.
        *lock(&self.place.waker) = Some(cx.waker().clone());
        let went = self
            .place
            .passes
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |passes| passes.checked_sub(1))
            .is_ok();
        self.waits = !went;
        if went { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.waits {
            self.place.drops.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn new() -> Self {
        Log::default()
    }

    pub(crate) fn note(&self, what: impl Into<String>) {
        lock(&self.0).push(what.into());
    }

    pub(crate) fn all(&self) -> Vec<String> {
        lock(&self.0).clone()
    }
}

#[derive(Clone, Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

impl Count {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Counts the polls of a future.
    pub(crate) async fn polls_of<F: Future>(&self, future: F) -> F::Output {
        let mut future = Box::pin(future);
        poll_fn(|cx| {
            self.add();
            future.as_mut().poll(cx)
        })
        .await
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A time for timeouts to end at, which comes when the test says so.
pub(crate) struct Deadline {
    time: Instant,
    /// The test got so far in time.
    in_time: Arc<AtomicBool>,
}

struct TooLate;

impl Deadline {
    /// Runs a test that needs such a time; again with more time when that came too early.
    pub(crate) fn test(test: impl Fn(&Hands, Deadline)) {
        let mut margin = Duration::from_millis(10);
        loop {
            let in_time = Arc::new(AtomicBool::new(false));
            let deadline = Deadline { time: Instant::now() + margin, in_time: in_time.clone() };
            let time = deadline.time;
            let Err(payload) = catch_unwind(AssertUnwindSafe(|| test(&Hands::new(), deadline)))
            else {
                return;
            };
            let too_early = !in_time.load(Ordering::SeqCst) && Instant::now() >= time;
            if !too_early || margin.as_secs() >= 10 {
                resume_unwind(payload);
            }
            margin *= 2;
        }
    }

    pub(crate) fn time(&self) -> Instant {
        self.time
    }

    /// Waits until it has come. The loop has not seen that yet.
    pub(crate) fn wait(&self) {
        if Instant::now() >= self.time {
            resume_unwind(Box::new(TooLate));
        }
        self.in_time.store(true, Ordering::SeqCst);
        while Instant::now() <= self.time {
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Lets it come.
    pub(crate) fn come(&self, hands: &Hands) {
        self.wait();
        hands.rest();
    }

    /// Lets it come and calls `act` in the same moment: who waits for both sees both in one poll.
    pub(crate) fn come_with(&self, hands: &Hands, act: impl FnOnce() + 'static) {
        hands.0.handle().call_at(self.time - Duration::from_nanos(1), act);
        self.come(hands);
    }
}

/// Longer than any test.
pub(crate) const LONG: Duration = Duration::from_secs(3600);
