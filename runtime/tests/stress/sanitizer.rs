//! What ThreadSanitizer does not know by itself.
//!
//! - A lock that was contended is acquired inside the standard library, which is not built for it.
//! - It ignores fences. The most frequent one is in `Arc`: who drops the last reference goes `fetch_sub`
//!   (Release), then `fence` (Acquire), on the same thread. The linker (`--wrap`) gives both to us, and we say
//!   that the fence acquires what the last such operation has read. That is what it does, and less than
//!   all that it does; so nothing is hidden that is a race.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::{from_ref, null_mut};
use std::sync::Mutex;

unsafe extern "C" {
    fn __tsan_acquire(address: *mut c_void);
    fn __real___tsan_atomic64_fetch_sub(address: *mut u64, by: u64, order: c_int) -> u64;
    fn __real___tsan_atomic_thread_fence(order: c_int);
}

thread_local! {
    static LAST: Cell<*mut u64> = const { Cell::new(null_mut()) };
}

pub(crate) fn locked<T>(lock: &Mutex<T>) {
    // SAFETY: an annotation, which looks at nothing. The word that is released comes first in a lock.
    unsafe { __tsan_acquire(from_ref(lock).cast_mut().cast()) };
}

/// # Safety
/// As that of the sanitizer's function, which the compiler calls.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap___tsan_atomic64_fetch_sub(
    address: *mut u64,
    by: u64,
    order: c_int,
) -> u64 {
    LAST.set(address);
    // SAFETY: the caller's promise.
    unsafe { __real___tsan_atomic64_fetch_sub(address, by, order) }
}

/// # Safety
/// As that of the sanitizer's function, which the compiler calls.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap___tsan_atomic_thread_fence(order: c_int) {
    // SAFETY: as the caller's call; then an annotation, which looks at nothing, not even at memory that
    // was freed meanwhile.
    unsafe {
        __real___tsan_atomic_thread_fence(order);
        let last = LAST.replace(null_mut());
        if !last.is_null() {
            __tsan_acquire(last.cast());
        }
    }
}
