//! What is counted of jobs of the same name.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::histogram::Histogram;
use super::snapshot::TaskSnapshot;
use crate::process::manager::Manager;

/// For whoever asks: all that there have been. Statistics only, so accesses are relaxed and pair with nothing.
#[derive(Default)]
pub(in crate::process) struct Tasks(Mutex<Vec<(&'static str, Arc<Task>)>>);

#[derive(Default)]
struct Task {
    queue_time: Histogram,
    run_time: Histogram,
    crashes: AtomicU64,
}

/// For the manager: where a name's counts are.
#[derive(Default)]
pub(in crate::process) struct TaskIndex {
    by_name: HashMap<&'static str, Arc<Task>>,
    /// The one that was asked for last, as it usually is the next one.
    last: Option<(&'static str, Arc<Task>)>,
}

/// How many jobs of which names were answered together.
#[derive(Default)]
pub(in crate::process) struct Tally {
    last: Option<(&'static str, u32)>,
    others: Vec<(&'static str, u32)>,
}

impl Tasks {
    pub(super) fn read(&self) -> BTreeMap<String, TaskSnapshot> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let read = |(name, task): &(&'static str, Arc<Task>)| {
            let snapshot = TaskSnapshot {
                queue_time: task.queue_time.read(),
                run_time: task.run_time.read(),
                crashes: task.crashes.load(Relaxed),
            };
            ((*name).to_owned(), snapshot)
        };
        all.iter().map(read).collect()
    }
}

impl Tally {
    #[inline]
    pub(in crate::process) fn add(&mut self, name: &'static str) {
        match &mut self.last {
            Some((last, count)) if std::ptr::eq(*last, name) => *count += 1,
            _ => self.others.extend(self.last.replace((name, 1))),
        }
    }
}

impl TaskIndex {
    #[inline]
    fn of(&mut self, name: &'static str, all: &Tasks) -> &Task {
        let is_last = self.last.as_ref().is_some_and(|(last, _)| std::ptr::eq(*last, name));
        if !is_last {
            let task = self.find(name, all);
            self.last = Some((name, task));
        }
        // It was just put there.
        self.last.as_ref().map(|(_, task)| &**task).unwrap_or_else(|| unreachable!())
    }

    #[cold]
    fn find(&mut self, name: &'static str, all: &Tasks) -> Arc<Task> {
        let new = || {
            let task = Arc::<Task>::default();
            let mut all = all.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.push((name, task.clone()));
            task
        };
        self.by_name.entry(name).or_insert_with(new).clone()
    }
}

impl Manager {
    fn task(&mut self, name: &'static str) -> &Task {
        self.tasks.of(name, &self.shared.metrics.tasks)
    }

    /// A job of this name was given to a worker after so long.
    #[inline]
    pub(in crate::process) fn note_waited(&mut self, name: &'static str, waited: Duration) {
        self.task(name).queue_time.record(waited);
    }

    /// One has run for so long.
    pub(in crate::process) fn note_ran(&mut self, name: &'static str, ran: Duration) {
        self.task(name).run_time.record(ran);
    }

    /// Several have, together.
    #[inline]
    pub(in crate::process) fn note_all_ran(&mut self, tally: &Tally, jobs: u32, ran: Duration) {
        let each = ran / jobs.max(1);
        for (name, count) in tally.others.iter().chain(&tally.last) {
            self.task(name).run_time.record_several(each * *count, *count);
        }
    }

    /// One was running when its worker died.
    pub(in crate::process) fn note_crashed(&mut self, name: &'static str) {
        self.task(name).crashes.fetch_add(1, Relaxed);
    }
}
