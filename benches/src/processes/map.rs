//! A function for each of a hundred thousand items: a job for each of them, and one for each hundred.

use std::collections::VecDeque;
use std::time::Instant;

use super::jobs::{next, next_of_each};
use super::pool::Pool;
use super::told::Told;
use crate::Error;
use crate::runtimes::THREADS;

/// Some 10 seconds on the slowest.
pub(super) const ITEMS: u64 = 100_000;

/// Items of one job.
const CHUNK: u64 = 100;

pub(super) fn measure<P: Pool>(ops: u64) -> Result<Told, Error> {
    let pool = P::start(THREADS)?;
    single(&pool, ops / 10 + 1)?;
    let begun = Instant::now();
    single(&pool, ops)?;
    let alone = ops as f64 / begun.elapsed().as_secs_f64();
    chunks(&pool, ops / 10 + 1)?;
    let begun = Instant::now();
    chunks(&pool, ops)?;
    let together = ops as f64 / begun.elapsed().as_secs_f64();
    pool.end();
    Ok(Told::figures([("single", alone), ("chunks", together)]))
}

fn single<P: Pool>(pool: &P, ops: u64) -> Result<(), Error> {
    let (mut jobs, mut expected) = (VecDeque::new(), 1..);
    let mut take = |job| -> Result<(), Error> { check([P::result(job)?], &mut expected) };
    for number in 0..ops {
        if jobs.len() == P::IN_FLIGHT {
            jobs.pop_front().map_or(Ok(()), &mut take)?;
        }
        jobs.push_back(pool.submit(next, number)?);
    }
    jobs.into_iter().try_for_each(take)
}

fn chunks<P: Pool>(pool: &P, ops: u64) -> Result<(), Error> {
    let (mut jobs, mut expected) = (Vec::new(), 1..);
    for first in (0..ops).step_by(CHUNK as usize) {
        let numbers: Vec<_> = (first..ops.min(first + CHUNK)).collect();
        jobs.push(pool.submit(next_of_each, numbers)?);
    }
    jobs.into_iter().try_for_each(|job| check(P::result(job)?, &mut expected))
}

/// They come in the order of their items.
fn check(
    results: impl IntoIterator<Item = u64>,
    expected: &mut impl Iterator<Item = u64>,
) -> Result<(), Error> {
    let right = results.into_iter().all(|result| expected.next() == Some(result));
    if right { Ok(()) } else { Err("another item's result".into()) }
}
