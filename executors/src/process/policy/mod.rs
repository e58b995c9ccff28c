//! What a pool of processes does besides running a job: limits, further attempts, and what else options and
//! builder ask for.
//!
//! The manager calls in here at a few points of a job's life and a worker's; everything that is to be done at a
//! later time is found by [`Manager::policy_deadline`](super::manager::Manager).

mod asked;
mod ending;
mod limits;
mod metrics;
mod parked;
mod settings;
mod state;
mod tenure;
mod terms;

pub(super) use asked::{as_job, job_is_over};
pub(super) use limits::Running;
pub(super) use metrics::Metrics;
pub(super) use parked::Parked;
pub(super) use settings::{Policy, PolicySettings, settle};
pub(crate) use state::with_state;
pub(super) use state::{StateRecipe, make_state};
pub(super) use tenure::Tenure;
pub(super) use terms::Terms;
