//! A function over items. After CPython's `executor.py`.

mod common;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::until;
use futures_core::Stream;
use loopool_executors::jobs::{Chunk, map, map_calls};
use loopool_executors::{
    CancelToken, CpuExecutor, Executor, ExecutorStats, Job, JobError, ProcessPoolExecutor, Promise,
    Rejected, ThreadPoolExecutor, Work,
};

/// Only a hang lasts so long.
const PATIENCE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(1);

/// An iterator that counts what is taken from it.
fn counted(items: impl Iterator<Item = usize>) -> (Arc<AtomicUsize>, impl Iterator<Item = usize>) {
    let taken = Arc::<AtomicUsize>::default();
    let count = taken.clone();
    (taken, items.inspect(move |_| _ = count.fetch_add(1, Ordering::SeqCst)))
}

/// Runs everything at once.
struct Inline;

impl<W: Work> Executor<W> for Inline {
    fn submit(&self, work: W) -> Result<Job<W::Output>, Rejected<W>> {
        let (promise, job) = Promise::new();
        promise.fulfil(|| work.run());
        Ok(job)
    }
    fn shutdown(&self, _wait: bool, _cancel_futures: bool) -> ExecutorStats {
        ExecutorStats::default()
    }
}

/// A job that runs until the sender is used, and has begun when this returns.
fn block(pool: &ThreadPoolExecutor) -> (mpsc::Sender<()>, Job<()>) {
    let (begin, begun) = mpsc::channel();
    let (release, gate) = mpsc::channel::<()>();
    let job = pool.submit(move || {
        begin.send(()).unwrap();
        let _ = gate.recv_timeout(PATIENCE);
    });
    begun.recv_timeout(PATIENCE).unwrap();
    (release, job.unwrap())
}

#[test]
fn results_come_in_the_order_of_the_items_whatever_the_chunks() {
    let (threads, cpus) = (ThreadPoolExecutor::new(3), CpuExecutor::new(2).unwrap());
    let expected: Vec<_> = (0..100).map(|n| n * n).collect();
    for chunksize in [1, 2, 7, 99, 100, 101, 5000] {
        let on_threads = map(&threads, |n| n * n, 0..100).chunksize(chunksize).buffersize(1000);
        let squares: Result<Vec<u64>, _> = on_threads.into_iter().collect();
        assert_eq!(squares.unwrap(), expected, "{chunksize}");
        let on_cpus = map(&cpus, |n| n * n, 0..100).chunksize(chunksize);
        let squares: Result<Vec<u64>, _> = on_cpus.into_iter().collect();
        assert_eq!(squares.unwrap(), expected, "{chunksize}");
    }
}

#[test]
fn nothing_is_a_result_of_nothing() {
    assert!(map(&Inline, |n: u8| n, []).into_iter().next().is_none());
}

#[test]
fn items_are_taken_as_results_are() {
    let (taken, items) = counted(0..);
    let mut doubles = map(&Inline, |n| n * 2, items).buffersize(3).into_iter();
    assert_eq!(taken.load(Ordering::SeqCst), 0, "not before it is asked");
    for n in 0..50 {
        assert_eq!(doubles.next().unwrap().unwrap(), n * 2);
        assert_eq!(taken.load(Ordering::SeqCst), n + 3);
    }
}

#[test]
fn several_chunks_are_under_way_whatever_their_size() {
    let (taken, items) = counted(0..);
    let mut same = map(&Inline, |n| n, items).chunksize(100).buffersize(2).into_iter();
    for n in 0..1000 {
        assert_eq!(same.next().unwrap().unwrap(), n);
        // While one is given, others are under way.
        let whole = n / 100 * 100;
        assert_eq!(taken.load(Ordering::SeqCst), whole + if n == whole { 200 } else { 300 });
    }
}

#[test]
fn two_threads_work_for_one_who_asks() {
    let pool = ThreadPoolExecutor::new(2);
    let both = Barrier::new(2);
    let meet = move |_| both.wait().is_leader();
    let leaders = map(&pool, meet, 0..20).chunksize(5).buffersize(2);
    let leaders: Result<Vec<_>, _> = leaders.into_iter().collect();
    assert_eq!(leaders.unwrap().into_iter().filter(|leader| *leader).count(), 10);
}

