//! The storm: a pool, and everybody who submits to it.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use loopool::{Executor, Job, JobError, ProcessPoolExecutor, call, create_task, timeout};

use crate::fate::Fate;
use crate::herald::Herald;
use crate::options::Options;
use crate::system::System;
use crate::tally::{HANG, Tally};
use crate::work::{Answer, Order, suffer};

/// Threads that submit, and tasks of the event loops that do.
const THREADS: usize = 2;
const TASKS: usize = 4;

/// How many jobs each of them has under way.
const UNDER_WAY: usize = 8;

/// How many jobs may wait; more would only be more memory.
const QUEUE: usize = 32;

/// A pool that is not complete by then never will be.
const COMPLETION: Duration = Duration::from_secs(60);

pub(crate) struct Report {
    pub(crate) tally: Arc<Tally>,
    pub(crate) workers_at_the_end: usize,
    pub(crate) peaks: Peaks,
    pub(crate) seconds: f64,
    /// What is wrong with the pool as a whole.
    pub(crate) complaints: Vec<String>,
}

struct Storm {
    pool: ProcessPoolExecutor,
    herald: Herald,
    tally: Arc<Tally>,
    seed: u64,
    jobs: u64,
    /// The next job's number; nothing else is told by it, so relaxed accesses pair with nothing.
    next: AtomicU64,
}

/// Makes a pool, runs the jobs and shuts it down.
pub(crate) fn run(options: &Options) -> Result<Report, Box<dyn Error>> {
    let start = Instant::now();
    let pool = ProcessPoolExecutor::builder()
        .workers(options.workers())
        .queue_limit(QUEUE)
        .memory_limit(options.worker_memory << 20)
        .job_timeout(options.job_timeout())
        // Behind everything else on a busy machine, whoever fills his memory would not get there in time.
        .nice(0)
        .build()?;
    let tally = Arc::new(Tally::default());
    let storm = Arc::new(Storm {
        pool,
        herald: Herald::new(tally.clone()),
        tally: tally.clone(),
        seed: options.seed,
        jobs: options.jobs,
        next: AtomicU64::new(0),
    });
    let socket = Herald::listen()?;
    // A flag, and numbers that somebody reads after the join, so relaxed accesses need no partner.
    let (is_over, peaks) = (AtomicBool::new(false), Peaks::default());
    let outcome = std::thread::scope(|scope| -> io::Result<()> {
        let hearing = scope.spawn(|| storm.herald.hear(&socket));
        scope.spawn(|| watch(&is_over, &storm, &peaks));
        let submitting: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| storm.submit())).collect();
        loopool::run(submit_from_loops(storm.clone()));
        for thread in submitting {
            if thread.join().is_err() {
                storm.tally.complain("a thread that submits panicked".to_owned());
            }
        }
        storm.wait_for_the_herald();
        Herald::stop()?;
        is_over.store(true, Relaxed);
        hearing.join().unwrap_or_else(|_| Err(io::Error::other("the herald panicked")))
    });
    outcome?;
    drop(socket);
    let workers_at_the_end = storm.wait_for_workers(options.workers());
    let mut complaints = storm.finish(options.workers(), workers_at_the_end);
    if options.jobs >= MANY {
        complaints.extend(peaks.complaints());
    }
    Ok(Report {
        tally,
        workers_at_the_end,
        peaks,
        seconds: start.elapsed().as_secs_f64(),
        complaints,
    })
}

/// The most that there was of something, in each quarter of the jobs.
#[derive(Default)]
pub(crate) struct Peaks {
    descriptors: [AtomicU64; 4],
    rss_kib: [AtomicU64; 4],
}

/// So much more there may be in the last quarter than in the others, which is nothing that grows with the jobs.
const MORE_DESCRIPTORS: u64 = 8;
const MORE_KIB: u64 = 24 << 10;

/// With fewer jobs a quarter of them is too little to say what the others need.
const MANY: u64 = 2000;

impl Peaks {
    fn note(&self, quarter: usize, system: &System) {
        self.descriptors[quarter].fetch_max(system.descriptors as u64, Relaxed);
        self.rss_kib[quarter].fetch_max(system.rss_kib, Relaxed);
    }

    pub(crate) fn descriptors(&self) -> [u64; 4] {
        self.descriptors.each_ref().map(|peak| peak.load(Relaxed))
    }

    pub(crate) fn rss_kib(&self) -> [u64; 4] {
        self.rss_kib.each_ref().map(|peak| peak.load(Relaxed))
    }

    /// What has grown while the pool was there.
    fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut compare = |what: &str, peaks: [u64; 4], more: u64| {
            let before = peaks[..3].iter().max().copied().unwrap_or_default();
            if peaks[3] > before + more {
                complaints.push(format!("{what} grow: at most {peaks:?} in each quarter"));
            }
        };
        compare("descriptors", self.descriptors(), MORE_DESCRIPTORS);
        compare("KiB of memory", self.rss_kib(), MORE_KIB);
        complaints
    }
}

