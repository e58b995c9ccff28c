//! One workload on one runtime, once: for profilers.

use std::io::Write;

use super::{Timed, sleeps};
use crate::options::Single;
use crate::runtimes::{Job, Peer};
use crate::{Error, meter};

/// The other workload that this can do.
const SLEEPS: &str = "sleeps";

/// Runs one workload on one runtime, once and without a warm-up.
///
/// # Errors
/// When the workload has no such form, or the runtime does not start.
pub fn single(options: &Single) -> Result<(), Error> {
    let timed = Timed::ALL.into_iter().find(|timed| timed.name() == options.workload);
    if timed.is_none() && options.workload != SLEEPS {
        let known = Timed::ALL.map(Timed::name).join(", ");
        return Err(format!("{} is none of {known}, {SLEEPS}", options.workload).into());
    }
    if !options.runtime.is_runtime() {
        return Err(format!("{} is no runtime", options.runtime.name()).into());
    }
    options.runtime.dispatch(Once { timed, ops: options.ops })
}

struct Once {
    /// Sleeps, if none.
    timed: Option<Timed>,
    ops: u64,
}

impl Job for Once {
    type Output = Result<(), Error>;

    fn on<P: Peer>(self, threads: usize) -> Self::Output {
        let peer = P::start(threads)?;
        let ops = self.ops;
        let ((), cost) = meter::measure(|| match self.timed {
            Some(timed) => timed.run(&peer, ops),
            None => drop(peer.run(sleeps::run::<P>(ops))),
        });
        writeln!(
            std::io::stdout(),
            "{:.1} CPU ns, {:.1} wall ns",
            cost.cpu_nanos(ops),
            cost.wall_nanos(ops)
        )?;
        Ok(())
    }
}
