//! What a pool of threads does at the program's end.

use std::cell::Cell;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Duration;

use super::crew::Crew;
use crate::caught::drop_caught;
use crate::exit::Pool;

thread_local! {
    static KEPT: Cell<Option<Kept>> = const { Cell::new(None) };
}

/// Keeps a worker's pool until the worker's other thread-locals are destroyed, so that the program's end
/// finds the pool, and the worker to join. To be called first of all in the thread: what is made first is
/// destroyed last.
pub(super) fn keep(crew: &Arc<Crew>) {
    KEPT.set(Some(Kept(Some(crew.clone()))));
}

struct Kept(Option<Arc<Crew>>);

impl Drop for Kept {
    fn drop(&mut self) {
        // It may be the last, and take the initializer's captures along.
        drop_caught("a pool of threads", self.0.take());
    }
}

impl Pool for Crew {
    fn close(&self) {
        self.shut_down(false);
    }

    fn wait(&self, limit: Duration) -> bool {
        self.wait_for_workers(Some(limit))
    }

    fn strike(self: Arc<Self>, thread: ThreadId) {
        Crew::strike(&self, thread);
    }

    fn describe(&self) -> String {
        let stats = self.stats();
        let (prefix, running, waiting) = (&self.options.name_prefix, stats.running, stats.waiting);
        format!("the thread pool {prefix} ({running} jobs run, {waiting} wait)")
    }
}
