//! What happens in a worker when a denied system call is to end it: the program is told which one it was, and
//! the signal takes its course.
//!
//! The kernel does not make the call in any case. That the process ends for it is up to this handler, so
//! a job that is out to live on after a denied call can; it gains nothing by that.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::process::inside::fault;
use crate::process::transport::wire::denial_frame;

/// `SYS_SECCOMP`: the signal comes from a filter.
const FROM_A_FILTER: c_int = 1;

/// How many panics are being printed. Written and, by the handler, read on one thread, or else only a matter of
/// which comes first; so relaxed accesses pair with nothing.
static CALM: AtomicU32 = AtomicU32::new(0);

/// While it lives, denied calls fail and do not kill: printing a backtrace looks for many files.
pub(in crate::process) struct Calm(());

/// Printing of a panic begins.
pub(in crate::process) fn calm() -> Calm {
    CALM.fetch_add(1, Relaxed);
    Calm(())
}

impl Drop for Calm {
    fn drop(&mut self) {
        CALM.fetch_sub(1, Relaxed);
    }
}

/// Handles the signal by which the kernel tells of denied calls.
pub(super) fn report_denials() {
    // SAFETY: the handler is async-signal-safe: see there.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction =
            on_denial as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGSYS, &action, std::ptr::null_mut());
    }
}

/// What the kernel tells of a denied call: `siginfo_t`, of which the C library shows less.
#[repr(C)]
struct Denial {
    _signal: c_int,
    _errno: c_int,
    code: c_int,
    _address: *const c_void,
    call: c_int,
}

/// Allocates nothing, locks nothing, unwinds nowhere. What it calls is allowed in every profile.
extern "C" fn on_denial(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives valid pointers to an `SA_SIGINFO` handler, and for this signal from a filter
    // `siginfo_t` begins like `Denial`; `send`, `sigaction` and `raise` are async-signal-safe.
    unsafe {
        let info = &*info.cast::<Denial>();
        if info.code == FROM_A_FILTER {
            let call = libc::c_long::from(info.call);
            let is_calm = registers::CAN_REFUSE && CALM.load(Relaxed) > 0;
            if is_calm || registers::is_a_look_into_the_system(context.cast(), call) {
                registers::refuse(context.cast());
                return;
            }
            fault::tell(&denial_frame(info.call as u32));
        }
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        libc::sigaction(signal, &action, std::ptr::null_mut());
        // It is blocked while this handler runs, and comes right after it.
        libc::raise(signal);
    }
}

/// Where the standard library and the C library look by themselves.
const THE_SYSTEMS: [&[u8]; 4] = [b"/proc/", b"/sys/", b"/lib", b"/usr/lib"];

/// Whether a path lies there.
///
/// # Safety
/// `path` is null or a C string.
unsafe fn is_the_systems(path: *const u8) -> bool {
    !path.is_null()
        && THE_SYSTEMS.iter().any(|prefix| {
            // SAFETY: the caller's promise; this stops at the first byte that differs, which the end of the
            // string does.
            prefix.iter().enumerate().all(|(at, byte)| unsafe { *path.add(at) } == *byte)
        })
}

#[cfg(target_arch = "x86_64")]
mod registers {
    /// Whether [`refuse`] does anything.
    pub(super) const CAN_REFUSE: bool = true;

    /// Whether the call asks for a file that a library looks for by itself.
    ///
    /// # Safety
    /// `context` is what the kernel gave the handler of a denied `call`, whose path, if it has one, can be
    /// read; a job that gives a wild one gets its segfault here instead of an error.
    pub(super) unsafe fn is_a_look_into_the_system(
        context: *const libc::ucontext_t,
        call: libc::c_long,
    ) -> bool {
        let register = match call {
            libc::SYS_open | libc::SYS_readlink | libc::SYS_access => libc::REG_RDI,
            libc::SYS_openat | libc::SYS_readlinkat | libc::SYS_faccessat => libc::REG_RSI,
            libc::SYS_faccessat2 => libc::REG_RSI,
            _ => return false,
        };
        // SAFETY: the caller's promise.
        unsafe {
            let path = (*context).uc_mcontext.gregs[register as usize] as usize;
            super::is_the_systems(std::ptr::with_exposed_provenance(path))
        }
    }

    /// Makes the call fail.
    ///
    /// # Safety
    /// `context` is what the kernel gave the handler.
    pub(super) unsafe fn refuse(context: *mut libc::ucontext_t) {
        // SAFETY: the caller's promise.
        unsafe {
            (*context).uc_mcontext.gregs[libc::REG_RAX as usize] = i64::from(-libc::EACCES);
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod registers {
    /// Whether [`refuse`] does anything.
    pub(super) const CAN_REFUSE: bool = true;

    /// Whether the call asks for a file that a library looks for by itself.
    ///
    /// # Safety
    /// `context` is what the kernel gave the handler of a denied `call`, whose path, if it has one, can be
    /// read; a job that gives a wild one gets its segfault here instead of an error.
    pub(super) unsafe fn is_a_look_into_the_system(
        context: *const libc::ucontext_t,
        call: libc::c_long,
    ) -> bool {
        match call {
            libc::SYS_openat
            | libc::SYS_readlinkat
            | libc::SYS_faccessat
            | libc::SYS_faccessat2 => {}
            _ => return false,
        }
        // SAFETY: the caller's promise.
        unsafe {
            let path = (*context).uc_mcontext.regs[1] as usize;
            super::is_the_systems(std::ptr::with_exposed_provenance(path))
        }
    }

    /// Makes the call fail.
    ///
    /// # Safety
    /// `context` is what the kernel gave the handler.
    pub(super) unsafe fn refuse(context: *mut libc::ucontext_t) {
        // SAFETY: the caller's promise.
        unsafe { (*context).uc_mcontext.regs[0] = -i64::from(libc::EACCES) as u64 };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod registers {
    /// Whether [`refuse`] does anything.
    pub(super) const CAN_REFUSE: bool = false;

    /// Unknown here.
    ///
    /// # Safety
    /// None is needed.
    pub(super) unsafe fn is_a_look_into_the_system(
        _context: *const libc::ucontext_t,
        _call: libc::c_long,
    ) -> bool {
        false
    }

    /// Never called.
    ///
    /// # Safety
    /// None is needed.
    pub(super) unsafe fn refuse(_context: *mut libc::ucontext_t) {}
}
