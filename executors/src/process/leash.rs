//! [`Leash`]: what workers and fork servers die with: descriptors that only this process has, until it is gone.
//!
//! A child that the program forks off, and that runs no other program, has copies of all of them. If it lived longer than
//! the program, so would the workers. So it lets go of them, first of all: they are listed here.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::MutexGuard;

use crate::forks;
use crate::shim::Mutex;

static ALL: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// A descriptor on the list.
#[derive(Debug)]
pub(super) struct Leash(OwnedFd);

impl Leash {
    pub(super) fn new(fd: OwnedFd) -> Self {
        forks::watch();
        ALL.lock().insert(fd.as_raw_fd());
        Leash(fd)
    }
}

impl std::ops::Deref for Leash {
    type Target = OwnedFd;

    fn deref(&self) -> &OwnedFd {
        &self.0
    }
}

impl AsFd for Leash {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        // Before its number is somebody else's.
        ALL.lock().remove(&self.0.as_raw_fd());
    }
}

/// The list, while the process is copied.
pub(crate) struct Held(MutexGuard<'static, BTreeSet<RawFd>>);

impl Held {
    pub(crate) fn new() -> Self {
        Held(ALL.lock())
    }

    /// In a child: what the descriptors stand for is not its own. Their numbers stay taken, since what has them is there
    /// in the child, too.
    pub(crate) fn make_anew(&mut self) {
        let all = std::mem::take(&mut *self.0);
        if !all.is_empty() {
            // SAFETY: plain system calls; the numbers are those of descriptors that nobody uses in the child, as what has
            // them was left behind.
            unsafe {
                let nothing = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
                for fd in &all {
                    if nothing < 0 || libc::dup3(nothing, *fd, libc::O_CLOEXEC) < 0 {
                        libc::close(*fd);
                    }
                }
                if nothing >= 0 {
                    libc::close(nothing);
                }
            }
        }
        std::mem::forget(all);
    }
}
