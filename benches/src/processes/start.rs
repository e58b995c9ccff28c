//! From nothing to the first result, in a program that has so much memory.

use std::time::{Duration, Instant};

use loopool::ProcessPoolExecutor;

use super::family;
use super::jobs::echo;
use super::pool::Pool;
use super::told::Told;
use crate::Error;
use crate::report::percentile;
use crate::runtimes::THREADS;

/// Pools.
pub(super) const OPS: u64 = 6;

/// As a small program has it.
pub(super) const SMALL: usize = 20 << 20;

/// As a service has it that works on much.
pub(super) const LARGE: usize = 2 << 30;

pub(super) fn measure<P: Pool>(memory: usize, ops: u64) -> Result<Told, Error> {
    let _ballast = grow_to(memory)?;
    Ok(Told::figures([("", median(ops, pool::<P>)?)]))
}

/// Ours: a worker, too, of a pool that is there but has none yet.
pub(super) fn measure_ours(memory: usize, ops: u64) -> Result<Told, Error> {
    let _ballast = grow_to(memory)?;
    let pool = median(ops, pool::<ProcessPoolExecutor>)?;
    Ok(Told::figures([("", pool), ("worker", median(ops, worker)?)]))
}

fn pool<P: Pool>() -> Result<Duration, Error> {
    let begun = Instant::now();
    let pool = P::start(THREADS)?;
    pool.call(echo, 1)?;
    let took = begun.elapsed();
    pool.end();
    Ok(took)
}

fn worker() -> Result<Duration, Error> {
    let pool = ProcessPoolExecutor::new(1)?;
    let begun = Instant::now();
    Pool::call(&pool, echo, 1)?;
    let took = begun.elapsed();
    pool.end();
    Ok(took)
}

/// In microseconds.
fn median(ops: u64, measure: fn() -> Result<Duration, Error>) -> Result<f64, Error> {
    measure()?;
    let mut times = (0..ops).map(|_| measure()).collect::<Result<Vec<_>, _>>()?;
    times.sort_unstable();
    Ok(percentile(&times, 0.5).as_secs_f64() * 1e6)
}

/// So many bytes are in memory as long as this is there.
fn grow_to(memory: usize) -> Result<Vec<u8>, Error> {
    // Ones: the kernel has zeros without memory.
    Ok(std::hint::black_box(vec![1; memory.saturating_sub(family::resident()?)]))
}
