//! [`ProcessPoolExecutor`] and its options.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::child_process::HANDSHAKE;
use super::confinement::Confinement;
use super::fork_server::Recipe;
use super::image::{self, Offset};
use super::inside::{hook, takeover};
use super::manager::Manager;
use super::policy::{Policy, PoolSnapshot, StateRecipe};
use super::pool_error::ProcessPoolError;
use super::sandbox::Enforced;
use super::shared::Shared;
use super::transport::wire::WorkerSettings;
use super::watchdog::MemoryWatch;
use crate::exit;
use crate::options::{JobOptions, With};
use crate::own_pool;
use crate::stats::ExecutorStats;

/// A pool of processes, for work that may crash, leak, hang or run out of memory.
///
/// A job is a function and its argument, paired by [`call`](crate::call). Argument and result cross as
/// bytes, by serde; large buffers cross as [`Blob`](crate::Blob)s. Whatever a job does to its process
/// costs exactly that job: the others go on, and a new worker takes the place of the lost one.
///
/// ```
/// use loopool_executors::{Executor, ProcessPoolExecutor, call};
///
/// fn shout(text: String) -> String {
///     if text.is_empty() {
///         std::process::abort();
///     }
///     text.to_uppercase()
/// }
///
/// let pool = ProcessPoolExecutor::builder().workers(2).build()?;
/// let mut good = pool.submit(call(shout, "hello".to_owned()))?;
/// let mut bad = pool.submit(call(shout, String::new()))?;
/// assert_eq!(good.result(None)?, "HELLO");
/// let error = bad.result(None).unwrap_err();
/// assert_eq!(error.crash().unwrap().signal, Some(6));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What a job finds
/// A worker is the same program, started again, in which `main` has not run and never will:
/// - Statics that `main` fills are empty; no logger is installed; constructors of other crates and of C++
///   may not have run. `LazyLock` and `thread_local!` work. What jobs need, the
///   [initializer](ProcessPoolBuilder::initializer) and the [state](ProcessPoolBuilder::state) prepare.
/// - What jobs send to `tracing` becomes events in the program: level, message and fields as text (the
///   first 700 bytes), the target as the field `job_target`, the process as `pid`. This is so up to the
///   level to which the program listened when the pool was built, and unless the initializer has installed
///   a subscriber. Spans are not carried.
/// - A worker runs one job at a time and many in its life: statics keep what a job puts there.
/// - Environment, working directory and umask are those of the moment the pool was built.
/// - Standard input is empty; what is written to standard output and error becomes `tracing` events in
///   the program, and its end is part of the [crash report](crate::CrashReport).
/// - No descriptor of the program is open there, and no signal handler set.
/// - The process leads a group of its own. What a job starts is killed with the worker, unless it
///   leaves the group; and reaped, where the program is the one that inherits it (the first process of a
///   container, a subreaper).
/// - It cannot make a process pool of its own, nor start a [`Process`](crate::Process).
///
/// # How a job ends
/// | the job | its outcome |
/// |---|---|
/// | returns | the value |
/// | panics | [`is_panic`](crate::JobError::is_panic), with the message; the worker lives on |
/// | dies: a signal, `abort`, stack overflow, `exit`, out of memory | [`crash`](crate::JobError::crash), with a report |
/// | runs longer than the [limit](ProcessPoolBuilder::job_timeout) | [`is_timeout`](crate::JobError::is_timeout); the worker is killed |
/// | is cancelled while it runs | [`is_cancelled`](crate::JobError::is_cancelled); the worker is killed |
/// | has an argument or result that serde cannot carry | [`is_codec`](crate::JobError::is_codec) |
///
/// In a program built with `panic = "abort"` a panic costs the worker, too, and is still told as one.
/// Where the program ignores SIGCHLD, or waits for children that are not its own, the signal or exit
/// code of a crash may be missing from its report.
///
/// # End
/// Dropping the pool takes no more work, lets what was submitted run to its end, and does not wait;
/// [`shutdown`](Self::shutdown) does, and so does the program's [end](crate::exit()). When the last job is
/// over, the workers are killed, with whatever threads jobs have left in them. When the program is killed
/// or aborts, the workers die with it.
pub struct ProcessPoolExecutor {
    pub(super) shared: Arc<Shared>,
    pub(super) state: Option<StateRecipe>,
    pub(super) memory_budget: Option<u64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// How a worker comes to be. (Names as in Python's `multiprocessing`. There is no `fork`: it would copy a program that has
/// threads.)
///
/// ```
/// use loopool_executors::{Executor, ProcessPoolExecutor, StartMethod, call};
///
/// let pool = ProcessPoolExecutor::builder().workers(1).start_method(StartMethod::Spawn).build()?;
/// assert_eq!(pool.submit(call(|n: u32| n + 1, 1))?.result(None)?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StartMethod {
    /// As a copy of a process that has done nothing but start: some 0.2 ms, and its memory is shared until it is
    /// written to. All of them have their code and stacks at the same addresses, as has the fork server.
    #[default]
    ForkServer,
    /// By starting the executable once more, some 1 ms: each has addresses of its own, so what one of them gives
    /// away about them is of no use against the others.
    Spawn,
}

