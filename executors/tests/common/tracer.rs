//! A job that attaches to a process as a debugger does, and stays.

/// Whether it may; if so it never returns.
pub(crate) fn trace(pid: u32) -> bool {
    let no: *mut libc::c_void = std::ptr::null_mut();
    // SAFETY: plain system calls, the first without memory of ours.
    if unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid as libc::pid_t, no, no) } != 0 {
        return false;
    }
    loop {
        std::thread::park();
    }
}
