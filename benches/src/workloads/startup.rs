//! A runtime is started, runs a task that does nothing, and is stopped, again and again.

use super::{Sample, WARM_UP, costs};
use crate::Error;
use crate::meter;
use crate::runtimes::{Peer, rayon};

/// Some 100 ms on the slowest.
pub(super) const OPS: u64 = 500;

pub(super) fn measure<P: Peer>(threads: usize, ops: u64) -> Result<Vec<Sample>, Error> {
    let start_and_stop = || -> Result<(), Error> {
        P::start(threads)?.run(async {});
        Ok(())
    };
    repeat(ops, start_and_stop)
}

/// The same with rayon.
pub(super) fn measure_rayon(ops: u64) -> Result<Vec<Sample>, Error> {
    repeat(ops, || {
        rayon::start()?.install(|| {});
        Ok(())
    })
}

fn repeat(ops: u64, work: impl Fn() -> Result<(), Error>) -> Result<Vec<Sample>, Error> {
    let times = |ops| (0..ops).try_for_each(|_| work());
    times(ops / WARM_UP)?;
    let (done, cost) = meter::measure(|| times(ops));
    done?;
    Ok(costs(cost, ops))
}
