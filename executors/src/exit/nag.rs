//! Saying what the end of the program waits for.

use std::time::{Duration, Instant};

use crate::caught::tell;
use crate::starting;

/// How long to wait silently.
const FIRST: Duration = Duration::from_secs(5);
/// How long from one warning to the next.
const THEN: Duration = Duration::from_secs(60);

/// When the next warning is due.
pub(crate) struct Nag {
    begun: Instant,
    due: Instant,
}

impl Nag {
    pub(crate) fn new(now: Instant) -> Self {
        Nag { begun: now, due: now + FIRST }
    }

    /// How long to wait before there is something to say.
    pub(crate) fn patience(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }

    /// Says what is waited for, if it is time.
    pub(crate) fn warn(&mut self, what: &'static str, waiting_for: impl FnOnce() -> Vec<String>) {
        let now = Instant::now();
        if !self.is_due(now) {
            return;
        }
        let (waiting_for, seconds) = (waiting_for(), (now - self.begun).as_secs());
        // On a thread of its own, which is not waited for: whoever listens may want a lock, that of the
        // standard output for example, which a thread holds that never lets go of it.
        let say = move || {
            let waiting_for = waiting_for.join(", ");
            tell(|| tracing::warn!(what, waiting_for, seconds, "the program waits to end"));
        };
        // Where there is no thread to be had nobody hears of it, and the wait goes on.
        let _ = starting::thread("loopool-nag", say);
    }

    /// Whether it is time, and if so, sets the next.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now >= self.due;
        if is_due {
            self.due = now + THEN;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_time_after_five_seconds_and_then_each_minute() {
        let start = Instant::now();
        let mut nag = Nag::new(start);
        let due: Vec<u64> =
            (0..=180).filter(|second| nag.is_due(start + Duration::from_secs(*second))).collect();
        assert_eq!(due, [5, 65, 125]);
        assert_eq!(nag.patience(start + Duration::from_secs(180)), Duration::from_secs(5));
    }
}
