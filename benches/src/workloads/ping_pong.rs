//! One task wakes another and is woken by it: a new task and two new one-shot channels per round.

use futures::channel::oneshot;

use crate::runtimes::Peer;

/// Some 100 ms on the fastest runtime.
pub(super) const OPS: u64 = 150_000;

pub(super) async fn run<P: Peer>(ops: u64) {
    for number in 0..ops {
        let (ping, pinged) = oneshot::channel();
        let (pong, ponged) = oneshot::channel();
        P::spawn_detached(async move {
            let number: u64 = pinged.await.expect("the other task sends before it waits");
            pong.send(number).expect("the other task waits");
        });
        ping.send(number).expect("the other task exists");
        assert_eq!(ponged.await, Ok(number));
    }
}
