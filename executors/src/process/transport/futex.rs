//! Sleeping on a word that two processes share.

use std::sync::atomic::AtomicU32;

/// Sleeps while the word has this value, until it is woken, or for nothing: whoever calls this looks again.
pub(crate) fn wait_while(word: &AtomicU32, value: u32) {
    let forever = std::ptr::null::<libc::timespec>();
    // SAFETY: the kernel compares the word, which lives as long as the reference, and reads nothing else.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, forever) };
}

/// Wakes who sleeps on the word, in whichever process.
pub(crate) fn wake(word: &AtomicU32) {
    // SAFETY: the kernel uses the address of the word as a name.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}
