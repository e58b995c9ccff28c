//! Side-by-side benchmarks: the same workload on loopool and on its peers, in one process and one
//! run, so that a noisy machine is noisy for all of them.
//!
//! | module | holds |
//! |---|---|
//! | [`runtimes`] | what a workload may ask of a runtime, and each runtime's answer |
//! | [`workloads`] | what is measured |
//! | [`traffic`] | the workloads over TCP: a server process and a load process |
//! | [`processes`] | the workloads of process pools: each pool in a process of its own |
//! | [`blocked`] | what clients of the example service notice when its loops are blocked |
//! | [`meter`] | CPU time, wall time, memory in use |
//! | [`rounds`] | who runs when: round by round, in rotating order |
//! | [`report`] | medians, ranges, ratios; the table and the JSON list |
//! | [`provenance`] | which commit, which machine |
//! | [`plots`] | the same as pictures |
//! | [`binary_size`] | how large a program becomes |
//! | [`options`] | the command line |
//!
//! Everything a workload does with a runtime goes through [`runtimes::Peer`], whose implementations
//! are types: the compiler makes one copy of each workload per runtime, and nobody pays for a box or
//! a virtual call that another one does not.

pub mod binary_size;
pub mod blocked;
pub mod meter;
pub mod options;
pub mod plots;
pub mod processes;
pub mod provenance;
pub mod report;
pub mod rounds;
pub mod runtimes;
pub mod traffic;
pub mod workloads;

/// What may go wrong in a benchmark: reported, never handled.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