/// Options of a [`ProcessPoolExecutor`].
#[derive(Debug, Clone)]
pub struct ProcessPoolBuilder {
    workers: usize,
    queue_limit: Option<usize>,
    policy: Policy,
    memory_limit: Option<u64>,
    nice: u8,
    initializer: Option<fn() -> Result<(), String>>,
    state: Option<StateRecipe>,
    handshake_timeout: Duration,
    worker_executable: Option<PathBuf>,
    explicit_entry: bool,
    start_method: StartMethod,
    pub(super) confinement: Confinement,
}

impl ProcessPoolBuilder {
    /// The most workers; at least 1. They are started when jobs wait for them. Default: the CPUs this
    /// process may use.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// The most jobs that may wait; at least 1. (Short jobs that were given to a worker ahead, and are taken back from
    /// it, wait again: then there may be more for a while, and none is taken. One that pauses between two attempts does
    /// not count.) Default: no limit.
    pub fn queue_limit(mut self, jobs: usize) -> Self {
        self.queue_limit = Some(jobs.max(1));
        self
    }

    /// How long a job may run, from the moment a worker has it. Time in the queue does not count.
    /// Default: no limit.
    pub fn job_timeout(mut self, limit: Duration) -> Self {
        self.policy.job_timeout = Some(limit);
        self
    }

