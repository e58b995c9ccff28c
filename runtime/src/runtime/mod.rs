//! The runtime: a loop per core, joined by work stealing.
//!
//! Loop 0 is the *main loop*, driven by the thread that calls [`Runtime::run`]; each other loop has a
//! thread of its own for the runtime's life.
//!
//! # Shutdown, in this order
//! 1. *Closing*: every task is asked to end, and new ones are born cancelled; loops, timers, reactors
//!    and executors go on, so that what the tasks do on their way out works. Until no task is left, or
//!    the grace period is over.
//! 2. The default executor takes no more work; what waits in it is cancelled, or done, and what runs
//!    there is waited for as long as the policy says. The loops still turn.
//! 3. *Stopped*: each loop drops its own local tasks and callbacks on its own thread, which ends.
//! 4. Everything else is dropped by the one who leaves last (`scheduler/ending.rs`): the thread that
//!    shuts down, which waits for the others, and does what they would do that have not even begun
//!    (`life.rs`). Then the reactors are closed.
//!
//! A loop that is stuck in a poll beyond the grace period is named in the report and in the log, and left
//! alone. What can be reached is dropped without it; should it come back, it does the rest.
//!
//! # Who may drop a runtime where
//! A [`Runtime`] stays on its thread, and every way to run it borrows it or uses it up. So it is never
//! dropped by a task or callback of its own, on whatever loop, unless by a clone of an `Rc` that is not
//! the last one. It may be dropped
//! - inside a task or callback of another runtime's loop. That loop would stand still, so nothing is
//!   waited for: steps 1 and 2 take no time, and tasks have no chance to clean up;
//! - by the end of a thread, from a thread-local. Then nothing may run on that thread any more: it drops
//!   its local tasks and callbacks, and does not wait for the other threads either. The last one of them
//!   does the rest.

mod default_executor;
mod end;
mod life;
mod shutdown;
mod spares;
mod thread_end;
mod threads;
mod watch;

use std::fmt;
use std::future::Future;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::default_executor::DefaultExecutor;
pub use self::shutdown::{LeftTask, ShutdownJobs, ShutdownPolicy, ShutdownReport};
use self::spares::Spares;
use self::threads::Threads;
use self::watch::Watch;
use crate::event_loop::{Core, Driving, LoopHandle, ThreadsafeHandle, run_main};
use crate::fork::{self, Forked};
use crate::metrics::RuntimeMetrics;
use crate::scheduler::{Phase, Plan, Shared};
use crate::task::MOST_LOOPS;

/// The most spare workers there are by default: each of them is as good as a loop.
const MOST_SPARES: usize = 4;

/// How long tasks may take to end when a runtime is merely dropped.
const DROP_GRACE: Duration = Duration::from_secs(5);

/// Several event loops, one per core, that share their work.
///
/// Dropping a runtime ends it as [`run`](Self::run) does, but gives the tasks 5 seconds only. Inside a
/// task of another runtime, where waiting would stop a loop, and in a thread-local at the end of its
/// thread it gives them none: then they are dropped. [`shutdown`](Self::shutdown) is the way to say how
/// long to wait and to learn what became of everything.
///
/// ```
/// let runtime = loopool::Runtime::builder().loops(2).thread_name("worker").build()?;
/// let sum: u64 = runtime.run(async {
///     let tasks: Vec<_> = (0..100u64).map(|n| loopool::create_task(async move { n })).collect();
///     let mut sum = 0;
///     for task in tasks {
///         sum += task.await.unwrap();
///     }
///     sum
/// });
/// assert_eq!(sum, 4950);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Runtime {
    main: Rc<Core>,
    shared: Arc<Shared>,
    /// Those of the other loops, and the watch thread.
    threads: Threads,
    spares: Arc<Spares>,
    shutdown_timeout: Duration,
}

/// Options of a [`Runtime`].
#[derive(Debug, Clone)]
pub struct RuntimeBuilder {
    loops: usize,
    thread_name: String,
    shutdown_timeout: Duration,
    spare_workers: Option<usize>,
    spare_keep_alive: Duration,
    slow_poll_threshold: Duration,
}

impl RuntimeBuilder {
    /// How many loops; at least 1 and at most 32768. Default: the CPUs this process may use.
    pub fn loops(mut self, loops: usize) -> Self {
        self.loops = loops.clamp(1, MOST_LOOPS / 2);
        self
    }

