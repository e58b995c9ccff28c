//! Spawns a thousand tasks from inside a task, then awaits them all.

use crate::runtimes::Peer;

/// Some 100 ms on the slowest peer.
pub(super) const OPS: u64 = 300_000;

/// As many at a time as a server with work to spread might have.
const AT_A_TIME: u64 = 1_000;

pub(super) async fn run<P: Peer>(ops: u64) {
    let mut tasks = Vec::with_capacity(AT_A_TIME as usize);
    let mut sum = 0;
    for first in (0..ops).step_by(AT_A_TIME as usize) {
        let until = ops.min(first + AT_A_TIME);
        tasks.extend((first..until).map(|number| P::spawn(async move { number })));
        for task in tasks.drain(..) {
            sum += task.await;
        }
    }
    assert_eq!(sum, ops * (ops - 1) / 2);
}

/// The same with rayon, on a thread of its pool; each job leaves its number in a place of its own.
pub(super) fn run_on_rayon(ops: u64) {
    let mut numbers = vec![0; AT_A_TIME as usize];
    let mut sum = 0;
    for first in (0..ops).step_by(AT_A_TIME as usize) {
        let count = AT_A_TIME.min(ops - first);
        rayon::scope(|scope| {
            for (place, number) in numbers.iter_mut().zip(first..first + count) {
                scope.spawn(move |_| *place = number);
            }
        });
        sum += numbers[..count as usize].iter().sum::<u64>();
    }
    assert_eq!(sum, ops * (ops - 1) / 2);
}
