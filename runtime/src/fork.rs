//! Noticing that the process was forked.
//!
//! A child of `fork` has a copy of every runtime and none of its threads; locks are as they were, maybe
//! held for ever by threads that are not there, and descriptors, the poller among them, are the
//! parent's as well. So in the child whatever was made before the fork answers with [`Forked`], and its
//! destructors do nothing: taking a socket out of the poller there would take it out for the parent.
//! What the child makes itself works.
//!
//! How it is noticed: a page that the kernel wipes in every child holds the number of this process
//! among its ancestors, and everything that needs to know keeps the number it was made under. Where the
//! kernel cannot do that (before Linux 4.14, other systems), the process id is the number. Asking costs
//! two loads, or one system call there, and is left to the slow paths: parking, pushes and wakes from
//! outside, registering, timers, running and ending.

use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

/// The process that something was made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(u64);

impl Process {
    /// This one.
    #[inline]
    pub(crate) fn current() -> Process {
        Process::marked_by(mark())
    }

    /// Whether this process is a fork of it.
    #[inline]
    pub(crate) fn is_left_behind(self) -> bool {
        self != Process::current()
    }

    #[inline]
    fn marked_by(mark: Option<&AtomicU64>) -> Process {
        match mark {
            // Relaxed: a number of its own. Only forking changes it, and then there is one thread.
            Some(mark) => match mark.load(Ordering::Relaxed) {
                0 => Process(number(mark)),
                number => Process(number),
            },
            None => Process(u64::from(std::process::id())),
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

/// How many CPUs there are to use.
///
/// The first who asks reads what control groups say, and the others wait for that (it is a `Once`). In a child that
/// was forked meanwhile by another thread they would for ever, so whoever forks asks first.
pub(crate) fn usable_cpus() -> usize {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    extern "C" fn before() {
        let _ = num_cpus::get();
    }
    // Acquire: pairs with the Release below, so that whoever asks does so after the registration. Several may
    // register at once, and so may a child: it is done twice then.
    if !WATCHED.load(Ordering::Acquire) {
        // SAFETY: the handler is a function of the program that may be called at any time, and from which no panic
        // comes. Refused when there is no memory, and then it is as if it were not there.
        let _ = unsafe { libc::pthread_atfork(Some(before), None, None) };
        // Release: pairs with the Acquire above.
        WATCHED.store(true, Ordering::Release);
    }
    num_cpus::get()
}

/// The process is a fork of the one in which this runtime or loop was made, and cannot use it.
///
/// A child of `fork` has none of the runtime's threads and shares its poller with the parent. Make
/// runtimes after the fork, or run another program in the child. Dropping what was made before the fork
/// does nothing there, neither to the parent's sockets nor to its threads.
///
/// It comes inside an [`io::Error`] from sockets; [`RunError`](crate::RunError),
/// [`LoopClosed`](crate::LoopClosed) and [`JoinError`](crate::JoinError) have an `is_forked`; what
/// returns no error panics with this text.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forked;

impl fmt::Display for Forked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this process is a fork of the one in which the event loop was made: make a new one here",
        )
    }
}

impl fmt::Debug for Forked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forked")
    }
}

impl std::error::Error for Forked {}

impl From<Forked> for io::Error {
    fn from(forked: Forked) -> Self {
        io::Error::other(forked)
    }
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
            let current = || Process::marked_by(mark);
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
