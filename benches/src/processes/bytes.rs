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
    let sealed = P::sealed(&bytes);
    let [there, and_back] = both(&pool, &P::Bytes::from(bytes), ops)?;
    let mut figures = vec![("there", there), ("and_back", and_back)];
    if let Some(sealed) = sealed {
        let [there, and_back] = both(&pool, &sealed, ops)?;
        figures.extend([("sealed_there", there), ("sealed_and_back", and_back)]);
    }
    pool.end();
    Ok(Told::figures(figures))
}

/// There, and there and back.
fn both<P: Pool>(pool: &P, bytes: &P::Bytes, ops: u64) -> Result<[f64; 2], Error> {
    let (len, sum) = (bytes.len(), look_at(bytes));
    let one_way = median(ops, || Ok(pool.call(there, bytes.clone())? == sum))?;
    let both_ways = median(ops, || {
        let back = pool.call(and_back, bytes.clone())?;
        Ok(back.len() == len && look_at(&back) == sum)
    })?;
    Ok([one_way, both_ways])
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
