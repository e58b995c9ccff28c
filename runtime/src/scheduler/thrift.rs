//! Whether taking tasks from others pays.
//!
//! A task that runs on another loop than those it deals with costs some hundred nanoseconds more: what they
//! share moves between the cores with every touch. Where tasks are short and belong together, two loops that
//! take from each other are slower than one that does it all. So a loop that took tasks and soon had nothing to do
//! again, several times in a row, becomes reluctant: then it takes
//! - what keeps it busy for a while, by what is known of the victim's polls,
//! - from a loop that does not come on, whatever that has queued: its tasks wait,
//! - and one time in so many anyway, or when it was woken for it, to find out whether it pays now.
//!
//! A short task may have much behind it (who forks forks again), so what counts is for how long a loop was
//! busy with all that came of what it took.

use std::time::{Duration, Instant};

/// A loop that is woken is to be busy for so long with what it gets. Waking it costs some 20 µs, and more where
/// the processors have other things to do; and two loops that get through half of the work each ask the system,
/// and sleep, twice as often.
const WORTH_WAKING: Duration = Duration::from_micros(100);
/// One task that runs for so long is worth waking somebody.
pub(super) const LONG_POLL: u64 = 20_000;
/// A loop is to be busy for so long with what it took. Well above that cost: polls take several times as long
/// where loops are in each other's way, and so make taking look better than it is.
const PAYS: Duration = Duration::from_micros(50);
/// What would keep a loop busy for so long is offered to, and taken by, the reluctant as well.
pub(crate) const PLENTY: Duration = Duration::from_micros(200);
/// After so many takings in a row that did not pay, a loop is reluctant.
const DISCOURAGING: u32 = 4;
/// How long a reluctant loop waits until it tries again. Twice as long each time that did not pay.
const TRIAL: Duration = Duration::from_micros(250);
const TRIAL_MOST: Duration = Duration::from_millis(32);
/// Who has run nothing for so long while it has tasks queued, does not come on.
const HALT: Duration = Duration::from_micros(10);

/// What a loop knows of its own takings.
#[derive(Debug, Default)]
pub(crate) struct Thrift {
    taken: Option<Instant>,
    discouraged: u32,
    next_trial: Option<Instant>,
    /// Of each other loop: what progress it had made when it was last looked at, and when that was new.
    seen: Vec<Option<(u64, Instant)>>,
}

impl Thrift {
    /// The loop took something at `now`.
    pub(crate) fn took(&mut self, now: Instant) {
        self.taken = Some(now);
    }

    /// The loop has nothing to do any more. Whether it is reluctant now, if that tells something; then
    /// `now` is asked for.
    pub(crate) fn ran_out(&mut self, now: impl FnOnce() -> Instant) -> Option<bool> {
        let taken = self.taken.take()?;
        let now = now();
        if now - taken >= PAYS {
            self.discouraged = 0;
            return Some(false);
        }
        self.discouraged = self.discouraged.saturating_add(1);
        let trials = self.discouraged.checked_sub(DISCOURAGING);
        if let Some(trials) = trials {
            self.next_trial = Some(now + (TRIAL * 2_u32.pow(trials.min(10))).min(TRIAL_MOST));
        }
        Some(trials.is_some())
    }

    /// Somebody has woken the loop to help: the next offer is not refused.
    pub(crate) fn called(&mut self) {
        self.next_trial = None;
    }

    /// Whether it is time to take something that would not pay, by what is known.
    pub(crate) fn wants_a_trial(&self, now: Instant) -> bool {
        self.next_trial.is_none_or(|trial| now >= trial)
    }

    /// Whether `victim`, which has made so much progress, has made none since it was looked at some time ago.
    pub(crate) fn has_halted(&mut self, victim: usize, progress: u64, now: Instant) -> bool {
        if self.seen.len() <= victim {
            self.seen.resize(victim + 1, None);
        }
        match self.seen[victim] {
            Some((before, since)) if before == progress => now - since >= HALT,
            _ => {
                self.seen[victim] = Some((progress, now));
                false
            }
        }
    }
}

/// Whether to wake somebody for it.
pub(crate) fn is_worth_waking(queued: usize, typical: u64) -> bool {
    worth(queued, typical) >= WORTH_WAKING || (queued > 0 && typical >= LONG_POLL)
}

