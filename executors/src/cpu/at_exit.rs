//! What a CPU pool does at the program's end. Its threads are rayon's and stay; its jobs are waited for.

use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Duration;

use super::Shared;
use crate::exit::Pool;

impl Pool for Shared {
    fn close(&self) {
        self.lock().shut_down = true;
    }

    fn wait(&self, limit: Duration) -> bool {
        let state = self.lock();
        let waited = self.quiet.wait_timeout_while(state, limit, |state| {
            state.queue.waiting() > 0 || !state.running.is_empty()
        });
        let (_state, timed_out) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        !timed_out.timed_out()
    }

    /// Another thread does what may have been left for this one alone: in a pool of one everything, in
    /// others what lies in its own queue.
    fn strike(self: Arc<Self>, thread: ThreadId) {
        let mut state = self.lock();
        let before = state.running.len();
        state.running.retain(|other| *other != thread);
        let struck = before - state.running.len();
        // A stand-in's jobs are nobody's closures.
        state.outstanding = state.outstanding.saturating_sub(struck);
        drop(state);
        if struck == 0 {
            return;
        }
        self.quiet.notify_all();
        let shared = self.clone();
        let stand_in = move || while shared.run_next() {};
        // Where the system refuses it, what waits is run by the pool's other threads.
        let _ = std::thread::Builder::new().name("loopool-stand-in".to_owned()).spawn(stand_in);
    }

    fn describe(&self) -> String {
        let state = self.lock();
        let (running, waiting) = (state.running.len(), state.queue.waiting());
        format!("a CPU pool ({running} jobs run, {waiting} wait)")
    }
}
