//! One task wakes another and is woken by it: a new task and two new one-shot channels per round.

use crate::runtimes::Peer;

/// Some 100 ms on the fastest runtime.
pub(super) const OPS: u64 = 150_000;

pub(super) async fn run<P: Peer>(ops: u64) {
    for number in 0..ops {
        let (ping, pinged) = P::oneshot();
        let (pong, ponged) = P::oneshot();
        P::spawn_detached(async move { P::send_once(pong, P::receive_once(pinged).await) });
        P::send_once(ping, number);
        assert_eq!(P::receive_once(ponged).await, number);
    }
}
