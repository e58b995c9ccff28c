//! [`Placement`]: where a worker runs, and who dies first when the machine is out of memory.
//!
//! A worker has a *seat*: the lowest number that no living worker of its pool has. With CPUs given out to
//! workers, the seat says which ones are whose.

use std::io;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::manager::Manager;
use super::worker_handle::Phase;

/// As every worker of a pool is told it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Placement {
    /// The CPUs for the pool; empty: any.
    pub(super) cpus: Vec<u32>,
    /// How many of them each worker has; none: all.
    pub(super) cpus_per_worker: Option<u32>,
    pub(super) oom_score_adj: Option<i16>,
}

impl Placement {
    /// The CPUs of the worker on `seat`; none when it has no list of its own.
    fn cpus_of(&self, seat: u32) -> Option<Vec<u32>> {
        let each = self.cpus_per_worker.map_or(self.cpus.len(), |each| each.max(1) as usize);
        let all = self.cpus.len();
        let first = (seat as usize).checked_mul(each)?;
        (all > 0).then(|| (first..first + each.min(all)).map(|at| self.cpus[at % all]).collect())
    }

    /// Takes its place, for the calling thread and those that it will start.
    pub(super) fn take(&self, seat: u32) -> io::Result<()> {
        if let Some(cpus) = self.cpus_of(seat) {
            run_on(&cpus)?;
        }
        if let Some(score) = self.oom_score_adj {
            std::fs::write("/proc/self/oom_score_adj", score.to_string())?;
        }
        Ok(())
    }
}

fn run_on(cpus: &[u32]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        // Refused beyond what the C library's set has. Of those that there are none the kernel takes no notice either.
        let _ = set.set(*cpu as usize);
    }
    sched_setaffinity(Pid::from_raw(0), &set)
        .map_err(|error| io::Error::other(format!("the CPUs {cpus:?} can't be used: {error}")))
}

impl Manager {
    /// The seat for a new worker.
    pub(super) fn free_seat(&self) -> u32 {
        let lives = self.workers.values().filter(|worker| worker.phase != Phase::Dying);
        let taken: Vec<u32> = lives.map(|worker| worker.seat).collect();
        (0..).find(|seat| !taken.contains(seat)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_share_the_cpus_out() {
        let all = Placement { cpus: vec![2, 3, 5], ..Placement::default() };
        assert_eq!(all.cpus_of(7), Some(vec![2, 3, 5]));
        let one = Placement { cpus_per_worker: Some(1), ..all.clone() };
        assert_eq!([0, 1, 2, 3].map(|seat| one.cpus_of(seat).unwrap()[0]), [2, 3, 5, 2]);
        let two = Placement { cpus_per_worker: Some(2), ..all.clone() };
        assert_eq!(two.cpus_of(1), Some(vec![5, 2]));
        let many = Placement { cpus_per_worker: Some(9), ..all };
        assert_eq!(many.cpus_of(0).unwrap().len(), 3);
        assert_eq!(Placement::default().cpus_of(0), None);
    }
}
