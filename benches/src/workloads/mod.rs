//! What is measured.
//!
//! | file | asks |
//! |---|---|
//! | `spawn_join.rs` | what a task costs from birth to end |
//! | `spawn_many.rs` | the same, a thousand at a time |
//! | `yields.rs` | what a turn of the scheduler costs |
//! | `ping_pong.rs` | what it costs that one task wakes another, new tasks and channels each time |
//! | `channel_pair.rs` | the same, the tasks and channels staying |
//! | `sleeps.rs` | how late a timer is, and what it costs |
//! | `memory.rs` | how large a task is that waits |
//! | [`echo`](mod@crate::echo) | what a small request over TCP costs |

mod channel_pair;
mod memory;
mod ping_pong;
mod sleeps;
mod spawn_join;
mod spawn_many;
mod yields;

use std::future::Future;
use std::io::Write;

use crate::options::Single;
use crate::runtimes::{Job, Name, Peer};
use crate::{Error, echo, meter};

/// The workloads by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Spawns one task and awaits it, again and again.
    SpawnJoin,
    /// Spawns a thousand, then awaits them all.
    SpawnMany,
    /// A hundred tasks that do nothing but let others run.
    Yield,
    /// Two tasks and two one-shot channels per round.
    PingPong,
    /// Two tasks and two channels, used again and again.
    ChannelPair,
    /// Requests over so many TCP connections.
    Echo(usize),
    /// A thousand timers.
    Sleep,
    /// Tasks that wait.
    Memory,
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

/// How much to do.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Operations are divided by this.
    pub divisor: u64,
    /// How long an echo server is under load.
    pub echo_millis: u64,
    /// Whether an echo server and its load have a CPU each.
    pub pin: bool,
}

impl Effort {
    /// For figures that are to be believed: a run of 100 ms or more for every workload.
    pub fn full(pin: bool) -> Self {
        Effort { divisor: 1, echo_millis: 1_000, pin }
    }

    /// For a first impression.
    pub fn quick(pin: bool) -> Self {
        Effort { divisor: 3, echo_millis: 400, pin }
    }
}

/// Before a run is timed, a shorter one is not: the last one divided by this.
const WARM_UP: u64 = 10;

impl Workload {
    /// In the order of the table.
    pub const ALL: [Workload; 11] = [
        Workload::SpawnJoin,
        Workload::SpawnMany,
        Workload::Yield,
        Workload::PingPong,
        Workload::ChannelPair,
        Workload::Echo(1),
        Workload::Echo(50),
        Workload::Echo(500),
        Workload::Echo(2_000),
        Workload::Sleep,
        Workload::Memory,
    ];

    /// The name in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Workload::SpawnJoin => "spawn_join",
            Workload::SpawnMany => "spawn_many",
            Workload::Yield => "yield",
            Workload::PingPong => "ping_pong",
            Workload::ChannelPair => "channel_pair",
            Workload::Echo(1) => "echo_1",
            Workload::Echo(50) => "echo_50",
            Workload::Echo(500) => "echo_500",
            Workload::Echo(_) => "echo_2000",
            Workload::Sleep => "sleep",
            Workload::Memory => "memory",
        }
    }

    /// Whether `asked` means this one: its name, or the part of it before the number.
    pub fn fits(self, asked: &str) -> bool {
        self.name() == asked || matches!(self, Workload::Echo(_)) && asked == "echo"
    }

    /// Whether `runtime` can do it.
    pub fn runs_on(self, runtime: Name) -> bool {
        runtime.is_runtime() || matches!(self, Workload::Echo(_))
    }

    /// Measures it once on a new instance of a runtime.
    ///
    /// # Errors
    /// When the runtime does not start or a process of the echo breaks.
    pub fn measure(self, runtime: Name, effort: Effort) -> Result<Vec<Sample>, Error> {
        match self {
            Workload::Echo(connections) => echo::measure(runtime, connections, effort),
            _ => runtime.dispatch(Measure { workload: self, effort }),
        }
    }
}

struct Measure {
    workload: Workload,
    effort: Effort,
}

impl Job for Measure {
    type Output = Result<Vec<Sample>, Error>;

    fn on<P: Peer>(self) -> Self::Output {
        let peer = P::start()?;
        let divisor = self.effort.divisor;
        Ok(match self.workload {
            Workload::SpawnJoin => timed(&peer, spawn_join::OPS / divisor, spawn_join::run::<P>),
            Workload::SpawnMany => timed(&peer, spawn_many::OPS / divisor, spawn_many::run::<P>),
            Workload::Yield => timed(&peer, yields::OPS / divisor, yields::run::<P>),
            Workload::PingPong => timed(&peer, ping_pong::OPS / divisor, ping_pong::run::<P>),
            Workload::ChannelPair => {
                timed(&peer, channel_pair::OPS / divisor, channel_pair::run::<P>)
            }
            Workload::Sleep => sleeps::measure(&peer, sleeps::OPS / divisor),
            Workload::Memory => memory::measure(&peer),
            Workload::Echo(_) => unreachable!("echo runs in processes of its own"),
        })
    }
}

/// Runs a workload that never waits for anything but its own tasks.
fn timed<P: Peer, F>(peer: &P, ops: u64, run: impl Fn(u64) -> F) -> Vec<Sample>
where
    F: Future<Output = ()> + Send + 'static,
{
    peer.run(run(ops / WARM_UP));
    let ((), cost) = meter::measure(|| peer.run(run(ops)));
    vec![
        Sample { figure: "", value: cost.cpu_nanos(ops), unit: "CPU ns" },
        Sample { figure: "wall", value: cost.wall_nanos(ops), unit: "wall ns" },
    ]
}

/// Runs one workload on one runtime, once and without a warm-up.
///
/// # Errors
/// When the workload has no such form, or the runtime does not start.
pub fn single(options: &Single) -> Result<(), Error> {
    if !SINGLE.contains(&options.workload.as_str()) {
        return Err(format!("{} is none of {}", options.workload, SINGLE.join(", ")).into());
    }
    if !options.runtime.is_runtime() {
        return Err(format!("{} serves echo only", options.runtime.name()).into());
    }
    options.runtime.dispatch(options)
}

/// What [`single`] can do.
const SINGLE: [&str; 6] =
    ["spawn_join", "spawn_many", "yield", "ping_pong", "channel_pair", "sleep"];

impl Job for &Single {
    type Output = Result<(), Error>;

    fn on<P: Peer>(self) -> Self::Output {
        let peer = P::start()?;
        let ops = self.ops;
        let work = || match self.workload.as_str() {
            "spawn_join" => peer.run(spawn_join::run::<P>(ops)),
            "spawn_many" => peer.run(spawn_many::run::<P>(ops)),
            "yield" => peer.run(yields::run::<P>(ops)),
            "ping_pong" => peer.run(ping_pong::run::<P>(ops)),
            "channel_pair" => peer.run(channel_pair::run::<P>(ops)),
            "sleep" => drop(peer.run(sleeps::run::<P>(ops))),
            other => unreachable!("{other} was refused before"),
        };
        let ((), cost) = meter::measure(work);
        writeln!(
            std::io::stdout(),
            "{:.1} CPU ns, {:.1} wall ns",
            cost.cpu_nanos(ops),
            cost.wall_nanos(ops)
        )?;
        Ok(())
    }
}
