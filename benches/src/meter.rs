//! What a piece of work cost.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use crate::Error;

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

    /// What another program says of itself.
    ///
    /// # Errors
    /// When there is no such program, or it fails.
    pub fn told_by(program: &mut Command) -> Result<Cost, Error> {
        let told = program.output()?;
        if !told.status.success() {
            let why = String::from_utf8_lossy(&told.stderr);
            let program = program.get_program();
            return Err(format!("{} failed: {why}", program.display()).into());
        }
        let Told { cpu, wall } = serde_json::from_slice(&told.stdout)?;
        Ok(Cost { cpu: Duration::from_nanos(cpu), wall: Duration::from_nanos(wall) })
    }

    /// What such a program writes.
    pub fn tell(&self) -> String {
        let [cpu, wall] = [self.cpu, self.wall].map(|time| time.as_nanos() as u64);
        serde_json::json!(Told { cpu, wall }).to_string()
    }

    /// What one of `ops` operations took, in nanoseconds on the clock.
    pub fn wall_nanos(&self, ops: u64) -> f64 {
        self.wall.as_nanos() as f64 / ops as f64
    }
}

/// A [`Cost`] between two programs, in nanoseconds.
#[derive(Serialize, Deserialize)]
struct Told {
    cpu: u64,
    wall: u64,
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
