//! In a worker: how a job learns that it is to end, before its process is killed.
//!
//! # Protocol
//! 1. SIGTERM sets *asked*, once and for all: the worker gets no more jobs. Without a job it dies of the signal
//!    instead, as it would have without a handler; and when its job is over, too.
//! 2. The handler may do next to nothing, so those who wait to be asked are woken by a thread of their own, which is
//!    started with the first of them and waits in the kernel for *asked* to change.
//! 3. Who waits leaves a waker, and then looks. The thread looks, and then takes the wakers. So one sees the other;
//!    both do so under the wakers' lock, but for the handler's store, which comes before the thread is woken by it.

use std::io;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use crate::cancel_token::Askable;
use crate::caught::run_caught;
use crate::in_hand::with_in_hand;

/// Whether SIGTERM has come. Stored with Release by the handler; loads that are acted on acquire.
static ASKED: AtomicU32 = AtomicU32::new(0);

/// What the job thread does. Stored by that thread, where the handler runs, too, if it interrupts it; on another
/// thread, which a job has left behind, it may see an older value: then the worker dies, or ends a job later. So
/// relaxed accesses do, and pair with nothing.
static STATE: AtomicU32 = AtomicU32::new(State::Deaf as u32);

#[derive(Clone, Copy)]
enum State {
    /// There is no handler.
    Deaf,
    Idle,
    InAJob,
}

/// The number of the job. Stored by the job thread under the wakers' lock, and loaded under it.
static JOB: AtomicU32 = AtomicU32::new(0);

struct Waiting {
    wakers: Vec<Waker>,
    has_thread: bool,
}

static WAITING: Mutex<Waiting> = Mutex::new(Waiting { wakers: Vec::new(), has_thread: false });

fn waiting() -> MutexGuard<'static, Waiting> {
    WAITING.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Installs the handler, in a worker.
pub(super) fn listen() -> io::Result<()> {
    STATE.store(State::Idle as u32, Relaxed);
    // SAFETY: an all-zero `sigaction` is a valid one to be filled in; the handler is async-signal-safe. System calls
    // go on after it: a job that sleeps in one is not to fail for it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_terminate as extern "C" fn(i32) as usize;
        action.sa_flags = libc::SA_RESTART;
        if libc::sigaction(libc::SIGTERM, &action, std::ptr::null_mut()) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Stores, makes a system call, or dies: all of that is async-signal-safe.
extern "C" fn on_terminate(_signal: i32) {
    if STATE.load(Relaxed) != State::InAJob as u32 {
        die();
        return;
    }
    // Release: with the loads in `is_asked`.
    ASKED.store(1, Release);
    // SAFETY: a plain system call. Somebody who has interrupted another system call must leave its error alone.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        libc::syscall(libc::SYS_futex, ASKED.as_ptr(), libc::FUTEX_WAKE, i32::MAX);
        *errno = before;
    }
}

/// Dies of the signal, at once or when the handler returns.
fn die() {
    // SAFETY: an all-zero `sigaction` with `SIG_DFL` is a valid one; `sigaction` and `kill` are async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        libc::sigaction(libc::SIGTERM, &action, std::ptr::null_mut());
        libc::kill(libc::getpid(), libc::SIGTERM);
    }
}

/// Runs a job, which can be asked to end.
pub(in crate::process) fn as_job<R>(job: impl FnOnce() -> R) -> R {
    if STATE.load(Relaxed) == State::Deaf as u32 {
        return job();
    }
    STATE.store(State::InAJob as u32, Relaxed);
    let number = JOB.load(Relaxed);
    with_in_hand(&(Arc::new(Token(number)) as Arc<dyn Askable>), job)
}

/// The job is over, whichever way. Rule 1: a worker that was asked to end does so here.
pub(in crate::process) fn job_is_over() {
    if STATE.load(Relaxed) != State::InAJob as u32 {
        return;
    }
    STATE.store(State::Idle as u32, Relaxed);
    if ASKED.load(Acquire) != 0 {
        die();
    }
    let mut waiting = waiting();
    JOB.store(JOB.load(Relaxed).wrapping_add(1), Relaxed);
    let wakers = std::mem::take(&mut waiting.wakers);
    drop(waiting);
    wake_each(wakers);
}

fn wake_each(wakers: Vec<Waker>) {
    for waker in wakers {
        run_caught("a waker in a job that is to end, or is over", || waker.wake());
    }
}

/// The token of the job with this number.
struct Token(u32);

impl Askable for Token {
    fn is_asked(&self) -> bool {
        // Acquire: the handler's store.
        ASKED.load(Acquire) != 0
    }

    fn poll_asked(&self, waker: Option<&Waker>) -> Poll<bool> {
        let waker = waker.cloned();
        let mut waiting = waiting();
        if self.is_asked() || JOB.load(Relaxed) != self.0 {
            return Poll::Ready(self.is_asked());
        }
        if let Some(waker) = waker {
            waiting.wakers.push(waker);
            if !waiting.has_thread {
                let builder = std::thread::Builder::new().name("loopool-asked".to_owned());
                // Without it they are woken when the job is over.
                waiting.has_thread = builder.spawn(tell).is_ok();
            }
        }
        Poll::Pending
    }

    fn forget(&self, waker: &Waker) {
        let mut waiting = waiting();
        let place = waiting.wakers.iter().position(|other| other.will_wake(waker));
        let waker = place.map(|place| waiting.wakers.swap_remove(place));
        drop(waiting);
        drop(waker);
    }

    fn abandon(&self) {}
}

/// Rule 2.
fn tell() {
    while ASKED.load(Acquire) == 0 {
        // SAFETY: a plain system call, which waits while the value is 0, at an address that stays valid.
        unsafe {
            let no_limit = std::ptr::null::<libc::timespec>();
            libc::syscall(libc::SYS_futex, ASKED.as_ptr(), libc::FUTEX_WAIT, 0, no_limit);
        }
    }
    let wakers = std::mem::take(&mut waiting().wakers);
    wake_each(wakers);
}