/// Looks how much there is of everything.
fn watch(is_over: &AtomicBool, storm: &Storm, peaks: &Peaks) {
    while !is_over.load(Relaxed) {
        let quarter = (storm.next.load(Relaxed) * 4 / storm.jobs.max(1)).min(3);
        if let Ok(system) = System::look() {
            peaks.note(quarter as usize, &system);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Storm {
    /// The next job, if there is one left.
    fn order(&self) -> Option<Order> {
        let number = self.next.fetch_add(1, Relaxed);
        (number < self.jobs).then(|| Order::new(self.seed, number))
    }

    /// The argument is needed twice, for the job and to tell whether its answer is right.
    fn again(&self, order: &Order) -> Order {
        Order::new(self.seed, order.number)
    }

    /// Does with a job that was just submitted what is its fate; gives it back if it is to be waited for.
    fn release(&self, order: Order, job: Job<Answer>) -> Option<(Order, Job<Answer>)> {
        match order.fate {
            Fate::CancelledRunning => {
                self.herald.cancel_when_running(order, job);
                None
            }
            Fate::CancelledEarly => {
                job.cancel();
                Some((order, job))
            }
            _ => Some((order, job)),
        }
    }

    fn judge(&self, order: &Order, outcome: Result<Answer, JobError>) {
        self.tally.judge(order, outcome, self.herald.killed(order.number));
    }

    /// A thread's part.
    fn submit(&self) {
        let mut under_way = VecDeque::new();
        let take = |(order, mut job): (Order, Job<Answer>)| self.judge(&order, job.result(HANG));
        while let Some(order) = self.order() {
            let work = call(suffer, self.again(&order));
            match self.pool.submit_wait(work, HANG) {
                Ok(job) => under_way.extend(self.release(order, job)),
                Err(refused) => self.judge(&order, Err(refused.into())),
            }
            if under_way.len() >= UNDER_WAY {
                under_way.pop_front().into_iter().for_each(take);
            }
        }
        under_way.into_iter().for_each(take);
    }

    /// The part of a task of an event loop.
    async fn submit_from_a_task(&self) {
        let mut under_way: VecDeque<(Order, Job<Answer>)> = VecDeque::new();
        loop {
            let order = self.order();
            let is_last = order.is_none();
            if let Some(order) = order {
                match self.pool.submit_async(call(suffer, self.again(&order))).await {
                    Ok(job) => under_way.extend(self.release(order, job)),
                    Err(refused) => self.judge(&order, Err(refused.into())),
                }
            }
            while under_way.len() >= UNDER_WAY || is_last {
                let Some((order, job)) = under_way.pop_front() else { return };
                match timeout(HANG, job).await {
                    Ok(outcome) => self.judge(&order, outcome),
                    Err(_) => self.tally.lose(&order),
                }
            }
        }
    }

    /// Until the jobs that are to be cancelled have been.
    fn wait_for_the_herald(&self) {
        until(HANG, || self.herald.forgotten() == 0);
    }

    fn wait_for_workers(&self, workers: usize) -> usize {
        until(COMPLETION, || self.pool.worker_pids().len() == workers);
        self.pool.worker_pids().len()
    }

    /// Shuts the pool down. What is wrong with it.
    fn finish(&self, workers: usize, at_the_end: usize) -> Vec<String> {
        let mut complaints = Vec::new();
        // A storm of a few jobs needs no more workers than it has jobs at a time.
        if at_the_end != workers && self.jobs >= 100 {
            complaints.push(format!("{at_the_end} of {workers} workers at the end"));
        }
        let stats = self.pool.shutdown(true, false);
        let ended =
            stats.finished + stats.failed + stats.crashed + stats.timed_out + stats.cancelled;
        if stats.submitted != self.jobs || ended != self.jobs {
            complaints.push(format!("{} jobs, but the pool says {stats:?}", self.jobs));
        }
        let counted = self.tally.right() + self.tally.wrong() + self.tally.lost();
        if counted != self.jobs {
            complaints.push(format!("{counted} outcomes of {} jobs", self.jobs));
        }
        complaints
    }
}

async fn submit_from_loops(storm: Arc<Storm>) {
    let submit = || {
        let storm = storm.clone();
        create_task(async move { storm.submit_from_a_task().await })
    };
    let tasks: Vec<_> = (0..TASKS).map(|_| submit()).collect();
    for task in tasks {
        if let Err(error) = task.await {
            storm.tally.complain(format!("a task that submits: {error}"));
        }
    }
}

fn until(limit: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() && start.elapsed() < limit {
        std::thread::sleep(Duration::from_millis(5));
    }
}
