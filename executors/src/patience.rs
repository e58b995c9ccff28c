//! How long a thread without work looks around before it sleeps.
//!
//! Waking a sleeping thread costs some 20 µs on virtual machines, a `sched_yield` about 0.35 µs. So who
//! tends to be given something soon after it began to wait looks a few times more, letting others run in
//! between; who does not, stops doing so. No busy spinning: with other processes on the same cores that
//! costs up to half a millisecond.
//!
//! A yield may take as long as the system's time slice, when somebody else wants this processor: some
//! milliseconds in which whatever arrives here waits, as it would not for a sleeper, who is woken and put in
//! front. So the time that is lost that way is limited to half a percent of all.

use std::time::{Duration, Instant};

/// How many rounds there are to choose from. One round is one look and one yield.
const STEPS: [u32; 4] = [0, 8, 32, 128];

/// Woken within this time of falling asleep, looking for longer would have been cheaper.
const SOON: Duration = Duration::from_micros(60);
/// Asleep for longer than this, or woken by something else, so often in a row, looking is in vain.
const LONG: Duration = Duration::from_millis(1);
const VAIN: u32 = 3;
/// A yield that takes longer than this has let somebody else run, who wants this processor.
const CROWDED: Duration = Duration::from_micros(5);
/// After one that took so long it does not matter whether there was something in the end: a sleeper would
/// have had it before.
const TOO_LONG: Duration = Duration::from_micros(50);
/// No looking for so many times as long as was lost.
const REST: u32 = 200;
const LONGEST_REST: Duration = Duration::from_secs(1);
/// Of so many sleeps, one is preceded by a trial even if looking has not paid. Of twice as many after each
/// trial in vain.
const TRIAL: u32 = 16;
const RAREST_TRIAL: u32 = 1024;

/// One thread's experience.
#[derive(Debug, Clone)]
pub struct Patience {
    step: usize,
    vain: u32,
    /// Sleeps until the next trial, and between the one before and that one.
    until_trial: u32,
    between_trials: u32,
    not_before: Option<Instant>,
}

impl Patience {
    /// Without experience: a short look.
    pub const fn new() -> Self {
        Patience { step: 1, vain: 0, until_trial: TRIAL, between_trials: TRIAL, not_before: None }
    }

    /// Calls `look` so often, letting others run in between, until it finds something. It is told when it
    /// is called for the last time.
    pub fn look<T>(&mut self, rounds: u32, mut look: impl FnMut(bool) -> Option<T>) -> Option<T> {
        for round in 0..rounds {
            if let Some(found) = look(round + 1 == rounds) {
                self.vain = 0;
                self.between_trials = TRIAL;
                self.until_trial = TRIAL;
                return Some(found);
            }
            let lost = give_way();
            if lost > CROWDED {
                // Who ran instead may have been the one that we wait for.
                let found = look(true);
                if found.is_none() || lost > TOO_LONG {
                    self.step_down();
                    self.not_before = Some(Instant::now() + (lost * REST).min(LONGEST_REST));
                }
                return found;
            }
        }
        None
    }

    /// How often to [`look`](Self::look) now: as often as has paid lately.
    pub fn rounds(&mut self) -> u32 {
        if let Some(not_before) = self.not_before {
            if Instant::now() < not_before {
                return 0;
            }
            self.not_before = None;
        }
        if self.step > 0 {
            return STEPS[self.step];
        }
        self.until_trial -= 1;
        if self.until_trial > 0 {
            return 0;
        }
        self.between_trials = (2 * self.between_trials).min(RAREST_TRIAL);
        self.until_trial = self.between_trials;
        STEPS[1]
    }

    /// What the sleep that followed was like: how long, and whether it ended because somebody brought
    /// something of the kind that looking would have found.
    pub fn slept(&mut self, how_long: Duration, called: bool) {
        if called && how_long <= LONG {
            self.vain = 0;
            if how_long < SOON {
                self.step = (self.step + 1).min(STEPS.len() - 1);
                self.between_trials = TRIAL;
            }
            return;
        }
        self.vain += 1;
        if self.vain >= VAIN {
            self.vain = 0;
            self.step_down();
        }
    }

    fn step_down(&mut self) {
        self.step = self.step.saturating_sub(1);
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self::new()
    }
}

/// Lets others run; how long that took.
fn give_way() -> Duration {
    let before = Instant::now();
    std::thread::yield_now();
    before.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it looks, when it never finds anything.
    fn looks(patience: &mut Patience) -> u32 {
        let mut looks = 0;
        let rounds = patience.rounds();
        let found: Option<()> = patience.look(rounds, |_| {
            looks += 1;
            None
        });
        assert!(found.is_none());
        looks
    }

    #[test]
    fn who_is_called_soon_after_falling_asleep_looks_for_longer() {
        let mut patience = Patience::new();
        for _ in 0..5 {
            patience.slept(Duration::from_micros(10), true);
        }
        assert_eq!(patience.rounds(), STEPS[3]);
        patience.slept(Duration::from_micros(500), true);
        assert_eq!(patience.rounds(), STEPS[3], "not soon, but not in vain either");
    }

    #[test]
    fn who_is_called_late_or_not_at_all_stops_looking_and_tries_again_at_times() {
        let mut patience = Patience::new();
        for _ in 0..VAIN {
            patience.slept(Duration::from_secs(1), true);
        }
        let tried: Vec<u32> = (0..10_000).filter(|_| patience.rounds() > 0).collect();
        let gaps: Vec<u32> = tried.windows(2).map(|two| two[1] - two[0]).collect();
        assert_eq!(gaps[..3], [2 * TRIAL, 4 * TRIAL, 8 * TRIAL]);
        assert!(gaps.iter().all(|&gap| gap <= RAREST_TRIAL) && tried.len() > 10);
        patience.slept(Duration::from_micros(10), false);
        assert_eq!(patience.step, 0, "woken by something that looking would not have found");
    }

    #[test]
    fn what_is_found_at_once_is_returned_at_once() {
        let mut patience = Patience::new();
        let mut looks = 0;
        let found = patience.look(8, |_| {
            looks += 1;
            Some(5)
        });
        assert_eq!((found, looks), (Some(5), 1));
    }

    #[test]
    fn after_a_slice_is_lost_there_is_a_rest() {
        let mut patience = Patience::new();
        patience.not_before = Some(Instant::now() + Duration::from_secs(600));
        assert_eq!(looks(&mut patience), 0);
    }
}
