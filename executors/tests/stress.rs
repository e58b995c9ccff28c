//! Many jobs with random ends, in pools that are shut down at random: every one is accounted for.
//!
//! `LOOPOOL_STRESS_JOBS` says how many there are.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use loopool_executors::{
    CancelToken, CpuExecutor, Executor, ExecutorStats, JobOptions, Outcome, Priority, Rejected,
    ThreadPoolExecutor,
};

const JOBS: usize = 20_000;
const JOBS_PER_POOL: usize = 500;
const SUBMITTERS: usize = 3;

/// xorshift64*, which is enough to mix cases. (Vigna 2016, "An experimental exploration of Marsaglia's
/// xorshift generators, scrambled".)
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below
    }
}

/// What became of jobs, as they saw it themselves.
#[derive(Default)]
struct Ledger {
    submitted: AtomicU64,
    refused: AtomicU64,
    finished: AtomicU64,
    failed: AtomicU64,
    timed_out: AtomicU64,
    cancelled: AtomicU64,
    /// Of closures.
    made: AtomicUsize,
    dropped: AtomicUsize,
}

impl Ledger {
    fn note(&self, outcome: &Outcome<u64>, runs: usize) {
        let counter = match outcome {
            Ok(_) => {
                assert_eq!(runs, 1, "who has a value was run");
                &self.finished
            }
            Err(error) if error.is_panic() => {
                assert_eq!(runs, 1);
                &self.failed
            }
            Err(error) if error.is_queue_timeout() => {
                assert_eq!(runs, 0, "who waited too long is not run");
                &self.timed_out
            }
            // Perhaps before its first step.
            Err(error) if error.is_timeout() => &self.timed_out,
            Err(error) if error.is_cancelled() => &self.cancelled,
            Err(error) => panic!("an end that nobody asked for: {error}"),
        };
        counter.fetch_add(1, SeqCst);
    }
}

/// Part of a closure, which is dropped once.
struct Held(Arc<Ledger>);

impl Held {
    fn new(ledger: &Arc<Ledger>) -> Self {
        ledger.made.fetch_add(1, SeqCst);
        Held(ledger.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, SeqCst);
    }
}

type Closure = Box<dyn FnOnce() -> u64 + Send>;

/// A job that ends in one of many ways.
fn work(random: &mut Random, held: Held, runs: Arc<AtomicUsize>) -> Closure {
    let kind = random.next(100);
    let turns = random.next(200);
    Box::new(move || {
        runs.fetch_add(1, SeqCst);
        let _held = held;
        match kind {
            // Without the hook, which would print a message.
            0..10 => std::panic::resume_unwind(Box::new("as it was meant to")),
            10..13 => {
                CancelToken::current().unwrap().wait(Duration::from_micros(300));
            }
            13..20 => {
                for _ in 0..turns {
                    CancelToken::current().unwrap().check();
                    std::thread::yield_now();
                }
            }
            20..25 => std::thread::sleep(Duration::from_micros(turns)),
            _ => (0..turns).for_each(|turn| _ = std::hint::black_box(turn)),
        }
        kind
    })
}

fn options(random: &mut Random) -> JobOptions {
    let priorities = [Priority::High, Priority::Normal, Priority::Normal, Priority::Low];
    let mut options = JobOptions::new().priority(priorities[random.next(4) as usize]);
    let limit = Duration::from_micros(random.next(2_000));
    match random.next(12) {
        0 => options = options.queue_timeout(limit),
        1 => options = options.job_timeout(limit / 8),
        2 => options = options.deadline(Instant::now() + limit),
        _ => {}
    }
    options
}

/// What the pools have in common here.
trait Pool: Sync {
    fn submit(&self, options: JobOptions, how: u64, work: Closure) -> Submitted;
    fn shut_down(&self, wait: bool, cancel: bool) -> ExecutorStats;
}

type Submitted = Result<loopool_executors::Job<u64>, Rejected<Closure>>;

fn submit_to(pool: &impl Executor<Closure>, how: u64, work: Closure) -> Submitted {
    match how {
        0 => pool.submit_wait(work, Duration::from_micros(200)),
        1 => pool.submit_wait(work, None),
        _ => pool.submit(work),
    }
}

impl Pool for ThreadPoolExecutor {
    fn submit(&self, options: JobOptions, how: u64, work: Closure) -> Submitted {
        submit_to(&self.with(options), how, work)
    }
    fn shut_down(&self, wait: bool, cancel: bool) -> ExecutorStats {
        self.shutdown(wait, cancel)
    }
}

