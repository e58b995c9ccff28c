//! [`Origin`]: the process that something was made in, to notice that it was forked.
//!
//! A page that the kernel wipes in every child holds the number of this process among its ancestors, and
//! everything that needs to know keeps the number it was made under. Where the kernel cannot do that (before
//! Linux 4.14, other systems), the process id is the number. Asking costs two loads, or one system call there.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// The process that something was made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin(u64);

impl Origin {
    /// This one.
    #[inline]
    pub fn here() -> Origin {
        Origin::marked_by(mark())
    }

    /// Whether this process is a fork of it.
    #[inline]
    pub fn is_left_behind(self) -> bool {
        self != Origin::here()
    }

    #[inline]
    fn marked_by(mark: Option<&AtomicU64>) -> Origin {
        match mark {
            // Relaxed: a number of its own. Only forking changes it, and then there is one thread.
            Some(mark) => match mark.load(Ordering::Relaxed) {
                0 => Origin(number(mark)),
                number => Origin(number),
            },
            None => Origin(u64::from(std::process::id())),
        }
    }
}

/// Numbers that were given out, in this process and its ancestors: ordinary memory, so a child goes on
/// counting.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Gives this process its number.
#[cold]
fn number(mark: &AtomicU64) -> u64 {
    let new = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    // Relaxed: as in `marked_by`. Two threads may come here first; one number stays.
    match mark.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => new,
        Err(other) => other,
    }
}

/// The mark, once it was looked for; `NO_MARK` if there can be none.
static MARK: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());
static NO_MARK: AtomicU64 = AtomicU64::new(0);

#[inline]
fn mark() -> Option<&'static AtomicU64> {
    // Acquire: pairs with the Release in `find_mark`.
    let mark = NonNull::new(MARK.load(Ordering::Acquire)).unwrap_or_else(find_mark);
    // SAFETY: `NO_MARK`, or a page that is never unmapped.
    let mark = unsafe { mark.as_ref() };
    (!std::ptr::eq(mark, &NO_MARK)).then_some(mark)
}

#[cold]
fn find_mark() -> NonNull<AtomicU64> {
    let found = wiped_page().unwrap_or(NonNull::from(&NO_MARK));
    // Release: pairs with the Acquire in `mark` and below. A page that came second is leaked.
    let first = MARK.compare_exchange(
        std::ptr::null_mut(),
        found.as_ptr(),
        Ordering::AcqRel,
        Ordering::Acquire,
    );
    first.err().and_then(NonNull::new).unwrap_or(found)
}

/// A page of zeros that is one in every child again.
#[cfg(target_os = "linux")]
fn wiped_page() -> Option<NonNull<AtomicU64>> {
    // The kernel rounds up to a page.
    const LENGTH: usize = size_of::<AtomicU64>();
    // SAFETY: a new mapping, and what is done to it concerns nobody else. A page is aligned and large
    // enough, and zeros are an `AtomicU64`.
    unsafe {
        let page = libc::mmap(
            std::ptr::null_mut(),
            LENGTH,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if page == libc::MAP_FAILED {
            return None;
        }
        if libc::madvise(page, LENGTH, libc::MADV_WIPEONFORK) != 0 {
            libc::munmap(page, LENGTH);
            return None;
        }
        NonNull::new(page.cast())
    }
}

#[cfg(not(target_os = "linux"))]
fn wiped_page() -> Option<NonNull<AtomicU64>> {
    None
}

#[cfg(test)]
mod tests {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    use super::*;

    /// What a child answers, as its exit status. Only what may be done in the child of a process with
    /// many threads.
    fn in_child(answer: impl FnOnce() -> i32) -> i32 {
        // SAFETY: the child calls nothing that allocates or locks, and never returns.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let answer = answer();
                // SAFETY: ends the process without running anything of the parent's.
                unsafe { libc::_exit(answer) }
            }
            ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
                WaitStatus::Exited(_, answer) => answer,
                other => panic!("{other:?}"),
            },
        }
    }

    #[test]
    fn a_child_is_another_process_and_so_is_its_child() {
        for mark in [mark(), None] {
            let current = || Origin::marked_by(mark);
            let parent = current();
            assert_eq!(parent, current());
            let child = || {
                let child = current();
                if child == parent || child != current() {
                    return 1;
                }
                // SAFETY: as in `in_child`.
                match unsafe { libc::fork() } {
                    0 => {
                        let grandchild = current();
                        let differs = grandchild != parent && grandchild != child;
                        // SAFETY: as in `in_child`.
                        unsafe { libc::_exit(i32::from(!differs)) }
                    }
                    pid => {
                        let mut status = 0;
                        // SAFETY: waits for a child of ours.
                        unsafe { libc::waitpid(pid, &mut status, 0) };
                        status
                    }
                }
            };
            assert_eq!(in_child(child), 0);
            assert_eq!(parent, current());
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_wipes_the_page() {
        assert!(wiped_page().is_some(), "older than 4.14?");
    }
}
