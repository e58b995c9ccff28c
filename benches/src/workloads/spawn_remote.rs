//! A thread that is none of the runtime's makes a thousand tasks, and waits until they have run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread};

use futures::channel::oneshot;

use crate::runtimes::Peer;

/// Some 100 ms on the slowest peer.
pub(super) const OPS: u64 = 200_000;

/// As many at a time.
const AT_A_TIME: u64 = 1_000;

/// What the tasks of a round count down.
struct Round {
    left: AtomicU64,
    waiting: Thread,
}

pub(super) async fn run<P: Peer>(ops: u64) {
    let remote = P::remote();
    foreign(move || {
        rounds(ops, |round| P::spawn_remote(&remote, async move { round.count() }));
    })
    .await;
}

/// The same with rayon.
pub(super) fn run_on_rayon(pool: &rayon::ThreadPool, ops: u64) {
    rounds(ops, |round| pool.spawn(move || round.count()));
}

/// Runs `work` on a thread of its own.
pub(super) async fn foreign(work: impl FnOnce() + Send + 'static) {
    let (done, finished) = oneshot::channel();
    let thread = thread::spawn(move || {
        work();
        done.send(()).expect("the runtime waits");
    });
    finished.await.expect("the thread does not panic");
    thread.join().expect("the thread does not panic");
}

fn rounds(ops: u64, spawn: impl Fn(Arc<Round>)) {
    for first in (0..ops).step_by(AT_A_TIME as usize) {
        let count = AT_A_TIME.min(ops - first);
        let round = Arc::new(Round { left: AtomicU64::new(count), waiting: thread::current() });
        for _ in 0..count {
            spawn(round.clone());
        }
        // Acquire: pairs with the decrement in `count`.
        while round.left.load(Ordering::Acquire) > 0 {
            thread::park();
        }
    }
}

impl Round {
    fn count(&self) {
        // AcqRel: all that the tasks did is there for the thread that waits, which loads the zero.
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.waiting.unpark();
        }
    }
}