    /// What the names of the loops' threads begin with; a number follows. NUL characters are left out. Default: `loopool`.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = name.into();
        self
    }

    /// How long tasks may take to end when [`Runtime::run`] is over. Default: 30 seconds.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = timeout;
        self
    }

    /// How many spare workers may stand in while every loop is blocked. Default: as many as loops, at
    /// most 4; for one loop none, so that it keeps one order for all it runs.
    ///
    /// A runtime with one loop and a spare worker runs what may move from a queue of its own, as one with
    /// several loops does.
    pub fn spare_workers(mut self, spares: usize) -> Self {
        self.spare_workers = Some(spares.min(MOST_LOOPS / 2));
        self
    }

    /// How long a spare worker's thread waits to be needed again before it ends. Default: 10 seconds.
    pub fn spare_keep_alive(mut self, keep_alive: Duration) -> Self {
        self.spare_keep_alive = keep_alive;
        self
    }

    /// A loop that does not come back from a task or callback for longer than this is reported through
    /// `tracing`, while it is stuck, and counted in the [metrics](crate::LoopMetrics::stalls). Default:
    /// 100 milliseconds.
    ///
    /// Nobody measures a poll for it: others look, every few milliseconds. A shorter time than about 20
    /// milliseconds is not kept exactly.
    pub fn slow_poll_threshold(mut self, threshold: Duration) -> Self {
        self.slow_poll_threshold = threshold;
        self
    }

    /// Makes the runtime and starts its threads.
    ///
    /// # Errors
    /// When the system refuses a descriptor or a thread.
    pub fn build(self) -> std::io::Result<Runtime> {
        thread_end::note_making();
        let spares = self.spare_workers.unwrap_or(match self.loops {
            1 => 0,
            loops => loops.min(MOST_SPARES),
        });
        let (shared, mut deques) = Shared::new(Plan {
            loops: self.loops,
            spares,
            slow_poll_threshold: self.slow_poll_threshold,
        })?;
        let seats = deques.split_off(self.loops).into_iter();
        let mut deques = deques.into_iter().enumerate();
        let Some((_, deque)) = deques.next() else { unreachable!("there is at least one loop") };
        let mut runtime = Runtime {
            main: Core::new(shared.clone(), 0, deque),
            spares: Spares::new(shared.clone(), &self.thread_name, self.spare_keep_alive, seats),
            shared,
            threads: Threads::default(),
            shutdown_timeout: self.shutdown_timeout,
        };
        for (index, deque) in deques {
            let shared = runtime.shared.clone();
            let life = move || work(&Core::new(shared, index, deque));
            runtime.threads.start(format!("{}-{index}", self.thread_name), life)?;
        }
        let watch = Watch::new(runtime.spares.clone());
        let thread =
            runtime.threads.start(format!("{}-watch", self.thread_name), || watch.work())?;
        // Nobody else sets it.
        let _ = runtime.shared.watch_thread.set(thread);
        Ok(runtime)
    }
}

/// Runs `main` on a runtime with a loop per core, and shuts it down: asyncio's `run`.
///
/// When `main` is done, every task that is left is cancelled and has up to 30 seconds to end.
///
/// ```
/// let answer = loopool::run(async { loopool::create_task(async { 6 * 7 }).await.unwrap() });
/// assert_eq!(answer, 42);
/// ```
///
/// # Panics
/// With `main`'s own panic; when it [raises a cancellation again](crate::Cancelled::reraise) that nothing in
/// it takes; when the main loop is [stopped](crate::LoopHandle::stop) before `main` is done; when the system refuses the
/// descriptors or threads of a runtime; and when this thread is inside a task or callback of a loop already.
#[track_caller]
pub fn run<F: Future>(main: F) -> F::Output {
    match Runtime::builder().build() {
        Ok(runtime) => runtime.run(main),
        Err(error) => panic!("no runtime could be made: {error}"),
    }
}

