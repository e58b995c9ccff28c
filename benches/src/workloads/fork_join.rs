//! Fibonacci's numbers, each by two: one of them as a task of its own. What a fork and a join cost.

use std::future::Future;
use std::pin::Pin;

use crate::runtimes::Peer;

/// Some 100 ms on the slowest peer.
pub(super) const OPS: u64 = 300_000;

/// Of which number.
const NUMBER: u64 = 20;

/// That number's value.
const VALUE: u64 = 6_765;

/// How often it forks: each sum of two does.
const FORKS: u64 = 10_945;

pub(super) async fn run<P: Peer>(ops: u64) {
    for _ in 0..times(ops) {
        assert_eq!(fibonacci::<P>(NUMBER).await, VALUE);
    }
}

/// How often the number is computed so that there are about `ops` forks.
pub(super) fn times(ops: u64) -> u64 {
    ops.div_ceil(FORKS)
}

fn fibonacci<P: Peer>(number: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    if number < 2 {
        return Box::pin(async move { number });
    }
    Box::pin(async move {
        let one = P::spawn(fibonacci::<P>(number - 1));
        let other = fibonacci::<P>(number - 2).await;
        one.await + other
    })
}

/// The same with rayon, on a thread of its pool.
pub(super) fn run_on_rayon(ops: u64) {
    for _ in 0..times(ops) {
        assert_eq!(join(std::hint::black_box(NUMBER)), VALUE);
    }
}

fn join(number: u64) -> u64 {
    if number < 2 {
        return number;
    }
    let (one, other) = rayon::join(|| join(number - 1), || join(number - 2));
    one + other
}
