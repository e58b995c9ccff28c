//! How long a loop without work looks around before it sleeps.
//!
//! Waking a sleeping thread costs some 20 µs on virtual machines, a `sched_yield` about 0.35 µs. So a
//! loop that tends to get work from others soon after it ran out looks a few times more, letting others run
//! in between; one that does not, stops doing so. What its own descriptors and timers bring does not count:
//! the system wakes the thread for that as fast as it could look. No busy spinning: with other processes on
//! the same cores that costs up to half a millisecond.

use std::time::{Duration, Instant};

/// How many rounds there are to choose from. One round is one look at every queue and one yield.
const STEPS: [u32; 4] = [0, 8, 32, 128];

/// Woken within this time of parking, searching longer would have been cheaper.
const SOON: Duration = Duration::from_micros(60);
/// Parked for longer than this, or woken by something else, so often in a row, searching is in vain.
const LONG: Duration = Duration::from_millis(1);
const VAIN: u32 = 3;
/// A yield that takes longer than this has let somebody else run, who wants this processor.
const CROWDED: Duration = Duration::from_micros(5);
/// How long no search is made after that.
const PAUSE: Duration = Duration::from_millis(10);
/// Of so many parkings, one is preceded by a trial search even if searching has not paid.
const TRIAL: u32 = 16;

/// One loop's experience.
#[derive(Debug)]
pub(crate) struct Search {
    step: usize,
    vain: u32,
    parks: u32,
    not_before: Option<Instant>,
}

impl Search {
    pub(crate) fn new() -> Self {
        Search { step: 1, vain: 0, parks: 0, not_before: None }
    }

    /// How many rounds to search now.
    pub(crate) fn rounds(&mut self) -> u32 {
        self.parks = self.parks.wrapping_add(1);
        if let Some(not_before) = self.not_before {
            if Instant::now() < not_before {
                return 0;
            }
            self.not_before = None;
        }
        if self.step == 0 && self.parks.is_multiple_of(TRIAL) { STEPS[1] } else { STEPS[self.step] }
    }

    /// Lets others run. False when that took so long that the search had better end.
    pub(crate) fn give_way(&mut self, measured: bool) -> bool {
        if !measured {
            std::thread::yield_now();
            return true;
        }
        let before = Instant::now();
        std::thread::yield_now();
        let now = Instant::now();
        if now - before <= CROWDED {
            return true;
        }
        self.step_down();
        self.not_before = Some(now + PAUSE);
        false
    }

    /// Others had something for us while we searched.
    pub(crate) fn found(&mut self) {
        self.vain = 0;
    }

    /// What the park that followed was like.
    pub(crate) fn parked(&mut self, how_long: Duration, notified: bool) {
        if notified && how_long <= LONG {
            self.vain = 0;
            if how_long < SOON {
                self.step = (self.step + 1).min(STEPS.len() - 1);
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
