//! A process of its own: what a fork server becomes that is told to run one function and end.

use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::trampoline::Answer;
use super::worker::Worker;
use super::{child, fault, panics, takeover};
use crate::process::transport::body::TAIL_LIMIT;
use crate::process::transport::sealed::MOST_SEALED;
use crate::process::transport::wire::Order;

/// The code of a process whose function panicked, or was not called.
const PANICKED: i32 = 1;

/// The whole life of the process, from the order on.
///
/// It ends by `exit`, as `main` does: its own non-daemon threads, executors and processes are waited for.
pub(crate) fn live(control: OwnedFd, order: Order, tail: &[u8], fds: Vec<OwnedFd>) -> ! {
    match catch_unwind(AssertUnwindSafe(|| run(control, order, tail, fds))) {
        Ok(Ok(code)) => std::process::exit(code),
        Ok(Err(error)) => {
            let _ = writeln!(io::stderr(), "loopool process: {error}");
            child::end(child::FAILED)
        }
        Err(_) => child::end(child::FAILED),
    }
}

/// Runs the function and sends what came of it; gives the exit code.
fn run(control: OwnedFd, order: Order, tail: &[u8], fds: Vec<OwnedFd>) -> io::Result<i32> {
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or(io::ErrorKind::InvalidInput);
    child::become_standard(next()?.as_fd(), libc::STDOUT_FILENO)?;
    child::become_standard(next()?.as_fd(), libc::STDERR_FILENO)?;
    if order.is_daemon {
        let lifeline = next()?;
        child::die_with(lifeline.as_fd())?;
        // It is to stay open until the process ends.
        std::mem::forget(lifeline);
    } else {
        takeover::set_free();
    }
    child::set_name(&CString::new(order.name).unwrap_or_default());
    // SAFETY: the descriptor is closed by nobody: the worker below is never dropped.
    let forever = unsafe { BorrowedFd::borrow_raw(control.as_raw_fd()) };
    panics::watch(forever);
    fault::watch(forever)?;
    let mut worker = std::mem::ManuallyDrop::new(Worker::new(control, MOST_SEALED));
    let answer = worker
        .take_files(order.arena, fds.collect())
        .and_then(|()| worker.run(order.trampoline, order.function, order.head, tail, None))
        .unwrap_or_else(Answer::BadArgument);
    let code = if matches!(answer, Answer::Value(_)) { 0 } else { PANICKED };
    // Nobody hears it when the program has gone; a process that is no daemon ends as usual all the same.
    let told = worker.tell(answer, TAIL_LIMIT, None);
    let _ = worker.send(0, told);
    Ok(code)
}
