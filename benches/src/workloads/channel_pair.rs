//! Two tasks that hand a number back and forth through two channels that stay.

use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};

use crate::runtimes::Peer;

/// Some 100 ms on the fastest runtime. One operation is there and back: two switches.
pub(super) const OPS: u64 = 200_000;

pub(super) async fn run<P: Peer>(ops: u64) {
    let (mut ping, mut pinged) = mpsc::channel::<u64>(1);
    let (mut pong, mut ponged) = mpsc::channel::<u64>(1);
    let other = P::spawn(async move {
        while let Some(number) = pinged.next().await {
            pong.send(number).await.expect("the other task waits");
        }
    });
    for number in 0..ops {
        ping.send(number).await.expect("the other task waits");
        assert_eq!(ponged.next().await, Some(number));
    }
    drop(ping);
    other.await;
}