    /// How long a job that is cancelled, or whose time is up, may take to end by itself before its worker is killed
    /// with everything in its process group. It is asked by SIGTERM, which is what its
    /// [`CancelToken`](crate::CancelToken) tells of; the outcome is settled at once either way, and another worker
    /// takes the place, unless about twice as many processes as the pool may have [workers](Self::workers) would be
    /// there. Default: none. Then the worker is killed at once, and jobs have no token.
    ///
    /// ```
    /// use std::time::Duration;
    /// use loopool_executors::{CancelToken, Executor, ProcessPoolExecutor, call};
    ///
    /// let wait = |_: ()| CancelToken::current().unwrap().wait(None);
    /// let grace = Duration::from_secs(1);
    /// let pool = ProcessPoolExecutor::builder().workers(1).cancel_grace(grace).build()?;
    /// let mut job = pool.submit(call(wait, ()))?;
    /// job.cancel();
    /// assert!(job.result(None).unwrap_err().is_cancelled());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.policy.cancel_grace = grace;
        self
    }

    /// How many workers there are from the start and without any job, up to [`workers`](Self::workers): spares, warm
    /// for the first jobs. Default: none.
    pub fn min_workers(mut self, workers: usize) -> Self {
        self.policy.min_workers = workers;
        self
    }

    /// How much memory the jobs that run at the same time may have declared in all, in bytes, by
    /// [`JobOptions::memory`](crate::JobOptions::memory). A job that does not fit waits until others have ended; in
    /// turn, so that a large one is not kept waiting by small ones that come after it. One that needs more than that
    /// is refused. Jobs that have declared nothing don't count, and pass those that wait for memory, however many these
    /// are. Default: no limit.
    ///
    /// ```
    /// use loopool_executors::{Executor, JobOptions, ProcessPoolExecutor, RejectReason, call};
    ///
    /// let pool = ProcessPoolExecutor::builder().memory_budget(2 << 30).build()?;
    /// let thumbnail = pool.with(JobOptions::new().memory(800 << 20));
    /// assert_eq!(thumbnail.submit(call(|n: u32| n, 1))?.result(None)?, 1);
    /// let refused = pool.with(JobOptions::new().memory(3 << 30)).submit(call(|n: u32| n, 1));
    /// assert!(matches!(refused.unwrap_err().reason(), RejectReason::OverBudget { .. }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn memory_budget(mut self, bytes: u64) -> Self {
        self.policy.memory_budget = Some(bytes);
        self
    }

    /// How many jobs a worker runs, at most, before a new one takes its place; at least 1. With many, it is a few
    /// less for each, by chance, so that they don't all go at once. The new one is started with the last job, and
    /// nobody waits for a worker that has had its number. Default: no limit.
    ///
    /// ```
    /// use loopool_executors::{Executor, ProcessPoolExecutor, call};
    ///
    /// let pool = ProcessPoolExecutor::builder().workers(1).max_tasks_per_child(1).build()?;
    /// let pid = |()| std::process::id();
    /// let first = pool.submit(call(pid, ()))?.result(None)?;
    /// assert_ne!(pool.submit(call(pid, ()))?.result(None)?, first);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max_tasks_per_child(mut self, jobs: u64) -> Self {
        self.policy.bounds.jobs = Some(jobs.max(1));
        self
    }

    /// How old a worker becomes, about, before a new one takes its place. It works on until that one is ready, and
    /// goes between two jobs; one goes at a time. (A job that runs is never ended for it.) Default: no limit.
    pub fn max_worker_age(mut self, age: Duration) -> Self {
        self.policy.bounds.age = Some(age);
        self
    }

    /// How much memory, in bytes, a worker may have in use after a job before a new one takes its place, in the same
    /// way as for [`max_worker_age`](Self::max_worker_age). It is looked at soon after a job, every 20 ms at most;
    /// what holds *during* a job is the [memory limit](Self::memory_limit). Default: no limit.
    pub fn max_worker_memory(mut self, bytes: u64) -> Self {
        self.policy.bounds.memory = Some(bytes);
        self
    }

    /// The most address space of each worker, in bytes (`RLIMIT_AS`). A job that asks for more usually
    /// aborts, and is reported as out of memory. The program's own code, and large arguments, count
    /// too, so less than some tens of MiB leaves no room to start. Default: no limit.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// By how much the workers' nice value is raised (0–19), so that the event loops come first.
    /// Default: 10.
    pub fn nice(mut self, nice: u8) -> Self {
        self.nice = nice;
        self
    }

    /// A function that each worker runs before its first job, outside of any time limit.
    ///
    /// When it gives an error or panics, the pool is broken for good: jobs that wait fail with that
    /// reason, and new ones are refused. When a worker *dies* in it another one is tried, with growing
    /// pauses; after five in a row the jobs that wait fail, unless there is another worker, and a job that is
    /// submitted later is one more try.
    pub fn initializer(mut self, initializer: fn() -> Result<(), String>) -> Self {
        self.initializer = Some(initializer);
        self
    }

    /// A function that each worker calls once, after the initializer, for something that its jobs will find: a
    /// model, a parser, a connection. See [`call_with`](crate::call_with), which has an example. What is said of an
    /// initializer that fails is true here.
    ///
    /// It stays in the worker, so it need not be `Send`. It is dropped only after a panic; at its end a worker is
    /// killed.
    pub fn state<S: 'static>(mut self, make: fn() -> Result<S, String>) -> Self {
        self.state = Some(StateRecipe::new(make));
        self
    }

    /// How long the fork server, from which the workers come, may take for an answer. Default: 30
    /// seconds; it takes about one millisecond.
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.handshake_timeout = limit;
        self
    }

    /// What to start as a worker instead of this very program: another executable file of the same
    /// build, for where `/proc/self/exe` is something else (under valgrind, for instance).
    pub fn worker_executable(mut self, path: impl Into<PathBuf>) -> Self {
        self.worker_executable = Some(path.into());
        self
    }

    /// How each worker comes to be; as a copy of the fork server, unless told otherwise.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.start_method = method;
        self
    }

    /// Workers are entered where the program's `main` calls [`worker_main`](crate::worker_main), instead of before
    /// `main`: for where the crate's constructor does not run, and for jobs that need constructors of other crates, or
    /// C++'s, to have run.
    ///
    /// ```no_run
    /// use loopool_executors::ProcessPoolExecutor;
    ///
    /// loopool_executors::worker_main();
    /// let pool = ProcessPoolExecutor::builder().explicit_entry().build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn explicit_entry(mut self) -> Self {
        self.explicit_entry = true;
        self
    }

    /// Makes the pool: starts the fork server and waits for its answer (about a millisecond). Workers
    /// are started later, when there are jobs.
    ///
    /// # Errors
    /// When no worker could be started from this program, or not from this process; the error says
    /// what to do.
    pub fn build(self) -> Result<ProcessPoolExecutor, ProcessPoolError> {
        check_this_process(self.worker_executable.is_none() && !self.explicit_entry)?;
        if exit::executors_are_closed() {
            return Err(ProcessPoolError::ShuttingDown);
        }
        self.confinement.check()?;
        let initializer = match self.initializer {
            None => None,
            Some(function) => {
                let offset = Offset::of(function as usize);
                Some(offset.ok_or(ProcessPoolError::NotTheMainProgram)?.0)
            }
        };
        let environment = self.confinement.environment();
        let looks = self.policy.bounds.memory.is_some();
        let memory = MemoryWatch::new(self.confinement.rss_limit, looks).map_err(|error| {
            match error.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                    ProcessPoolError::NoProc
                }
                _ => ProcessPoolError::Spawn(error),
            }
        })?;
        let state = match &self.state {
            None => None,
            Some(recipe) => Some(recipe.maker().ok_or(ProcessPoolError::NotTheMainProgram)?),
        };
        let settings = WorkerSettings {
            spawns: self.start_method == StartMethod::Spawn,
            memory_limit: self.memory_limit,
            cpu_limit: self.confinement.cpu_limit,
            open_files: self.confinement.open_files,
            nice: self.nice,
            placement: self.confinement.placement,
            initializer,
            sandbox: self.confinement.sandbox,
            policy: self.policy.settings(state),
        };
        let executable = self.worker_executable;
        let (explicit, limit) = (self.explicit_entry, self.handshake_timeout);
        let recipe = Recipe::new(executable, explicit, &environment, settings, limit);
        let server = recipe.start_and_wait()?;
        let memory_budget = self.policy.memory_budget;
        let shared = Arc::new(Shared::new(self.queue_limit)?);
        let manager =
            Manager::new(shared.clone(), recipe, server, self.workers, memory, self.policy)
                .map_err(std::io::Error::from)?;
        *shared.manager.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(manager);
        let driver = shared.clone();
        let spawned = crate::starting::thread("loopool-procs", move || driver.drive());
        let thread = match spawned {
            Ok(thread) => thread,
            Err(error) => {
                // It holds on to what it lies in.
                shared.close_books();
                return Err(error.into());
            }
        };
        // Told before anybody can ask: the thread calls foreign code only for jobs.
        let _ = shared.thread.set(thread.thread().id());
        exit::register(shared.clone());
        let (state, thread) = (self.state, Mutex::new(Some(thread)));
        Ok(ProcessPoolExecutor { shared, state, memory_budget, thread })
    }
}

