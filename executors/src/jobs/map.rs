//! A function over items, in an executor.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::iter::{Fuse, FusedIterator};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use std::vec;

use futures_core::Stream;

use crate::cancel_token::Heeded;
use crate::error::JobError;
use crate::job::{Job, deadline_after};
use crate::promise::Outcome;
use crate::work::{Executor, Work};

/// Calls `function` with each item in `executor`; the results come in the order of the items.
///
/// Nothing happens before the first result is asked for. Then so many jobs are under way as
/// [`buffersize`](Map::buffersize) says, and another one is made for each that is given: so `items` may be
/// endless. A panic, or whatever else takes a result away, is an error in its item's place; the others come
/// all the same. Dropping it cancels what has not started; what runs goes on, and its results are lost.
///
/// For executors that take closures: those of threads and cores, and one's own. A pool of processes takes a `fn`
/// that captures nothing: see [`map_calls`].
///
/// A [`Stream`] for who awaits, in any runtime; an iterator for a thread, which then blocks
/// ([with a limit](Map::timeout), if wished). On an event loop's thread that stops the loop.
///
/// ```
/// use loopool_executors::ThreadPoolExecutor;
/// use loopool_executors::jobs::map;
///
/// let pool = ThreadPoolExecutor::new(4);
/// let squares: Result<Vec<u64>, _> = map(&pool, |n| n * n, 1..=5).into_iter().collect();
/// assert_eq!(squares?, [1, 4, 9, 16, 25]);
///
/// let evens = map(&pool, |n: u64| n * 2, 0..).chunksize(16);
/// assert_eq!(evens.into_iter().nth(1000).unwrap()?, 2000);
/// # Ok::<(), loopool_executors::JobError>(())
/// ```
///
/// # Errors
/// Each result may be the error of its job. When the executor takes no more work, the reason is the last
/// result, after what it had taken. When its queue is full of others' jobs, that is a result, too, and the next
/// one asked for tries again with the same items.
pub fn map<E, F, I, R>(executor: &E, function: F, items: I) -> Map<'_, E, F, I::IntoIter, R>
where
    E: Executor<Chunk<F, I::Item>> + ?Sized,
    F: Fn(I::Item) -> R + Send + Sync + 'static,
    I: IntoIterator,
    I::Item: Send + 'static,
    R: Send + 'static,
{
    Map {
        executor,
        function: Arc::new(function),
        items: items.into_iter().fuse(),
        next: Next::Items,
        under_way: VecDeque::new(),
        given: Vec::new().into_iter(),
        chunksize: 1,
        buffersize: 4 * crate::os::usable_cpus(),
    }
}

/// As [`map`], with a function that can cross to another process: a `fn` item, or a closure that captures nothing.
/// For any executor.
///
/// In a pool of processes a chunk is one message each way. A panic costs its own item; a crash costs its chunk, whose
/// first item has the report.
///
/// ```
/// use loopool_executors::ProcessPoolExecutor;
/// use loopool_executors::jobs::map_calls;
///
/// let pool = ProcessPoolExecutor::new(2)?;
/// let squares = map_calls(&pool, |n: u64| n * n, 1..=100).chunksize(16);
/// assert_eq!(squares.into_iter().sum::<Result<u64, _>>()?, 338_350);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As for [`map`].
pub fn map_calls<E, A, R, I>(
    executor: &E,
    function: fn(A) -> R,
    items: I,
) -> MapCalls<'_, E, A, I::IntoIter, R>
where
    E: Executor<Chunk<fn(A) -> R, A>> + ?Sized,
    A: Send + 'static,
    R: Send + 'static,
    I: IntoIterator<Item = A>,
{
    map(executor, function, items)
}

/// What [`map_calls`] makes.
pub type MapCalls<'e, E, A, I, R> = Map<'e, E, fn(A) -> R, I, R>;

