//! What a CPU pool does at the program's end. Its threads are rayon's and stay; its jobs are waited for.

use std::sync::{Arc, MutexGuard};
use std::thread::ThreadId;
use std::time::Duration;

use super::{Shared, State};
use crate::exit::Pool;
use crate::own_pool;
use crate::starting;

impl Pool for Shared {
    fn close(&self) {
        Shared::close(self);
    }

    fn wait(&self, limit: Duration) -> bool {
        let mut state = self.lock();
        state.waiting += 1;
        let waited = self.state.while_released(|| {
            self.fewer.wait_timeout_while(state, limit, |state| {
                state.queue.waiting() > 0 || !state.under_way.is_empty()
            })
        });
        let (mut state, timed_out) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        state.waiting -= 1;
        !timed_out.timed_out()
    }

    /// Another thread does what may have been left for this one alone: in a pool of one everything, in
    /// others what lies in its own queue.
    fn strike(self: Arc<Self>, thread: ThreadId) {
        let mut state = self.lock();
        if remove(&mut state.begun, thread) {
            state.struck += 1;
        } else if remove(&mut state.standing_in, thread) {
            state.stand_ins -= 1;
        } else {
            return;
        }
        state.under_way.retain(|other| *other != thread);
        self.stand_in(state);
        self.fewer.notify_all();
    }

    fn describe(&self) -> String {
        let state = self.lock();
        let (running, waiting) = (state.under_way.len(), state.queue.waiting());
        format!("a CPU pool ({running} jobs run, {waiting} wait)")
    }
}

impl Shared {
    /// A thread runs what waits, until nothing does.
    pub(super) fn stand_in(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        state.stand_ins += 1;
        drop(state);
        let pool = self.clone();
        let stand_in = move || {
            own_pool::work_for(&*pool);
            let me = std::thread::current().id();
            pool.lock().standing_in.push(me);
            while pool.run_one() {}
            pool.note_end_of_stand_in(Some(me));
        };
        if starting::thread("loopool-stand-in", stand_in).is_err() {
            // What waits is run by the pool's other threads, if there are any.
            self.note_end_of_stand_in(None);
        }
    }

    /// The threads that wait in `shutdown` may be all that are left.
    fn note_end_of_stand_in(&self, begun: Option<ThreadId>) {
        let mut state = self.lock();
        state.stand_ins -= 1;
        if let Some(thread) = begun {
            remove(&mut state.standing_in, thread);
        }
        drop(state);
        self.fewer.notify_all();
    }
}

/// Whether it was there.
fn remove(threads: &mut Vec<ThreadId>, thread: ThreadId) -> bool {
    let place = threads.iter().position(|other| *other == thread);
    place.map(|place| threads.swap_remove(place)).is_some()
}
