//! The end of a runtime, in the order that `mod.rs` gives.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use loopool_executors::caught::tell;

use super::shutdown::{ShutdownPolicy, ShutdownReport};
use super::threads::Threads;
use super::{Runtime, thread_end};
use crate::context;
use crate::event_loop::{Driving, RemoteCallback};
use crate::scheduler::{Phase, Shared};
use crate::time::from_now;

/// How long loops that have nothing more to do may take to come round and end.
const ROUND: Duration = Duration::from_millis(100);

impl Runtime {
    /// Ends the runtime, if it has not ended.
    pub(super) fn end(&mut self, policy: &ShutdownPolicy) -> ShutdownReport {
        if self.shared.is_forked() {
            // What it has is the parent's; it is never freed here.
            let threads = std::mem::take(&mut self.threads);
            std::mem::forget((self.main.clone(), self.spares.clone(), threads));
            return ShutdownReport::default();
        }
        if self.shared.phase() == Phase::Stopped {
            return ShutdownReport::default();
        }
        // While the thread ends nothing may run on it any more. And inside a task or callback of another
        // runtime's loop, that loop would stand still.
        let may_drive = !thread_end::is_near() && !context::inside_a_loop();
        let deadline = if may_drive { from_now(policy.grace) } else { Instant::now() };
        self.shared.advance(Phase::Closing);
        self.shared.cancel_all();
        if may_drive {
            self.main.awaits_tasks.set(true);
            self.drive_until(deadline, |shared| shared.live() == 0);
            self.main.awaits_tasks.set(false);
        }
        let jobs = self.end_jobs(policy, may_drive);
        self.shared.advance(Phase::Stopped);
        if thread_end::is_near() {
            let message =
                "a runtime ends with the thread that has it: its threads end by themselves";
            tell(|| tracing::debug!(message));
            self.threads = Threads::default();
            drop(self.spares.take_threads());
        }
        let deadline = deadline.max(Instant::now() + ROUND);
        // The watch thread before the spare workers, which it starts.
        let threads = std::mem::take(&mut self.threads);
        let mut stuck_loops = threads.join(deadline, may_drive);
        stuck_loops.extend(self.spares.take_threads().join(deadline, may_drive));
        self.shared.close_registries();
        self.main.closed.set(true);
        {
            let _entered = context::enter_loop(&self.main);
            if !self.main.clear() {
                self.main.drop_what_can_be_reached();
            }
        }
        let left = self.shared.left_tasks();
        let tally = self.shared.ending.take_tally();
        ShutdownReport {
            finished: tally.finished,
            cancelled: tally.cancelled,
            dropped: tally.dropped,
            left,
            stuck_loops,
            jobs,
        }
    }

    /// Drives the main loop until `done`, or until the time is over.
    fn drive_until(&self, deadline: Instant, done: impl Fn(&Shared) -> bool) {
        let Ok(_driving) = Driving::begin(&self.main) else { return };
        let alarm = self.handle().call_at(deadline, || {});
        while !done(&self.shared) && Instant::now() < deadline {
            self.main.turn(true);
        }
        alarm.cancel();
    }

    /// The loops go on meanwhile: what the jobs do may need them.
    fn end_jobs(&self, policy: &ShutdownPolicy, may_drive: bool) -> super::ShutdownJobs {
        let executor = &self.shared.default_executor;
        let waker = Waker::from(Arc::new(WakeMain(self.shared.clone())));
        executor.close(policy.finish_queued_jobs && may_drive, waker);
        if may_drive && !policy.wait_for_jobs.is_zero() {
            self.drive_until(from_now(policy.wait_for_jobs), |_| executor.is_idle());
        }
        executor.give_up()
    }
}

/// Makes the main loop come round.
struct WakeMain(Arc<Shared>);

impl Wake for WakeMain {
    fn wake(self: Arc<Self>) {
        // By a message, which it looks for before it sleeps.
        self.0.send_callback(0, RemoteCallback::new(|| {}));
    }
}
