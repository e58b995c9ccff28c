//! [`Window`]: how many jobs may lie in a worker's ring at a time.
//!
//! Short jobs are given ahead, so that a worker need not wait for the program between them. Long ones are not: they
//! would wait behind each other while another worker has nothing to do. So the window is as many jobs as the worker
//! has lately done in [`AHEAD`], and what waits behind one that runs for longer than [`LONG`] is taken back.

use std::time::Duration;

use super::transport::ring::SLOTS;

/// How much work is given ahead.
const AHEAD: Duration = Duration::from_micros(400);

/// A job that runs for longer than this is not short.
pub(super) const LONG: Duration = Duration::from_millis(1);

pub(super) struct Window {
    /// What a job takes, about.
    per_job: Duration,
}

impl Window {
    /// Nothing is known, so one at a time.
    pub(super) const fn new() -> Self {
        Window { per_job: LONG }
    }

    /// How many jobs may lie in the ring.
    pub(super) fn size(&self) -> usize {
        let per_job = self.per_job.as_nanos().max(1);
        ((AHEAD.as_nanos() / per_job) as usize).clamp(1, SLOTS as usize)
    }

    /// So many jobs took so long, one after the other.
    pub(super) fn note(&mut self, took: Duration, jobs: u32) {
        self.per_job = (self.per_job + took / jobs.max(1)) / 2;
    }

    /// A job takes long.
    pub(super) fn close(&mut self) {
        self.per_job = LONG;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_when_jobs_are_short_and_closes_at_once_when_one_is_not() {
        let mut window = Window::new();
        assert_eq!(window.size(), 1);
        for _ in 0..20 {
            window.note(Duration::from_micros(64), 64);
        }
        assert_eq!(window.size(), SLOTS as usize);
        window.close();
        assert_eq!(window.size(), 1);
    }

    #[test]
    fn jobs_of_a_tenth_of_a_millisecond_are_given_ahead_by_fours() {
        let mut window = Window::new();
        for _ in 0..20 {
            window.note(Duration::from_micros(100), 1);
        }
        assert_eq!(window.size(), 4);
    }
}
