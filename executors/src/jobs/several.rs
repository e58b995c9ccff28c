//! Waiting for several jobs.
//!
//! Every job gets a waker with its number, which puts that number on a board when the job is done.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::iter::FusedIterator;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_core::Stream;

use crate::caught::drop_caught;
use crate::error::JobError;
use crate::job::{Job, deadline_after, park_until, unpark_this_thread};
use crate::promise::JobOwner;
use crate::shim::Mutex;

/// When [`wait`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReturnWhen {
    /// When a job is done.
    FirstCompleted,
    /// When a job has failed (a cancelled one has not), or all are done.
    FirstException,
    /// When all jobs are done.
    AllCompleted,
}

/// What [`wait`] gives: every job, in the order in which they were given.
#[derive(Debug)]
#[must_use = "a job that is dropped goes on, but its outcome is lost"]
pub struct DoneAndNotDone<T> {
    /// Their outcomes can be taken.
    pub done: Vec<Job<T>>,
    /// They go on.
    pub not_done: Vec<Job<T>>,
}

/// Blocks the calling thread until enough of the jobs are done, at most `timeout`.
///
/// Never call this on an event loop's thread: it stops the loop. Await [`as_completed`] there, or all of them
/// with `join_all`. In a job of the same pool this runs those that nobody has begun, as [`Job::result`] does.
///
/// # Panics
/// When none of the jobs that are left can be done while this thread waits: in a job that waits for nothing but
/// itself, and in a child of `fork`, where the jobs of its parent are not done.
///
/// ```
/// use loopool_executors::jobs::{ReturnWhen, wait};
/// use loopool_executors::{Executor, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(2);
/// let jobs: Vec<_> = (0..4).map(|n| pool.submit(move || n * n)).collect::<Result<_, _>>()?;
/// let waited = wait(jobs, None, ReturnWhen::AllCompleted);
/// assert_eq!((waited.done.len(), waited.not_done.len()), (4, 0));
/// # Ok::<(), loopool_executors::JobError>(())
/// ```
pub fn wait<T>(
    jobs: impl IntoIterator<Item = Job<T>>,
    timeout: impl Into<Option<Duration>>,
    return_when: ReturnWhen,
) -> DoneAndNotDone<T> {
    let deadline = deadline_after(timeout.into());
    let mut board = Watched::new(jobs);
    let mut enough = board.left() == 0;
    let mut done: Vec<_> = board.jobs.iter().map(|_| false).collect();
    loop {
        // All that are done by now, even if fewer would be enough.
        while let Some((index, failed)) = board.try_next() {
            done[index] = true;
            enough |= match return_when {
                ReturnWhen::FirstCompleted => true,
                ReturnWhen::FirstException => failed || board.left() == 0,
                ReturnWhen::AllCompleted => board.left() == 0,
            };
        }
        if enough || !board.wait(deadline) {
            break;
        }
    }
    let mut waited = DoneAndNotDone { done: Vec::new(), not_done: Vec::new() };
    for (job, done) in board.into_jobs().zip(done) {
        if done { &mut waited.done } else { &mut waited.not_done }.push(job);
    }
    waited
}

/// The jobs one by one, each when it is done: those first that are done already.
///
/// A [`Stream`] for who awaits, in any runtime; an iterator for a thread, which then blocks
/// ([with a limit](AsCompleted::timeout), if wished). On an event loop's thread that stops the loop. Dropping it
/// drops the jobs that are left, which go on.
///
/// # Panics
/// As an iterator, where [`wait`] does.
///
/// ```
/// use loopool_executors::jobs::as_completed;
/// use loopool_executors::{Executor, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(2);
/// let jobs: Vec<_> = (0..4).map(|n| pool.submit(move || n * n)).collect::<Result<_, _>>()?;
/// let mut squares = Vec::new();
/// for mut job in as_completed(jobs) {
///     squares.push(job.result(None)?);
/// }
/// squares.sort();
/// assert_eq!(squares, [0, 1, 4, 9]);
/// # Ok::<(), loopool_executors::JobError>(())
/// ```
pub fn as_completed<T>(jobs: impl IntoIterator<Item = Job<T>>) -> AsCompleted<T> {
    AsCompleted { watched: Watched::new(jobs) }
}

/// Jobs in the order in which they are done. Made by [`as_completed`].
///
/// # Cancel safety
/// A job that the stream gave is out of it; as long as it gave none, nothing is lost.
#[derive(Debug)]
#[must_use = "a job that is dropped goes on, but its outcome is lost"]
pub struct AsCompleted<T> {
    watched: Watched<T>,
}

