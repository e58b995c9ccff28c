//! [`Apart`]: a worker and the thread that waits for it, on a processor each.
//!
//! Two that take turns need one processor between them, as the system counts, and it likes to put who is woken
//! beside who woke it. So it may leave them together for seconds. A round trip takes 11 to 22 µs then, instead of 2: both
//! look for a moment before they sleep, each in the way of the other.
//!
//! # Rules
//! 1. Suspected is the worker whose only job was answered in a time that is long for a short job where both have a
//!    processor, and short for anything else; and only while somebody looks for its answers.
//! 2. It is forbidden the processor of who looks, and then allowed what it was allowed before. If it waited there for its
//!    turn, the system has to move it; if it ran elsewhere, or slept, it stays where it is. The system remembers what was
//!    allowed last, and when there are more processors for all of them later, a worker that was allowed all is to have
//!    those, too. So it is allowed everything, unless that makes a difference.
//! 3. No job sees that: the worker has none, and gets none before it is over, since the manager is locked.
//! 4. What costs some microseconds is done seldom; more seldom if it was suspected again at once, because its jobs do take
//!    that long, or because there is no processor for it.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use super::death;
use super::manager::Manager;

/// On two processors a short job is there and back in half of this.
const BRISK: Duration = Duration::from_micros(5);
/// On one it is in this, looking in vain included.
const SLOW: Duration = Duration::from_micros(60);

/// How long it takes until a worker can be moved again.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often to try to allow it what it was allowed, for want of memory.
const TRIES: u32 = 100;

#[derive(Debug)]
pub(super) struct Apart {
    /// A worker's serial number.
    suspect: Option<u64>,
    /// When one was moved last, if ever.
    last: Option<Instant>,
    pause: Duration,
}

impl Apart {
    pub(super) const fn new() -> Self {
        Apart { suspect: None, last: None, pause: PAUSE }
    }

    /// A worker has answered the only job that it had, after so long.
    pub(super) fn note_answer(&mut self, serial: u64, took: Duration) {
        if BRISK < took && took < SLOW {
            self.suspect = Some(serial);
        }
    }

    /// The worker that is to be moved, if any.
    fn due(&mut self, now: Instant) -> Option<u64> {
        let suspect = self.suspect.take()?;
        if let Some(last) = self.last {
            let since = now.saturating_duration_since(last);
            if since < self.pause {
                return None;
            }
            let again = since < 2 * self.pause;
            self.pause = if again { (2 * self.pause).min(LONGEST_PAUSE) } else { PAUSE };
        }
        self.last = Some(now);
        Some(suspect)
    }
}

impl Manager {
    /// Whoever looks for answers begins to take them.
    pub(super) fn forget_suspect(&mut self) {
        self.apart.suspect = None;
    }

    /// Whoever looks for answers has taken what there was.
    pub(super) fn keep_apart(&mut self, now: Instant) {
        let Some(serial) = self.apart.due(now) else { return };
        let process = self.workers.get(&serial).and_then(|worker| worker.process.as_ref());
        // Its number may belong to somebody else where children are reaped behind our back.
        if let Some(process) = process
            && death::is_unreaped(process.pidfd.as_fd())
        {
            // Without it, it is slower, no more.
            let _ = take_off_this_cpu(Pid::from_raw(process.pid));
        }
    }
}

/// Rule 2.
fn take_off_this_cpu(who: Pid) -> Result<(), Errno> {
    let (allowed, here) = (sched_getaffinity(who)?, sched_getcpu()?);
    let mut others = allowed;
    others.unset(here)?;
    if others == allowed || others == CpuSet::new() {
        return Ok(());
    }
    sched_setaffinity(who, &others)?;
    let mut restored = Ok(());
    for _ in 0..TRIES {
        restored = restore(who, &allowed);
        if restored != Err(Errno::ENOMEM) {
            break;
        }
    }
    // Other refusals: it has died; or every one of them was taken from all, and then the system has chosen others.
    restored
}

