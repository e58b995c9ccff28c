//! Jobs that had better be run where others with the same key were.
//!
//! A key's *home* is the worker that had it last. A job whose home is busy waits for it, if not too many do already,
//! and not for long; meanwhile the others are not held up. After that any worker is its home.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::process::manager::Manager;
use crate::process::policy::parked::Kept;
use crate::process::remote_job::RemoteJob;
use crate::process::worker_handle::{Phase, WorkerHandle};

/// How long a job waits for its home: about what it takes to read a document that the home has read.
const WAITS: Duration = Duration::from_millis(5);

/// How many jobs wait for one worker. With more it has enough to do.
const KEPT_AT_MOST: usize = 2;

/// How many keys are remembered.
const HOMES_AT_MOST: usize = 4096;

#[derive(Default)]
pub(in crate::process) struct Homes(HashMap<u64, u64>);

impl Manager {
    /// Puts a job aside whose home is busy.
    pub(super) fn keep(&mut self, job: RemoteJob, now: Instant) -> Option<RemoteJob> {
        let Some(serial) = job.terms.affinity().and_then(|key| self.homes.0.get(&key).copied())
        else {
            return Some(job);
        };
        let is_busy = |worker: &WorkerHandle| {
            worker.phase == Phase::Busy && !worker.takes(&job) && !worker.ends()
        };
        let kept = self.parked.kept.iter().filter(|kept| kept.serial == serial).count();
        if job.terms.was_kept()
            || kept >= KEPT_AT_MOST
            || !self.workers.get(&serial).is_some_and(is_busy)
        {
            return Some(job);
        }
        self.parked.kept.push(Kept { serial, until: now + WAITS, job });
        self.parked.left_room = true;
        None
    }

    /// Brings those back whose home is free, one for each, or has gone, or has not become free in time.
    pub(super) fn bring_back_kept(&mut self, now: Instant) {
        let mut at = 0;
        let mut taken: Vec<u64> = Vec::new();
        while let Some(kept) = self.parked.kept.get(at) {
            let serial = kept.serial;
            let home = self.workers.get(&serial);
            let has_room = home.is_some_and(|worker| worker.takes(&kept.job));
            let is_free = has_room && !taken.contains(&serial);
            let is_there = |worker: &WorkerHandle| {
                matches!(worker.phase, Phase::Busy | Phase::Idle) && !worker.ends()
            };
            let waits = home.is_some_and(is_there) && now < kept.until;
            if waits && !is_free {
                at += 1;
                continue;
            }
            taken.push(serial);
            let mut job = self.parked.kept.remove(at).job;
            job.terms.note_kept();
            self.stranded.push_back(job);
        }
    }

    /// The worker that is to have a job: its home, if that has room, or an idle one, which was busy last. And whether
    /// it is idle.
    pub(in crate::process) fn pick(&mut self, job: &RemoteJob) -> Option<(u64, bool)> {
        let may_wake = self.may_wake();
        let home = job.terms.affinity().and_then(|key| self.homes.0.get(&key).copied());
        if let Some(home) = home {
            if let Some(place) = self.idle.iter().position(|serial| *serial == home)
                && may_wake > 0
            {
                return Some((self.idle.remove(place), true));
            }
            let has_room = |worker: &WorkerHandle| worker.phase == Phase::Busy && worker.takes(job);
            if self.workers.get(&home).is_some_and(has_room) {
                return Some((home, false));
            }
        }
        if may_wake > 0 { self.idle.pop().map(|serial| (serial, true)) } else { None }
    }

    /// A worker has been given a job with this key.
    pub(super) fn settle_at(&mut self, serial: u64, key: Option<u64>) {
        let Some(key) = key else { return };
        if self.homes.0.len() >= HOMES_AT_MOST && !self.homes.0.contains_key(&key) {
            self.homes.0.retain(|_, home| self.workers.contains_key(home));
            if self.homes.0.len() >= HOMES_AT_MOST {
                self.homes.0.clear();
            }
        }
        self.homes.0.insert(key, serial);
    }
}
