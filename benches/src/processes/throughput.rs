//! Trivial jobs, ten thousand at a time: how many a second, and what one of them costs in the program and in
//! its workers together.

use std::time::Instant;

use super::family::Family;
use super::jobs::echo;
use super::pool::Pool;
use super::told::Told;
use crate::Error;
use crate::runtimes::THREADS;

/// Some 5 seconds on the slowest.
pub(super) const JOBS: u64 = 50_000;

pub(super) fn measure<P: Pool>(ops: u64) -> Result<Told, Error> {
    let pool = P::start(THREADS)?;
    run(&pool, ops / 10 + 10)?;
    let family = Family::now()?;
    let (begun, cpu) = (Instant::now(), family.cpu()?);
    run(&pool, ops)?;
    let (took, cpu) = (begun.elapsed(), family.cpu()?.saturating_sub(cpu));
    pool.end();
    let cpu_micros = cpu.as_secs_f64() * 1e6 / ops as f64;
    Ok(Told::figures([("", ops as f64 / took.as_secs_f64()), ("cpu", cpu_micros)]))
}

fn run<P: Pool>(pool: &P, ops: u64) -> Result<(), Error> {
    let mut jobs = Vec::with_capacity(P::IN_FLIGHT);
    let mut sum = 0;
    for first in (0..ops).step_by(P::IN_FLIGHT) {
        for number in first..ops.min(first + P::IN_FLIGHT as u64) {
            jobs.push(pool.submit(echo, number)?);
        }
        for job in jobs.drain(..) {
            sum += P::result(job)?;
        }
    }
    if sum == ops * (ops - 1) / 2 { Ok(()) } else { Err("other jobs' results".into()) }
}
