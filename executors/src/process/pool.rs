//! [`ProcessPoolExecutor`] and its options.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::body::Body;
use super::fork_server::Recipe;
use super::image::{self, Offset};
use super::manager::Manager;
use super::pool_error::ProcessPoolError;
use super::remote_job::{RemoteJob, Target};
use super::shared::Shared;
use super::wire::WorkerSettings;
use super::{hook, takeover};
use crate::error::{JobError, RejectReason, Rejected};
use crate::exit;
use crate::job::Job;
use crate::own_pool;
use crate::place::Place;
use crate::promise::Promise;
use crate::stats::ExecutorStats;
use crate::work::{Call, Executor};

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
/// - Statics that `main` fills are empty; no logger or `tracing` subscriber is installed; constructors
///   of other crates and of C++ may not have run. `LazyLock` and `thread_local!` work. What jobs need,
///   the [initializer](ProcessPoolBuilder::initializer) prepares.
/// - A worker runs one job at a time and many in its life: statics keep what a job puts there.
/// - Environment, working directory and umask are those of the moment the pool was built.
/// - Standard input is empty; what is written to standard output and error becomes `tracing` events in
///   the program, and its end is part of the [crash report](crate::CrashReport).
/// - No descriptor of the program is open there, and no signal handler set.
/// - The process leads a group of its own. What a job starts is killed with the worker, unless it
///   leaves the group.
/// - It cannot make a process pool of its own, nor start a [`Process`](crate::Process).
///
/// # How a job ends
/// | the job | its outcome |
/// |---|---|
/// | returns | the value |
/// | panics | [`is_panic`](JobError::is_panic), with the message; the worker lives on |
/// | dies: a signal, `abort`, stack overflow, `exit`, out of memory | [`crash`](JobError::crash), with a report |
/// | runs longer than the [limit](ProcessPoolBuilder::job_timeout) | [`is_timeout`](JobError::is_timeout); the worker is killed |
/// | is cancelled while it runs | [`is_cancelled`](JobError::is_cancelled); the worker is killed |
/// | has an argument or result that serde cannot carry | [`is_codec`](JobError::is_codec) |
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
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Options of a [`ProcessPoolExecutor`].
#[derive(Debug, Clone)]
pub struct ProcessPoolBuilder {
    workers: usize,
    queue_limit: Option<usize>,
    job_timeout: Option<Duration>,
    memory_limit: Option<u64>,
    nice: u8,
    initializer: Option<fn() -> Result<(), String>>,
    handshake_timeout: Duration,
    worker_executable: Option<PathBuf>,
}

impl ProcessPoolBuilder {
    /// The most workers; at least 1. They are started when jobs wait for them. Default: the CPUs this
    /// process may use.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// The most jobs that may wait; at least 1. Default: no limit.
    pub fn queue_limit(mut self, jobs: usize) -> Self {
        self.queue_limit = Some(jobs.max(1));
        self
    }

    /// How long a job may run, from the moment a worker has it. Time in the queue does not count.
    /// Default: no limit.
    pub fn job_timeout(mut self, limit: Duration) -> Self {
        self.job_timeout = Some(limit);
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
    /// pauses; after five in a row the jobs that wait fail, and a job that is submitted later is one
    /// more try.
    pub fn initializer(mut self, initializer: fn() -> Result<(), String>) -> Self {
        self.initializer = Some(initializer);
        self
    }

    /// How long the fork server, from which the workers come, may take for an answer. Default: 5
    /// seconds; it takes about one millisecond.
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.handshake_timeout = limit;
        self
    }

    /// What to start as a worker instead of this very program: another executable file of the same
    /// build, for where `/proc/self/exe` is something else (under valgrind, for instance), or one whose
    /// `main` calls [`worker_main`](crate::worker_main).
    pub fn worker_executable(mut self, path: impl Into<PathBuf>) -> Self {
        self.worker_executable = Some(path.into());
        self
    }