/// Whether workers started from here would be workers.
pub(super) fn check_this_process(own_executable: bool) -> Result<(), ProcessPoolError> {
    if takeover::is_daemonic() {
        Err(ProcessPoolError::Nested)
    } else if !takeover::is_taken_over() && takeover::is_worker_name(&image::first_argument()) {
        Err(ProcessPoolError::MainRanInWorker)
    } else if image::is_privileged() {
        Err(ProcessPoolError::Privileged)
    } else if !image::is_main_program() {
        Err(ProcessPoolError::NotTheMainProgram)
    } else if own_executable && !hook::works() {
        Err(ProcessPoolError::HookMissing)
    } else {
        Ok(())
    }
}

impl ProcessPoolExecutor {
    /// A pool of at most `workers` processes (at least one).
    ///
    /// # Errors
    /// As for [`ProcessPoolBuilder::build`].
    pub fn new(workers: usize) -> Result<Self, ProcessPoolError> {
        Self::builder().workers(workers).build()
    }

    /// A pool with options.
    pub fn builder() -> ProcessPoolBuilder {
        ProcessPoolBuilder {
            workers: crate::os::usable_cpus(),
            queue_limit: None,
            policy: Policy::default(),
            memory_limit: None,
            nice: 10,
            initializer: None,
            state: None,
            handshake_timeout: HANDSHAKE,
            worker_executable: None,
            explicit_entry: false,
            start_method: StartMethod::default(),
            confinement: Confinement::default(),
        }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The pool with options for the jobs that are submitted to it: a priority, limits of time, further attempts.
    ///
    /// ```
    /// use std::time::Duration;
    /// use loopool_executors::{Executor, JobOptions, ProcessPoolExecutor, call};
    ///
    /// let pool = ProcessPoolExecutor::new(1)?;
    /// let endless = |_: ()| loop { std::thread::park() };
    /// let briefly = JobOptions::new().job_timeout(Duration::from_millis(20));
    /// let mut job = pool.with(briefly).submit(call::<(), ()>(endless, ()))?;
    /// assert!(job.result(None).unwrap_err().is_timeout());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with(&self, options: JobOptions) -> With<'_, Self> {
        With::new(self, options)
    }