impl<T> AsCompleted<T> {
    /// An iterator that gives up when so much time has passed from now, and gives nothing after that.
    ///
    /// # Errors
    /// [`Unfinished`], as its last item, when the time was up before all jobs were done.
    ///
    /// ```
    /// use std::time::Duration;
    /// use loopool_executors::Promise;
    /// use loopool_executors::jobs::as_completed;
    ///
    /// let (promise, job) = Promise::<u8>::new();
    /// let mut jobs = as_completed([job]).timeout(Duration::from_millis(1));
    /// let error = jobs.next().unwrap().unwrap_err();
    /// assert_eq!(error.to_string(), "1 of 1 jobs unfinished");
    /// assert_eq!(jobs.into_jobs().len(), 1);
    /// # drop(promise);
    /// ```
    pub fn timeout(self, timeout: Duration) -> AsCompletedTimeout<T> {
        let deadline = deadline_after(Some(timeout));
        AsCompletedTimeout { watched: self.watched, deadline, is_over: false }
    }

    /// Those that were not given yet, in the order in which they were given to [`as_completed`].
    pub fn into_jobs(self) -> Vec<Job<T>> {
        self.watched.into_jobs().collect()
    }
}

impl<T> Stream for AsCompleted<T> {
    type Item = Job<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Job<T>>> {
        let next = self.watched.poll_next(cx.waker());
        next.map(|index| index.map(|(index, _)| self.watched.take(index)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.watched.left(), Some(self.watched.left()))
    }
}

impl<T> IntoIterator for AsCompleted<T> {
    type Item = Job<T>;
    type IntoIter = AsCompletedIter<T>;

    fn into_iter(self) -> AsCompletedIter<T> {
        AsCompletedIter { watched: self.watched }
    }
}

/// A blocking iterator over [`AsCompleted`].
#[derive(Debug)]
#[must_use = "a job that is dropped goes on, but its outcome is lost"]
pub struct AsCompletedIter<T> {
    watched: Watched<T>,
}

impl<T> Iterator for AsCompletedIter<T> {
    type Item = Job<T>;

    fn next(&mut self) -> Option<Job<T>> {
        while self.watched.left() > 0 {
            if let Some((index, _)) = self.watched.try_next() {
                return Some(self.watched.take(index));
            }
            self.watched.wait(None);
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.watched.left(), Some(self.watched.left()))
    }
}

impl<T> ExactSizeIterator for AsCompletedIter<T> {}
impl<T> FusedIterator for AsCompletedIter<T> {}

/// A blocking iterator over [`AsCompleted`] that does not wait for ever. Made by
/// [`timeout`](AsCompleted::timeout).
#[derive(Debug)]
#[must_use = "a job that is dropped goes on, but its outcome is lost"]
pub struct AsCompletedTimeout<T> {
    watched: Watched<T>,
    deadline: Option<Instant>,
    is_over: bool,
}

impl<T> AsCompletedTimeout<T> {
    /// Those that were not given yet.
    pub fn into_jobs(self) -> Vec<Job<T>> {
        self.watched.into_jobs().collect()
    }
}

impl<T> Iterator for AsCompletedTimeout<T> {
    type Item = Result<Job<T>, Unfinished>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.watched.left() > 0 && !self.is_over {
            if let Some((index, _)) = self.watched.try_next() {
                return Some(Ok(self.watched.take(index)));
            }
            if !self.watched.wait(self.deadline) {
                self.is_over = true;
                let (unfinished, all) = (self.watched.left(), self.watched.jobs.len());
                return Some(Err(Unfinished { unfinished, all }));
            }
        }
        None
    }
}

impl<T> FusedIterator for AsCompletedTimeout<T> {}

/// The time given to wait for jobs ran out. They go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfinished {
    /// So many are not done,
    pub unfinished: usize,
    /// of so many.
    pub all: usize,
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} jobs unfinished", self.unfinished, self.all)
    }
}

impl std::error::Error for Unfinished {}

/// Jobs that are watched for their end.
struct Watched<T> {
    jobs: Vec<Option<Job<T>>>,
    board: Arc<Board>,
    /// How many were not found done yet.
    left: usize,
    /// So many of the first ones were begun by the thread that waits, if nobody else had.
    tried: usize,
    /// Those that can't be done while this thread waits, unless their time is up.
    endless: Vec<usize>,
    /// Why not.
    refusal: Option<JobError>,
    /// The jobs' executors, each once, when this thread has slept. (Usually it is one, and it may sleep once for each job.)
    owners: Option<Vec<Arc<dyn JobOwner>>>,
}

/// The numbers of the jobs that are done and were not given yet.
struct Board(Mutex<Numbers>);

#[derive(Default)]
struct Numbers {
    done: VecDeque<usize>,
    waiter: Option<Waker>,
}

