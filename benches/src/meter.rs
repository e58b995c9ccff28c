//! What a piece of work cost.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

/// The cost of a piece of work.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// CPU time of all threads of this process, in user code and in the kernel.
    pub cpu: Duration,
    /// Time on the clock.
    pub wall: Duration,
}

impl Cost {
    /// What one of `ops` operations cost, in CPU nanoseconds.
    pub fn cpu_nanos(&self, ops: u64) -> f64 {
        self.cpu.as_nanos() as f64 / ops as f64
    }

    /// What one of `ops` operations took, in nanoseconds on the clock.
    pub fn wall_nanos(&self, ops: u64) -> f64 {
        self.wall.as_nanos() as f64 / ops as f64
    }
}

/// Does `work` and says what it cost.
///
/// The kernel charges a thread that runs on another CPU at its next tick: the CPU time is right to a
/// few milliseconds, so `work` should take a hundred.
pub fn measure<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let cpu = process_cpu();
    let begun = Instant::now();
    let output = work();
    let wall = begun.elapsed();
    (output, Cost { cpu: process_cpu().saturating_sub(cpu), wall })
}

fn process_cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("getrusage knows its own process");
    let micros = [usage.user_time(), usage.system_time()]
        .map(|time| time.tv_sec() as u64 * 1_000_000 + time.tv_usec() as u64);
    Duration::from_micros(micros.iter().sum())
}

/// Bytes that were allocated and not freed, with the allocator's own headers.
pub fn heap_in_use() -> u64 {
    // SAFETY: takes nothing and returns plain numbers; locks the allocator's arenas itself.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as u64
}
