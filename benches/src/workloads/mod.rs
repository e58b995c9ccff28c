//! What is measured.
//!
//! | file | asks |
//! |---|---|
//! | `timed.rs` | which workloads are so many operations, and how many |
//! | `spawn_join.rs` | what a task costs from birth to end |
//! | `spawn_many.rs` | the same, a thousand at a time |
//! | `spawn_remote.rs` | the same from a foreign thread |
//! | `chain.rs` | the same, each made by the one before |
//! | `fork_join.rs` | the same, each waiting for those that it made |
//! | `yields.rs` | what a turn of the scheduler costs |
//! | `pair_switch.rs` | what it costs that one task wakes another |
//! | `ping_pong.rs` | the same, with new tasks and channels each time |
//! | `channel_pair.rs` | the same, with tasks and channels that stay |
//! | `mpsc.rs` | what a message costs |
//! | `locks.rs` | what a mutex and a semaphore cost that many want |
//! | `broadcast.rs` | what it costs to wake many |
//! | `timers.rs` | what a timer costs that never fires |
//! | `sleeps.rs` | how late a timer is, and what it costs |
//! | `bridge.rs` | how long a foreign thread waits for a task |
//! | `blocking.rs` | how long a task waits for a function on another thread, and what that costs |
//! | `compute.rs` | what it takes to have something computed on several cores |
//! | `memory.rs` | how large a task is that waits |
//! | `startup.rs` | what it costs to start and stop |
//! | `echo.rs` | what a request costs within one process, so that its instructions can be counted |
//! | `single.rs` | all of these once, in a process of their own |
//! | [`traffic`](mod@crate::traffic) | what a request over TCP costs |
//! | [`processes`](crate::processes) | what a job costs in another process |

mod blocking;
mod bridge;
mod broadcast;
mod chain;
mod channel_pair;
mod compute;
mod echo;
mod fork_join;
mod locks;
mod memory;
mod mpsc;
mod pair_switch;
mod ping_pong;
mod single;
mod sleeps;
mod spawn_join;
mod spawn_many;
mod spawn_remote;
mod startup;
mod timed;
mod timers;
mod yields;

use crate::Error;
use crate::meter::{self, Cost};
use crate::processes::{Row, Word};
use crate::runtimes::{Job, Name, Peer, cpython, rayon};
use crate::traffic::Traffic;

pub use self::single::single;
pub use self::timed::Timed;

/// The workloads by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// So many operations.
    Timed(Timed),
    /// A hundred thousand timers.
    Sleeps,
    /// Requests over TCP.
    Traffic(Traffic),
    /// Tasks that wait.
    Memory,
    /// Starting and stopping.
    Startup,
    /// Jobs in other processes.
    Processes(Row),
}

/// One number that was measured.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Which of its workload's figures: appended to the workload's name.
    pub figure: &'static str,
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
}

/// What one run gave.
#[derive(Debug, Clone)]
pub enum Measured {
    /// Numbers.
    Samples(Vec<Sample>),
    /// None, and why.
    Word(Word),
}

/// How much to do.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Operations are divided by this.
    pub divisor: u64,
    /// Those in other processes, which take longer with most peers, by this.
    pub process_divisor: u64,
    /// How long a server is under load.
    pub load_millis: u64,
    /// Whether a server and its load have a CPU each.
    pub pin: bool,
}

impl Effort {
    /// For figures that are to be believed: a run of 100 ms or more for nearly every workload.
    pub fn full(pin: bool) -> Self {
        Effort { divisor: 1, process_divisor: 1, load_millis: 600, pin }
    }

    /// For a first impression.
    pub fn quick(pin: bool) -> Self {
        Effort { divisor: 2, process_divisor: 5, load_millis: 150, pin }
    }
}

/// Before a run is timed, a shorter one is not: the last one divided by this.
const WARM_UP: u64 = 10;

impl Workload {
    /// In the order of the table.
    pub fn all() -> impl Iterator<Item = Workload> {
        let timed = Timed::ALL.into_iter().map(Workload::Timed);
        let traffic = Traffic::ALL.into_iter().map(Workload::Traffic);
        let others = [Workload::Memory, Workload::Startup];
        let processes = Row::ALL.into_iter().map(Workload::Processes);
        timed.chain([Workload::Sleeps]).chain(traffic).chain(others).chain(processes)
    }

    /// The name in tables and on the command line.
    pub fn name(self) -> String {
        match self {
            Workload::Timed(timed) => timed.name().to_owned(),
            Workload::Sleeps => "sleeps".to_owned(),
            Workload::Traffic(traffic) => traffic.name(),
            Workload::Memory => "memory".to_owned(),
            Workload::Startup => "startup".to_owned(),
            Workload::Processes(row) => row.name().to_owned(),
        }
    }

