//! Where it is written who does what, for whoever asks: each worker has a seat with a lock of its own, which the
//! manager takes for a moment twice a job.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use super::snapshot::{JobSnapshot, WorkerPhase, WorkerSnapshot};
use super::tenure::resident_memory;

#[derive(Default)]
pub(in crate::process) struct Board(Mutex<Vec<Weak<Seat>>>);

/// What is known of one worker.
#[derive(Default)]
pub(in crate::process) struct Seat(Mutex<State>);

#[derive(Default)]
struct State {
    /// Since when it is there, under this number.
    process: Option<(Instant, u32)>,
    phase: WorkerPhase,
    job: Option<(&'static str, u32, Instant)>,
    jobs: u64,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Seat>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another worker has a seat, as long as it has it.
    pub(in crate::process) fn add(&self, seat: &Arc<Seat>) {
        let mut seats = self.lock();
        seats.retain(|seat| seat.strong_count() > 0);
        seats.push(Arc::downgrade(seat));
    }

    /// Those that are there, the oldest first.
    pub(super) fn read(&self) -> Vec<WorkerSnapshot> {
        let seats: Vec<_> = self.lock().iter().filter_map(Weak::upgrade).collect();
        seats.iter().filter_map(|seat| seat.read()).collect()
    }
}

impl Seat {
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

    /// It has no job now.
    pub(in crate::process) fn rest(&self, phase: WorkerPhase) {
        let mut state = self.lock();
        state.phase = phase;
        state.jobs += u64::from(state.job.take().is_some());
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
