//! One task wakes a hundred that wait for the same event, and waits until all of them are awake.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::runtimes::Peer;

/// Some 100 ms on the fastest runtime; one operation is one task woken.
pub(super) const OPS: u64 = 500_000;

const WAITERS: u64 = 100;

struct Shared<P: Peer> {
    /// In turns: while one is waited for, the other one is taken back.
    events: [P::Event; 2],
    /// The last waiter of a round has woken.
    all: P::Event,
    /// How often a waiter has woken.
    woken: AtomicU64,
}

pub(super) async fn run<P: Peer>(ops: u64) {
    let rounds = ops / WAITERS;
    let shared = Arc::new(Shared::<P> {
        events: [P::event(), P::event()],
        all: P::event(),
        woken: AtomicU64::new(0),
    });
    let waiter = |_| {
        let shared = shared.clone();
        P::spawn(async move {
            for round in 0..rounds {
                P::wait(&shared.events[round as usize % 2]).await;
                // AcqRel: the last one of a round has seen all others pass, and the main task hears it
                // from that one.
                let woken = shared.woken.fetch_add(1, Ordering::AcqRel) + 1;
                if woken.is_multiple_of(WAITERS) {
                    P::set(&shared.all);
                }
            }
        })
    };
    let waiters: Vec<_> = (0..WAITERS).map(waiter).collect();
    for round in 0..rounds {
        P::set(&shared.events[round as usize % 2]);
        P::wait(&shared.all).await;
        // Nobody waits for either of them now: all wait for the other event, or are about to.
        P::clear(&shared.all);
        P::clear(&shared.events[round as usize % 2]);
        // Acquire: pairs with the waiters' additions.
        assert_eq!(shared.woken.load(Ordering::Acquire), (round + 1) * WAITERS);
    }
    for waiter in waiters {
        waiter.await;
    }
}
