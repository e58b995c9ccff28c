//! Whether this thread is about to end.
//!
//! A runtime that lies in a thread-local is dropped when its thread ends, among the destructors of other
//! thread-locals: no code of users may run then that is not a destructor itself. We find that out by
//! thread-locals of our own. Those are destroyed in the opposite order of their first use, and ours must
//! go before that of the user: one is used when a runtime is made, for runtimes that are put into a
//! thread-local which is there already, and one when it is run, for those that were made in theirs.
//! (What is made, run, and only then put into a new thread-local escapes us, and ends in the ordinary
//! way.)

struct Witness;

impl Drop for Witness {
    fn drop(&mut self) {
        // Only so that the thread-local has an end.
    }
}

thread_local! {
    static MADE: Witness = const { Witness };
    static RUN: Witness = const { Witness };
}

/// A runtime was made on this thread.
pub(super) fn note_making() {
    let _ = MADE.try_with(|_| ());
}

/// A runtime is run on this thread.
pub(super) fn note_running() {
    let _ = RUN.try_with(|_| ());
}

/// Whether the destructors of this thread's thread-locals are being called.
pub(super) fn is_near() -> bool {
    MADE.try_with(|_| ()).is_err() || RUN.try_with(|_| ()).is_err()
}
