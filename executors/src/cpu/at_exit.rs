//! What a CPU pool does at the program's end. Its threads are rayon's and stay; its jobs are waited for.

use std::sync::Arc;
use std::thread::{Builder, ThreadId};
use std::time::Duration;

use super::Shared;
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
        let Some(place) = state.begun.iter().position(|other| *other == thread) else { return };
        state.begun.swap_remove(place);
        state.struck += 1;
        state.under_way.retain(|other| *other != thread);
        drop(state);
        self.fewer.notify_all();
        self.stand_in();
    }

    fn describe(&self) -> String {
        let state = self.lock();
        let (running, waiting) = (state.under_way.len(), state.queue.waiting());
        format!("a CPU pool ({running} jobs run, {waiting} wait)")
    }
}

impl Shared {
    /// A thread runs what waits, until nothing does.
    pub(super) fn stand_in(self: Arc<Self>) {
        let stand_in = move || {
            own_pool::work_for(&*self);
            while self.run_one() {}
        };
        // Where the system refuses it, what waits is run by the pool's other threads, if there are any.
        let _ = starting::thread(Builder::new().name("loopool-stand-in".to_owned()), stand_in);
    }
}