    /// What the pool is doing.
    pub fn stats(&self) -> ExecutorStats {
        self.shared.stats()
    }

    /// What the pool is doing, in detail: each worker with its job, causes of crashes, how long jobs wait and run. It
    /// can be serialised, for a page. (It reads a small file per worker.)
    ///
    /// ```
    /// use loopool_executors::{Executor, ProcessPoolExecutor, WorkerPhase, call};
    ///
    /// let pool = ProcessPoolExecutor::new(1)?;
    /// pool.submit(call(|n: u32| n + 1, 1))?.result(None)?;
    /// let snapshot = pool.snapshot();
    /// assert_eq!((snapshot.workers[0].phase, snapshot.workers[0].jobs), (WorkerPhase::Idle, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn snapshot(&self) -> PoolSnapshot {
        self.shared.snapshot()
    }

    /// The process ids of the workers that are there now.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.shared.workers()
    }

    /// The process id of the fork server, from which the workers come.
    pub fn fork_server_pid(&self) -> Option<u32> {
        self.shared.fork_server()
    }

    /// What the kernel enforces on the workers, by the last one that was started; none before the first is
    /// ready. See [`Sandbox`](crate::Sandbox).
    pub fn enforced(&self) -> Option<Enforced> {
        self.shared.enforced()
    }

    /// Takes no more work. With `cancel_futures`, jobs that have not started are cancelled and none is tried again,
    /// else they are still run. With `wait`, returns when all processes of the pool have ended (called in a
    /// job's done-callback, it does not wait for that). May be called again.
    ///
    /// Tells what became of every job: after a `wait` none is waiting or running any more.
    pub fn shutdown(&self, wait: bool, cancel_futures: bool) -> ExecutorStats {
        self.shared.shut_down(cancel_futures);
        if !wait || own_pool::brings_outcomes_of(&*self.shared) {
            return self.stats();
        }
        if !self.shared.wait() {
            return self.stats();
        }
        let thread = self.thread.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(thread) = thread {
            // Its body catches every panic, so there is nothing to learn here.
            let _ = thread.join();
        }
        self.stats()
    }
}

impl Drop for ProcessPoolExecutor {
    /// Takes no more work and lets what was submitted run to its end, without waiting.
    fn drop(&mut self) {
        self.shared.shut_down(false);
    }
}

impl fmt::Debug for ProcessPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProcessPoolExecutor").field(&self.stats()).finish()
    }
}

/// Runs the worker, if this process was started as one, and then never returns; else does nothing.
///
/// A program needs this, as the first line of its `main`, only if it makes a pool with
/// [`explicit_entry`](ProcessPoolBuilder::explicit_entry).
///
/// ```
/// loopool_executors::worker_main();
/// // The program.
/// ```
pub fn worker_main() {
    let mut arguments = std::env::args_os();
    if let (Some(first), None) = (arguments.next(), arguments.next()) {
        use std::os::unix::ffi::OsStrExt;
        takeover::take_over(first.as_bytes());
    }
}
