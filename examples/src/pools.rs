//! The three executors, and one way to ask each of them.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use loopool::{
    CancelOnDrop, CpuExecutor, ExecutorStats, ProcessPoolExecutor, ThreadPoolExecutor, call,
    run_in_executor, timeout,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::answer::Failure;
use crate::options::Options;

/// By how much the workers stand back behind the loops.
const NICE: u8 = 10;

/// Which executor runs a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The thread pool: a crash ends the service, and a job over its time goes on unheard.
    Threads,
    /// The pool with a thread per core: as the thread pool.
    Cpu,
    /// The process pool: a crash ends one job, and a job over its time is killed.
    Processes,
}

impl Which {
    /// The executor with that name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "threads" => Some(Which::Threads),
            "cpu" => Some(Which::Cpu),
            "processes" => Some(Which::Processes),
            _ => None,
        }
    }
}

/// The executors.
#[derive(Debug)]
pub struct Pools {
    threads: ThreadPoolExecutor,
    cpu: CpuExecutor,
    processes: ProcessPoolExecutor,
    job_timeout: Duration,
}

impl Pools {
    /// Makes them.
    ///
    /// # Errors
    /// A sentence, when the system refuses threads or processes.
    pub fn new(options: &Options) -> Result<Self, String> {
        let threads = ThreadPoolExecutor::builder()
            .max_workers(options.threads())
            .queue_limit(options.queue)
            .thread_name_prefix("thread")
            .nice(NICE)
            .build();
        let cpu = CpuExecutor::builder()
            .queue_limit(options.queue)
            .thread_name_prefix("cpu")
            .nice(NICE)
            .build()
            .map_err(|error| format!("can't start the CPU pool: {error}"))?;
        let processes = ProcessPoolExecutor::builder()
            .workers(options.processes())
            .queue_limit(options.queue)
            .job_timeout(options.job_timeout)
            .memory_limit((options.worker_memory as u64) << 20)
            .nice(NICE)
            .build()
            .map_err(|error| format!("can't start the process pool: {error}"))?;
        Ok(Pools { threads, cpu, processes, job_timeout: options.job_timeout })
    }

    /// Runs a job and waits for it. When this future is dropped, the job is cancelled: one that waits
    /// is forgotten, and one that runs is killed, if it runs in a process.
    ///
    /// # Errors
    /// The answer for the client, when the job was not taken or came to a bad end.
    pub async fn run<A, R>(
        &self,
        which: Which,
        function: fn(A) -> R,
        argument: A,
    ) -> Result<R, Failure>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        match which {
            Which::Processes => {
                let job = run_in_executor(&self.processes, call(function, argument))
                    .map_err(|rejected| Failure::rejected(rejected.reason()))?;
                job.await.map_err(|error| Failure::of_job(&error))
            }
            Which::Threads => {
                let (work, started) = noting_its_start(move || function(argument));
                let job = run_in_executor(&self.threads, work)
                    .map_err(|rejected| Failure::rejected(rejected.reason()))?;
                self.wait(job, &started).await
            }
            Which::Cpu => {
                let (work, started) = noting_its_start(move || function(argument));
                let job = run_in_executor(&self.cpu, work)
                    .map_err(|rejected| Failure::rejected(rejected.reason()))?;
                self.wait(job, &started).await
            }
        }
    }

    /// Waits for a job in this process until it has run for as long as it may. A thread can't be
    /// killed: the job goes on, only nobody waits for it any more.
    async fn wait<R>(
        &self,
        mut job: CancelOnDrop<R>,
        started: &OnceLock<Instant>,
    ) -> Result<R, Failure> {
        loop {
            // While it waits for a thread its time does not run, so this is then asked again.
            let until = started.get().copied().unwrap_or_else(Instant::now) + self.job_timeout;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::timed_out());
            }
            if let Ok(outcome) = timeout(left, &mut job).await {
                return outcome.map_err(|error| Failure::of_job(&error));
            }
        }
    }

    /// What each is doing, by name.
    pub fn stats(&self) -> [(&'static str, ExecutorStats); 3] {
        [
            ("processes", self.processes.stats()),
            ("threads", self.threads.stats()),
            ("cpu", self.cpu.stats()),
        ]
    }

    /// Ends all workers. Nobody waits for a job any more when this is called, so those that threads
    /// are still busy with (their answer was given up) are not waited for.
    pub fn shut_down(&self) {
        self.threads.shutdown(false, true);
        self.cpu.shutdown(false, true);
        self.processes.shutdown(true, true);
    }
}

fn noting_its_start<R>(
    work: impl FnOnce() -> R + Send + 'static,
) -> (impl FnOnce() -> R + Send + 'static, Arc<OnceLock<Instant>>) {
    let started = Arc::new(OnceLock::new());
    let note = started.clone();
    let work = move || {
        note.get_or_init(Instant::now);
        work()
    };
    (work, started)
}
