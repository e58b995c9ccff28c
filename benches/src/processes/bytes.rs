//! Many bytes there, and there and back. Both sides look at each page.

use std::time::{Duration, Instant};

use super::jobs::{and_back, look_at, there};
use super::pool::Pool;
use super::told::Told;
use crate::Error;
use crate::report::percentile;
use crate::runtimes::THREADS;

/// Calls with 1 MiB: up to a second.
pub(super) const SMALL: u64 = 200;

/// Calls with 64 MiB.
pub(super) const LARGE: u64 = 6;

pub(super) fn measure<P: Pool>(mebibytes: usize, ops: u64) -> Result<Told, Error> {
    let pool = P::start(THREADS)?;
    let bytes: Vec<u8> = (0..mebibytes << 20).map(|index| (index / 4_096) as u8).collect();
    let bytes = P::Bytes::from(bytes);
    let (len, sum) = (bytes.len(), look_at(&bytes));
    let one_way = median(ops, || Ok(pool.call(there, bytes.clone())? == sum))?;
    let both_ways = median(ops, || {
        let back = pool.call(and_back, bytes.clone())?;
        Ok(back.len() == len && look_at(&back) == sum)
    })?;
    pool.end();
    Ok(Told::figures([("there", one_way), ("and_back", both_ways)]))
}

/// In microseconds.
fn median(ops: u64, mut call: impl FnMut() -> Result<bool, Error>) -> Result<f64, Error> {
    let mut call = || -> Result<Duration, Error> {
        let begun = Instant::now();
        let right = call()?;
        let took = begun.elapsed();
        if right { Ok(took) } else { Err("other bytes came back".into()) }
    };
    // Each worker has had one of them.
    for _ in 0..ops / 10 + 2 {
        call()?;
    }
    let mut times = (0..ops).map(|_| call()).collect::<Result<Vec<_>, _>>()?;
    times.sort_unstable();
    Ok(percentile(&times, 0.5).as_secs_f64() * 1e6)
}
