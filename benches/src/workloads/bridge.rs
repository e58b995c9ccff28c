//! A thread that is none of the runtime's has a task run and waits for what comes of it, again and
//! again: a round trip between two threads.

use super::spawn_remote::foreign;
use crate::runtimes::Peer;

/// Some 200 ms: two wake-ups of sleeping threads each.
pub(super) const OPS: u64 = 10_000;

pub(super) async fn run<P: Peer>(ops: u64) {
    let remote = P::remote();
    foreign(move || {
        for number in 0..ops {
            assert_eq!(P::call(&remote, async move { number }), number);
        }
    })
    .await;
}