/// Results in the order of their items. Made by [`map`] and [`map_calls`].
///
/// # Cancel safety
/// As long as the stream gave no result, none is lost.
#[must_use = "nothing is done before results are asked for"]
pub struct Map<'e, E: ?Sized, F, I: Iterator, R> {
    executor: &'e E,
    function: Arc<F>,
    items: Fuse<I>,
    next: Next<Chunk<F, I::Item>>,
    /// The oldest first.
    under_way: VecDeque<UnderWay<R>>,
    /// What is left of the last chunk that was done.
    given: vec::IntoIter<Outcome<R>>,
    chunksize: usize,
    buffersize: usize,
}

/// What comes after what is under way.
enum Next<C> {
    /// The items.
    Items,
    /// This first: the executor's queue was full.
    Chunk(C),
    /// The executor has refused for good.
    Refusal(JobError),
    Nothing,
}

struct UnderWay<R> {
    job: Job<Vec<Outcome<R>>>,
    items: usize,
}

/// The work of [`map`]: a function, and some items for it.
pub struct Chunk<F, A> {
    function: Arc<F>,
    items: Vec<A>,
}

impl<F, A> Chunk<F, A> {
    pub(crate) fn function(&self) -> &F {
        &self.function
    }

    pub(crate) fn items(&self) -> &Vec<A> {
        &self.items
    }
}

impl<F, A, R> Work for Chunk<F, A>
where
    F: Fn(A) -> R + Send + Sync + 'static,
    A: Send + 'static,
    R: Send + 'static,
{
    type Output = Vec<Outcome<R>>;

    fn run(self) -> Self::Output {
        let call = |item| catch_unwind(AssertUnwindSafe(|| (self.function)(item)));
        let failed = |panic: Box<dyn Any + Send>| match panic.downcast_ref::<Heeded>() {
            Some(heeded) if heeded.is_for_current() => resume_unwind(panic),
            _ => JobError::panicked(panic),
        };
        self.items.into_iter().map(|item| call(item).map_err(failed)).collect()
    }
}

impl<F, A> fmt::Debug for Chunk<F, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk").field("items", &self.items.len()).finish_non_exhaustive()
    }
}

impl<'e, E: ?Sized, F, I: Iterator, R> Map<'e, E, F, I, R> {
    /// So many items are one job. Default: 1. More cost less where the function is quick.
    ///
    /// # Panics
    /// When it is zero.
    ///
    /// ```
    /// # use loopool_executors::{ThreadPoolExecutor, jobs::map};
    /// let pool = ThreadPoolExecutor::new(2);
    /// let lengths = map(&pool, str::len, ["one", "two", "three"]).chunksize(2);
    /// assert_eq!(lengths.into_iter().map(Result::unwrap).sum::<usize>(), 11);
    /// ```
    #[track_caller]
    pub fn chunksize(mut self, items: usize) -> Self {
        assert!(items > 0, "a chunk has at least one item");
        self.chunksize = items;
        self
    }

    /// So many jobs are in the executor, or done and not begun to be given. Default: four times as many as there
    /// are CPUs.
    ///
    /// # Panics
    /// When it is zero.
    ///
    /// ```
    /// # use loopool_executors::{ThreadPoolExecutor, jobs::map};
    /// let pool = ThreadPoolExecutor::new(2);
    /// let mut doubles = map(&pool, |n| n * 2, 0_u64..).buffersize(2).into_iter();
    /// assert_eq!(doubles.next().unwrap().unwrap(), 0); // and two items were taken
    /// ```
    #[track_caller]
    pub fn buffersize(mut self, jobs: usize) -> Self {
        assert!(jobs > 0, "at least one job has to be under way");
        self.buffersize = jobs;
        self
    }

