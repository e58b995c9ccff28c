//! What a pool of threads does at the program's end.

use std::cell::Cell;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Duration;

use super::Shared;
use crate::caught::drop_caught;
use crate::exit::Pool;

thread_local! {
    static KEPT: Cell<Option<Kept>> = const { Cell::new(None) };
}

/// Keeps a worker's pool until the worker's other thread-locals are destroyed, so that the program's end
/// finds the pool, and the worker to join. To be called first of all in the thread: what is made first is
/// destroyed last.
pub(super) fn keep(shared: &Arc<Shared>) {
    KEPT.set(Some(Kept(Some(shared.clone()))));
}

struct Kept(Option<Arc<Shared>>);

impl Drop for Kept {
    fn drop(&mut self) {
        // It may be the last, and take the initializer's captures along.
        drop_caught("a pool of threads", self.0.take());
    }
}

impl Pool for Shared {
    fn close(&self) {
        self.shut_down(false);
    }

    fn wait(&self, limit: Duration) -> bool {
        let state = self.lock();
        let waited = self.state.while_released(|| {
            self.ended.wait_timeout_while(state, limit, |state| !state.threads.is_empty())
        });
        let (mut state, _) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        if !state.threads.is_empty() {
            return false;
        }
        let handles = std::mem::take(&mut state.handles);
        drop(state);
        for handle in handles {
            // For the destructors of its thread-locals. A worker catches every panic.
            let _ = handle.join();
        }
        true
    }

    fn strike(self: Arc<Self>, thread: ThreadId) {
        let mut state = self.lock();
        if !state.threads.contains(&thread) {
            return;
        }
        state.handles.retain(|handle| handle.thread().id() != thread);
        self.end(&mut state, thread);
        if state.queue.waiting() > 0 {
            // It may have been the last. Where the system refuses another, what waits is lost.
            let _ = self.start_thread(&mut state);
        }
    }

    fn describe(&self) -> String {
        let state = self.lock();
        let (threads, waiting) = (state.threads.len(), state.queue.waiting());
        let running = self.counters.stats(threads, waiting).running;
        let prefix = &self.options.name_prefix;
        format!("the thread pool {prefix} ({running} jobs run, {waiting} wait)")
    }
}