/// How long polls take, in nanoseconds: `typical` so far, and one more of `time`. A mean that rises faster than
/// it falls: one in many that is long counts for what it is, and noise is forgotten.
pub(crate) fn typical(typical: u64, time: u64) -> u64 {
    if time > typical { typical + (time - typical) / 4 } else { typical - (typical - time) / 16 }
}

/// What is known of them in the beginning.
pub(crate) const UNKNOWN: u64 = LONG_POLL;

/// For how long a thief would be busy with half of `queued` tasks, of polls that take `typical` nanoseconds:
/// the most that it gets at once.
pub(crate) fn worth(queued: usize, typical: u64) -> Duration {
    let taken = queued.div_ceil(2).min(super::STEAL_LIMIT);
    Duration::from_nanos((taken as u64).saturating_mul(typical))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discourage(thrift: &mut Thrift, start: Instant) {
        for time in 1..=DISCOURAGING {
            thrift.took(start);
            assert_eq!(thrift.ran_out(|| start + PAYS / 2), Some(time == DISCOURAGING));
        }
    }

    #[test]
    fn a_loop_becomes_reluctant_when_taking_does_not_pay_and_recovers_when_it_does() {
        let start = Instant::now();
        let mut thrift = Thrift::default();
        discourage(&mut thrift, start);
        assert_eq!(thrift.ran_out(|| unreachable!("nothing was taken")), None);
        thrift.took(start);
        assert_eq!(thrift.ran_out(|| start + PAYS), Some(false));
    }

    #[test]
    fn the_reluctant_try_less_and_less_and_when_they_are_called() {
        let start = Instant::now();
        let mut thrift = Thrift::default();
        discourage(&mut thrift, start);
        let (mut now, mut trials) = (start, Vec::new());
        while now < start + Duration::from_secs(1) {
            now += Duration::from_micros(50);
            if thrift.wants_a_trial(now) {
                trials.push(now);
                thrift.took(now);
                assert_eq!(thrift.ran_out(|| now + PAYS / 2), Some(true));
            }
        }
        let gaps: Vec<_> = trials.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(gaps.is_sorted() && gaps[0] < 4 * TRIAL && gaps.len() > 20, "{gaps:?}");
        assert!(gaps[gaps.len() - 1] >= TRIAL_MOST);
        thrift.called();
        assert!(thrift.wants_a_trial(now));
    }

    #[test]
    fn who_does_not_come_on_is_relieved() {
        let start = Instant::now();
        let mut thrift = Thrift::default();
        assert!(!thrift.has_halted(1, 7, start));
        assert!(!thrift.has_halted(1, 7, start + HALT / 2));
        assert!(!thrift.has_halted(2, 7, start + HALT), "another one");
        assert!(thrift.has_halted(1, 7, start + HALT));
        assert!(!thrift.has_halted(1, 8, start + HALT), "it has come on");
        assert!(thrift.has_halted(1, 8, start + 2 * HALT));
    }

    #[test]
    fn what_is_worth_taking() {
        assert_eq!(worth(0, 1000), Duration::ZERO);
        assert_eq!(worth(1, 1000), Duration::from_micros(1));
        assert_eq!(worth(9, 1000), Duration::from_micros(5));
        assert_eq!(worth(1000, 1000), Duration::from_micros(32));
        assert!(worth(1, u64::MAX) > PAYS);
        assert!(!is_worth_waking(50, 1000) && is_worth_waking(50, 5000));
        assert!(!is_worth_waking(0, LONG_POLL) && is_worth_waking(1, LONG_POLL));
    }

    #[test]
    fn long_polls_are_noticed_soon_and_noise_is_forgotten() {
        let after =
            |times: &[u64]| times.iter().fold(UNKNOWN, |so_far, &time| typical(so_far, time));
        let short = [1000; 100];
        assert!((1000..1100).contains(&after(&short)));
        let with_noise = [&short[..], &[50_000], &short[..40]].concat();
        assert!(after(&with_noise) < 3000);
        let long_ones = [&short[..], &[1_000_000; 3]].concat();
        assert!(after(&long_ones) > 500_000);
    }
}