    /// Makes the pool: starts the fork server and waits for its answer (about a millisecond). Workers
    /// are started later, when there are jobs.
    ///
    /// # Errors
    /// When no worker could be started from this program, or not from this process; the error says
    /// what to do.
    pub fn build(self) -> Result<ProcessPoolExecutor, ProcessPoolError> {
        check_this_process(self.worker_executable.is_none())?;
        if exit::executors_are_closed() {
            return Err(ProcessPoolError::ShuttingDown);
        }
        let initializer = match self.initializer {
            None => None,
            Some(function) => {
                let offset = Offset::of(function as usize);
                Some(offset.ok_or(ProcessPoolError::NotTheMainProgram)?.0)
            }
        };
        let settings =
            WorkerSettings { memory_limit: self.memory_limit, nice: self.nice, initializer };
        let recipe = Recipe::new(self.worker_executable, settings, self.handshake_timeout);
        let server = recipe.start_and_wait()?;
        let shared = Arc::new(Shared::new(self.queue_limit)?);
        let manager = Manager::new(shared.clone(), recipe, server, self.workers, self.job_timeout)
            .map_err(std::io::Error::from)?;
        let epoll = manager.epoll.clone();
        *shared.manager.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(manager);
        let driver = shared.clone();
        let builder = std::thread::Builder::new().name("loopool-procs".to_owned());
        let spawned = crate::starting::thread(builder, move || driver.drive(epoll));
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
        Ok(ProcessPoolExecutor { shared, thread: Mutex::new(Some(thread)) })
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
            job_timeout: None,
            memory_limit: None,
            nice: 10,
            initializer: None,
            handshake_timeout: Duration::from_secs(5),
            worker_executable: None,
        }
    }

    /// What the pool is doing.
    pub fn stats(&self) -> ExecutorStats {
        self.shared.stats()
    }

    /// The process ids of the workers that are there now.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.shared.workers()
    }

    /// The process id of the fork server, from which the workers come.
    pub fn fork_server_pid(&self) -> Option<u32> {
        self.shared.fork_server()
    }

    /// Takes no more work. With `cancel_futures`, jobs that have not started are cancelled, else they
    /// are still run. With `wait`, returns when all processes of the pool have ended (called in a
    /// job's done-callback, it does not wait for that). May be called again.
    ///
    /// Tells what became of every job: after a `wait` none is waiting or running any more.
    pub fn shutdown(&self, wait: bool, cancel_futures: bool) -> ExecutorStats {
        self.shared.shut_down(cancel_futures);
        if !wait || own_pool::works_for(&*self.shared) {
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

impl<A, R> Executor<Call<A, R>> for ProcessPoolExecutor
where
    A: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    /// Takes a call to be run in a worker. The argument is encoded here and now, in the calling thread.
    ///
    /// # Errors
    /// Hands the call back when the queue is full, the pool is shut down or broken, or the function
    /// does not live in the main program. (An argument that cannot be encoded fails the job.)
    fn submit(&self, work: Call<A, R>) -> Result<Job<R>, Rejected<Call<A, R>>> {
        self.submit_to(Place::default(), work)
    }

    fn shutdown(&self, wait: bool, cancel_futures: bool) -> ExecutorStats {
        ProcessPoolExecutor::shutdown(self, wait, cancel_futures)
    }

    fn place(&self) -> Place {
        Place::in_queue_of(self.shared.clone())
    }

    fn submit_to(&self, place: Place, work: Call<A, R>) -> Result<Job<R>, Rejected<Call<A, R>>> {
        let mut place = place.of(&*self.shared);
        let Some(target) = Target::of(work.function) else {
            return Err(Rejected::new(work, RejectReason::ForeignFunction));
        };
        if let Err(reason) = self.shared.admits(&place.ticket) {
            return Err(Rejected::new(work, reason));
        }
        let body = match Body::encode(&work.argument) {
            Ok(body) => body,
            Err(why) => {
                let (promise, job) = Promise::new();
                self.shared.counters.record_submitted();
                self.shared.counters.record_failed();
                promise.set_exception(JobError::codec("argument", why));
                return Ok(job);
            }
        };
        let id = self.shared.next_id();
        let (promise, job) = Promise::owned_by(self.shared.clone(), id);
        match self.shared.push(RemoteJob::new(id, target, body, promise), &mut place.ticket) {
            Ok(()) => Ok(job),
            Err(reason) => Err(Rejected::new(work, reason)),
        }
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
/// A program needs this only where the crate's constructor does not run, or where workers must start
/// later than it: for programs that depend on constructors of other crates. Then it is the first line
/// of `main`. See also [`worker_executable`](ProcessPoolBuilder::worker_executable).
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
