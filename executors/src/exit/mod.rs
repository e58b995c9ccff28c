//! The end of the program: who is waited for, and in which order.
//!
//! The first non-daemon [`Thread`](crate::Thread), [`Process`](crate::Process), executor or
//! [hook](register_at_exit) registers one handler with the C library's `atexit`, which every ordinary end of
//! a program runs: `main` that returns or panics, and `exit`, whoever calls it. It does everything, in this
//! order:
//! 1. The hooks run, the last first. No new one is taken.
//! 2. The executors take no more work. What is queued runs, and their workers are joined.
//! 3. The non-daemon threads are waited for, those that they start meanwhile included. When none is left the
//!    door is closed: later starts of threads and processes are refused.
//! 4. Daemon processes are asked to end (SIGTERM), killed after a second, and reaped.
//! 5. Non-daemon processes are waited for.
//! 6. Standard output is flushed. Daemon threads end with the process.
//!
//! # Rules
//! 1. The thread that called exit never comes back, so nobody waits for it: it is struck off the roll and
//!    off its pool's list before anything else, and the jobs that it has in hand fail (`in_hand.rs`). But not before the exit has begun:
//!    whoever waits for it would go on, and might end the program first, with another code.
//! 2. On that thread, thread-locals with destructors are gone. So the steps are a thread of their own, for
//!    which it waits (`handler`). What it uses itself has been tried there: channels, spawning, try_with.
//! 3. No lock is held while anything of the above runs or is waited for: whoever is waited for may need it. And of
//!    what is foreign the thread of the steps runs the hooks alone: what a thread that is struck leaves behind (its jobs'
//!    callbacks may block, or exit) is seen to elsewhere (`timekeeper`).
//! 4. Somebody may hold the lock of the standard output for ever, so flushing it, and saying anything, is
//!    waited for only so long, or not at all.
//! 5. A process that was forked off has the handler, but none of the threads: there it does nothing, and the
//!    lists are empty (`forks.rs`).
//!
//! `leaving` strikes who exits, `roll` is the protocol of threads and door, `pools` the list of executors, `nag` says what takes so long.

mod handler;
mod held;
mod leaving;
mod nag;
mod pools;
mod roll;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};

use crate::caught::run_caught;
use crate::error::{RejectReason, Rejected};
use crate::forks;
use crate::shim::Mutex;

pub(crate) use self::held::Held;
pub(crate) use self::nag::Nag;
pub(crate) use self::pools::Pool;
pub(crate) use self::roll::Ticket;

use self::pools::Pools;
use self::roll::Roll;

static ROLL: LazyLock<crate::shim::Arc<Roll>> = LazyLock::new(Default::default);
static POOLS: Pools = Pools::new();
static HOOKS: Mutex<Hooks> = Mutex::new(Hooks::NEW);

/// Set before the executors are closed. Who reads it has seen one that is closed, under that one's lock, so
/// relaxed accesses will do.
static EXECUTORS_CLOSED: AtomicBool = AtomicBool::new(false);

struct Hooks {
    is_over: bool,
    hooks: Vec<Box<dyn FnOnce() + Send>>,
}

impl Hooks {
    const NEW: Self = Hooks { is_over: false, hooks: Vec::new() };
}

/// A place on the roll for somebody the end of the program waits for; none when the door is closed.
pub(crate) fn enter(name: &str) -> Option<Ticket> {
    handler::arm();
    Roll::enter(&ROLL, name)
}

/// Whether threads and processes may still be started.
pub(crate) fn is_open() -> bool {
    forks::watch();
    ROLL.is_open()
}

/// The end of the program waits for this executor. One that was made too late is closed at once.
pub(crate) fn register(pool: Arc<dyn Pool>) {
    handler::arm();
    POOLS.register(&pool);
}

/// Whether the program is ending, as far as executors are concerned.
pub(crate) fn executors_are_closed() -> bool {
    EXECUTORS_CLOSED.load(Relaxed)
}

/// Why an executor that is shut down takes nothing.
pub(crate) fn refusal() -> RejectReason {
    if executors_are_closed() { RejectReason::ShuttingDown } else { RejectReason::ShutDown }
}

/// Ends the program with `code`, as [`std::process::exit`] does, also from a [`Thread`](crate::Thread) or an
/// executor's job while the program is ending already.
///
/// Destructors of values on the stacks do not run. Who calls this is not waited for any more; everybody else
/// is, in the order that the guide `docs/exit.md` tells. When the program is ending already, its code stays
/// the one of whoever was first, and the caller waits here for the end.
///
/// Prefer this to [`std::process::exit`] in code that runs in threads: that one never returns either when
/// the program is ending, but the end goes on waiting for the thread that is stuck in it.
///
/// ```no_run
/// let worker = loopool_executors::Thread::new(|| {
///     // Something is so wrong that the program has to end; the other threads finish what they do.
///     loopool_executors::exit(3);
/// });
/// worker.start()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn exit(code: i32) -> ! {
    // SAFETY: the next call does not return.
    unsafe { leaving::leave() };
    std::process::exit(code)
}

/// Calls `hook` when the program ends, before executors and threads are waited for: to tell threads that
/// would run for ever that they should stop.
///
/// Of several, the last is called first. They run one after the other on a thread of the library's; one that
/// panics is reported through `tracing`. They may still submit work and start threads. They must not call
/// exit, which does not return: the program would never end. A program that is killed or aborts runs none.
///
/// ```
/// use std::sync::mpsc;
/// use loopool_executors::{Thread, register_at_exit};
///
/// let (stop, stopped) = mpsc::channel::<()>();
/// Thread::new(move || while stopped.recv().is_ok() {}).start()?;
/// assert!(register_at_exit(move || drop(stop)).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Hands the hook back when the program is ending already.
pub fn register_at_exit<F>(hook: F) -> Result<(), Rejected<F>>
where
    F: FnOnce() + Send + 'static,
{
    handler::arm();
    let mut hooks = HOOKS.lock();
    if hooks.is_over {
        return Err(Rejected::new(hook, RejectReason::ShuttingDown));
    }
    hooks.hooks.push(Box::new(hook));
    Ok(())
}

/// Step 1.
fn run_hooks() {
    let mut state = HOOKS.lock();
    state.is_over = true;
    let hooks = std::mem::take(&mut state.hooks);
    drop(state);
    for hook in hooks.into_iter().rev() {
        run_caught("a hook at the program's end", hook);
    }
}

/// Step 2.
fn finish_executors(nag: &mut Nag) {
    EXECUTORS_CLOSED.store(true, Relaxed);
    let mut left = POOLS.close();
    while !left.is_empty() {
        let patience = nag.patience(std::time::Instant::now());
        if left[0].wait(patience) {
            // It may be the last that anybody has of it.
            let over = left.remove(0);
            crate::caught::drop_caught("an executor", over);
        } else {
            nag.warn("for executors", || left.iter().map(|pool| pool.describe()).collect());
        }
    }
}

/// Step 3.
fn finish_threads(nag: &mut Nag) {
    while let Err(names) = ROLL.close_when_empty(nag.patience(std::time::Instant::now())) {
        nag.warn("for non-daemon threads", || names);
    }
}
