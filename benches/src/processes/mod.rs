//! Pools of processes, beside those of Python and of Rust, and beside what two processes can do at best.
//!
//! Each of them is measured in a process of its own, which is this program again, with a hidden command, or
//! Python: so that all workers are there to be counted, and what one leaves behind disturbs no other one.
//!
//! | file | holds |
//! |---|---|
//! | `row.rs` | which workloads there are, and their figures |
//! | `alone.rs` | the process that measures one of them |
//! | `told.rs` | what it tells |
//! | `pool.rs` | what a workload may ask of a pool, for those that are Rust |
//! | `ours.rs`, `procspawn.rs` | their answers |
//! | `python.rs`, `loopool_bench_pools.py` | the same with Python's pools |
//! | `duplex.rs`, `socket_pair.rs`, `ring.rs` | no pools: two processes that answer each other |
//! | `round_trips.rs` | how long one waits for a job |
//! | `throughput.rs` | ten thousand jobs in flight |
//! | `map.rs` | a function for many items |
//! | `bytes.rs` | large arguments and results |
//! | `start.rs` | from nothing to the first result |
//! | `kill.rs` | from a killed worker to the next result |
//! | `memory.rs` | what a worker takes |
//! | `queued.rs` | what it takes that many jobs wait |
//! | `jobs.rs` | the functions that workers run |
//! | `family.rs` | a process and its descendants: CPU time, memory, descriptors |

pub mod alone;
mod bytes;
mod duplex;
mod family;
mod jobs;
mod kill;
mod map;
mod memory;
mod ours;
mod pool;
mod procspawn;
pub(crate) mod python;
mod queued;
mod ring;
mod round_trips;
mod row;
mod socket_pair;
mod start;
mod throughput;
mod told;

use std::process::Command;

use crate::Error;
use crate::runtimes::Name;
use crate::workloads::{Effort, Measured};

pub use self::row::Row;
pub use self::told::Word;

/// Measures one pool once.
fn measure(runtime: Name, row: Row, effort: Effort) -> Result<Measured, Error> {
    let mut program = match runtime {
        Name::CPython | Name::Loky | Name::Pebble => {
            if python::version(runtime).is_none() {
                return Ok(Measured::Word(Word::Missing));
            }
            python::program(runtime, row)
        }
        _ => {
            let mut program = Command::new(std::env::current_exe()?);
            program.args(["pool", "--runtime", runtime.name(), "--row", row.name()]);
            program
        }
    };
    let ops = (row.ops() / effort.process_divisor).max(1);
    program.args(["--ops", &ops.to_string()]);
    let told = told::hear(program).map_err(|why| format!("{} of {why}", row.name()))?;
    told.measured(row)
}
