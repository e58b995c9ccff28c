//! What holds the workers of a pool in: a sandbox, and limits of memory and time.

use std::time::Duration;

use loopool::{ProcessPoolBuilder, ProcessPoolExecutor, Sandbox};
use serde::{Serialize, Serializer};

use crate::options::Options;

/// What the workers of one pool may do, and how much.
#[derive(Debug, Clone, Serialize)]
pub struct Profile {
    /// The sandbox, by the name of its kind.
    pub sandbox: &'static str,
    /// Whether what the sandbox denies ends the worker; else the call fails.
    pub kills_on_denial: bool,
    /// Whether the pool is not to be where the kernel can't enforce all of the sandbox.
    pub is_required: bool,
    /// The most address space of a worker, in bytes: an allocation beyond it fails.
    pub memory_limit: Option<u64>,
    /// The most memory that a worker may have in use, in bytes: beyond it, it is killed.
    pub rss_limit: Option<u64>,
    /// The most processor time of a job.
    #[serde(serialize_with = "seconds")]
    pub cpu_limit: Option<Duration>,
    /// How long a job may run.
    #[serde(serialize_with = "seconds")]
    pub job_timeout: Option<Duration>,
}

impl Profile {
    /// A thumbnail needs no file, no network and no other process: all of that is denied.
    pub fn processes(options: &Options) -> Self {
        Profile {
            sandbox: "pure",
            kills_on_denial: false,
            is_required: options.require_sandbox,
            memory_limit: Some(memory(options)),
            rss_limit: None,
            cpu_limit: None,
            job_timeout: Some(options.job_timeout),
        }
    }

    /// The same for pictures that are expected to be hostile: an attempt is enough to die of, the environment is
    /// empty, and there is less of everything.
    pub fn strict(options: &Options) -> Self {
        Profile {
            kills_on_denial: true,
            memory_limit: None,
            rss_limit: Some(memory(options) / 4),
            cpu_limit: Some(options.cpu_limit),
            ..Self::processes(options)
        }
    }

    /// A pool with this profile.
    pub fn builder(&self) -> ProcessPoolBuilder {
        let mut sandbox = Sandbox::pure();
        if self.kills_on_denial {
            sandbox = sandbox.kill_on_denial().clear_env();
        }
        if !self.is_required {
            sandbox = sandbox.best_effort();
        }
        let mut builder = ProcessPoolExecutor::builder().sandbox(sandbox);
        if let Some(bytes) = self.memory_limit {
            builder = builder.memory_limit(bytes);
        }
        if let Some(bytes) = self.rss_limit {
            builder = builder.rss_limit(bytes);
        }
        if let Some(time) = self.cpu_limit {
            builder = builder.cpu_limit(time);
        }
        if let Some(time) = self.job_timeout {
            builder = builder.job_timeout(time);
        }
        builder
    }
}

fn memory(options: &Options) -> u64 {
    (options.worker_memory as u64) << 20
}

fn seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}
