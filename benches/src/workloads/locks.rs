//! A hundred tasks that want the same mutex, or one of ten permits of a semaphore: given back at once,
//! or kept while others run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::runtimes::Peer;

/// Locks that are given back at once: some 100 ms on the slowest peer.
pub(super) const OPS: u64 = 500_000;

/// Locks that are kept for a turn of the scheduler: as long.
pub(super) const HELD: u64 = 200_000;

const TASKS: u64 = 100;

const PERMITS: usize = 10;

pub(super) async fn mutex<P: Peer>(ops: u64) {
    lock::<P>(ops, false).await;
}

pub(super) async fn mutex_hold<P: Peer>(ops: u64) {
    lock::<P>(ops, true).await;
}

pub(super) async fn semaphore<P: Peer>(ops: u64) {
    acquire::<P>(ops, false).await;
}

pub(super) async fn semaphore_hold<P: Peer>(ops: u64) {
    acquire::<P>(ops, true).await;
}

async fn lock<P: Peer>(ops: u64, hold: bool) {
    let mutex = Arc::new(P::mutex());
    let task = |_| {
        let mutex = mutex.clone();
        P::spawn(async move {
            for _ in 0..ops / TASKS {
                let mut guard = P::lock(&mutex).await;
                let before = *guard;
                if hold {
                    P::yield_now().await;
                }
                // Another task that was let in would make this lose its count.
                *guard = before + 1;
            }
        })
    };
    let tasks: Vec<_> = (0..TASKS).map(task).collect();
    for task in tasks {
        task.await;
    }
    assert_eq!(*P::lock(&mutex).await, ops / TASKS * TASKS);
}

async fn acquire<P: Peer>(ops: u64, hold: bool) {
    let semaphore = Arc::new(P::semaphore(PERMITS));
    let inside = Arc::new(AtomicU64::new(0));
    let task = |_| {
        let (semaphore, inside) = (semaphore.clone(), inside.clone());
        P::spawn(async move {
            for _ in 0..ops / TASKS {
                let permit = P::acquire(&semaphore).await;
                // Relaxed: whoever let too many in is wrong in any order.
                if hold {
                    assert!(inside.fetch_add(1, Ordering::Relaxed) < PERMITS as u64);
                    P::yield_now().await;
                    inside.fetch_sub(1, Ordering::Relaxed);
                }
                drop(permit);
            }
        })
    };
    let tasks: Vec<_> = (0..TASKS).map(task).collect();
    for task in tasks {
        task.await;
    }
}
