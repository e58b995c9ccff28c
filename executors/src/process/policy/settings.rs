//! The policies of a pool, and what each worker is told of them.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::state::{StateMaker, make_state};
use super::tenure::Bounds;
use super::{asked, events};

/// What the manager goes by.
#[derive(Debug, Clone, Default)]
pub(in crate::process) struct Policy {
    /// How long a job may run.
    pub(in crate::process) job_timeout: Option<Duration>,
    /// How long a worker has to end by itself.
    pub(in crate::process) cancel_grace: Duration,
    /// How many workers there are without any job.
    pub(in crate::process) min_workers: usize,
    /// How much memory jobs may declare that run at the same time, in bytes.
    pub(in crate::process) memory_budget: Option<u64>,
    /// When workers are replaced.
    pub(in crate::process) bounds: Bounds,
}

impl Policy {
    /// What a worker is told of it.
    pub(in crate::process) fn settings(&self, state: Option<StateMaker>) -> PolicySettings {
        PolicySettings { asks_first: !self.cancel_grace.is_zero(), state, events: events::wanted() }
    }
}

/// Part of the settings of every worker of a pool.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(in crate::process) struct PolicySettings {
    /// Jobs are asked to end (SIGTERM) before they are killed.
    pub(in crate::process) asks_first: bool,
    /// How to make the worker's state.
    pub(in crate::process) state: Option<StateMaker>,
    /// Up to which level events are carried to the program.
    pub(in crate::process) events: u8,
}

/// Prepares a worker, before the initializer.
pub(in crate::process) fn settle(settings: PolicySettings) -> io::Result<()> {
    if settings.asks_first {
        asked::listen()?;
    }
    Ok(())
}

/// Prepares a worker for its jobs, after the initializer.
pub(in crate::process) fn prepare(settings: PolicySettings) -> Result<(), String> {
    events::carry(settings.events);
    make_state(settings.state)
}
