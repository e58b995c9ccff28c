//! Telling a stack overflow from a wild pointer.
//!
//! Both are a SIGSEGV to the kernel. The standard library's own handler is installed by the code
//! around `main`, which does not run in a worker. This one, on a stack of its own, compares where the
//! fault was with where the stack pointer is, tells the program whether they are close, and lets the
//! signal take its course.
//!
//! Only the job thread has such a stack. In a thread that a job starts, which has none, the handler of
//! a wild pointer runs on the thread's own stack; that of an overflow finds no room there, and the
//! kernel ends the process without a word. So a worker that dies of this signal *without* having told
//! of a fault has overflowed the stack of such a thread ([`Evidence`](crate::process::evidence::Evidence)).

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use crate::process::transport::wire::{Fault, fault_frame};

/// How far from the stack pointer a fault may be and still be the stack's: a large frame is touched
/// page by page, so the distance is small; other mappings are further away than the guard gap of the
/// kernel (1 MiB).
const NEAR: usize = 128 * 1024;

const HANDLER_STACK: usize = 64 * 1024;

/// The job socket, for the handler. Set before the handler is, on the same thread, so relaxed accesses
/// pair with nothing.
static SOCKET: AtomicI32 = AtomicI32::new(-1);

/// This process, to tell it from copies of it that a job makes. Set with [`SOCKET`].
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// Watches the calling thread for faults, until the process ends.
pub(crate) fn watch(socket: BorrowedFd<'static>) -> io::Result<()> {
    SOCKET.store(socket.as_raw_fd(), Relaxed);
    PROCESS.store(std::process::id() as i32, Relaxed);
    // SAFETY: a new mapping that is never unmapped becomes the handler's stack. The handler is
    // async-signal-safe: see there.
    unsafe {
        let stack = libc::mmap(
            std::ptr::null_mut(),
            HANDLER_STACK,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if stack == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = libc::stack_t { ss_sp: stack, ss_flags: 0, ss_size: HANDLER_STACK };
        if libc::sigaltstack(&stack, std::ptr::null_mut()) < 0 {
            return Err(io::Error::last_os_error());
        }
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction =
                on_fault as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
    Ok(())
}

/// Whether this process is the one that watches, and no copy of it.
pub(crate) fn is_the_worker() -> bool {
    // SAFETY: a plain, async-signal-safe system call.
    unsafe { libc::getpid() == PROCESS.load(Relaxed) }
}

/// Sends the program a frame from a signal handler.
///
/// A copy of this process, which a job may have made, has the same socket and says nothing.
pub(crate) fn tell(frame: &[u8]) {
    // SAFETY: plain, async-signal-safe system calls; the frame is read only.
    unsafe {
        if is_the_worker() {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            libc::send(SOCKET.load(Relaxed), frame.as_ptr().cast(), frame.len(), flags);
        }
    }
}

/// Allocates nothing, locks nothing, unwinds nowhere: it may run in the middle of `malloc`.
extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives valid pointers to an `SA_SIGINFO` handler; `send`, `sigaction` and
    // `raise` are async-signal-safe.
    unsafe {
        let fault = (*info).si_addr().addr();
        let by_the_kernel = (*info).si_code > 0;
        let stack = stack_pointer::of(context.cast());
        let is_near = stack.is_some_and(|stack| stack.abs_diff(fault) < NEAR);
        tell(&fault_frame(match (by_the_kernel, is_near) {
            (false, _) => Fault::Sent,
            (true, true) => Fault::Overflow,
            (true, false) => Fault::Wild,
        }));
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        libc::sigaction(signal, &action, std::ptr::null_mut());
        if !by_the_kernel {
            // Somebody sent it: there is no instruction that would fault again.
            libc::raise(signal);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod stack_pointer {
    /// The stack pointer at the time of the signal.
    ///
    /// # Safety
    /// `context` is what the kernel gave the handler.
    pub(crate) unsafe fn of(context: *const libc::ucontext_t) -> Option<usize> {
        // SAFETY: the caller's promise.
        Some(unsafe { (*context).uc_mcontext.gregs[libc::REG_RSP as usize] } as usize)
    }
}

#[cfg(target_arch = "aarch64")]
mod stack_pointer {
    /// The stack pointer at the time of the signal.
    ///
    /// # Safety
    /// `context` is what the kernel gave the handler.
    pub(crate) unsafe fn of(context: *const libc::ucontext_t) -> Option<usize> {
        // SAFETY: the caller's promise.
        Some(unsafe { (*context).uc_mcontext.sp } as usize)
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod stack_pointer {
    /// Unknown here: every fault of a thread with a handler's stack is a segfault.
    ///
    /// # Safety
    /// None is needed.
    pub(crate) unsafe fn of(_context: *const libc::ucontext_t) -> Option<usize> {
        None
    }
}
