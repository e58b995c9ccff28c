//! What a child of `fork` finds of what belongs to the whole process.
//!
//! A child has the memory of its parent and, of its threads, the one that forked. A lock that another one held
//! stays held there, and what another one was about to do is never done. For what somebody has made (a pool, a
//! runtime) that is so; but nothing new could be made either if it went for the locks that all of them share.
//!
//! # Rules
//! 1. Whoever forks takes all these locks before, in the order of [`Held`], and gives them back after, in the
//!    parent and in the child. So nobody else is in one of their critical sections when the process is copied.
//! 2. Whoever takes one of them has called [`watch`] before. The C library lets no handler be registered while
//!    it forks, so a fork that does not call ours began before any of the locks could be taken.
//! 3. Nobody who holds one of them calls foreign code or forks, or takes another one, except that of `starting.rs`,
//!    which is the last.
//! 4. What they guard is the parent's: in the child it is made anew. The old is left as it is, not dropped, since
//!    its destructors may wait for locks that are nobody's.
//! 5. The standard library's own lock for threads that begin or end is not to be had: whoever forks waits until no
//!    thread of ours is there (`starting.rs`).
//! 6. Nothing of all this is a `Once` or a `LazyLock`, which another thread may be about to initialise, unless
//!    whoever forks initialises it before.
//!
//! The handlers are not called where the memory is not copied either (`posix_spawn`, `vfork`), nor by `_Fork`,
//! nor by a bare system call: a child of one of those may only do what a signal handler may.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::caught::tell;
use crate::{exit, process, starting, timekeeper};

/// Everything, held by whoever forks. In the order in which it is taken.
struct Held {
    exit: exit::Held,
    processes: process::Held,
    leashes: process::HeldLeashes,
    time: timekeeper::Held,
    /// The last: a thread may be started under one of the others.
    threads: starting::Held,
}

thread_local! {
    /// From before the fork until after. Not to be dropped with the thread: so it is there till its very end.
    static HELD: Cell<Option<ManuallyDrop<Held>>> = const { Cell::new(None) };
}

/// Sees to it that forks keep the rules. To be called before one of the locks is taken.
pub(crate) fn watch() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    // Acquire: pairs with the Release below, so that whoever takes a lock does so after the registration. Not by
    // a `Once`: rule 6. Several may register at once, and so may a child; the handlers bear it.
    if WATCHED.load(Ordering::Acquire) {
        return;
    }
    // SAFETY: the handlers are functions of the program, and no panic comes from them.
    let refused = unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    // Release: pairs with the Acquire above.
    WATCHED.store(true, Ordering::Release);
    if refused != 0 {
        tell(|| tracing::error!("no handler for forks: what a child makes itself may hang"));
    }
}

extern "C" fn before() {
    process::read_image();
    let held = HELD.take().unwrap_or_else(|| {
        ManuallyDrop::new(Held {
            exit: exit::Held::new(),
            processes: process::Held::new(),
            leashes: process::HeldLeashes::new(),
            time: timekeeper::Held::new(),
            threads: starting::Held::new(),
        })
    });
    HELD.set(Some(held));
}

extern "C" fn in_parent() {
    if let Some(held) = HELD.take() {
        drop(ManuallyDrop::into_inner(held));
    }
}

extern "C" fn in_child() {
    if let Some(held) = HELD.take() {
        let mut held = ManuallyDrop::into_inner(held);
        held.exit.make_anew();
        held.processes.make_anew();
        held.leashes.make_anew();
        held.time.make_anew();
        held.threads.make_anew();
    }
}