    /// An iterator that gives up when so much time has passed from now. Then it takes no more items, gives what
    /// is done up to the first result that is not, then an error with
    /// [`is_wait_timeout`](JobError::is_wait_timeout) (unless it is known that there are no more items), and then
    /// nothing any more. What has not started is cancelled; what runs goes on.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use loopool_executors::{ThreadPoolExecutor, jobs::map};
    /// let pool = ThreadPoolExecutor::new(2);
    /// let nap = |()| std::thread::sleep(Duration::from_millis(50));
    /// let mut naps = map(&pool, nap, [()]).timeout(Duration::from_millis(1));
    /// assert!(naps.next().unwrap().unwrap_err().is_wait_timeout());
    /// assert!(naps.next().is_none());
    /// ```
    pub fn timeout(self, timeout: Duration) -> MapIter<'e, E, F, I, R> {
        MapIter { map: self, deadline: deadline_after(Some(timeout)) }
    }
}

impl<E, F, I, R> Map<'_, E, F, I, R>
where
    E: Executor<Chunk<F, I::Item>> + ?Sized,
    F: Fn(I::Item) -> R + Send + Sync + 'static,
    I: Iterator,
    I::Item: Send + 'static,
    R: Send + 'static,
{
    /// Puts as many jobs under way as there is room for. The error is that others fill the executor's queue.
    fn fill(&mut self) -> Result<(), JobError> {
        while self.under_way.len() < self.buffersize {
            let Some(chunk) = self.next_chunk() else { break };
            let items = chunk.items.len();
            match self.executor.submit(chunk) {
                Ok(job) => self.under_way.push_back(UnderWay { job, items }),
                Err(full) if full.is_queue_full() => {
                    let error = JobError::rejected(full.reason());
                    self.next = Next::Chunk(full.into_work());
                    return if self.under_way.is_empty() { Err(error) } else { Ok(()) };
                }
                Err(refused) => self.next = Next::Refusal(refused.into()),
            }
        }
        Ok(())
    }

    fn next_chunk(&mut self) -> Option<Chunk<F, I::Item>> {
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Chunk(chunk) => {
                self.next = Next::Items;
                Some(chunk)
            }
            Next::Items => {
                let items: Vec<_> = self.items.by_ref().take(self.chunksize).collect();
                if items.is_empty() {
                    return None;
                }
                self.next = Next::Items;
                Some(Chunk { function: self.function.clone(), items })
            }
            over => {
                self.next = over;
                None
            }
        }
    }

    /// What is there without waiting; else the oldest job has to be waited for.
    fn next_ready(&mut self) -> Poll<Option<Outcome<R>>> {
        let filled = self.fill();
        if let Some(result) = self.given.next() {
            return Poll::Ready(Some(result));
        }
        if !self.under_way.is_empty() {
            return Poll::Pending;
        }
        if let Err(full) = filled {
            return Poll::Ready(Some(Err(full)));
        }
        Poll::Ready(self.take_refusal().map(Err))
    }

    fn take_refusal(&mut self) -> Option<JobError> {
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Refusal(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// As [`next_ready`](Self::next_ready), once no more items are taken. `None`: it gives up here.
    fn next_of_those_done(&mut self) -> Option<Option<Outcome<R>>> {
        if let Some(result) = self.given.next() {
            return Some(Some(result));
        }
        if let Some(oldest) = self.under_way.front_mut() {
            let outcome = oldest.job.done().then(|| oldest.job.result(Duration::ZERO))?;
            return Some(self.take_oldest(outcome));
        }
        match self.next {
            Next::Chunk(_) => None,
            // To look at the next one might take any time.
            Next::Items if self.items.size_hint() != (0, Some(0)) => None,
            Next::Items | Next::Refusal(_) | Next::Nothing => Some(self.take_refusal().map(Err)),
        }
    }

    fn oldest(&mut self) -> &mut Job<Vec<Outcome<R>>> {
        &mut self.under_way.front_mut().expect("there is something to wait for").job
    }

    /// The oldest job is done.
    fn take_oldest(&mut self, outcome: Outcome<Vec<Outcome<R>>>) -> Option<Outcome<R>> {
        let items = self.under_way.pop_front().map_or(0, |chunk| chunk.items);
        let results = outcome.unwrap_or_else(|error| {
            // It befell every item; the first one says what it was.
            let cancelled = error.is_cancelled();
            let another = || if cancelled { JobError::cancelled() } else { JobError::abandoned() };
            let others = (1..items).map(|_| Err(another()));
            std::iter::once(Err(error)).chain(others).collect()
        });
        self.given = results.into_iter();
        self.given.next()
    }
}

impl<E: ?Sized, F, I: Iterator, R> Unpin for Map<'_, E, F, I, R> {}

impl<E, F, I, R> Stream for Map<'_, E, F, I, R>
where
    E: Executor<Chunk<F, I::Item>> + ?Sized,
    F: Fn(I::Item) -> R + Send + Sync + 'static,
    I: Iterator,
    I::Item: Send + 'static,
    R: Send + 'static,
{
    type Item = Outcome<R>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Outcome<R>>> {
        if let Poll::Ready(result) = self.next_ready() {
            return Poll::Ready(result);
        }
        let oldest = Pin::new(self.oldest()).poll(cx);
        oldest.map(|outcome| self.take_oldest(outcome))
    }
}

impl<'e, E, F, I, R> IntoIterator for Map<'e, E, F, I, R>
where
    E: ?Sized,
    I: Iterator,
    MapIter<'e, E, F, I, R>: Iterator<Item = Outcome<R>>,
{
    type Item = Outcome<R>;
    type IntoIter = MapIter<'e, E, F, I, R>;

    fn into_iter(self) -> Self::IntoIter {
        MapIter { map: self, deadline: None }
    }
}

/// A blocking iterator over a [`Map`].
#[derive(Debug)]
#[must_use = "nothing is done before results are asked for"]
pub struct MapIter<'e, E: ?Sized, F, I: Iterator, R> {
    map: Map<'e, E, F, I, R>,
    deadline: Option<Instant>,
}

