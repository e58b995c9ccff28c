//! The options of a pool that hold its workers in: sandbox, limits, placement, environment.

use std::ffi::OsString;
use std::time::Duration;

use super::environment::{Environment, THREAD_COUNTS};
use super::placement::Placement;
use super::pool::ProcessPoolBuilder;
use super::pool_error::ProcessPoolError;
use super::sandbox::Sandbox;

/// A worker needs some descriptors of its own.
const LEAST_OPEN_FILES: u64 = 16;

/// What the builder has been told.
#[derive(Debug, Clone, Default)]
pub(super) struct Confinement {
    pub(super) sandbox: Option<Sandbox>,
    pub(super) rss_limit: Option<u64>,
    pub(super) cpu_limit: Option<Duration>,
    pub(super) open_files: Option<u64>,
    pub(super) placement: Placement,
    environment: Environment,
}

impl Confinement {
    /// Whether the kernel can do all of it.
    pub(super) fn check(&self) -> Result<(), ProcessPoolError> {
        let Some(sandbox) = self.sandbox.as_ref().filter(|it| !it.is_best_effort()) else {
            return Ok(());
        };
        let missing = sandbox.lacks();
        if missing.is_empty() { Ok(()) } else { Err(ProcessPoolError::NoSandbox { missing }) }
    }

    pub(super) fn environment(&self) -> Environment {
        let mut environment = self.environment.clone();
        environment.is_cleared |= self.sandbox.as_ref().is_some_and(Sandbox::clears_environment);
        environment
    }
}