/// The waker of one job.
struct Mark {
    board: Arc<Board>,
    index: usize,
}

impl Wake for Mark {
    fn wake(self: Arc<Self>) {
        let mut numbers = self.board.0.lock();
        numbers.done.push_back(self.index);
        let waiter = numbers.waiter.take();
        drop(numbers);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

impl<T> Watched<T> {
    fn new(jobs: impl IntoIterator<Item = Job<T>>) -> Self {
        let jobs: Vec<_> = jobs.into_iter().map(Some).collect();
        let board = Arc::new(Board(Mutex::new(Numbers::default())));
        for (index, job) in jobs.iter().flatten().enumerate() {
            let mark = Waker::from(Arc::new(Mark { board: board.clone(), index }));
            if job.cell().poll_done(&mark).is_ready() {
                board.0.lock().done.push_back(index);
            }
        }
        Watched {
            left: jobs.len(),
            jobs,
            board,
            tried: 0,
            endless: Vec::new(),
            refusal: None,
            owners: None,
        }
    }

    fn left(&self) -> usize {
        self.left
    }

    /// The number of the next one that is done, and whether it failed.
    fn try_next(&mut self) -> Option<(usize, bool)> {
        let index = self.board.0.lock().done.pop_front()?;
        self.left -= 1;
        self.endless.retain(|other| *other != index);
        let done = |job: &Job<T>| job.cell().poll_done(Waker::noop()) == Poll::Ready(true);
        Some((index, self.jobs[index].as_ref().is_some_and(done)))
    }

    /// As [`try_next`](Self::try_next); `None` when there is no other one.
    fn poll_next(&mut self, waker: &Waker) -> Poll<Option<(usize, bool)>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let waker = waker.clone();
        let mut numbers = self.board.0.lock();
        let (some, other) = if numbers.done.is_empty() {
            (false, numbers.waiter.replace(waker))
        } else {
            (true, Some(waker))
        };
        drop(numbers);
        drop_caught("a waker", other);
        if some { Poll::Ready(self.try_next()) } else { Poll::Pending }
    }

    /// Blocks until there may be one that is done. False when the time is up.
    fn wait(&mut self, deadline: Option<Instant>) -> bool {
        let waker = unpark_this_thread();
        let mut in_time = true;
        if deadline.is_none() {
            self.before_wait();
        }
        loop {
            let mut numbers = self.board.0.lock();
            if !numbers.done.is_empty() {
                return true;
            }
            // One that is done in the very last moment is found by the look above.
            if !in_time {
                return false;
            }
            let previous = numbers.waiter.replace(waker.clone());
            drop(numbers);
            drop_caught("a waker", previous);
            self.note_sleep(true);
            in_time = park_until(deadline);
            self.note_sleep(false);
        }
    }

    /// This thread goes to sleep until one is done, or (`false`) does so no more: for all executors that are to do them.
    fn note_sleep(&mut self, begins: bool) {
        let owners = self.owners.get_or_insert_with(|| {
            let owners = self.jobs.iter().flatten().filter_map(|job| job.cell().owner().get());
            let by_address = owners.map(|owner| (Arc::as_ptr(owner).addr(), owner.clone()));
            by_address.collect::<HashMap<_, _>>().into_values().collect()
        });
        owners.iter().for_each(|owner| owner.note_sleep(begins));
    }

    /// As for one job ([`Job::result`]), until one is done.
    fn before_wait(&mut self) {
        while self.board.0.lock().done.is_empty() {
            let Some(job) = self.jobs.get(self.tried) else {
                match &self.refusal {
                    Some(why) if self.left == self.endless.len() => {
                        panic!("no job that is left can be done while this thread waits: {why}")
                    }
                    _ => return,
                }
            };
            if let Some(Err(why)) = job.as_ref().map(|job| job.cell().owner().before_wait()) {
                self.endless.push(self.tried);
                self.refusal = Some(why);
            }
            self.tried += 1;
        }
    }

    /// Takes out one that was found done.
    fn take(&mut self, index: usize) -> Job<T> {
        self.jobs[index].take().expect("every number comes once")
    }

    /// Those that were not taken out.
    fn into_jobs(mut self) -> impl Iterator<Item = Job<T>> {
        self.forget();
        std::mem::take(&mut self.jobs).into_iter().flatten()
    }

    /// Nobody waits any more.
    fn forget(&self) {
        for job in self.jobs.iter().flatten() {
            job.cell().forget_waiter();
        }
    }
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        self.forget();
        let waiter = self.board.0.lock().waiter.take();
        drop_caught("a waker", waiter);
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("left", &self.left).field("all", &self.jobs.len()).finish()
    }
}
