//! The command line.

use std::time::Duration;

use clap::Parser;

/// Attacks a process pool with faults of every kind and counts what came of it.
#[derive(Debug, Clone, Parser)]
#[command(name = "chaos", version, max_term_width = 100)]
pub(crate) struct Options {
    /// How many jobs
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) jobs: u64,

    /// Worker processes [default: one per CPU, but at least two]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) workers: Option<u64>,

    /// What the kinds of the jobs are drawn by
    #[arg(long, value_name = "S", default_value = "1")]
    pub(crate) seed: u64,

    /// How long a job may run; those that never end take so long
    #[arg(long, value_name = "MS", default_value = "2000", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) job_timeout: u64,

    /// The most memory a worker may have, in MiB
    #[arg(long, value_name = "MIB", default_value = "128", value_parser = clap::value_parser!(u64).range(64..))]
    pub(crate) worker_memory: u64,
}

impl Options {
    /// How many worker processes.
    pub(crate) fn workers(&self) -> usize {
        let cpus = || std::thread::available_parallelism().map_or(1, usize::from).max(2);
        self.workers.map_or_else(cpus, |workers| workers as usize)
    }

    /// How long a job may run.
    pub(crate) fn job_timeout(&self) -> Duration {
        Duration::from_millis(self.job_timeout)
    }
}
