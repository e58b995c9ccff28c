//! How many descriptors a program has while a hundred thousand jobs wait.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::family::descriptors;
use super::jobs::echo;
use super::pool::Pool;
use super::told::{Told, Word};
use crate::Error;
use crate::runtimes::THREADS;

/// Up to 10 seconds.
pub(super) const JOBS: u64 = 100_000;

/// They are counted after so many jobs.
const LOOKS: u64 = 1_000;

pub(super) fn measure<P: Pool>(ops: u64) -> Result<Told, Error> {
    let pool = P::start(THREADS)?;
    let warm_up = [pool.submit(echo, 0)?, pool.submit(echo, 0)?];
    for job in warm_up {
        P::result(job)?;
    }
    let before = descriptors()?;
    // procspawn panics when there are no more of them.
    let Ok(peak) = catch_unwind(AssertUnwindSafe(|| queue(&pool, ops))) else {
        return Ok(Told::word(Word::Fails));
    };
    let (peak, after) = (peak?, descriptors()?);
    pool.end();
    Ok(Told::figures([("before", before as f64), ("peak", peak as f64), ("after", after as f64)]))
}

/// The most there were.
fn queue<P: Pool>(pool: &P, ops: u64) -> Result<usize, Error> {
    let mut jobs = Vec::new();
    let mut peak = 0;
    for number in 0..ops {
        jobs.push(pool.submit(echo, number)?);
        if number % LOOKS == 0 {
            peak = peak.max(descriptors()?);
        }
    }
    peak = peak.max(descriptors()?);
    let mut sum = 0;
    for job in jobs {
        sum += P::result(job)?;
    }
    if sum == ops * (ops - 1) / 2 { Ok(peak) } else { Err("other jobs' results".into()) }
}