#[test]
fn a_panic_costs_its_own_item() {
    let pool = ThreadPoolExecutor::new(2);
    for chunksize in [1, 3, 10] {
        let divided = map(&pool, |n: u32| 12 / n, [4, 0, 3, 0, 2]).chunksize(chunksize);
        let results: Vec<_> = divided.into_iter().collect();
        let values: Vec<_> = results.iter().map(|result| result.as_ref().ok().copied()).collect();
        assert_eq!(values, [Some(3), None, Some(4), None, Some(6)]);
        let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        assert!(errors.iter().all(JobError::is_panic) && errors.len() == 2);
    }
}

#[test]
fn good_results_come_up_to_the_failure_for_who_stops_there() {
    let pool = ThreadPoolExecutor::new(2);
    let mut good = Vec::new();
    let mut results = map(&pool, |n: u32| 12 / n, [4, 3, 0, 2]).into_iter();
    let ended: Result<(), JobError> = results.try_for_each(|result| {
        good.push(result?);
        Ok(())
    });
    assert!(ended.unwrap_err().is_panic());
    assert_eq!(good, [3, 4]);
}

/// With more and more time, until the machine is quick enough to do something before it is up.
fn in_time(mut was_in_time: impl FnMut(Duration) -> bool) {
    let mut time = MOMENT;
    while !was_in_time(time) {
        time *= 4;
        assert!(time < PATIENCE, "the time is always up before anything is done");
    }
}

/// So many results are ready.
const READY: usize = 3;

/// Hands out the first jobs when they are done, and the next one when it runs.
struct FirstDone<'p, P> {
    pool: &'p P,
    submitted: AtomicUsize,
}

impl<W: Work, P: Executor<W>> Executor<W> for FirstDone<'_, P> {
    fn submit(&self, work: W) -> Result<Job<W::Output>, Rejected<W>> {
        let job = self.pool.submit(work)?;
        match self.submitted.fetch_add(1, Ordering::SeqCst) {
            before if before < READY => until("the job is done", || job.done()),
            READY => until("the job runs", || job.running()),
            _ => (),
        }
        Ok(job)
    }
    fn shutdown(&self, wait: bool, cancel_futures: bool) -> ExecutorStats {
        self.pool.shutdown(wait, cancel_futures)
    }
}

/// A number, and a file that has to be there first.
type Item = (usize, Option<PathBuf>);

fn number_when_there((number, file): Item) -> usize {
    let begun = Instant::now();
    while file.as_ref().is_some_and(|file| !file.exists()) && begun.elapsed() < PATIENCE {
        sleep(MOMENT);
    }
    number
}

/// In a pool that runs one job at a time: what becomes of all that were taken.
fn give_up_after_the_ready_ones<P>(make_pool: impl Fn() -> P) -> ExecutorStats
where
    P: Executor<Chunk<fn(Item) -> usize, Item>>,
{
    static FILES: AtomicUsize = AtomicUsize::new(0);
    let number = FILES.fetch_add(1, Ordering::SeqCst);
    let name = format!("loopool-map-{}-{number}", std::process::id());
    let file = std::env::temp_dir().join(name);
    let mut stats = None;
    in_time(|time| {
        let pool = make_pool();
        let first_done = FirstDone { pool: &pool, submitted: AtomicUsize::new(0) };
        let (taken, numbers) = counted(0..);
        let items = numbers.map(|n| {
            if n == READY + 1 {
                // This is the last one that the first question takes: after it the time is up.
                sleep(time);
            }
            (n, (n == READY).then(|| file.clone()))
        });
        let results = map_calls(&first_done, number_when_there, items).buffersize(READY + 2);
        let mut results = results.timeout(time);
        let first = results.next().unwrap();
        if taken.load(Ordering::SeqCst) == 0 {
            assert!(first.unwrap_err().is_wait_timeout() && results.next().is_none());
            return false;
        }
        assert_eq!(first.unwrap(), 0);
        for n in 1..READY {
            assert_eq!(results.next().unwrap().unwrap(), n);
        }
        assert!(results.next().unwrap().unwrap_err().is_wait_timeout());
        assert!(results.next().is_none() && results.next().is_none());
        assert_eq!(taken.load(Ordering::SeqCst), READY + 2, "none after the time was up");
        std::fs::write(&file, "").unwrap();
        stats = Some(pool.shutdown(true, false));
        std::fs::remove_file(&file).unwrap();
        true
    });
    stats.unwrap()
}

