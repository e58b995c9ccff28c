//! The four executors, and one way to ask each of them.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use loopool::{
    CancelOnDrop, CpuExecutor, Enforced, ExecutorStats, JobError, JobOptions, PoolSnapshot,
    ProcessPoolExecutor, ThreadPoolExecutor, call, run_in_executor, timeout,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::answer::Failure;
use crate::crashes::Crashes;
use crate::jobs::Jobs;
use crate::options::Options;
use crate::profile::Profile;

/// By how much the workers stand back behind the loops.
const NICE: u8 = 10;

/// How long a job may wait for a thread.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which executor runs a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The thread pool: a crash ends the service, and a job over its time goes on unheard.
    Threads,
    /// The pool with a thread per core: as the thread pool.
    Cpu,
    /// The process pool: a crash ends one job, and a job over its time is killed.
    Processes,
    /// The process pool with tighter limits, whose jobs die of what they may not do.
    Strict,
}

impl Which {
    /// The executor with that name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "threads" => Some(Which::Threads),
            "cpu" => Some(Which::Cpu),
            "processes" => Some(Which::Processes),
            "strict" => Some(Which::Strict),
            _ => None,
        }
    }

    /// Whether its jobs can do no harm to the service.
    pub fn is_of_processes(self) -> bool {
        matches!(self, Which::Processes | Which::Strict)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Which::Threads => "threads",
            Which::Cpu => "cpu",
            Which::Processes => "processes",
            Which::Strict => "strict",
        }
    }
}

/// The executors.
#[derive(Debug)]
pub struct Pools {
    threads: ThreadPoolExecutor,
    cpu: CpuExecutor,
    processes: Contained,
    strict: Contained,
    job_timeout: Duration,
    /// The jobs that requests wait for.
    pub jobs: Jobs,
    /// The last crashes.
    pub crashes: Crashes,
}

/// A pool of processes, and what holds them in.
#[derive(Debug)]
struct Contained {
    profile: Profile,
    pool: ProcessPoolExecutor,
}

/// What a pool of processes is doing, and what holds it in.
#[derive(Debug, Serialize)]
pub struct Workers<'a> {
    /// The pool's name.
    pub name: &'static str,
    /// What was asked for.
    pub profile: &'a Profile,
    /// What the kernel really enforces, when a worker has told.
    pub enforced: Option<Enforced>,
    /// The rest.
    pub snapshot: PoolSnapshot,
}

impl Contained {
    fn new(profile: Profile, options: &Options) -> Result<Self, String> {
        let pool = profile
            .builder()
            .workers(options.processes())
            .queue_limit(options.queue)
            .nice(NICE)
            .build()
            .map_err(|error| format!("can't start a process pool: {error}"))?;
        Ok(Contained { profile, pool })
    }

    fn view(&self, which: Which) -> Workers<'_> {
        Workers {
            name: which.name(),
            profile: &self.profile,
            enforced: self.pool.enforced(),
            snapshot: self.pool.snapshot(),
        }
    }
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
        Ok(Pools {
            threads,
            cpu,
            processes: Contained::new(Profile::processes(options), options)?,
            strict: Contained::new(Profile::strict(options), options)?,
            job_timeout: options.job_timeout,
            jobs: Jobs::default(),
            crashes: Crashes::default(),
        })
    }

    /// Runs a job and waits for it. When this future is dropped, the job is cancelled: one that waits
    /// is forgotten, and one that runs is killed, if it runs in a process. While it is awaited, it is among
    /// [`jobs`](Self::jobs) by this name.
    ///
    /// # Errors
    /// The answer for the client, when the job was not taken or came to a bad end.
    pub async fn run<A, R>(
        &self,
        which: Which,
        name: &'static str,
        function: fn(A) -> R,
        argument: A,
    ) -> Result<R, Failure>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        match which {
            Which::Processes | Which::Strict => {
                let contained = if which == Which::Strict { &self.strict } else { &self.processes };
                let pool = contained.pool.with(JobOptions::new().name(name));
                let job = run_in_executor(&pool, call(function, argument))
                    .map_err(|rejected| Failure::rejected(rejected.reason()))?;
                let outcome = self.jobs.watch(which, name, job).await;
                outcome.map_err(|error| self.failure(which, name, &error))
            }
            Which::Threads => {
                let (work, started) = noting_its_start(move || function(argument));
                let job = run_in_executor(&self.threads.with(self.in_queue()), work)
                    .map_err(|rejected| Failure::rejected(rejected.reason()))?;
                self.wait(which, name, job, &started).await
            }
            Which::Cpu => {
                let (work, started) = noting_its_start(move || function(argument));
                let job = run_in_executor(&self.cpu.with(self.in_queue()), work)
                    .map_err(|rejected| Failure::rejected(rejected.reason()))?;
                self.wait(which, name, job, &started).await
            }
        }
    }

    /// Threads may be busy for ever with jobs that were given up, so who waits for one has a limit.
    fn in_queue(&self) -> JobOptions {
        JobOptions::new().queue_timeout(PATIENCE)
    }

    /// Waits for a job in this process until it has run for as long as it may. A thread can't be
    /// killed: the job goes on, only nobody waits for it any more.
    async fn wait<R: Send + 'static>(
        &self,
        which: Which,
        name: &'static str,
        job: CancelOnDrop<R>,
        started: &OnceLock<Instant>,
    ) -> Result<R, Failure> {
        let mut job = self.jobs.watch(which, name, job);
        loop {
            // While it waits for a thread its time does not run, so this is then asked again.
            let until = started.get().copied().unwrap_or_else(Instant::now) + self.job_timeout;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::timed_out());
            }
            if let Ok(outcome) = timeout(left, &mut job).await {
                return outcome.map_err(|error| self.failure(which, name, &error));
            }
        }
    }

    /// The answer for a job that came to a bad end; its crash report, if there is one, is kept.
    fn failure(&self, which: Which, name: &'static str, error: &JobError) -> Failure {
        if let Some(report) = error.crash() {
            self.crashes.note(which.name(), name, report);
        }
        Failure::of_job(error)
    }

    /// What each is doing, by name.
    pub fn stats(&self) -> [(&'static str, ExecutorStats); 4] {
        [
            (Which::Processes, self.processes.pool.stats()),
            (Which::Strict, self.strict.pool.stats()),
            (Which::Threads, self.threads.stats()),
            (Which::Cpu, self.cpu.stats()),
        ]
        .map(|(which, stats)| (which.name(), stats))
    }

    /// What those of processes are doing, worker by worker.
    pub fn workers(&self) -> [Workers<'_>; 2] {
        [self.processes.view(Which::Processes), self.strict.view(Which::Strict)]
    }

    /// Ends all workers. Nobody waits for a job any more when this is called, so those that threads
    /// are still busy with (their answer was given up) are not waited for: gives their number.
    pub fn shut_down(&self) -> usize {
        self.threads.shutdown(false, true);
        self.cpu.shutdown(false, true);
        self.processes.pool.shutdown(true, true);
        self.strict.pool.shutdown(true, true);
        self.threads.stats().running + self.cpu.stats().running
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
