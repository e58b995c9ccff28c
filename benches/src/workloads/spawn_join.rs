//! Spawns one task and awaits it, again and again.

use crate::runtimes::Peer;

/// Some 100 ms on the slowest peer.
pub(super) const OPS: u64 = 300_000;

pub(super) async fn run<P: Peer>(ops: u64) {
    for number in 0..ops {
        let echoed = P::spawn(async move { number }).await;
        assert_eq!(echoed, number);
    }
}