#[test]
fn what_is_ready_when_the_time_is_up_is_given_before_the_error() {
    let on_threads = give_up_after_the_ready_ones(|| ThreadPoolExecutor::new(1));
    let on_cores = give_up_after_the_ready_ones(|| CpuExecutor::new(1).unwrap());
    for stats in [on_threads, on_cores] {
        // The one that ran went on, the last one had not begun.
        assert_eq!((stats.finished, stats.cancelled), (READY as u64 + 1, 1));
    }
    let in_processes = give_up_after_the_ready_ones(|| ProcessPoolExecutor::new(1).unwrap());
    // There the last one may have been given to the worker ahead.
    assert_eq!(in_processes.finished + in_processes.cancelled, READY as u64 + 2);
}

#[test]
fn the_time_counts_from_the_call_that_sets_it() {
    // Not from the first question.
    let (taken, items) = counted(0..);
    let mut results = map(&Inline, |n| n, items).timeout(MOMENT);
    sleep(MOMENT);
    assert!(results.next().unwrap().unwrap_err().is_wait_timeout());
    assert!(results.next().is_none());
    assert_eq!(taken.load(Ordering::SeqCst), 0);

    // Nor from the one that made the map.
    in_time(|time| {
        let results = map(&Inline, |n| n, 0..3);
        sleep(time);
        results.timeout(time).next().unwrap().is_ok()
    });
}

#[test]
fn what_has_not_started_is_cancelled_with_the_iterator() {
    let pool = ThreadPoolExecutor::new(1);
    let (begin, begun) = mpsc::channel();
    let (release, gate) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let ran = Arc::<AtomicUsize>::default();
    let count = ran.clone();
    let wait = move |n| {
        count.fetch_add(1, Ordering::SeqCst);
        if n == 1 {
            begin.send(()).unwrap();
            let _ = gate.lock().unwrap().recv_timeout(PATIENCE);
        }
    };
    let mut results = map(&pool, wait, 0..100).buffersize(50).into_iter();
    results.next().unwrap().unwrap();
    // From here on the only thread is busy, so that nothing starts while the others are cancelled.
    begun.recv_timeout(PATIENCE).unwrap();
    drop(results);
    release.send(()).unwrap();
    pool.shutdown(true, false);
    assert_eq!(ran.load(Ordering::SeqCst), 2);
    assert!(pool.stats().cancelled >= 48);
}

#[test]
fn what_runs_was_asked_to_end_with_the_iterator() {
    let pool = ThreadPoolExecutor::new(2);
    let (begin, begun) = mpsc::channel();
    let (release, gate) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let gate = std::sync::Mutex::new(gate);
    let wait = move |n| {
        if n == 1 {
            begin.send(()).unwrap();
            let _ = gate.lock().unwrap().recv_timeout(PATIENCE);
            tell.send(CancelToken::current().unwrap().is_cancelled()).unwrap();
        }
    };
    let mut results = map(&pool, wait, 0..2).into_iter();
    results.next().unwrap().unwrap();
    begun.recv_timeout(PATIENCE).unwrap();
    drop(results);
    release.send(()).unwrap();
    assert!(!told.recv_timeout(PATIENCE).unwrap());
    pool.shutdown(true, false);
}

#[test]
fn the_refusal_comes_after_what_was_taken() {
    let pool = Arc::new(ThreadPoolExecutor::new(1));
    let items = (0..10).inspect({
        let pool = pool.clone();
        move |&n| {
            if n == 3 {
                pool.shutdown(false, false);
            }
        }
    });
    let mut results = map(&*pool, |n| n, items).buffersize(100).into_iter();
    let good: Vec<_> = results.by_ref().map_while(Result::ok).collect();
    assert_eq!(good, [0, 1, 2]);
    assert!(results.next().is_none(), "the refusal was the last");
}

