//! A function over items, in an executor.

use std::collections::VecDeque;
use std::fmt;
use std::iter::{Fuse, FusedIterator};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use std::vec;

use futures_core::Stream;

use crate::error::JobError;
use crate::job::Job;
use crate::promise::Outcome;
use crate::work::{Executor, Work};

/// Calls `function` with each item in `executor`; the results come in the order of the items.
///
/// Nothing happens before the first result is asked for. Then so many items are under way as
/// [`buffersize`](Map::buffersize) says, and another one is taken for each that is given: so `items` may be
/// endless. A panic, or whatever else takes a result away, is an error in its item's place; the others come
/// all the same. Dropping it cancels what has not started.
///
/// A [`Stream`] for who awaits, in any runtime; an iterator for a thread, which then blocks. On an event loop's
/// thread that stops the loop.
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
/// Each result may be the error of its job. When the executor takes no more work, or its queue is full of
/// others' jobs, the reason is the last result.
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
        buffersize: 4 * num_cpus::get(),
        deadline: None,
    }
}

/// Results in the order of their items. Made by [`map`].
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
    deadline: Option<Instant>,
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

impl<F, A, R> Work for Chunk<F, A>
where
    F: Fn(A) -> R + Send + Sync + 'static,
    A: Send + 'static,
    R: Send + 'static,
{
    type Output = Vec<Outcome<R>>;

    fn run(self) -> Self::Output {
        let call = |item| catch_unwind(AssertUnwindSafe(|| (self.function)(item)));
        self.items.into_iter().map(|item| call(item).map_err(JobError::panicked)).collect()
    }
}

impl<F, A> fmt::Debug for Chunk<F, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk").field("items", &self.items.len()).finish_non_exhaustive()
    }
}

impl<E: ?Sized, F, I: Iterator, R> Map<'_, E, F, I, R> {
    /// So many items are one job. Default: 1. More cost less where the function is quick.
    ///
    /// # Panics
    /// When it is zero.
    #[track_caller]
    pub fn chunksize(mut self, items: usize) -> Self {
        assert!(items > 0, "a chunk has at least one item");
        self.chunksize = items;
        self
    }

    /// So many items, at least a chunk, are in the executor or done and not given yet. Default: four times as
    /// many as there are CPUs.
    ///
    /// # Panics
    /// When it is zero.
    #[track_caller]
    pub fn buffersize(mut self, items: usize) -> Self {
        assert!(items > 0, "at least one item has to be under way");
        self.buffersize = items;
        self
    }

    /// The iterator gives up so long from now: what is done by then is still given, then comes an error with
    /// [`is_wait_timeout`](JobError::is_wait_timeout), and then nothing any more. Who awaits limits the await.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        // A time that is too far for the clock never comes.
        self.deadline = Instant::now().checked_add(timeout);
        self
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
    /// Puts as many items under way as there is room for.
    fn fill(&mut self) {
        let counts = self.under_way.iter().map(|chunk| chunk.items);
        let mut room = self.buffersize.saturating_sub(counts.sum());
        let chunksize = self.chunksize.min(self.buffersize);
        while room >= chunksize {
            let Some(chunk) = self.next_chunk(chunksize) else { return };
            let items = chunk.items.len();
            match self.executor.submit(chunk) {
                Ok(job) => self.under_way.push_back(UnderWay { job, items }),
                Err(full) if full.is_queue_full() && !self.under_way.is_empty() => {
                    self.next = Next::Chunk(full.into_work());
                    return;
                }
                Err(refused) => {
                    self.next = Next::Refusal(refused.into());
                    return;
                }
            }
            room = room.saturating_sub(items);
        }
    }

    fn next_chunk(&mut self, size: usize) -> Option<Chunk<F, I::Item>> {
        match std::mem::replace(&mut self.next, Next::Items) {
            Next::Items => {
                let items: Vec<_> = self.items.by_ref().take(size).collect();
                (!items.is_empty()).then(|| Chunk { function: self.function.clone(), items })
            }
            Next::Chunk(chunk) => Some(chunk),
            over => {
                self.next = over;
                None
            }
        }
    }

    /// What is there without waiting; else the oldest job has to be waited for.
    fn next_ready(&mut self) -> Poll<Option<Outcome<R>>> {
        if let Some(result) = self.given.next() {
            return Poll::Ready(Some(result));
        }
        self.fill();
        if !self.under_way.is_empty() {
            return Poll::Pending;
        }
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Refusal(refusal) => Poll::Ready(Some(Err(refusal))),
            _ => Poll::Ready(None),
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
            let others = (1..items).map(|_| Err(JobError::rejected("its chunk was lost")));
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
    E: Executor<Chunk<F, I::Item>> + ?Sized,
    F: Fn(I::Item) -> R + Send + Sync + 'static,
    I: Iterator,
    I::Item: Send + 'static,
    R: Send + 'static,
{
    type Item = Outcome<R>;
    type IntoIter = MapIter<'e, E, F, I, R>;

    fn into_iter(self) -> Self::IntoIter {
        MapIter { map: self }
    }
}

/// A blocking iterator over a [`Map`].
#[derive(Debug)]
#[must_use = "nothing is done before results are asked for"]
pub struct MapIter<'e, E: ?Sized, F, I: Iterator, R> {
    map: Map<'e, E, F, I, R>,
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
        if let Poll::Ready(result) = self.map.next_ready() {
            return result;
        }
        let left =
            self.map.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match self.map.oldest().result(left) {
            Err(error) if error.is_wait_timeout() => {
                self.map.give_up();
                Some(Err(error))
            }
            outcome => self.map.take_oldest(outcome),
        }
    }
}

impl<E, F, I, R> FusedIterator for MapIter<'_, E, F, I, R>
where
    E: Executor<Chunk<F, I::Item>> + ?Sized,
    F: Fn(I::Item) -> R + Send + Sync + 'static,
    I: Iterator,
    I::Item: Send + 'static,
    R: Send + 'static,
{
}

impl<E: ?Sized, F, I: Iterator, R> Map<'_, E, F, I, R> {
    /// Takes no more items, and cancels what has not started.
    fn give_up(&mut self) {
        self.next = Next::Nothing;
        for chunk in self.under_way.drain(..) {
            chunk.job.cancel();
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