impl<E, F, I, R> Iterator for MapIter<'_, E, F, I, R>
where
    E: Executor<Chunk<F, I::Item>> + ?Sized,
    F: Fn(I::Item) -> R + Send + Sync + 'static,
    I: Iterator,
    I::Item: Send + 'static,
    R: Send + 'static,
{
    type Item = Outcome<R>;

    fn next(&mut self) -> Option<Outcome<R>> {
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return self.map.next_of_those_done().unwrap_or_else(|| {
                self.map.give_up();
                Some(Err(JobError::wait_timed_out()))
            });
        }
        if let Poll::Ready(result) = self.map.next_ready() {
            return result;
        }
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let outcome = match self.map.oldest().result(left) {
            Err(error) if error.is_wait_timeout() => {
                if !self.map.oldest().done() {
                    self.map.give_up();
                    return Some(Err(error));
                }
                // Done in the very last moment, unless the job's own outcome was of this kind.
                match self.map.oldest().result(Duration::ZERO) {
                    Err(taken) if taken.is_already_taken() => Err(error),
                    outcome => outcome,
                }
            }
            outcome => outcome,
        };
        self.map.take_oldest(outcome)
    }
}

impl<'e, E: ?Sized, F, I: Iterator, R> FusedIterator for MapIter<'e, E, F, I, R> where
    MapIter<'e, E, F, I, R>: Iterator
{
}

impl<E: ?Sized, F, I: Iterator, R> Map<'_, E, F, I, R> {
    /// Takes no more items, and cancels what has not started.
    fn give_up(&mut self) {
        self.next = Next::Nothing;
        for chunk in self.under_way.drain(..) {
            chunk.job.cell().cancel_if_pending();
        }
    }
}

impl<E: ?Sized, F, I: Iterator, R> Drop for Map<'_, E, F, I, R> {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl<E: ?Sized, F, I: Iterator, R> fmt::Debug for Map<'_, E, F, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("chunksize", &self.chunksize)
            .field("buffersize", &self.buffersize)
            .field("under_way", &self.under_way.len())
            .finish_non_exhaustive()
    }
}
