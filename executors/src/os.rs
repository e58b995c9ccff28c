//! The few things the executors ask the operating system for, safely wrapped.

/// How many CPUs the calling thread may use: those of its affinity, or fewer where a control group has a quota,
/// its own or one above it (rounded down, because who uses more than that is stopped for a while, and the event
/// loops with it). At least 1.
pub(crate) fn usable_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Raises the calling thread's nice value by `by` (0–39), so that the scheduler prefers others.
pub(crate) fn lower_priority_of_this_thread(by: u8) {
    if by == 0 {
        return;
    }
    // SAFETY: plain system calls on the calling thread; on Linux a thread's id addresses that thread
    // alone. A refusal leaves the priority as it was, which is no error for the caller.
    unsafe {
        let tid = libc::gettid() as libc::id_t;
        let now = libc::getpriority(libc::PRIO_PROCESS, tid);
        libc::setpriority(libc::PRIO_PROCESS, tid, now.saturating_add(i32::from(by)).min(19));
    }
}
