//! What a pool counts besides the ends of its jobs. Statistics only: nothing is decided by them, so every access is
//! relaxed and pairs with nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::histogram::Histogram;
use super::snapshot::CircuitSnapshot;
use super::table::Table;
use super::tasks::Tasks;
use crate::process::CrashCause;

#[derive(Default)]
pub(in crate::process) struct Metrics {
    pub(in crate::process) table: Table,
    /// Jobs that wait, though not in the queue: those that were taken back, too.
    pub(in crate::process) parked: AtomicUsize,
    /// Workers that were replaced because they had had their time.
    pub(in crate::process) recycled: AtomicU64,
    /// Attempts at jobs after the first one.
    pub(in crate::process) retries: AtomicU64,
    /// Jobs that were given to a worker that did not begin them.
    pub(in crate::process) taken_back: AtomicU64,
    /// Workers that were killed for what they sent.
    pub(in crate::process) convicted: AtomicU64,
    pub(in crate::process) idle_time: Histogram,
    pub(in crate::process) tasks: Tasks,
    crashes: Mutex<BTreeMap<String, u64>>,
    starts: Mutex<CircuitSnapshot>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Metrics {
    /// A worker that had been ready died by itself.
    pub(in crate::process) fn record_crash(&self, cause: CrashCause) {
        // Not told apart by what a cause carries.
        let name = match cause {
            CrashCause::SandboxDenied { .. } => "SandboxDenied".to_owned(),
            other => format!("{other:?}"),
        };
        *lock(&self.crashes).entry(name).or_default() += 1;
    }

    pub(super) fn crashes(&self) -> BTreeMap<String, u64> {
        lock(&self.crashes).clone()
    }

    /// So many starts in a row have failed.
    pub(in crate::process) fn record_starts(
        &self,
        failures: u32,
        is_open: bool,
        why: Option<&str>,
    ) {
        let last_error = why.map(str::to_owned);
        *lock(&self.starts) = CircuitSnapshot { failures, is_open, last_error };
    }

    pub(super) fn starts(&self) -> CircuitSnapshot {
        lock(&self.starts).clone()
    }
}
