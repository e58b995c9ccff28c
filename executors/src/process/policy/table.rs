//! Where it is written who does what, for whoever asks: each worker has an entry with a lock of its own, which the
//! manager takes for a moment when it has given it a job and when it has taken answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use super::snapshot::{JobSnapshot, WorkerPhase, WorkerSnapshot};
use super::tenure::resident_memory;

#[derive(Default)]
pub(in crate::process) struct Table(Mutex<Vec<Weak<Entry>>>);

/// What is known of one worker.
#[derive(Default)]
pub(in crate::process) struct Entry(Mutex<State>);

#[derive(Default)]
struct State {
    /// Since when it is there, under this number.
    process: Option<(Instant, u32)>,
    phase: WorkerPhase,
    job: Option<(&'static str, u32, Instant)>,
    jobs: u64,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another worker has an entry, as long as it has it.
    pub(in crate::process) fn add(&self, entry: &Arc<Entry>) {
        let mut entries = self.lock();
        entries.retain(|entry| entry.strong_count() > 0);
        entries.push(Arc::downgrade(entry));
    }

    /// Those that are there, the oldest first.
    pub(super) fn read(&self) -> Vec<WorkerSnapshot> {
        let entries: Vec<_> = self.lock().iter().filter_map(Weak::upgrade).collect();
        entries.iter().filter_map(|entry| entry.read()).collect()
    }
}

impl Entry {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a process.
    pub(in crate::process) fn begin(&self, pid: u32) {
        self.lock().process = Some((Instant::now(), pid));
    }

    pub(super) fn work(&self, name: &'static str, attempt: u32, since: Instant) {
        let mut state = self.lock();
        state.phase = WorkerPhase::Busy;
        state.job = Some((name, attempt, since));
    }

    /// It has done so many jobs.
    pub(super) fn note_answers(&self, jobs: u32) {
        self.lock().jobs += u64::from(jobs);
    }

    /// It has no job now.
    pub(in crate::process) fn rest(&self, phase: WorkerPhase) {
        let mut state = self.lock();
        state.phase = phase;
        state.job = None;
    }

    fn read(&self) -> Option<WorkerSnapshot> {
        let state = self.lock();
        let (since, pid) = state.process?;
        let job = state.job.map(|(name, attempt, since)| JobSnapshot {
            name: name.to_owned(),
            attempt,
            running_for: since.elapsed(),
        });
        let (phase, jobs) = (state.phase, state.jobs);
        drop(state);
        let resident_memory = resident_memory(pid);
        Some(WorkerSnapshot { pid, phase, job, jobs, resident_memory, uptime: since.elapsed() })
    }
}
