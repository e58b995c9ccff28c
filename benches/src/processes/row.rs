//! Which workloads there are for pools of processes.

use clap::ValueEnum;

use super::{bytes, kill, map, queued, round_trips, start, throughput};
use crate::Error;
use crate::runtimes::Name;
use crate::workloads::{Effort, Measured};

/// They by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Row {
    /// One job at a time, back to back and with pauses.
    #[value(name = "proc_rtt")]
    RoundTrips,
    /// The same from an event loop.
    #[value(name = "proc_rtt_loop")]
    LoopRoundTrips,
    /// Ten thousand jobs in flight.
    #[value(name = "proc_tput")]
    Throughput,
    /// A function for each of many items, one by one and in chunks.
    #[value(name = "proc_map")]
    Map,
    /// An argument of 1 MiB, and a result.
    #[value(name = "proc_1mib")]
    Bytes1,
    /// The same with 64 MiB.
    #[value(name = "proc_64mib")]
    Bytes64,
    /// From nothing to the first result.
    #[value(name = "proc_start")]
    Start,
    /// The same in a program with 2 GiB of memory.
    #[value(name = "proc_start_2gib")]
    StartLarge,
    /// From a killed worker to the next result.
    #[value(name = "proc_kill")]
    Kill,
    /// What a worker takes.
    #[value(name = "proc_memory")]
    Memory,
    /// Descriptors while many jobs wait.
    #[value(name = "proc_queued")]
    Queued,
}

impl Row {
    /// In the order of the table.
    pub const ALL: [Row; 11] = [
        Row::RoundTrips,
        Row::LoopRoundTrips,
        Row::Throughput,
        Row::Map,
        Row::Bytes1,
        Row::Bytes64,
        Row::Start,
        Row::StartLarge,
        Row::Kill,
        Row::Memory,
        Row::Queued,
    ];

    /// The name in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Row::RoundTrips => "proc_rtt",
            Row::LoopRoundTrips => "proc_rtt_loop",
            Row::Throughput => "proc_tput",
            Row::Map => "proc_map",
            Row::Bytes1 => "proc_1mib",
            Row::Bytes64 => "proc_64mib",
            Row::Start => "proc_start",
            Row::StartLarge => "proc_start_2gib",
            Row::Kill => "proc_kill",
            Row::Memory => "proc_memory",
            Row::Queued => "proc_queued",
        }
    }

    /// Its figures, with their units.
    pub fn figures(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Row::RoundTrips | Row::LoopRoundTrips => {
                &[("warm_p50", "µs"), ("warm_p99", "µs"), ("cold_p50", "µs"), ("cold_p99", "µs")]
            }
            Row::Throughput => &[("", "jobs/s"), ("cpu", "CPU µs")],
            Row::Map => &[("single", "items/s"), ("chunks", "items/s")],
            Row::Bytes1 | Row::Bytes64 => &[
                ("there", "µs"),
                ("and_back", "µs"),
                ("sealed_there", "µs"),
                ("sealed_and_back", "µs"),
            ],
            Row::Start | Row::StartLarge => &[("", "µs"), ("worker", "µs")],
            Row::Kill => &[("", "µs")],
            Row::Memory => &[("pss", "KiB"), ("private", "KiB"), ("total", "KiB")],
            Row::Queued => {
                &[("before", "descriptors"), ("peak", "descriptors"), ("after", "descriptors")]
            }
        }
    }

    /// How many operations one run has.
    pub(super) fn ops(self) -> u64 {
        match self {
            Row::RoundTrips | Row::LoopRoundTrips => round_trips::OPS,
            Row::Throughput => throughput::JOBS,
            Row::Map => map::ITEMS,
            Row::Bytes1 => bytes::SMALL,
            Row::Bytes64 => bytes::LARGE,
            Row::Start | Row::StartLarge => start::OPS,
            Row::Kill => kill::OPS,
            Row::Memory => 1,
            Row::Queued => queued::JOBS,
        }
    }

    /// Whether `runtime` can do it.
    pub fn runs_on(self, runtime: Name) -> bool {
        match runtime {
            Name::Loopool | Name::CPython | Name::Loky | Name::Pebble => true,
            // It has nothing that can be awaited.
            Name::Procspawn => self != Row::LoopRoundTrips,
            Name::SocketPair | Name::Ring => self == Row::RoundTrips,
            _ => false,
        }
    }

    /// Measures it once.
    ///
    /// # Errors
    /// When the process that measures does not start or breaks.
    pub fn measure(self, runtime: Name, effort: Effort) -> Result<Measured, Error> {
        super::measure(runtime, self, effort)
    }
}