impl ProcessPoolBuilder {
    /// What jobs may not do, from each worker's first job on. Default: no sandbox.
    ///
    /// A pool whose sandbox can't be enforced is not built, or, when that turns out later, breaks: its jobs
    /// fail with the reason. See [`Sandbox::best_effort`] for the other way.
    ///
    /// ```
    /// use loopool_executors::{Executor, ProcessPoolExecutor, Sandbox, call};
    ///
    /// let sandbox = Sandbox::read_only(["/usr/share"]).deny_network().best_effort();
    /// let pool = ProcessPoolExecutor::builder().workers(1).sandbox(sandbox).build()?;
    /// assert_eq!(pool.submit(call(|n: u32| n + 1, 1))?.result(None)?, 2);
    /// for what in &pool.enforced().unwrap().missing {
    ///     eprintln!("this machine does not enforce {what}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sandbox(mut self, sandbox: Sandbox) -> Self {
        self.confinement.sandbox = Some(sandbox);
        self
    }

    /// The most resident memory of each worker while it runs a job, in bytes: what `top` shows as RES, the
    /// program's own code and mapped arguments included. A job that has more is killed, and reported as out of
    /// memory. Default: no limit.
    ///
    /// The kernel sees to it where a control group (version 2) with room for more was delegated to the
    /// program, as by systemd's `Delegate=yes` and `DelegateSubgroup=`. Elsewhere the pool looks every 10 ms at
    /// the workers that run a job, so that one that is quick can have some tens of MiB more for a moment.
    /// [`ProcessPoolExecutor::enforced`](crate::ProcessPoolExecutor::enforced) says which. Other than
    /// [`memory_limit`](Self::memory_limit) it does not count memory that is reserved and never touched.
    ///
    /// ```
    /// use loopool_executors::{Executor, ProcessPoolExecutor, call};
    ///
    /// let pool = ProcessPoolExecutor::builder().workers(1).rss_limit(1 << 30).build()?;
    /// assert_eq!(pool.submit(call(|n: u32| n + 1, 1))?.result(None)?, 2);
    /// assert_eq!(pool.enforced().unwrap().rss_limit.unwrap().0, 1 << 30);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rss_limit(mut self, bytes: u64) -> Self {
        self.confinement.rss_limit = Some(bytes);
        self
    }

    /// The most processor time of each job, over all threads of its worker, but without processes that the
    /// job starts. One that uses more dies of SIGXCPU and is reported as
    /// [`CpuLimit`](crate::CrashCause::CpuLimit). Default: no limit.
    ///
    /// Other than [`job_timeout`](Self::job_timeout) it does not count waiting, nor that the machine has much
    /// to do. A job that is out to get round it can handle or ignore the signal; that limit it can't.
    ///
    /// ```
    /// use loopool_executors::{CrashCause, Executor, ProcessPoolExecutor, call};
    /// use std::time::Duration;
    ///
    /// fn search(mut n: u64) -> u64 {
    ///     loop {
    ///         n = std::hint::black_box(n ^ 1);
    ///     }
    /// }
    ///
    /// let time = Duration::from_millis(50);
    /// let pool = ProcessPoolExecutor::builder().workers(1).cpu_limit(time).build()?;
    /// let error = pool.submit(call(search, 1))?.result(None).unwrap_err();
    /// assert_eq!(error.crash().unwrap().cause, CrashCause::CpuLimit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cpu_limit(mut self, time: Duration) -> Self {
        self.confinement.cpu_limit = Some(time);
        self
    }

    /// The most descriptors that a worker may have open (`RLIMIT_NOFILE`); at least 16, since it needs some
    /// itself. Default: as the program. None are spent on a [`BlobBuf`](crate::BlobBuf)'s bytes then: they are copied.
    ///
    /// ```
    /// use loopool_executors::{Executor, ProcessPoolExecutor, call};
    ///
    /// let pool = ProcessPoolExecutor::builder().workers(1).open_files(32).build()?;
    /// let open_many = |_: ()| {
    ///     let files: Vec<_> = (0..40).map(|_| std::fs::File::open("/dev/null")).collect();
    ///     files.iter().any(|file| file.is_err())
    /// };
    /// assert!(pool.submit(call(open_many, ()))?.result(None)?);
    /// assert_eq!(pool.enforced().unwrap().open_files, Some(32));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_files(mut self, descriptors: u64) -> Self {
        self.confinement.open_files = Some(descriptors.max(LEAST_OPEN_FILES));
        self
    }

    /// The CPUs, by number, that the workers may use. Default: those that the program may use.
    ///
    /// A worker that can't use any of them does not start, and jobs fail after some attempts.
    ///
    /// ```
    /// use loopool_executors::{Executor, ProcessPoolExecutor, call};
    ///
    /// let pool = ProcessPoolExecutor::builder().workers(1).cpus([0]).build()?;
    /// let usable = |_: ()| std::thread::available_parallelism().unwrap().get();
    /// match pool.submit(call(usable, ()))?.result(None) {
    ///     Ok(cpus) => assert_eq!(cpus, 1),
    ///     // The program itself may not use that one.
    ///     Err(error) => assert!(error.is_rejected()),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cpus(mut self, cpus: impl IntoIterator<Item = u32>) -> Self {
        self.confinement.placement.cpus = cpus.into_iter().collect();
        self
    }

    /// How many of the [CPUs](Self::cpus) each worker has for itself, in the order of the list; it starts
    /// over when there are more workers than CPUs. Without effect when no CPUs were named. Default: all
    /// workers have all.
    ///
    /// ```
    /// use loopool_executors::ProcessPoolExecutor;
    ///
    /// let pool = ProcessPoolExecutor::builder().workers(2).cpus([0, 1]).cpus_per_worker(1);
    /// # let _ = pool;
    /// ```
    pub fn cpus_per_worker(mut self, cpus: u32) -> Self {
        self.confinement.placement.cpus_per_worker = Some(cpus.max(1));
        self
    }

    /// By how much the workers come before (positive) or after (negative, for which the program needs
    /// rights) others when the system, out of memory, looks for somebody to kill: -1000 to 1000. Default: as
    /// the program. A few hundred makes sure that it is a worker, which costs a job, and not the program.
    ///
    /// ```
    /// use loopool_executors::{Executor, ProcessPoolExecutor, call};
    ///
    /// let pool = ProcessPoolExecutor::builder().workers(1).oom_score_adj(500).build()?;
    /// let score = |_: ()| std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    /// assert_eq!(pool.submit(call(score, ()))?.result(None)?.trim(), "500");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn oom_score_adj(mut self, adjustment: i16) -> Self {
        self.confinement.placement.oom_score_adj = Some(adjustment.clamp(-1000, 1000));
        self
    }

    /// A variable of the workers' environment, in addition to those that the program has when the pool is built,
    /// or instead of one. It is there before anything runs in the worker.
    ///
    /// ```
    /// use loopool_executors::{Executor, ProcessPoolExecutor, call};
    ///
    /// let pool = ProcessPoolExecutor::builder().workers(1).env("MODEL", "small").build()?;
    /// let model = |_: ()| std::env::var("MODEL").ok();
    /// assert_eq!(pool.submit(call(model, ()))?.result(None)?.as_deref(), Some("small"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.confinement.environment.added.push((name.into(), value.into()));
        self
    }

    /// The workers have no variables but those of [`env`](Self::env), called before or after this.
    ///
    /// ```
    /// use loopool_executors::{Executor, ProcessPoolExecutor, call};
    ///
    /// let builder = ProcessPoolExecutor::builder().workers(1).env("LANG", "C").env_clear();
    /// let pool = builder.build()?;
    /// let count = |_: ()| std::env::vars().count();
    /// assert_eq!(pool.submit(call(count, ()))?.result(None)?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn env_clear(mut self) -> Self {
        self.confinement.environment.is_cleared = true;
        self
    }

    /// How many threads numeric libraries use in each worker: sets `OMP_NUM_THREADS`,
    /// `OPENBLAS_NUM_THREADS`, `MKL_NUM_THREADS`, `BLIS_NUM_THREADS`, `VECLIB_MAXIMUM_THREADS`,
    /// `NUMEXPR_NUM_THREADS` and `RAYON_NUM_THREADS`. With as many workers as CPUs it should be 1: each of these
    /// libraries starts a thread per CPU otherwise, in each worker.
    ///
    /// ```
    /// use loopool_executors::{Executor, ProcessPoolExecutor, call};
    ///
    /// let pool = ProcessPoolExecutor::builder().workers(1).numeric_threads(1).build()?;
    /// let threads = |_: ()| std::env::var("OMP_NUM_THREADS").ok();
    /// assert_eq!(pool.submit(call(threads, ()))?.result(None)?.as_deref(), Some("1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn numeric_threads(self, threads: usize) -> Self {
        let count = threads.max(1).to_string();
        THREAD_COUNTS.iter().fold(self, |builder, name| builder.env(name, &count))
    }
}
