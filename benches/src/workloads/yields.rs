//! A hundred tasks that do nothing but let others run.

use crate::runtimes::Peer;

/// Some 100 ms on the fastest runtime.
pub(super) const OPS: u64 = 2_000_000;

/// More than one look at the queues serves, so that queueing is part of it.
const TASKS: u64 = 100;

pub(super) async fn run<P: Peer>(ops: u64) {
    let task = |_| {
        P::spawn(async move {
            for _ in 0..ops / TASKS {
                P::yield_now().await;
            }
        })
    };
    let tasks: Vec<_> = (0..TASKS).map(task).collect();
    for task in tasks {
        task.await;
    }
}
