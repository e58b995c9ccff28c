//! Steps, counted apart for each thread.
//!
//! Between two looks of a modest thing the system may let only one of the loops' threads run, for as
//! long as it likes. That is not ours to prevent; so what counts is the loop that did least meanwhile.

use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Instant;

#[derive(Clone)]
pub(crate) struct Steps(Arc<Inner>);

struct Inner {
    loops: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    threads: Vec<(ThreadId, u64)>,
    /// A time to note, and what had been done when a step first found it past.
    due: Option<(Instant, Option<Moment>)>,
}

/// What had been done at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Moment(Vec<(ThreadId, u64)>);

impl Steps {
    pub(crate) fn new(loops: usize) -> Self {
        Steps(Arc::new(Inner { loops, state: Mutex::default() }))
    }

    /// One more, by this thread.
    pub(crate) fn step(&self) {
        let mut state = self.0.state.lock().unwrap();
        let State { threads, due } = &mut *state;
        if let Some((when, noted @ None)) = due
            && Instant::now() >= *when
        {
            *noted = Some(Moment(threads.clone()));
        }
        let me = thread::current().id();
        match threads.iter_mut().find(|(thread, _)| *thread == me) {
            Some((_, steps)) => *steps += 1,
            None => threads.push((me, 1)),
        }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment(self.0.state.lock().unwrap().threads.clone())
    }

    pub(crate) fn note(&self, when: Instant) {
        self.0.state.lock().unwrap().due = Some((when, None));
    }

    /// What had been done when the time came, if anybody has made a step since.
    pub(crate) fn noted(&self) -> Option<Moment> {
        self.0.state.lock().unwrap().due.take()?.1
    }

    pub(crate) fn total(&self) -> u64 {
        self.now().0.iter().map(|(_, steps)| steps).sum()
    }

    /// Steps of the loop that did least.
    pub(crate) fn least(&self) -> u64 {
        self.since(&Moment(Vec::new()))
    }

    /// Steps since then, of the loop that did least. None if some loop has never made any: see to it that they have.
    pub(crate) fn since(&self, then: &Moment) -> u64 {
        let now = self.now().0;
        if now.len() < self.0.loops {
            return 0;
        }
        let before = |thread| then.0.iter().find(|(t, _)| *t == thread).map_or(0, |(_, s)| *s);
        now.iter().map(|&(thread, steps)| steps - before(thread)).min().unwrap_or(0)
    }
}
