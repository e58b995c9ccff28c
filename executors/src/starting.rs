//! Starting threads so that forks do no harm.
//!
//! When a thread begins, and once more after it has returned, the standard library takes a lock of its own for a
//! moment (it notes where the stack ends). In a child that was forked in such a moment no thread ever comes past
//! that lock. It is not ours to take, so we count:
//! 1. A thread *passes* from before it is spawned until it begins to do what it is for, and from the moment when
//!    it has done that until the first of its thread-locals is destroyed.
//! 2. Whoever forks waits until none passes, and lets none begin to until the fork is done (`forks.rs`).
//! 3. The wait has a limit, since foreign code may run in there: destructors of thread-locals that are none of
//!    Rust's, the payload of a panic. One of those may be what forks.
//!
//! Threads that others start by themselves are not counted.

use std::cell::Cell;
use std::io;
use std::sync::MutexGuard;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::forks;
use crate::shim::{Condvar, Mutex};

/// To begin takes some 20 µs, and on a machine with much to do as long as its other threads leave.
const LIMIT: Duration = Duration::from_secs(5);

static STATE: Mutex<State> = Mutex::new(State { passing: 0, is_awaited: false });

/// Signalled when none passes, if that is awaited.
static NONE: Condvar = Condvar::new();

struct State {
    passing: usize,
    /// By the one who forks: the others wait for the locks that he has.
    is_awaited: bool,
}

/// Starts a thread. Its name is the one given, without the NUL characters, which no system would take.
///
/// # Errors
/// The system's, when it gives none; `life` is dropped.
pub fn thread(
    name: impl Into<String>,
    life: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let mut name = name.into();
    name.retain(|character| character != '\0');
    let coming = Passing::begin();
    Builder::new().name(name).spawn(move || {
        drop(coming);
        let _going = Going;
        life();
    })
}

/// A thread that the standard library has, not the one that it is started for. Dropped, it is past.
struct Passing(());

impl Passing {
    fn begin() -> Self {
        forks::watch();
        STATE.lock().passing += 1;
        Passing(())
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let mut state = STATE.lock();
        // In a child whose parent had waited for too long nobody is counted.
        state.passing = state.passing.saturating_sub(1);
        let is_over = state.passing == 0 && state.is_awaited;
        drop(state);
        if is_over {
            NONE.notify_all();
        }
    }
}

/// Dropped, by the last that a thread does, the thread passes.
struct Going;

impl Drop for Going {
    fn drop(&mut self) {
        thread_local! {
            /// The last that is made is the first that is destroyed.
            static GOING: Cell<Option<Passing>> = const { Cell::new(None) };
        }
        // Refused only where thread-locals are destroyed already, and then it is past.
        let _ = GOING.try_with(|going| going.set(Some(Passing::begin())));
    }
}

/// No thread passes, while the process is forked.
pub(crate) struct Held(MutexGuard<'static, State>);

impl Held {
    pub(crate) fn new() -> Self {
        let begun = Instant::now();
        let mut state = STATE.lock();
        state.is_awaited = true;
        while state.passing > 0 {
            let left = LIMIT.saturating_sub(begun.elapsed());
            if left.is_zero() {
                break;
            }
            state = NONE.wait_for(&STATE, state, left);
        }
        state.is_awaited = false;
        Held(state)
    }

    /// None is there.
    pub(crate) fn make_anew(&mut self) {
        self.0.passing = 0;
    }
}
