//! [`Thread`]: a thread with a value, a name and a say in when the program ends.
//!
//! # Rules
//! 1. A thread that the end of the program waits for has its [`Ticket`](exit::Ticket) before it is spawned.
//! 2. The value, or the panic, is put into the promise first. The thread is over only when its last
//!    thread-local has been destroyed: [`Last`] is the first that it makes, and the first made is the last
//!    destroyed. So a join, and the program's end, come after the destructors of the thread-locals.
//! 3. A thread that ends the program is over at that moment, without a value.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use crate::error::JobError;
use crate::exit;
use crate::job::{Job, deadline_after};
use crate::not_started::{NotStarted, StartError};
use crate::promise::{Outcome, Promise};
use crate::shim::{Condvar, Mutex};
use crate::starting;
use crate::work::Work;

/// A thread that has not been started.
///
/// [`start`](Self::start) gives a [`ThreadHandle`], whose [`join`](ThreadHandle::join) gives the value:
///
/// ```
/// use loopool_executors::Thread;
///
/// let mut thread = Thread::new(|| 6 * 7).name("answer").start()?;
/// assert_eq!(thread.join(None)?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Daemon or not
/// The program does not end before its non-daemon threads have: when `main` returns or somebody calls exit,
/// they are waited for, in the order that `docs/exit.md` tells. A *daemon* thread ends with the program,
/// wherever it is. A thread is what its starter is, if that is a `Thread`; one that is started by `main`, by
/// a job, by an event loop or by any other thread is non-daemon. [`daemon`](Self::daemon) says otherwise.
///
/// # What cannot be done
/// What has to be checked elsewhere when it happens does not compile here. To start a thread twice:
///
/// ```compile_fail,E0382
/// let thread = loopool_executors::Thread::new(|| ());
/// thread.start();
/// thread.start();
/// ```
///
/// to join one that was not started:
///
/// ```compile_fail,E0599
/// let thread = loopool_executors::Thread::new(|| ());
/// thread.join(None);
/// ```
///
/// to make a running thread a daemon:
///
/// ```compile_fail,E0599
/// let thread = loopool_executors::Thread::new(|| ()).start().unwrap();
/// thread.daemon(true);
/// ```
#[must_use = "it runs only when it is started"]
pub struct Thread<W> {
    work: W,
    name: Option<String>,
    is_daemon: Option<bool>,
}

impl<W: Work> Thread<W> {
    /// A thread that will do `work`: a closure, or a [`call`](crate::call).
    pub fn new(work: W) -> Self {
        Thread { work, name: None, is_daemon: None }
    }

    /// Its name, for panics, debuggers and `top`, which shows the first 15 bytes. Default: `Thread-1` and
    /// so on. NUL characters are left out.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().replace('\0', ""));
        self
    }

    /// Whether it ends with the program instead of being waited for. Default: as its starter, if that is a
    /// [`Thread`], else not.
    pub fn daemon(mut self, is_daemon: bool) -> Self {
        self.is_daemon = Some(is_daemon);
        self
    }

    /// The work, unstarted.
    pub fn into_work(self) -> W {
        self.work
    }

    /// Starts it.
    ///
    /// # Errors
    /// Hands the thread back when the system refuses one, or when the program is ending and has waited for
    /// its last non-daemon thread ([`is_shutting_down`](NotStarted::is_shutting_down)).
    pub fn start(self) -> Result<ThreadHandle<W::Output>, NotStarted<Thread<W>>> {
        let is_daemon = self.is_daemon.unwrap_or_else(|| THIS_IS_DAEMON.get());
        let name = self.name.clone().unwrap_or_else(default_name);
        let ticket = if is_daemon { None } else { exit::enter(&name) };
        if ticket.is_none() && !(is_daemon && exit::is_open()) {
            return Err(NotStarted::new(self, StartError::ShuttingDown));
        }
        let Thread { work, name: given_name, is_daemon: given_daemon } = self;
        let (promise, job) = Promise::new();
        let over = Arc::new(Over::default());
        let last = Last { over: over.clone(), _ticket: ticket };
        // Lent to the new thread, so that it is still there when there is none.
        let lent = Arc::new(Mutex::new(Some((work, promise))));
        let borrowed = lent.clone();
        let spawned = starting::thread(name.as_str(), move || {
            THIS_IS_DAEMON.set(is_daemon);
            LAST.set(Some(last));
            let lent = borrowed.lock().take();
            drop(borrowed);
            if let Some((work, promise)) = lent {
                promise.fulfil(|| work.run());
            }
        });
        match spawned {
            Ok(spawned) => {
                let id = spawned.thread().id();
                Ok(ThreadHandle { job, over, id, name, is_daemon })
            }
            Err(error) => match lent.lock().take() {
                Some((work, _)) => {
                    let thread = Thread { work, name: given_name, is_daemon: given_daemon };
                    Err(NotStarted::new(thread, StartError::Thread(error)))
                }
                None => unreachable!("a thread that was not spawned took the work"),
            },
        }
    }
}

