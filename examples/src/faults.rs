//! Jobs that crash on purpose, so that one can see what becomes of the others.

use std::hint::black_box;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpStream};

use crate::pools::Which;

/// A way to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Writes where no memory is.
    Segfault,
    /// Calls `abort`.
    Abort,
    /// Calls itself until the stack is used up.
    StackOverflow,
    /// Takes memory until it gets no more.
    Memory,
    /// Computes for ever.
    Hang,
    /// The same, where processor time is limited.
    CpuHog,
    /// Tries to connect to somebody.
    Network,
    /// Panics.
    Panic,
    /// Ends its process.
    Exit,
}

/// What [`Fault::Exit`] exits with.
pub const EXIT_CODE: i32 = 3;

/// The first piece that [`Fault::Memory`] takes; each is four times as large as the one before.
const FIRST_PIECE: usize = 32 << 20;

/// After this one it gives up, should nobody refuse it anything.
const LAST_PIECE: usize = 8 << 30;

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 9] = [
        Fault::Segfault,
        Fault::Abort,
        Fault::StackOverflow,
        Fault::Memory,
        Fault::Hang,
        Fault::CpuHog,
        Fault::Network,
        Fault::Panic,
        Fault::Exit,
    ];

    /// Its name in the path.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Segfault => "segfault",
            Fault::Abort => "abort",
            Fault::StackOverflow => "stack-overflow",
            Fault::Memory => "memory",
            Fault::Hang => "hang",
            Fault::CpuHog => "cpu-hog",
            Fault::Network => "network",
            Fault::Panic => "panic",
            Fault::Exit => "exit",
        }
    }

    /// The fault with that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// The pool of processes that it is given to if none is asked for: the one that has something against it.
    pub fn executor(self) -> Which {
        match self {
            Fault::CpuHog | Fault::Network => Which::Strict,
            _ => Which::Processes,
        }
    }

    /// The job that does it.
    pub fn job(self) -> fn(()) {
        match self {
            Fault::Segfault => segfault,
            Fault::Abort => abort,
            Fault::StackOverflow => stack_overflow,
            Fault::Memory => memory,
            Fault::Hang | Fault::CpuHog => hang,
            Fault::Network => network,
            Fault::Panic => panic,
            Fault::Exit => exit,
        }
    }
}

fn segfault((): ()) {
    let nowhere = std::ptr::without_provenance_mut::<u8>(black_box(8));
    // SAFETY: there is none. The first page is never mapped, so the process dies of the write, which
    // is what this job is for; it is given to nothing but a worker process.
    unsafe { nowhere.write_volatile(1) };
}

fn abort((): ()) {
    std::process::abort();
}

fn stack_overflow((): ()) {
    black_box(deeper(1));
}

/// Uses its frame after the call, so that the call can't be turned into a loop.
#[inline(never)]
#[allow(unconditional_recursion, reason = "it is to overflow the stack")]
fn deeper(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    deeper(frame[0] + 1) + black_box(&frame)[63]
}

/// Takes ever larger pieces, so that the end comes soon.
fn memory((): ()) {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    let mut size = FIRST_PIECE;
    while size <= LAST_PIECE {
        let mut piece = Vec::with_capacity(size);
        fill(&mut piece);
        hoard.push(black_box(piece));
        size *= 4;
    }
    panic!("got a piece of {LAST_PIECE} bytes and was never refused");
}

/// Writes to all of a vector's memory, as memory costs nothing until it is touched, and in large pages:
/// a worker stands back behind everybody else, and on a busy machine a gigabyte of small ones takes it
/// many seconds.
fn fill(memory: &mut Vec<u8>) {
    let spare = memory.spare_capacity_mut().as_mut_ptr_range();
    let start = spare.start.map_addr(|address| address.next_multiple_of(4096));
    let length = spare.end.addr().saturating_sub(start.addr());
    // SAFETY: the range is spare capacity of a vector that is ours. The advice changes no contents, and
    // if it can't be followed it is ignored.
    unsafe { libc::madvise(start.cast(), length, libc::MADV_HUGEPAGE) };
    // SAFETY: all that the new length counts, but was not counted before, is written first.
    unsafe {
        spare.start.write_bytes(1, memory.capacity() - memory.len());
        memory.set_len(memory.capacity());
    }
}

fn hang((): ()) {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Nobody need be there: a sandbox denies even the socket.
fn network((): ()) {
    match TcpStream::connect((Ipv4Addr::LOCALHOST, 9)) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            panic!("the network is denied: {error}")
        }
        // It was tried, so nothing was in the way.
        _ => {}
    }
}

fn panic((): ()) {
    panic!("a panic on purpose");
}

fn exit((): ()) {
    std::process::exit(EXIT_CODE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_faults() {
        for fault in Fault::ALL {
            assert_eq!(Fault::named(fault.name()), Some(fault));
        }
        assert_eq!(Fault::named("earthquake"), None);
    }
}
