//! Two tasks that wake each other in turn, with nothing between them but a number and two wakers.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use futures::task::AtomicWaker;

use crate::runtimes::Peer;

/// Some 100 ms on the fastest runtime. One operation is there and back: two switches.
pub(super) const OPS: u64 = 200_000;

/// Whose turn it is: the first one's when the number is even.
#[derive(Default)]
struct Turn {
    number: AtomicU64,
    wakers: [AtomicWaker; 2],
}

impl Turn {
    async fn play(&self, side: usize, ops: u64) {
        for number in 0..ops {
            let mine = 2 * number + side as u64;
            poll_fn(|cx| {
                // Acquire: pairs with the store below. The waker is left before the number is looked at
                // again, so it is either seen here or the other side sees the waker.
                if self.number.load(Ordering::Acquire) == mine {
                    return Poll::Ready(());
                }
                self.wakers[side].register(cx.waker());
                match self.number.load(Ordering::Acquire) == mine {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            })
            .await;
            // Release: pairs with the loads above, on the other side.
            self.number.store(mine + 1, Ordering::Release);
            self.wakers[1 - side].wake();
        }
    }
}

pub(super) async fn run<P: Peer>(ops: u64) {
    let turn = Arc::new(Turn::default());
    let there = turn.clone();
    let other = P::spawn(async move { there.play(1, ops).await });
    turn.play(0, ops).await;
    other.await;
    // Acquire: pairs with the last store of either side.
    assert_eq!(turn.number.load(Ordering::Acquire), 2 * ops);
}