fn restore(who: Pid, allowed: &CpuSet) -> Result<(), Errno> {
    let mut all = CpuSet::new();
    (0..CpuSet::count()).try_for_each(|cpu| all.set(cpu))?;
    sched_setaffinity(who, &all)?;
    if sched_getaffinity(who)? != *allowed {
        sched_setaffinity(who, allowed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};

    use super::*;

    const MICROSECOND: Duration = Duration::from_micros(1);

    #[test]
    fn suspected_is_who_takes_neither_briefly_nor_long() {
        let mut apart = Apart::new();
        let now = Instant::now();
        for took in [MICROSECOND, BRISK, SLOW, Duration::from_secs(1)] {
            apart.note_answer(7, took);
            assert_eq!(apart.due(now), None, "{took:?}");
        }
        apart.note_answer(7, 12 * MICROSECOND);
        assert_eq!(apart.due(now), Some(7));
        assert_eq!(apart.due(now + PAUSE), None, "not suspected again");
    }

    #[test]
    fn moving_that_does_not_help_is_done_more_and_more_seldom() {
        let mut apart = Apart::new();
        let start = Instant::now();
        let mut moved = Vec::new();
        for millis in 0..60_000 {
            apart.note_answer(7, 12 * MICROSECOND);
            if apart.due(start + Duration::from_millis(millis)).is_some() {
                moved.push(millis);
            }
        }
        assert_eq!(moved[..4], [0, 10, 30, 70]);
        assert!((60..=70).contains(&moved.len()), "{moved:?}");
        // Once all was well for a while, the next time counts as the first.
        let later = start + Duration::from_secs(600);
        apart.note_answer(7, 12 * MICROSECOND);
        assert_eq!((apart.due(later), apart.pause), (Some(7), PAUSE));
    }

    fn only(cpu: usize) -> CpuSet {
        let mut set = CpuSet::new();
        set.set(cpu).unwrap();
        set
    }

    /// Where a thread of this process ran last, or waits for its turn.
    fn cpu_of(thread: Pid) -> usize {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
        // The 39th of all; the second, in parentheses, may have spaces in it.
        let after_name = stat.rsplit_once(") ").unwrap().1;
        after_name.split(' ').nth(36).unwrap().parse().unwrap()
    }

    #[test]
    #[allow(clippy::print_stdout, reason = "what is skipped is named")]
    fn who_waits_for_this_cpu_is_moved_to_another_and_may_come_back() {
        let all = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let cpus: Vec<usize> =
            (0..CpuSet::count()).filter(|cpu| all.is_set(*cpu).unwrap()).collect();
        let [here, there, ..] = cpus[..] else {
            return println!("skipped: this machine has one CPU");
        };
        let (number, over) = (AtomicI32::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                number.store(nix::unistd::gettid().as_raw(), Relaxed);
                let since = Instant::now();
                while !over.load(Relaxed) && since.elapsed() < Duration::from_secs(60) {
                    std::hint::spin_loop();
                }
            });
            while number.load(Relaxed) == 0 {
                std::thread::yield_now();
            }
            let other = Pid::from_raw(number.load(Relaxed));
            sched_setaffinity(Pid::from_raw(0), &only(here)).unwrap();
            let mut both = only(here);
            both.set(there).unwrap();
            // Not more than a few: the system moves threads, too, but seldom just then.
            let was_moved = (0..5).any(|_| {
                sched_setaffinity(other, &only(here)).unwrap();
                sched_setaffinity(other, &both).unwrap();
                take_off_this_cpu(other).unwrap();
                cpu_of(other) == there
            });
            let allowed = sched_getaffinity(other).unwrap();
            sched_setaffinity(other, &only(here)).unwrap();
            let refused = take_off_this_cpu(other);
            let where_else = sched_getaffinity(other).unwrap();
            over.store(true, Relaxed);
            assert!(was_moved);
            assert_eq!(allowed, both);
            assert_eq!((refused, where_else), (Ok(()), only(here)), "there is no other for it");
        });
        sched_setaffinity(Pid::from_raw(0), &all).unwrap();
    }
}
