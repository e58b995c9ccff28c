//! What a pool of processes does besides running a job: limits, further attempts, and what else options and
//! builder ask for.
//!
//! The manager calls in here at a few points of a job's life and a worker's; everything that is to be done at a
//! later time is found by [`Manager::policy_deadline`](super::manager::Manager).

mod admission;
mod affinity;
mod asked;
mod ending;
pub(super) mod events;
mod histogram;
mod limits;
mod metrics;
mod parked;
mod settings;
mod snapshot;
mod state;
mod table;
mod tasks;
mod tenure;
mod terms;

pub(super) use affinity::Homes;
pub(super) use asked::{as_job, job_is_over};
pub use histogram::DurationHistogram;
pub(super) use metrics::Metrics;
pub(super) use parked::Parked;
pub(super) use settings::{Policy, PolicySettings, prepare, settle};
pub use snapshot::{
    CircuitSnapshot, JobSnapshot, PoolSnapshot, TaskSnapshot, WorkerPhase, WorkerSnapshot,
};
pub(super) use state::StateRecipe;
pub(crate) use state::with_state;
pub(super) use table::Entry;
pub(super) use tasks::{Tally, TaskIndex};
pub(super) use tenure::Tenure;
pub(super) use terms::Terms;
