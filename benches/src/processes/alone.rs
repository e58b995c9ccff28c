//! The process that measures one pool in one workload, and tells.

use std::io::Write;

use loopool::ProcessPoolExecutor;

use super::pool::Pool;
use super::procspawn::Procspawn;
use super::ring::{self, Ring};
use super::row::Row;
use super::socket_pair::{self, SocketPair};
use super::told::Told;
use super::{bytes, kill, map, memory, queued, round_trips, start, throughput};
use crate::Error;
use crate::options::{Answer, Pool as Options};
use crate::runtimes::Name;
use crate::traffic::allow_descriptors;

/// Measures, and writes a line of JSON.
///
/// # Errors
/// When the pool does not start, breaks, or does what it should not.
pub fn main(options: &Options) -> Result<(), Error> {
    if options.runtime == Name::Procspawn {
        // Its workers are this program again, with these arguments, and don't come back from here.
        procspawn::init();
    }
    allow_descriptors()?;
    let told = measure(options)?;
    serde_json::to_writer(std::io::stdout(), &told)?;
    writeln!(std::io::stdout())?;
    Ok(())
}

fn measure(&Options { runtime, row, ops }: &Options) -> Result<Told, Error> {
    match (runtime, row) {
        (Name::Loopool, Row::LoopRoundTrips) => round_trips::measure_on_loop(ops),
        (Name::Loopool, Row::Start) => start::measure_ours(start::SMALL, ops),
        (Name::Loopool, Row::StartLarge) => start::measure_ours(start::LARGE, ops),
        (Name::Loopool, _) => measure_pool::<ProcessPoolExecutor>(row, ops),
        (Name::Procspawn, _) => measure_pool::<Procspawn>(row, ops),
        (Name::SocketPair, Row::RoundTrips) => round_trips::measure_bare::<SocketPair>(ops),
        (Name::Ring, Row::RoundTrips) => round_trips::measure_bare::<Ring>(ops),
        _ => Err(format!("{} does not do {}", runtime.name(), row.name()).into()),
    }
}

fn measure_pool<P: Pool>(row: Row, ops: u64) -> Result<Told, Error> {
    match row {
        Row::RoundTrips => round_trips::measure::<P>(ops),
        Row::LoopRoundTrips => Err("nothing that a loop could await".into()),
        Row::Throughput => throughput::measure::<P>(ops),
        Row::Map => map::measure::<P>(ops),
        Row::Bytes1 => bytes::measure::<P>(1, ops),
        Row::Bytes64 => bytes::measure::<P>(64, ops),
        Row::Start => start::measure::<P>(start::SMALL, ops),
        Row::StartLarge => start::measure::<P>(start::LARGE, ops),
        Row::Kill => kill::measure::<P>(ops),
        Row::Memory => memory::measure::<P>(),
        Row::Queued => queued::measure::<P>(ops),
    }
}

/// Answers until the process that asks has ended.
///
/// # Errors
/// When standard input is not what it should be.
pub fn answer(options: &Answer) -> Result<(), Error> {
    match options.runtime {
        Name::SocketPair => socket_pair::answer(),
        Name::Ring => ring::answer(),
        other => Err(format!("{} is no way to answer", other.name()).into()),
    }
}
