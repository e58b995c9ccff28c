//! The few things the executors ask the operating system for, safely wrapped.

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