#[test]
fn a_full_queue_is_waited_for() {
    let pool = ThreadPoolExecutor::builder().max_workers(1).queue_limit(2).build();
    let same: Result<Vec<_>, _> = map(&pool, |n| n, 0..200).buffersize(50).into_iter().collect();
    assert!(same.unwrap().into_iter().eq(0..200));
}

#[test]
fn a_queue_that_others_fill_is_an_error_that_loses_nothing() {
    let pool = ThreadPoolExecutor::builder().max_workers(1).queue_limit(1).build();
    let (release, mut running) = block(&pool);
    let waiting = pool.submit(|| ());
    let mut results = map(&pool, |n: u8| n, 0..3).into_iter();
    for _ in 0..2 {
        assert!(results.next().unwrap().unwrap_err().is_rejected());
    }
    release.send(()).unwrap();
    running.result(PATIENCE).unwrap();
    waiting.unwrap().result(PATIENCE).unwrap();
    assert_eq!(results.collect::<Result<Vec<_>, _>>().unwrap(), [0, 1, 2]);
}

#[test]
fn the_time_is_up_also_for_what_is_always_ready() {
    let mut results = map(&Inline, |n| n, 0..).buffersize(3).timeout(Duration::ZERO);
    assert!(results.next().unwrap().unwrap_err().is_wait_timeout());
    assert!(results.next().is_none());

    // Up when the eleventh is taken, however often results were asked for.
    in_time(|time| {
        let (taken, items) = counted(0..);
        let items = items.inspect(|n| {
            if *n == 10 {
                sleep(time);
            }
        });
        let mut results = map(&Inline, |n| n, items).buffersize(3).timeout(time);
        let mut given = 0;
        let error = loop {
            match results.next().unwrap() {
                Ok(n) => assert!(n == given && n <= 10, "{n} after {given}"),
                Err(error) => break error,
            }
            given += 1;
        };
        assert!(error.is_wait_timeout() && results.next().is_none());
        assert_eq!(taken.load(Ordering::SeqCst), given, "those, and no more");
        given == 11
    });
}

/// In an iterator that blocks it would have done so.
#[test]
fn when_the_time_was_up_a_whole_chunk_was_taken_and_dropped() {
    let (taken, items) = counted(0..);
    let mut results = map(&Inline, |n| n, items).chunksize(100).timeout(Duration::ZERO);
    assert!(results.next().unwrap().unwrap_err().is_wait_timeout());
    assert!(results.next().is_none());
    assert_eq!(taken.load(Ordering::SeqCst), 0);
}

#[test]
fn when_all_was_given_there_is_no_error_however_late() {
    let mut results = map(&Inline, |n| n, 0..3).buffersize(3).timeout(PATIENCE);
    assert!((0..3).all(|n| results.next().unwrap().unwrap() == n));
    assert!(results.next().is_none());
    let mut results = map(&Inline, |n: u8| n, []).timeout(Duration::ZERO);
    assert!(results.next().is_none());
}

#[test]
fn the_items_of_a_chunk_that_is_cancelled_are_cancelled() {
    let pool = ThreadPoolExecutor::new(1);
    let (release, mut running) = block(&pool);
    let mut results = map(&pool, |n: u8| n, 0..4).chunksize(4);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut results).poll_next(&mut cx).is_pending());
    pool.shutdown(false, true);
    let results: Vec<_> = results.into_iter().collect();
    assert!(
        results.len() == 4 && results.into_iter().all(|result| result.unwrap_err().is_cancelled())
    );
    release.send(()).unwrap();
    running.result(PATIENCE).unwrap();
}

#[test]
fn it_can_be_awaited() {
    let mut doubles = map(&Inline, |n: u32| n * 2, 0..3).buffersize(2);
    let mut cx = Context::from_waker(Waker::noop());
    for n in 0..3 {
        let next = Pin::new(&mut doubles).poll_next(&mut cx);
        assert!(matches!(next, Poll::Ready(Some(Ok(double))) if double == n * 2));
    }
    assert!(matches!(Pin::new(&mut doubles).poll_next(&mut cx), Poll::Ready(None)));
}

#[test]
#[should_panic(expected = "at least one item")]
fn a_chunk_of_nothing_is_refused() {
    let _ = map(&Inline, |n: u8| n, []).chunksize(0);
}
