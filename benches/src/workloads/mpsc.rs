//! Messages through one channel with room for some, from one task or from several, to one.

use crate::runtimes::Peer;

/// Some 100 ms on the slowest peer.
pub(super) const OPS: u64 = 1_000_000;

/// Room for so many messages.
const CAPACITY: usize = 128;

/// Several.
const MANY: u64 = 4;

pub(super) async fn one_to_one<P: Peer>(ops: u64) {
    run::<P>(ops, 1).await;
}

pub(super) async fn four_to_one<P: Peer>(ops: u64) {
    run::<P>(ops, MANY).await;
}

async fn run<P: Peer>(ops: u64, producers: u64) {
    let each = ops / producers;
    let (sender, mut receiver) = P::channel(CAPACITY);
    let produce = |_| {
        let mut sender = sender.clone();
        P::spawn(async move {
            for number in 0..each {
                P::send(&mut sender, number).await;
            }
        })
    };
    let tasks: Vec<_> = (0..producers).map(produce).collect();
    drop(sender);
    let (mut count, mut sum) = (0, 0);
    while let Some(number) = P::receive(&mut receiver).await {
        count += 1;
        sum += number;
    }
    assert_eq!((count, sum), (producers * each, producers * (each * (each - 1) / 2)));
    for task in tasks {
        task.await;
    }
}
