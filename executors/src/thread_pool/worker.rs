//! The life of a worker.

use std::sync::{Arc, MutexGuard};
use std::thread::ThreadId;
use std::time::Instant;

use super::crew::{Crew, Signal, State};
use crate::patience::Patience;
use crate::queue::Leftovers;

/// A thread of the pool. Counted out when it is dropped, or before.
pub(super) struct Worker<'a> {
    crew: &'a Crew,
    id: ThreadId,
    has_ended: bool,
}

impl<'a> Worker<'a> {
    pub(super) fn begin(crew: &'a Crew) -> Self {
        let id = std::thread::current().id();
        crew.lock().begun.push((id, false));
        Worker { crew, id, has_ended: false }
    }

    /// Its life.
    pub(super) fn work(mut self) {
        let crew = self.crew;
        let signal = Arc::new(Signal::default());
        let mut leftovers = Leftovers::new();
        let mut patience = Patience::new();
        let mut has_looked = false;
        let mut state = crew.lock();
        state.note_come(self.id);
        loop {
            if let Some(job) = state.queue.pop(&mut leftovers) {
                state.growth.note_taken();
                drop(state);
                leftovers.clear();
                crew.run(job);
                has_looked = false;
                state = crew.lock();
                continue;
            }
            if !leftovers.is_empty() {
                drop(state);
                leftovers.clear();
                state = crew.lock();
                continue;
            }
            if state.shut_down || state.broken.is_some() {
                break;
            }
            if !std::mem::replace(&mut has_looked, true) && !state.looking {
                let rounds = patience.rounds();
                if rounds > 0 {
                    state = crew.look(state, &mut patience, rounds);
                    continue;
                }
            }
            state.idle.push(signal.clone());
            let begun = Instant::now();
            loop {
                let keep_alive = crew.options.keep_alive;
                let wait = || signal.condvar.wait_timeout(state, keep_alive);
                let waited = crew.state.while_released(wait);
                let (again, timed_out) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
                state = again;
                let place = state.idle.iter().position(|other| Arc::ptr_eq(other, &signal));
                match place {
                    None => {
                        state.coming -= 1;
                        patience.slept(begun.elapsed(), true);
                        break;
                    }
                    Some(place) if timed_out.timed_out() => {
                        state.idle.remove(place);
                        return self.end(&mut state);
                    }
                    Some(_) => {}
                }
            }
        }
        self.end(&mut state);
    }

    /// Rule 6.
    fn end(&mut self, state: &mut State) {
        self.has_ended = true;
        state.end(self.id);
        self.crew.ended.notify_all();
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            let crew = self.crew;
            self.end(&mut crew.lock());
        }
    }
}

impl Crew {
    /// Looks for a job, or an end, so often. Rule 5.
    fn look<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        patience: &mut Patience,
        rounds: u32,
    ) -> MutexGuard<'a, State> {
        state.looking = true;
        drop(state);
        // What is found is taken with the rest, by the caller.
        let _ = patience.look(rounds, |_| {
            let state = self.lock();
            (state.queue.waiting() > 0 || state.is_over()).then_some(())
        });
        state = self.lock();
        state.looking = false;
        state
    }
}
