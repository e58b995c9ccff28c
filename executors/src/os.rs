//! The few things the executors ask the operating system for, safely wrapped.

/// How many CPUs the calling thread may use: those of its affinity, or fewer where a control group has a quota,
/// its own or one above it (rounded down, because who uses more than that is stopped for a while, and the event
/// loops with it). At least 1.
pub(crate) fn usable_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Raises the calling thread's nice value to `by` (0–39) above that of the process's first thread, so that the
/// scheduler prefers others. Not above its own: whoever started it may have been lowered before.
pub(crate) fn lower_priority_of_this_thread(by: u8) {
    if by == 0 {
        return;
    }
    // SAFETY: plain system calls on the calling thread; on Linux a thread's id addresses that thread
    // alone. A refusal leaves the priority as it was, which is no error for the caller.
    unsafe {
        let [tid, first] = [libc::gettid(), libc::getpid()].map(|id| id as libc::id_t);
        let wanted = libc::getpriority(libc::PRIO_PROCESS, first) + i32::from(by);
        let now = libc::getpriority(libc::PRIO_PROCESS, tid);
        libc::setpriority(libc::PRIO_PROCESS, tid, wanted.min(19).max(now));
    }
}
