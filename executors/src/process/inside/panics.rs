//! What a worker remembers of a panic: where it was, and, where panics end the process, all of it.

use std::cell::RefCell;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use super::fault;
use crate::error::panic_message;
use crate::process::sandbox;
use crate::process::transport::socket;
use crate::process::transport::wire::{FromWorker, clip};

thread_local! {
    static LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The job socket, for the hook. Set before the hook is and never changed, on the one thread there is
/// then, so relaxed accesses pair with nothing.
static SOCKET: AtomicI32 = AtomicI32::new(-1);

/// Puts our hook before the one that prints. Its output reaches the program through the pipe.
pub(crate) fn watch(socket: BorrowedFd<'static>) {
    SOCKET.store(socket.as_raw_fd(), Relaxed);
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let location = info.location().map(ToString::to_string);
        // A copy that a job has made has the same socket and says nothing.
        if PANICS_ABORT && fault::is_the_worker() {
            last_words(info.payload(), location.as_deref());
        }
        // Gone only while the thread ends: then nobody asks.
        let _ = LOCATION.try_with(|last| *last.borrow_mut() = location);
        let _calm = sandbox::calm();
        print(info);
    }));
}

/// Forgets an earlier panic of this thread.
pub(crate) fn forget() {
    LOCATION.set(None);
}

/// Where this thread last panicked.
pub(crate) fn location() -> Option<String> {
    LOCATION.take()
}

/// Whether a panic ends the process, in this build of the program.
const PANICS_ABORT: bool = cfg!(panic = "abort");

/// The process is about to abort, so the message has to go now.
fn last_words(payload: &(dyn std::any::Any + Send), location: Option<&str>) {
    let panic = clip(panic_message(payload).to_owned());
    let frame = FromWorker::Dying { panic, location: location.map(str::to_owned) };
    // SAFETY: the job socket stays open for as long as the worker lives.
    let socket = unsafe { BorrowedFd::borrow_raw(SOCKET.load(Relaxed)) };
    // When that fails the crash report has to do.
    let _ = socket::send(socket, &frame, [&[], &[]], &[]);
}