impl<W> fmt::Debug for Thread<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread")
            .field("name", &self.name)
            .field("is_daemon", &self.is_daemon)
            .finish_non_exhaustive()
    }
}

fn default_name() -> String {
    /// Only has to be different each time, so relaxed accesses pair with nothing.
    static LAST: AtomicU64 = AtomicU64::new(0);
    format!("Thread-{}", LAST.fetch_add(1, Relaxed) + 1)
}

/// A [`Thread`] that was started.
///
/// Dropping it lets the thread go on; if it is no daemon, the program's end waits for it all the same.
pub struct ThreadHandle<T> {
    job: Job<T>,
    over: Arc<Over>,
    id: ThreadId,
    name: String,
    is_daemon: bool,
}

impl<T> ThreadHandle<T> {
    /// Waits until the thread has ended, its thread-locals included, at most so long, and gives its value.
    /// The value can be had once.
    ///
    /// # Errors
    /// | the error | when |
    /// |---|---|
    /// | [`is_panic`](JobError::is_panic) | the thread panicked; [`into_panic`](JobError::into_panic) has the payload |
    /// | [`is_wait_timeout`](JobError::is_wait_timeout) | the time is over; ask again when you like |
    /// | [`is_self_join`](JobError::is_self_join) | the thread would wait for itself |
    /// | another | an earlier call took the value, or the thread called exit and has none |
    ///
    /// ```
    /// use std::time::Duration;
    /// use loopool_executors::Thread;
    ///
    /// let (go, gone) = std::sync::mpsc::channel();
    /// let mut thread = Thread::new(move || gone.recv()).start()?;
    /// assert!(thread.join(Some(Duration::ZERO)).unwrap_err().is_wait_timeout());
    /// go.send(5)?;
    /// assert_eq!(thread.join(None)?, Ok(5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn join(&mut self, timeout: impl Into<Option<Duration>>) -> Outcome<T> {
        if std::thread::current().id() == self.id {
            return Err(JobError::self_join());
        }
        if !self.over.wait_until(deadline_after(timeout.into())) {
            return Err(JobError::wait_timed_out());
        }
        match self.job.result(Some(Duration::ZERO)) {
            // Rule 3.
            Err(error) if error.is_wait_timeout() => Err(JobError::abandoned()),
            outcome => outcome,
        }
    }

    /// Whether it has not ended.
    pub fn is_alive(&self) -> bool {
        !self.over.is_over()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it ends with the program.
    pub fn is_daemon(&self) -> bool {
        self.is_daemon
    }

    /// Its number in this process, as [`std::thread::current`] gives it there.
    pub fn id(&self) -> ThreadId {
        self.id
    }
}

impl<T> fmt::Debug for ThreadHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadHandle")
            .field("name", &self.name)
            .field("is_daemon", &self.is_daemon)
            .field("is_alive", &self.is_alive())
            .finish_non_exhaustive()
    }
}

thread_local! {
    /// What a [`Thread`] that is started here is, if nobody says so.
    static THIS_IS_DAEMON: Cell<bool> = const { Cell::new(false) };

    /// Rule 2.
    static LAST: Cell<Option<Last>> = const { Cell::new(None) };
}

/// The thread's last act.
pub(crate) struct Last {
    over: Arc<Over>,
    /// Given back after `over` was told: fields are dropped after `drop`.
    _ticket: Option<exit::Ticket>,
}

impl Drop for Last {
    fn drop(&mut self) {
        self.over.note();
    }
}

/// Rule 3. Also for where thread-locals are not destroyed, or already are, when the program ends.
/// Dropped, it is done.
pub(crate) fn take_last() -> Option<Last> {
    LAST.try_with(Cell::take).ok().flatten()
}

/// Whether a thread is over.
#[derive(Default)]
struct Over {
    is_over: Mutex<bool>,
    /// Signalled when it is.
    changed: Condvar,
}

impl Over {
    fn note(&self) {
        *self.is_over.lock() = true;
        self.changed.notify_all();
    }

    fn is_over(&self) -> bool {
        *self.is_over.lock()
    }

    /// False when it was not by then.
    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        /// As good as for ever, and short enough for every clock.
        const LONG: Duration = Duration::from_secs(1 << 30);
        let mut is_over = self.is_over.lock();
        while !*is_over {
            let left = match deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => LONG,
            };
            if left.is_zero() {
                return false;
            }
            is_over = self.changed.wait_for(&self.is_over, is_over, left);
        }
        true
    }
}
