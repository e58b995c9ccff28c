//! For how long a loop has had more to do than it gets to.
//!
//! A loop wakes another one when what it has queued would keep that busy (`scheduler/thrift.rs`). That is
//! a guess by how long its polls take, and says nothing of what each task has behind it. So somebody is woken as
//! well when there is something to take for longer than any batch of short tasks lasts.

use std::time::{Duration, Instant};

/// With more to do than it gets to for so long, however short each of it is, a loop calls for help. Where
/// helping has not paid lately, the next time after twice as long, if it has not been quiet since.
const LASTING: Duration = Duration::from_micros(200);
const LASTING_MOST: Duration = Duration::from_millis(20);

/// Since when there has been more to do than the loop got to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backlog {
    since: Option<Instant>,
    /// For how long it may last until somebody is called.
    patience: Duration,
    called: Option<Instant>,
}

impl Default for Backlog {
    fn default() -> Self {
        Backlog { since: None, patience: LASTING, called: None }
    }
}

impl Backlog {
    /// There is one at `now`; and whether it has lasted too long. `gladly` says that somebody would help who
    /// knows that it pays.
    pub(super) fn at(mut self, now: Instant, gladly: bool) -> (Self, bool) {
        let since = *self.since.get_or_insert(now);
        if gladly {
            self.patience = LASTING;
        }
        if self.called.is_some_and(|called| now - called > 4 * self.patience.max(LASTING_MOST)) {
            self = Backlog { since: self.since, ..Backlog::default() };
        }
        let call = now - since >= self.patience;
        if call {
            let patience = (2 * self.patience).min(LASTING_MOST);
            self = Backlog { since: None, patience, called: Some(now) };
        }
        (self, call)
    }

    /// There was nothing to do.
    pub(super) fn ended(self) -> Self {
        Backlog { since: None, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_that_lasts_calls_and_calls_less_and_less() {
        let mut now = Instant::now();
        let mut backlog = Backlog::default();
        let mut calls = Vec::new();
        for _ in 0..1_000_000 {
            let (again, call) = backlog.at(now, false);
            backlog = again;
            if call {
                calls.push(now);
            }
            now += Duration::from_micros(1);
        }
        let gaps: Vec<_> = calls.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(gaps.is_sorted() && gaps[0] >= 2 * LASTING && calls.len() < 60, "{gaps:?}");
        assert!(gaps.iter().all(|&gap| gap <= LASTING_MOST + Duration::from_micros(2)));
    }

    #[test]
    fn one_that_ends_in_between_does_not() {
        let mut now = Instant::now();
        let mut backlog = Backlog::default();
        for _ in 0..1000 {
            let (again, call) = backlog.at(now, false);
            assert!(!call);
            let (again, call) = again.at(now + LASTING / 2, false);
            assert!(!call);
            backlog = again.ended();
            now += LASTING;
        }
    }

    #[test]
    fn after_a_quiet_time_it_calls_early_again() {
        let mut now = Instant::now();
        let mut backlog = Backlog::default();
        for _ in 0..1000 {
            backlog = backlog.at(now, false).0;
            now += LASTING;
        }
        now += 10 * LASTING_MOST;
        backlog = backlog.ended().at(now, false).0;
        assert!(backlog.at(now + LASTING, false).1);
    }

    #[test]
    fn where_helping_pays_it_calls_early_every_time() {
        let mut now = Instant::now();
        let mut backlog = Backlog::default();
        for _ in 0..100 {
            backlog = backlog.ended().at(now, true).0;
            let (again, call) = backlog.at(now + LASTING, true);
            assert!(call);
            backlog = again;
            now += 2 * LASTING;
        }
    }
}
