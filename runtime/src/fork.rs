//! Noticing that the process was forked.
//!
//! A child of `fork` has a copy of every runtime and none of its threads; locks are as they were, maybe
//! held for ever by threads that are not there, and descriptors, the poller among them, are the
//! parent's as well. So in the child whatever was made before the fork answers with [`Forked`], and its
//! destructors do nothing: taking a socket out of the poller there would take it out for the parent.
//! What the child makes itself works.
//!
//! How it is noticed is in [`Origin`](loopool_executors::origin::Origin). It is asked on the slow paths: parking,
//! pushes and wakes from outside, registering, timers, running and ending.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// How many CPUs there are to use.
///
/// The first who asks reads what control groups say, and the others wait for that (it is a `Once`). In a child that
/// was forked meanwhile by another thread they would for ever, so whoever forks asks first.
pub(crate) fn usable_cpus() -> usize {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    extern "C" fn before() {
        let _ = num_cpus::get();
    }
    // Acquire: pairs with the Release below, so that whoever asks does so after the registration. Several may
    // register at once, and so may a child: it is done twice then.
    if !WATCHED.load(Ordering::Acquire) {
        // SAFETY: the handler is a function of the program that may be called at any time, and from which no panic
        // comes. Refused when there is no memory, and then it is as if it were not there.
        let _ = unsafe { libc::pthread_atfork(Some(before), None, None) };
        // Release: pairs with the Acquire above.
        WATCHED.store(true, Ordering::Release);
    }
    num_cpus::get()
}

/// The process is a fork of the one in which this runtime or loop was made, and cannot use it.
///
/// A child of `fork` has none of the runtime's threads and shares its poller with the parent. Make
/// runtimes after the fork, or run another program in the child. Dropping what was made before the fork
/// does nothing there, neither to the parent's sockets nor to its threads.
///
/// It comes inside an [`io::Error`] from sockets; [`RunError`](crate::RunError),
/// [`LoopClosed`](crate::LoopClosed) and [`JoinError`](crate::JoinError) have an `is_forked`; what
/// returns no error panics with this text.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forked;

impl fmt::Display for Forked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this process is a fork of the one in which the event loop was made: make a new one here",
        )
    }
}

impl fmt::Debug for Forked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forked")
    }
}

impl std::error::Error for Forked {}

impl From<Forked> for io::Error {
    fn from(forked: Forked) -> Self {
        io::Error::other(forked)
    }
}
