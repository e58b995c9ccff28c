//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::processes::Row;
use crate::runtimes::Name;
use crate::traffic::Service;
use crate::workloads::Workload;

/// Compares loopool with its peers: same workloads, same process, same run.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Options {
    /// Measure these workloads only; `echo`, `echo_50` and `proc` stand for all that begin so.
    #[arg(long, value_name = "WORKLOAD", value_delimiter = ',')]
    pub only: Vec<String>,

    /// Measure these runtimes only.
    #[arg(long, value_name = "RUNTIME", value_delimiter = ',')]
    pub runtimes: Vec<Name>,

    /// How often everything is measured; 3 with --quick.
    #[arg(long, default_value_t = 9, default_value_if("quick", "true", "3"))]
    pub rounds: usize,

    /// Shorter runs and fewer of them: the whole table in some four minutes.
    #[arg(long)]
    pub quick: bool,

    /// Divides the operations of every workload by this: for tests, whose figures mean nothing.
    #[arg(long, hide = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub divisor: Option<u64>,

    /// Traffic with the server on one CPU and the load on another: steadier, and a server of two
    /// threads shares one CPU.
    #[arg(long)]
    pub pin: bool,

    /// Write the results to this file, as a JSON list.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write the table to this file.
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,

    /// Write a plot per row of the table to this directory, as SVG.
    #[arg(long, value_name = "DIRECTORY")]
    pub plots: Option<PathBuf>,

    /// What this process is, when it is not the one that the user started.
    #[command(subcommand)]
    pub command: Option<Command>,
}

impl Options {
    /// The workloads that were asked for.
    ///
    /// # Errors
    /// When a name fits none.
    pub fn workloads(&self) -> Result<Vec<Workload>, crate::Error> {
        if self.only.is_empty() {
            return Ok(Workload::all().collect());
        }
        let mut chosen = Vec::new();
        for name in &self.only {
            let before = chosen.len();
            chosen.extend(Workload::all().filter(|workload| workload.fits(name)));
            if chosen.len() == before {
                let known: Vec<_> = Workload::all().map(Workload::name).collect();
                let known = known.join(", ");
                return Err(format!("there is no workload {name}; there are {known}").into());
            }
        }
        Ok(chosen)
    }

    /// The runtimes that were asked for.
    pub fn runtimes(&self) -> Vec<Name> {
        if self.runtimes.is_empty() { Name::ALL.to_vec() } else { self.runtimes.clone() }
    }
}

/// The other things this program can be.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A server, until its standard input ends.
    #[command(hide = true)]
    Serve(Serve),
    /// A load generator for a server.
    #[command(hide = true)]
    Load(Load),
    /// One pool of processes in one workload, once.
    #[command(hide = true)]
    Pool(Pool),
    /// The other side of two processes that are no pool.
    #[command(hide = true)]
    Answer(Answer),
    /// How large a program is that says hello on each runtime.
    BinarySize,
    /// How long clients of the example service wait while its loops are blocked.
    Blocked(Blocked),
    /// One workload on one runtime, once: for profilers.
    #[command(hide = true)]
    Single(Single),
}

/// Options of a server.
#[derive(Debug, Args)]
pub struct Serve {
    /// On which runtime.
    #[arg(long)]
    pub runtime: Name,
    /// What it does.
    #[arg(long)]
    pub service: Service,
    /// How many jobs it computes meanwhile.
    #[arg(long)]
    pub jobs: usize,
    /// The CPU to stay on.
    #[arg(long)]
    pub cpu: Option<usize>,
}

/// Options of a load generator.
#[derive(Debug, Args)]
pub struct Load {
    /// Where the server listens, on this machine.
    #[arg(long)]
    pub port: u16,
    /// What the server does.
    #[arg(long)]
    pub service: Service,
    /// How many bytes a message has, where it is not given.
    #[arg(long)]
    pub bytes: usize,
    /// The server's process, whose CPU time is read.
    #[arg(long)]
    pub server: u32,
    /// How many connections, each with one request on its way.
    #[arg(long)]
    pub connections: usize,
    /// How many requests a second over all connections; without, each is followed by the next one.
    #[arg(long)]
    pub pace: Option<u32>,
    /// How long to measure.
    #[arg(long)]
    pub millis: u64,
    /// The CPU to stay on.
    #[arg(long)]
    pub cpu: Option<usize>,
}

/// Options of a process that measures a pool of processes.
#[derive(Debug, Args)]
pub struct Pool {
    /// Whose.
    #[arg(long)]
    pub runtime: Name,
    /// In which workload.
    #[arg(long)]
    pub row: Row,
    /// How many operations.
    #[arg(long)]
    pub ops: u64,
}

/// Options of a process that answers another one.
#[derive(Debug, Args)]
pub struct Answer {
    /// In which way.
    #[arg(long)]
    pub runtime: Name,
}

/// Options of the service whose loops are blocked.
#[derive(Debug, Args)]
pub struct Blocked {
    /// The service; the one beside this program if none is named.
    #[arg(long, value_name = "FILE")]
    pub service: Option<PathBuf>,
    /// How many event loops it has.
    #[arg(long, default_value_t = 2)]
    pub loops: usize,
    /// Over how many connections it is asked; each asks 20 times a second.
    #[arg(long, default_value_t = 50)]
    pub connections: usize,
    /// How long its loops are blocked in each round.
    #[arg(long, default_value_t = 2_000)]
    pub millis: u64,
    /// How often.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
}

/// Options of a single run.
#[derive(Debug, Args)]
pub struct Single {
    /// Which workload: one of so many operations.
    pub workload: String,
    /// On which runtime.
    #[arg(long)]
    pub runtime: Name,
    /// How many operations.
    #[arg(long)]
    pub ops: u64,
}
