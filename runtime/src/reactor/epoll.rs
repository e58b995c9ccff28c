//! The Linux driver: one epoll instance and one eventfd, one system call a wait.
//!
//! Descriptors are registered once, for both directions, edge-triggered, with `EPOLLRDHUP`: so a short
//! read means that everything was read, and the end of the stream is never lost with it. A read is
//! short also where urgent data begins, and then there may be more; so with `EPOLLPRI` a direction counts
//! as closed, in which only "would block" says that everything was read, and is open again with that.
//! The eventfd is edge-triggered, too, and never read: each write is an event of its own.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::source::Ready;

/// Whether a read that fills less than its buffer has emptied the socket, unless its side is closed.
pub(crate) const SHORT_READ_DRAINS: bool = true;

/// Whether a thread other than the owner may ask for events.
pub(crate) const OPEN_TO_PEERS: bool = true;

/// The token of the wake-up.
const WAKE: u64 = u64::MAX;

/// Events taken in one wait.
const BATCH: usize = 256;

/// Whether the system waits with a limit in nanoseconds: kernels before 5.11, and some sandboxes, do not.
/// Asked once a process, or by several threads at once: a child of `fork` must not wait for one that asks.
static FINE: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 2;

pub(super) struct Driver {
    epoll: Epoll,
    wake: EventFd,
    /// As [`FINE`] says.
    fine: bool,
}

pub(crate) struct Events(Vec<EpollEvent>);

impl Events {
    pub(crate) fn new() -> Self {
        Events(Vec::with_capacity(BATCH))
    }

    /// Whether the wake-up is among them.
    pub(super) fn has_wake(&self) -> bool {
        self.0.iter().any(|event| event.data() == WAKE)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Ready)> {
        self.0.iter().filter(|event| event.data() != WAKE).map(|event| {
            let flags = event.events();
            // An error is fetched by the next operation and is gone then, so it does not close.
            let error = flags.contains(EpollFlags::EPOLLERR);
            let hung_up = flags.contains(EpollFlags::EPOLLHUP);
            let urgent = flags.contains(EpollFlags::EPOLLPRI);
            let readable = urgent || flags.contains(EpollFlags::EPOLLIN);
            let read_closed = hung_up || urgent || flags.contains(EpollFlags::EPOLLRDHUP);
            let ready = Ready::READABLE
                .when(readable || error)
                .or(Ready::WRITABLE.when(flags.contains(EpollFlags::EPOLLOUT) || error))
                .or(Ready::READ_CLOSED.when(read_closed))
                .or(Ready::WRITE_CLOSED.when(hung_up));
            (event.data(), ready)
        })
    }
}

impl Driver {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&wake, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, WAKE))?;
        // Relaxed: all it says is in it.
        let fine = match FINE.load(Relaxed) {
            UNKNOWN => {
                let fd = epoll.0.as_raw_fd();
                let fine = wait_nanos(fd, &mut Events::new(), Some(Duration::ZERO)) >= 0;
                FINE.store(u8::from(fine), Relaxed);
                fine
            }
            known => known == 1,
        };
        Ok(Driver { epoll, wake, fine })
    }

    pub(super) fn register(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let flags = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLPRI
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        Ok(self.epoll.add(fd, EpollEvent::new(flags, token))?)
    }

    pub(super) fn deregister(&self, fd: BorrowedFd<'_>) {
        // Only fails for a descriptor that is not registered, and then there is nothing to do.
        let _ = self.epoll.delete(fd);
    }

    pub(super) fn wake(&self) {
        // Fails only when 2^64 - 2 wake-ups are unread: then the event is due anyway.
        let _ = self.wake.write(1);
    }

    /// Waits for events, at most `limit`; a signal ends the wait early.
    pub(super) fn wait(&self, events: &mut Events, limit: Option<Duration>) -> io::Result<()> {
        events.0.clear();
        let fd = self.epoll.0.as_raw_fd();
        let count =
            if self.fine { wait_nanos(fd, events, limit) } else { wait_millis(fd, events, limit) };
        match Errno::result(count) {
            Ok(count) => {
                // SAFETY: the call has written so many events.
                unsafe { events.0.set_len(count as usize) };
                Ok(())
            }
            Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// How many events there are, or -1.
fn wait_nanos(epoll: RawFd, events: &mut Events, limit: Option<Duration>) -> libc::c_long {
    let limit = limit.map(|limit| libc::timespec {
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: limit.subsec_nanos() as libc::c_long,
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the buffer has room for BATCH events; `EpollEvent` is `repr(transparent)` over
    // `epoll_event`.
    unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll,
            events.0.as_mut_ptr().cast::<libc::epoll_event>(),
            BATCH as libc::c_int,
            limit,
            std::ptr::null::<libc::sigset_t>(),
            size_of::<libc::c_ulong>(),
        )
    }
}

/// As [`wait_nanos`], in milliseconds, rounded up.
fn wait_millis(epoll: RawFd, events: &mut Events, limit: Option<Duration>) -> libc::c_long {
    let limit = limit.map_or(-1, |limit| {
        libc::c_int::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
    });
    // SAFETY: as above.
    let count = unsafe {
        let buffer = events.0.as_mut_ptr().cast::<libc::epoll_event>();
        libc::epoll_wait(epoll, buffer, BATCH as libc::c_int, limit)
    };
    count.into()
}
