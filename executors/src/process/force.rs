//! The end of a pool by force.

use super::manager::Manager;
use super::pool::ProcessPoolExecutor;
use crate::stats::ExecutorStats;

impl ProcessPoolExecutor {
    /// Takes no more work, cancels what waits and what runs, and kills the workers with whatever jobs have
    /// started in them. Does not wait for them to be gone; [`shutdown`](Self::shutdown) does. May be called
    /// again, also after a shutdown that lets jobs run on.
    ///
    /// ```
    /// use loopool_executors::{Executor, Job, ProcessPoolExecutor, call};
    ///
    /// let pool = ProcessPoolExecutor::builder().workers(1).build()?;
    /// let mut endless: Job<()> = pool.submit(call(|()| loop {}, ()))?;
    /// pool.kill_workers();
    /// assert!(endless.result(None).unwrap_err().is_cancelled());
    /// assert_eq!(pool.shutdown(true, false).cancelled, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn kill_workers(&self) -> ExecutorStats {
        self.shared().kill_workers();
        self.stats()
    }
}

impl Manager {
    /// Cancels whatever runs, by killing its worker. The others go when the pool closes.
    pub(super) fn kill_all(&mut self) {
        for id in self.running() {
            self.cancel(id);
        }
    }
}