impl Runtime {
    /// A runtime with options.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder {
            loops: fork::usable_cpus(),
            thread_name: "loopool".to_owned(),
            shutdown_timeout: Duration::from_secs(30),
            spare_workers: None,
            spare_keep_alive: Duration::from_secs(10),
            slow_poll_threshold: Duration::from_millis(100),
        }
    }

    /// Runs `main` on the main loop, on this thread, then shuts the runtime down.
    ///
    /// # Panics
    /// With `main`'s own panic; when it [raises a cancellation again](crate::Cancelled::reraise) that nothing in
    /// it takes; when the main loop is [stopped](crate::LoopHandle::stop) before `main` is done; and when this thread is
    /// inside a task or callback of a loop already.
    #[track_caller]
    pub fn run<F: Future>(mut self, main: F) -> F::Output {
        thread_end::note_running();
        let outcome = run_main(&self.main, main);
        self.end(&ShutdownPolicy::default().grace(self.shutdown_timeout));
        match outcome {
            Ok(Ok(output)) => output,
            Ok(Err(payload)) => resume_unwind(payload),
            Err(error) => panic!("{error}"),
        }
    }

    /// Runs `main` on the main loop, on this thread. Other tasks go on meanwhile, and on the other
    /// loops also afterwards, when somebody else looks after the main loop's sockets and timers. Its
    /// callbacks and local tasks wait for the next run; and in a runtime of one loop, everything does.
    ///
    /// # Panics
    /// With `main`'s own panic; when this thread is inside a task or callback of a loop already; and
    /// when the main loop is [stopped](crate::LoopHandle::stop) before `main` is done, or `main` [raises a cancellation
    /// again](crate::Cancelled::reraise) that nothing in it takes.
    #[track_caller]
    pub fn run_until_complete<F: Future>(&self, main: F) -> F::Output {
        thread_end::note_running();
        match run_main(&self.main, main) {
            Ok(Ok(output)) => output,
            Ok(Err(payload)) => resume_unwind(payload),
            Err(error) => panic!("{error}"),
        }
    }

    /// Ends the runtime, and tells what became of everything.
    ///
    /// Every task is asked to end, once; the loops go on while they do, so timers, sockets, and blocking
    /// calls work in clean-up code. What that spawns is born cancelled; tasks from other threads are
    /// refused, that is, cancelled at once. Those that have not ended when the
    /// grace period is over are dropped where they wait. A loop that is stuck in a poll is left behind. No
    /// step waits for longer than the policy says, or 100 milliseconds for the loops to come round; but
    /// destructors of thread-locals, which run when a loop's thread has come to its end, are waited for
    /// without a limit.
    ///
    /// Whoever waits for a socket of the runtime gets an error, and handles of it say that it is closed.
    ///
    /// It uses the runtime up, and a runtime stays on its thread: so there is one shutdown, by one thread.
    /// Inside a task of another runtime it does not wait, as if the policy's times were zero.
    ///
    /// ```
    /// use std::time::Duration;
    /// use loopool::{Runtime, ShutdownPolicy};
    ///
    /// let runtime = Runtime::builder().loops(2).build()?;
    /// let server = runtime.handle().create_task(std::future::pending::<()>());
    /// server.set_name("server");
    /// let report = runtime.shutdown(ShutdownPolicy::default().grace(Duration::from_secs(1)));
    /// assert_eq!((report.cancelled, report.is_clean()), (1, true));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown(mut self, policy: ShutdownPolicy) -> ShutdownReport {
        self.end(&policy)
    }

    /// The main loop, for this thread.
    pub fn handle(&self) -> LoopHandle {
        LoopHandle::new(self.main.clone())
    }

    /// The handle that crosses threads.
    pub fn threadsafe_handle(&self) -> ThreadsafeHandle {
        ThreadsafeHandle::new(self.shared.clone(), 0)
    }

    /// What the loops are doing.
    pub fn metrics(&self) -> RuntimeMetrics {
        self.shared.metrics()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.end(&ShutdownPolicy::default().grace(DROP_GRACE));
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("loops", &self.shared.loop_count).finish_non_exhaustive()
    }
}

/// The life of a loop's thread.
fn work(core: &Rc<Core>) {
    // What users run is caught where it runs; a panic that gets here is a broken invariant of ours,
    // with tasks half moved.
    let guard = AbortOnUnwind;
    if let Ok(driving) = Driving::begin(core) {
        while core.shared().phase() != Phase::Stopped {
            core.turn(true);
            // Forked by a task, whose poll then returned: nothing can go on here.
            assert!(!core.shared().is_forked(), "{Forked}");
        }
        core.clear();
        drop(driving);
    }
    std::mem::forget(guard);
}

struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        tracing::error!("an event loop broke; the process ends");
        std::process::abort();
    }
}
