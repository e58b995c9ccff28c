//! Memory that two processes share: the asking one and the answering one have a place each, and look into the
//! other's for a while before they sleep. The smallest ring there is; nothing is as fast.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::unistd::{ftruncate, getppid};

use super::duplex::{Duplex, Other};
use crate::Error;
use crate::runtimes::Name;

/// How long it looks before it sleeps: about what a sleep and a wake cost.
const PATIENCE: Duration = Duration::from_micros(20);

/// How often it looks before it looks at the clock.
const LOOKS: u32 = 64;

/// How long it sleeps before it looks whether the other process is there at all.
static NAP: libc::timespec = libc::timespec { tv_sec: 1, tv_nsec: 0 };

/// What they share.
#[repr(C)]
struct Shared {
    question: Place,
    answer: Place,
}

/// For one message, in a cache line of its own.
#[repr(C, align(128))]
struct Place {
    /// Counts the messages.
    count: AtomicU32,
    /// Whether the reader sleeps, or is about to.
    sleeps: AtomicU32,
    /// The message.
    number: AtomicU64,
}

impl Place {
    fn put(&self, number: u64) {
        // Relaxed: `count` tells of it.
        self.number.store(number, Ordering::Relaxed);
        // SeqCst: pairs with the loads in `take`, which see the message, and with the store of `sleeps` there:
        // either this side sees that the other sleeps, or the other sees the new count before it does.
        self.count.fetch_add(1, Ordering::SeqCst);
        if self.sleeps.load(Ordering::SeqCst) != 0 {
            // SAFETY: wakes whoever sleeps on this number, which is valid memory, and touches nothing else.
            unsafe { libc::syscall(libc::SYS_futex, self.count.as_ptr(), libc::FUTEX_WAKE, 1) };
        }
    }

    /// The message after the one with number `last`; none if `is_there` says that there is nobody left.
    fn take(&self, last: u32, is_there: impl Fn() -> bool) -> Option<u64> {
        let begun = Instant::now();
        // Acquire: pairs with `put`, here and below.
        while self.count.load(Ordering::Acquire) == last && begun.elapsed() < PATIENCE {
            for _ in 0..LOOKS {
                if self.count.load(Ordering::Acquire) != last {
                    break;
                }
                std::hint::spin_loop();
            }
        }
        while self.count.load(Ordering::Acquire) == last {
            // SeqCst: as in `put`.
            self.sleeps.store(1, Ordering::SeqCst);
            if self.count.load(Ordering::SeqCst) == last {
                let (count, wait) = (self.count.as_ptr(), libc::FUTEX_WAIT);
                // SAFETY: sleeps while the number, which is valid memory, is `last`; reads the time only.
                unsafe { libc::syscall(libc::SYS_futex, count, wait, last, &raw const NAP) };
            }
            self.sleeps.store(0, Ordering::SeqCst);
            if !is_there() {
                return None;
            }
        }
        Some(self.number.load(Ordering::Relaxed))
    }
}

/// Maps what lies behind `file`, for as long as this process lives.
fn map(file: BorrowedFd<'_>) -> Result<&'static Shared, Error> {
    let length = NonZeroUsize::new(size_of::<Shared>()).ok_or("nothing to share")?;
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping, which the kernel places; nothing that is there is touched.
    let memory = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, file, 0)? };
    let shared: NonNull<Shared> = memory.cast();
    // SAFETY: a page or more that is never unmapped and begins at a page; all its fields are atomic numbers,
    // for which every value is valid, zero from the beginning.
    Ok(unsafe { shared.as_ref() })
}

/// The asking side.
pub(super) struct Ring {
    shared: &'static Shared,
    asked: u32,
    _other: Other,
}

impl Duplex for Ring {
    fn start() -> Result<Self, Error> {
        let memory = memfd_create("loopool-benches", MFdFlags::MFD_CLOEXEC)?;
        ftruncate(&memory, size_of::<Shared>() as i64)?;
        let shared = map(memory.as_fd())?;
        Ok(Ring { shared, asked: 0, _other: Other::start(Name::Ring, memory)? })
    }

    fn ask(&mut self, number: u64) -> Result<u64, Error> {
        self.shared.question.put(number);
        let deadline = Instant::now() + Duration::from_secs(10);
        let answer = self.shared.answer.take(self.asked, || Instant::now() < deadline);
        self.asked = self.asked.wrapping_add(1);
        answer.ok_or_else(|| "the other process does not answer".into())
    }
}

/// The answering side: standard input is the memory. Ends when the other process has ended.
///
/// # Errors
/// When it is not.
pub(super) fn answer() -> Result<(), Error> {
    let shared = map(io::stdin().as_fd())?;
    let parent = getppid();
    for last in 0.. {
        let Some(number) = shared.question.take(last, || getppid() == parent) else { break };
        shared.answer.put(number);
    }
    Ok(())
}
