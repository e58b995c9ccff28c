//! [`Orphans`]: what dead workers leave to a program that is the first process of its namespace, or a subreaper.
//!
//! 1. Such a program becomes the parent of what a job has started, when the worker dies. All of that which is in the
//!    worker's process group is killed with it, and nobody else would reap it.
//! 2. It is asked for by group: by the number of a worker, from the moment on at which that was reaped, and until no
//!    child of the program is in its group. A number that a group has is given to nobody else (and one that has just
//!    become free not before all the others), so no child that the program has started itself is reaped here.
//! 3. In every other program the first question is the last one.

use std::time::Instant;

use super::death;
use super::staffing::pause;

/// After so many questions, which takes about a second, nobody waits for those that have not ended: they are no longer
/// what they were when they were started, and can't be killed; nor for a dead worker that somebody traces.
pub(super) const WAITED_FOR: u32 = 8;

#[derive(Default)]
pub(super) struct Orphans(Vec<Group>);

struct Group {
    /// The worker that led it.
    leader: i32,
    asked: u32,
    next: Instant,
}

impl Group {
    /// Reaps those that have ended. Whether others are left, to be asked for again.
    fn reap(&mut self, now: Instant) -> bool {
        self.asked = self.asked.saturating_add(1);
        self.next = now + pause(self.asked);
        death::reap_group(self.leader)
    }
}

impl Orphans {
    /// The worker with this number was killed with its group, and reaped.
    pub(super) fn take_over(&mut self, leader: i32, now: Instant) {
        let mut group = Group { leader, asked: 0, next: now };
        if group.reap(now) {
            self.0.push(group);
        }
    }

    /// Reaps those that have ended meanwhile.
    pub(super) fn reap(&mut self, now: Instant) {
        self.0.retain_mut(|group| group.next > now || group.reap(now));
    }

    /// When to do so.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.iter().map(|group| group.next).min()
    }

    /// Whether some are about to end.
    pub(super) fn are_dying(&self) -> bool {
        self.0.iter().any(|group| group.asked < WAITED_FOR)
    }
}