    /// Whether `asked` means this one: its name, the part of an echo's name before a number, or all those of
    /// pools of processes together.
    pub fn fits(self, asked: &str) -> bool {
        let name = self.name();
        let rest = name.strip_prefix(asked);
        let is_family = asked.starts_with("echo") || asked == "proc";
        rest == Some("") || is_family && rest.is_some_and(|rest| rest.starts_with('_'))
    }

    /// Whether `runtime` can do it.
    pub fn runs_on(self, runtime: Name) -> bool {
        match self {
            Workload::Timed(timed) => timed.runs_on(runtime),
            Workload::Sleeps | Workload::Memory => runtime.is_runtime(),
            Workload::Traffic(traffic) => traffic.runs_on(runtime),
            Workload::Startup => runtime.is_runtime() || runtime == Name::Rayon,
            Workload::Processes(row) => row.runs_on(runtime),
        }
    }

    /// Measures it once on a new instance of a runtime.
    ///
    /// # Errors
    /// When the runtime does not start, or a process that it needs breaks.
    pub fn measure(self, runtime: Name, effort: Effort) -> Result<Measured, Error> {
        if let Workload::Processes(row) = self {
            return row.measure(runtime, effort);
        }
        let samples = match (self, runtime) {
            (Workload::Traffic(traffic), _) => traffic.measure(runtime, effort),
            (_, Name::Rayon) => self.measure_rayon(effort),
            (Workload::Timed(timed), Name::CPython) => {
                let ops = timed.ops() / effort.divisor;
                let warm_up = if timed.starts_cold() { 0 } else { ops / WARM_UP };
                Ok(costs(cpython::measure(timed.name(), warm_up, ops)?, ops))
            }
            (Workload::Timed(timed), _) if timed.starts_cold() => {
                let ops = timed.ops() / effort.divisor;
                Ok(costs(single::elsewhere(timed, runtime, ops)?, ops))
            }
            _ => runtime.dispatch(Measure { workload: self, effort }),
        };
        samples.map(Measured::Samples)
    }

    fn measure_rayon(self, effort: Effort) -> Result<Vec<Sample>, Error> {
        match self {
            Workload::Timed(timed) => {
                let pool = rayon::start()?;
                let ops = timed.ops() / effort.divisor;
                Ok(timed_samples(ops, |ops| timed.run_on_rayon(&pool, ops)))
            }
            Workload::Startup => startup::measure_rayon(startup::OPS / effort.divisor),
            _ => Err(format!("rayon does not do {}", self.name()).into()),
        }
    }
}

struct Measure {
    workload: Workload,
    effort: Effort,
}

impl Job for Measure {
    type Output = Result<Vec<Sample>, Error>;

    fn on<P: Peer>(self, threads: usize) -> Self::Output {
        let divisor = self.effort.divisor;
        Ok(match self.workload {
            Workload::Timed(timed) => {
                let peer = P::start(threads)?;
                timed.prepare(&peer);
                timed_samples(timed.ops() / divisor, |ops| timed.run(&peer, ops))
            }
            Workload::Sleeps => sleeps::measure(&P::start(threads)?),
            Workload::Memory => memory::measure(&P::start(threads)?),
            Workload::Startup => startup::measure::<P>(threads, startup::OPS / divisor)?,
            Workload::Traffic(_) | Workload::Processes(_) => {
                unreachable!("they run in processes of their own")
            }
        })
    }
}

/// Runs a number of operations, after a shorter run.
fn timed_samples(ops: u64, run: impl Fn(u64)) -> Vec<Sample> {
    run(ops / WARM_UP);
    let ((), cost) = meter::measure(|| run(ops));
    costs(cost, ops)
}

/// The two figures of what is so many operations.
fn costs(cost: Cost, ops: u64) -> Vec<Sample> {
    vec![
        Sample { figure: "", value: cost.cpu_nanos(ops), unit: "CPU ns" },
        Sample { figure: "wall", value: cost.wall_nanos(ops), unit: "wall ns" },
    ]
}

/// Computes: so many steps of Marsaglia's xorshift generator, each of which needs the one before, about
/// two nanoseconds each. (Steps of a linear generator would be folded into one by the compiler.)
pub(crate) fn spin(steps: u64) {
    let mut state = std::hint::black_box(1u64);
    for _ in 0..steps {
        next(&mut state);
    }
    std::hint::black_box(state);
}

/// One step.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
