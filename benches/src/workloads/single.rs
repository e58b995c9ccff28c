//! One workload on one runtime, once, in a process of its own: for profilers, and where a process that has done
//! it before has an advantage.

use std::io::Write;
use std::process::Command;

use super::{Timed, echo, sleeps};
use crate::Error;
use crate::meter::{self, Cost};
use crate::options::Single;
use crate::runtimes::{Job, Name, Peer};

/// What can be run so.
#[derive(Clone, Copy)]
enum Work {
    Timed(Timed),
    Sleeps,
    Echo,
}

impl Work {
    fn all() -> impl Iterator<Item = Work> {
        Timed::ALL.into_iter().map(Work::Timed).chain([Work::Sleeps, Work::Echo])
    }

    fn name(self) -> &'static str {
        match self {
            Work::Timed(timed) => timed.name(),
            Work::Sleeps => "sleeps",
            Work::Echo => "echo",
        }
    }

    fn run<P: Peer>(self, peer: &P, ops: u64) -> Result<(), Error> {
        match self {
            Work::Timed(timed) => {
                timed.prepare(peer);
                timed.run(peer, ops);
            }
            Work::Sleeps => drop(peer.run(sleeps::run::<P>(ops))),
            Work::Echo => peer.run(echo::run::<P>(ops))?,
        }
        Ok(())
    }
}

/// Has another process run one [`single`] workload.
///
/// # Errors
/// When the runtime does not start there.
pub(super) fn elsewhere(work: Timed, runtime: Name, ops: u64) -> Result<Cost, Error> {
    let ops = ops.to_string();
    let arguments = ["single", work.name(), "--runtime", runtime.name(), "--ops", &ops];
    Cost::told_by(Command::new(std::env::current_exe()?).args(arguments))
}

/// Runs one workload on one runtime, once and without a warm-up. Writes what that cost, in nanoseconds.
///
/// # Errors
/// When the workload has no such form, or the runtime does not start.
pub fn single(options: &Single) -> Result<(), Error> {
    let Some(work) = Work::all().find(|work| work.name() == options.workload) else {
        let known: Vec<_> = Work::all().map(Work::name).collect();
        return Err(format!("{} is none of {}", options.workload, known.join(", ")).into());
    };
    if !options.runtime.is_runtime() {
        return Err(format!("{} is no runtime", options.runtime.name()).into());
    }
    options.runtime.dispatch(Once { work, ops: options.ops })
}

struct Once {
    work: Work,
    ops: u64,
}

impl Job for Once {
    type Output = Result<(), Error>;

    fn on<P: Peer>(self, threads: usize) -> Self::Output {
        let peer = P::start(threads)?;
        let Once { work, ops } = self;
        let (outcome, cost) = meter::measure(|| work.run(&peer, ops));
        outcome?;
        writeln!(std::io::stdout(), "{}", cost.tell())?;
        Ok(())
    }
}
