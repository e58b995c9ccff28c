//! Jobs that crash on purpose, so that one can see what becomes of the others.

use std::hint::black_box;

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
    /// Panics.
    Panic,
    /// Ends its process.
    Exit,
}

/// What [`Fault::Exit`] exits with.
pub const EXIT_CODE: i32 = 3;

/// Where [`Fault::Memory`] gives up, on a machine that never refuses.
const TOO_MUCH: usize = 64 << 30;

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 7] = [
        Fault::Segfault,
        Fault::Abort,
        Fault::StackOverflow,
        Fault::Memory,
        Fault::Hang,
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
            Fault::Panic => "panic",
            Fault::Exit => "exit",
        }
    }

    /// The fault with that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// The job that does it.
    pub fn job(self) -> fn(()) {
        match self {
            Fault::Segfault => segfault,
            Fault::Abort => abort,
            Fault::StackOverflow => stack_overflow,
            Fault::Memory => memory,
            Fault::Hang => hang,
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

fn memory((): ()) {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    while hoard.len() << 24 < TOO_MUCH {
        // Ones, because zeroed memory costs nothing until it is touched.
        hoard.push(black_box(vec![1; 1 << 24]));
    }
    panic!("got {TOO_MUCH} bytes and was never refused");
}

fn hang((): ()) {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
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