impl Pool for CpuExecutor {
    fn submit(&self, options: JobOptions, how: u64, work: Closure) -> Submitted {
        submit_to(&self.with(options), how, work)
    }
    fn shut_down(&self, wait: bool, cancel: bool) -> ExecutorStats {
        self.shutdown(wait, cancel)
    }
}

/// One of the threads that submit and cancel.
fn submit_some(pool: &dyn Pool, ledger: &Arc<Ledger>, random: &mut Random) {
    let mut kept = Vec::new();
    for _ in 0..JOBS_PER_POOL / SUBMITTERS {
        let runs = Arc::new(AtomicUsize::new(0));
        let work = work(random, Held::new(ledger), runs.clone());
        match pool.submit(options(random), random.next(4), work) {
            Err(refused) => {
                assert!(refused.is_queue_full() || refused.is_shut_down());
                ledger.refused.fetch_add(1, SeqCst);
                drop(refused);
                assert_eq!(runs.load(SeqCst), 0);
            }
            Ok(job) => {
                ledger.submitted.fetch_add(1, SeqCst);
                let theirs = ledger.clone();
                job.add_done_callback(move |outcome| theirs.note(outcome, runs.load(SeqCst)));
                match random.next(10) {
                    0 => drop(job.cancel_on_drop()),
                    1 => _ = job.cancel(),
                    2..5 => kept.push(job),
                    _ => drop(job),
                }
            }
        }
        if random.next(20) == 0
            && let Some(mut job) = kept.pop()
        {
            // Whatever it is, it ends.
            let outcome = job.result(common::PATIENCE);
            assert!(!outcome.is_err_and(|error| error.is_wait_timeout()));
        }
        if random.next(400) == 0 {
            pool.shut_down(false, random.next(2) == 0);
        }
    }
}

fn one_pool(seed: u64) -> (u64, u64) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let workers = 1 + random.next(4) as usize;
    let limit = [None, Some(1), Some(8), Some(100)][random.next(4) as usize];
    let pool: Box<dyn Pool> = if random.next(2) == 0 {
        let mut builder = ThreadPoolExecutor::builder().max_workers(workers);
        builder = builder.keep_alive(Duration::from_micros(random.next(3_000)));
        if let Some(limit) = limit {
            builder = builder.queue_limit(limit);
        }
        Box::new(builder.build())
    } else {
        let mut builder = CpuExecutor::builder().threads(workers);
        if let Some(limit) = limit {
            builder = builder.queue_limit(limit);
        }
        Box::new(builder.build().unwrap())
    };
    let ledger = Arc::new(Ledger::default());
    std::thread::scope(|scope| {
        for submitter in 0..SUBMITTERS as u64 {
            let mut random = Random(seed.wrapping_add(submitter << 40) | 1);
            let (pool, ledger) = (&*pool, &ledger);
            scope.spawn(move || submit_some(pool, ledger, &mut random));
        }
    });
    let stats = pool.shut_down(true, random.next(2) == 0);
    drop(pool);
    let count = |counter: &AtomicU64| counter.load(SeqCst);
    // A callback may still run, in the thread that it was given because it may take its time.
    common::until("every callback has run", || {
        let ends = [&ledger.finished, &ledger.failed, &ledger.timed_out, &ledger.cancelled];
        ends.into_iter().map(count).sum::<u64>() == count(&ledger.submitted)
    });
    common::until("every closure was dropped", || {
        ledger.dropped.load(SeqCst) == ledger.made.load(SeqCst)
    });
    assert_eq!((stats.waiting, stats.running), (0, 0), "seed {seed}: {stats:?}");
    let counted = [stats.submitted, stats.finished, stats.failed, stats.timed_out, stats.cancelled];
    let seen = [
        count(&ledger.submitted),
        count(&ledger.finished),
        count(&ledger.failed),
        count(&ledger.timed_out),
        count(&ledger.cancelled),
    ];
    assert_eq!(counted, seen, "seed {seed}: as the pool counted, as the jobs saw it");
    (seen[0], count(&ledger.refused))
}

#[test]
fn every_job_is_accounted_for() {
    let jobs = std::env::var("LOOPOOL_STRESS_JOBS").ok().and_then(|jobs| jobs.parse().ok());
    let jobs: u64 = jobs.unwrap_or(JOBS as u64);
    let seed = std::env::var("LOOPOOL_STRESS_SEED").ok().and_then(|seed| seed.parse().ok());
    let (mut submitted, mut refused, mut seed) = (0, 0, seed.unwrap_or(1u64));
    while submitted < jobs {
        let (taken, others) = one_pool(seed);
        (submitted, refused, seed) = (submitted + taken, refused + others, seed + 1);
    }
    assert!(refused > 0, "some were refused");
}
