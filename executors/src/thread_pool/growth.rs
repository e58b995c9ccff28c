//! When there is to be another worker.
//!
//! A pool with many threads is bad for short jobs: they run one after the other, each on another thread (a
//! microsecond's job on hundreds of threads costs ten times what it does on two). One with few is bad for jobs
//! that block. So while a job waits that nobody idle could take, the pool is watched:
//! 1. It is looked at every [`PAUSE`] at first, less often while nothing is amiss.
//! 2. If the oldest job waited at the last look already, and no worker has taken more than one job since, they are
//!    blocked, or as good as: there are to be twice as many.
//! 3. If it waited but they do take jobs, there is to be one more at each [second](PATIENCE) such look: they may be
//!    too few.
//!
//! Workers that are just coming, because they were started or woken, will take a job each: on a machine that has much
//! to do that may take longer than the pause, and so may their initializer.
//!
//! The calls come from the process's timekeeper, so they come even when every worker is blocked.

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use super::crew::{Crew, State};
use crate::caught::tell;
use crate::timekeeper;

/// Between two looks.
const PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(2);

/// At so many looks in a row a job has to have waited.
const PATIENCE: u32 = 2;

/// No more are started at a time: each takes some 15 µs, and the timekeeper has others to call.
const AT_A_TIME: usize = 128;

pub(super) struct Growth {
    /// Somebody will look.
    watched: bool,
    /// Jobs with smaller numbers waited at the last look, if they wait now.
    seen: u64,
    /// Jobs that were taken since the last look.
    taken: usize,
    waited: u32,
    pause: Duration,
    /// The system has refused a thread.
    refused: bool,
}

impl Default for Growth {
    fn default() -> Self {
        Growth { watched: false, seen: 0, taken: 0, waited: 0, pause: PAUSE, refused: false }
    }
}

impl Growth {
    pub(super) fn note_taken(&mut self) {
        self.taken += 1;
    }

    /// The system has refused a thread. Whether for the first time since jobs have waited.
    fn note_refused(&mut self) -> bool {
        self.pause = LONGEST_PAUSE;
        !std::mem::replace(&mut self.refused, true)
    }

    /// A look at this queue: how many workers there are to be in addition.
    fn look(&mut self, oldest: u64, next: u64, workers: usize) -> usize {
        let has_waited = oldest < self.seen;
        let blocked = self.taken <= workers;
        self.waited = if has_waited { self.waited + 1 } else { 0 };
        (self.seen, self.taken) = (next, 0);
        let more = match has_waited {
            true if blocked => workers.max(1),
            true => usize::from(self.waited.is_multiple_of(PATIENCE)),
            false => 0,
        };
        self.pause = if more > 0 { PAUSE } else { (2 * self.pause).min(LONGEST_PAUSE) };
        more
    }
}

impl Crew {
    /// Whether the caller has to see to it that somebody [watches](Self::watch), once it has let go of the lock.
    pub(super) fn is_to_be_watched(&self, state: &mut State) -> bool {
        let growth = &mut state.growth;
        if growth.watched || state.workers >= self.options.max_workers {
            return false;
        }
        *growth = Growth { watched: true, seen: state.queue.next_number(), ..Growth::default() };
        true
    }

    /// Has somebody look, some time soon.
    pub(super) fn watch(self: &Arc<Self>) {
        let pause = self.lock().growth.pause;
        let crew = Arc::downgrade(self);
        let look = move || {
            if let Some(crew) = crew.upgrade() {
                crew.look_once();
            }
        };
        match timekeeper::call_at(Instant::now() + pause, look) {
            Ok(alarm) => alarm.forget(),
            Err(_) => {
                // There are threads to be had no more; the next submission tries again.
                self.lock().growth.watched = false;
            }
        }
    }

    /// In the timekeeper's thread, and perhaps the last that anybody has of it.
    fn look_once(self: Arc<Self>) {
        self.look_for_the_blocked();
        timekeeper::let_go("a pool of threads", self);
    }

    fn look_for_the_blocked(self: &Arc<Self>) {
        let mut state = self.lock();
        let more = self.missing(&mut state);
        let goes_on = state.growth.watched;
        if more == 0 {
            drop(state);
        } else if let Err(error) = self.start_more(more, state) {
            let first = self.lock().growth.note_refused();
            if first {
                let warn = move || {
                    tell(
                        || tracing::warn!(%error, "a pool gets no more threads, and its jobs wait"),
                    );
                };
                timekeeper::elsewhere(Box::new(warn));
            }
        }
        if goes_on {
            self.watch();
        }
    }

    /// How many workers there are too few. Ends the watch if that can't be any.
    fn missing(&self, state: &mut MutexGuard<'_, State>) -> usize {
        let waiting = state.queue.waiting();
        let room = self.options.max_workers.saturating_sub(state.workers);
        let next = state.queue.next_number();
        let Some(oldest) = state.queue.oldest().filter(|_| waiting > 0 && room > 0) else {
            state.growth.watched = false;
            return 0;
        };
        let workers = state.workers;
        let for_nobody = waiting.saturating_sub(state.coming);
        state.growth.look(oldest, next, workers).min(for_nobody).min(room).min(AT_A_TIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth() -> Growth {
        Growth { watched: true, seen: 1, ..Growth::default() }
    }

    /// Tells which thread drops it.
    struct Note(std::sync::mpsc::Sender<std::thread::ThreadId>);

    impl Drop for Note {
        fn drop(&mut self) {
            self.0.send(std::thread::current().id()).unwrap();
        }
    }

    #[test]
    fn whoever_looked_last_dropped_the_initializer() {
        let (tell, told) = std::sync::mpsc::channel();
        let note = Note(tell);
        let initializer = move || {
            let _ = &note;
            Ok(())
        };
        let options = super::super::crew::Options {
            max_workers: 1,
            name_prefix: String::new(),
            keep_alive: Duration::ZERO,
            nice: 0,
            initializer: Some(Arc::new(initializer)),
        };
        Arc::new(Crew::new(options, None)).look_once();
        assert_ne!(told.recv().unwrap(), std::thread::current().id());
    }

    #[test]
    fn workers_that_take_nothing_are_doubled() {
        let mut growth = growth();
        assert_eq!(growth.look(0, 100, 1), 1);
        growth.note_taken();
        assert_eq!(growth.look(1, 100, 2), 2, "the new one has taken a job, and that was that");
        assert_eq!(growth.look(3, 100, 4), 4);
    }

    #[test]
    fn workers_that_take_jobs_get_one_more_now_and_then() {
        let mut growth = growth();
        let mut looks = Vec::new();
        for look in 0..6 {
            (0..10).for_each(|_| growth.note_taken());
            looks.push(growth.look(look, 100, 2));
        }
        assert_eq!(looks, [0, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn a_job_that_came_after_the_last_look_has_not_waited() {
        let mut growth = growth();
        assert_eq!(growth.look(1, 2, 1), 0);
        assert_eq!(growth.pause, 2 * PAUSE);
        assert_eq!(growth.look(1, 2, 1), 1, "now it has");
        assert_eq!(growth.pause, PAUSE);
    }
}
