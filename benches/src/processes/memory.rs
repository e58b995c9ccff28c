//! What workers take that have run some jobs, and what all processes take that a pool has made.

use std::collections::BTreeSet;

use nix::unistd::Pid;

use super::family::{Family, Memory};
use super::jobs::nap;
use super::pool::Pool;
use super::told::Told;
use crate::Error;
use crate::runtimes::THREADS;

/// How long a job keeps a worker, so that another one gets the next.
const NAP: u64 = 20;

/// Jobs after which it must be known who the workers are.
const TRIES: usize = 200;

pub(super) fn measure<P: Pool>() -> Result<Told, Error> {
    let pool = P::start(THREADS)?;
    let workers = workers(&pool)?;
    let (mut proportional, mut private) = (0, 0);
    for &worker in &workers {
        let memory = Memory::of(worker)?;
        proportional += memory.proportional;
        private += memory.private;
    }
    let mut total = 0;
    for &process in Family::now()?.others() {
        total += Memory::of(process)?.proportional;
    }
    pool.end();
    let each = |sum: u64| sum as f64 / workers.len() as f64;
    let (proportional, private) = (each(proportional), each(private));
    Ok(Told::figures([("pss", proportional), ("private", private), ("total", total as f64)]))
}

fn workers<P: Pool>(pool: &P) -> Result<BTreeSet<Pid>, Error> {
    let mut workers = BTreeSet::new();
    for _ in 0..TRIES {
        let jobs = [pool.submit(nap, NAP)?, pool.submit(nap, NAP)?];
        for job in jobs {
            workers.insert(Pid::from_raw(i32::try_from(P::result(job)?)?));
        }
        if workers.len() == THREADS {
            return Ok(workers);
        }
    }
    Err("not all workers have work".into())
}
