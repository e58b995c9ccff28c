//! The executors that the end of the program waits for.
//!
//! They are held weakly: a pool that was dropped and has nothing left to do is gone. One that was dropped
//! with work is kept alive by that work, and so is found here.

use std::sync::{Arc, Weak};
use std::thread::ThreadId;
use std::time::Duration;

use crate::shim::Mutex;

/// What an executor does at the program's end.
pub(crate) trait Pool: Send + Sync {
    /// Takes no more work from now on; what is queued still runs.
    fn close(&self);

    /// Waits until everything has run and the workers have ended, at most so long, and says whether they
    /// have.
    fn wait(&self, limit: Duration) -> bool;

    /// This thread will never come back: if it is one of the pool's, the job it runs counts as ended, and
    /// somebody else runs what is queued. Runs no foreign code.
    fn strike(self: Arc<Self>, thread: ThreadId);

    /// Who it is and what it has to do, for whoever wonders why the program does not end.
    fn describe(&self) -> String;
}

/// All of them.
pub(super) struct Pools(pub(super) Mutex<State>);

pub(super) struct State {
    has_begun: bool,
    pools: Vec<Weak<dyn Pool>>,
    /// At this many the list is searched for pools that are gone.
    prune_at: usize,
}

impl State {
    pub(super) const NEW: Self =
        State { has_begun: false, pools: Vec::new(), prune_at: PRUNE_AT_LEAST };
}

/// The list is not searched while it is shorter than this.
const PRUNE_AT_LEAST: usize = 16;

impl Pools {
    pub(super) const fn new() -> Self {
        Pools(Mutex::new(State::NEW))
    }

    /// Takes in a new pool; one that comes too late is closed.
    pub(super) fn register(&self, pool: &Arc<dyn Pool>) {
        let mut state = self.0.lock();
        if state.has_begun {
            drop(state);
            pool.close();
            return;
        }
        if state.pools.len() >= state.prune_at {
            state.pools.retain(|pool| pool.strong_count() > 0);
            state.prune_at = PRUNE_AT_LEAST.max(2 * state.pools.len());
        }
        state.pools.push(Arc::downgrade(pool));
    }

    /// Closes all of them, those that come later too.
    pub(super) fn close(&self) -> Vec<Arc<dyn Pool>> {
        let mut state = self.0.lock();
        state.has_begun = true;
        drop(state);
        let there = self.there();
        there.iter().for_each(|pool| pool.close());
        there
    }

    /// The thread will never come back to any of them.
    pub(super) fn strike(&self, thread: ThreadId) {
        self.there().into_iter().for_each(|pool| pool.strike(thread));
    }

    /// Those that are there. The last of a pool's owners may be the one who gets it here, so none of them
    /// is dropped under the lock.
    fn there(&self) -> Vec<Arc<dyn Pool>> {
        let state = self.0.lock();
        let there = state.pools.iter().filter_map(Weak::upgrade).collect();
        drop(state);
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    #[derive(Default)]
    struct Counting {
        closed: AtomicUsize,
    }

    impl Pool for Counting {
        fn close(&self) {
            self.closed.fetch_add(1, SeqCst);
        }
        fn wait(&self, _: Duration) -> bool {
            true
        }
        fn strike(self: Arc<Self>, _: ThreadId) {}
        fn describe(&self) -> String {
            String::new()
        }
    }

    #[test]
    fn pools_that_are_gone_are_forgotten() {
        let pools = Pools::new();
        let kept: Arc<dyn Pool> = Arc::new(Counting::default());
        pools.register(&kept);
        for _ in 0..10_000 {
            let pool: Arc<dyn Pool> = Arc::new(Counting::default());
            pools.register(&pool);
            assert!(pools.0.lock().pools.len() <= PRUNE_AT_LEAST);
        }
        assert_eq!(pools.there().len(), 1);
    }

    #[test]
    fn a_pool_that_comes_too_late_is_closed() {
        let pools = Pools::new();
        let (early, late) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
        pools.register(&(early.clone() as Arc<dyn Pool>));
        assert_eq!(pools.close().len(), 1);
        pools.register(&(late.clone() as Arc<dyn Pool>));
        assert_eq!((early.closed.load(SeqCst), late.closed.load(SeqCst)), (1, 1));
    }
}
