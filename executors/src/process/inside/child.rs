//! What the fork server and the workers do to their own process. Every one of them is single-threaded
//! when it does.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Ends the process: no destructors, no handlers, no `main`.
pub(crate) fn end(code: i32) -> ! {
    // SAFETY: no more than a system call.
    unsafe { libc::_exit(code) }
}

/// The code of a fork server or worker that could not do its part.
pub(crate) const FAILED: i32 = 125;

/// Descriptors from here on are ours; those below are the standard ones, and room for surprises.
const OUR_FDS: RawFd = 10;

/// Moves a descriptor out of the way of the standard ones.
pub(crate) fn move_up(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: the new descriptor belongs to nobody else.
    unsafe {
        let moved = libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, OUR_FDS);
        if moved < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(moved))
    }
}

/// Makes `target` (0, 1 or 2) another name of `fd`.
pub(crate) fn become_standard(fd: BorrowedFd<'_>, target: RawFd) -> io::Result<()> {
    // SAFETY: the standard descriptors of a worker are the pool's, nobody else has them.
    if unsafe { libc::dup2(fd.as_raw_fd(), target) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Closes every descriptor but the standard ones and `keep`.
pub(crate) fn close_others<const N: usize>(keep: [RawFd; N]) {
    let mut keep = keep;
    keep.sort_unstable();
    let mut first = libc::STDERR_FILENO + 1;
    for kept in keep {
        close_range(first, kept - 1);
        first = kept + 1;
    }
    close_range(first, RawFd::MAX);
}

fn close_range(first: RawFd, last: RawFd) {
    if first > last {
        return;
    }
    // SAFETY: whoever calls this names what it keeps; the rest is closed on purpose. Where the kernel
    // has no such call the loop does it, up to the limit of descriptors.
    unsafe {
        if libc::syscall(libc::SYS_close_range, first, last, 0) == 0 {
            return;
        }
        let limit = libc::sysconf(libc::_SC_OPEN_MAX).clamp(256, 1 << 20) as RawFd;
        for fd in first..=last.min(limit) {
            libc::close(fd);
        }
    }
}

/// No signal blocked, each at its default, but for SIGPIPE, which a Rust program ignores.
pub(crate) fn reset_signals() {
    // SAFETY: an all-zero `sigaction` with `SIG_DFL` is a valid one; signals whose action can't be set
    // refuse.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction =
                if signal == libc::SIGPIPE { libc::SIG_IGN } else { libc::SIG_DFL };
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// What `ps` and `top` show.
pub(crate) fn set_name(name: &CStr) {
    // SAFETY: the kernel copies the string.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Sets both limits of a resource, as far as they may be.
pub(crate) fn limit(resource: nix::sys::resource::Resource, bytes: u64) -> io::Result<()> {
    let (_, hard) = nix::sys::resource::getrlimit(resource)?;
    let bytes = bytes.min(hard);
    Ok(nix::sys::resource::setrlimit(resource, bytes, bytes)?)
}

/// A process group of its own, so that a terminal's Ctrl-C reaches only the program, and that a
/// worker's children can be killed with it.
pub(crate) fn lead_a_group() {
    // Refused only to session leaders, who lead one.
    let _ = nix::unistd::setpgid(nix::unistd::Pid::this(), nix::unistd::Pid::this());
}

const F_SETOWN: i32 = 8;
const F_SETSIG: i32 = 10;

/// Makes the kernel kill this process, whatever it does, when the last other end of `pipe` is closed:
/// when the program has gone, or lets go of it.
pub(crate) fn die_with(pipe: BorrowedFd<'_>) -> io::Result<()> {
    die(pipe, std::process::id() as i32)
}

/// The same with what this process has started, if it leads a group. Another group is not ours to kill.
pub(crate) fn die_together_with(pipe: BorrowedFd<'_>) -> io::Result<()> {
    let me = std::process::id() as i32;
    let leads = nix::unistd::getpgrp().as_raw() == me;
    die(pipe, if leads { -me } else { me })
}

/// `victim` is a process, or minus a group.
fn die(pipe: BorrowedFd<'_>, victim: i32) -> io::Result<()> {
    let fd = pipe.as_raw_fd();
    // SAFETY: settings of a descriptor of our own.
    let refused = unsafe {
        libc::fcntl(fd, F_SETOWN, victim) < 0
            || libc::fcntl(fd, F_SETSIG, libc::SIGKILL) < 0
            || libc::fcntl(fd, libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK) < 0
    };
    if refused {
        return Err(io::Error::last_os_error());
    }
    // It may have been closed before the kernel knew.
    let mut poll = [nix::poll::PollFd::new(pipe.as_fd(), nix::poll::PollFlags::empty())];
    if nix::poll::poll(&mut poll, nix::poll::PollTimeout::ZERO)? > 0 {
        end(FAILED);
    }
    Ok(())
}
