//! A thousand sleeps of 1 to 10 ms at the same time: how late they end, and what they cost.

use std::time::{Duration, Instant};

use super::Sample;
use crate::meter;
use crate::report::percentile;
use crate::runtimes::Peer;

/// Ten times a thousand sleeps: some 100 ms.
pub(super) const OPS: u64 = 10_000;

/// So many at the same time.
const AT_A_TIME: u64 = 1_000;

/// The shortest sleep.
const SHORTEST: Duration = Duration::from_millis(1);
/// Each sleep is this much longer than the one before: the last of a thousand takes 10 ms. Not a
/// round number, so that deadlines do not gather on the ticks of a runtime that has ticks.
const STEP: Duration = Duration::from_nanos(9_007);

pub(super) fn measure<P: Peer>(peer: &P, ops: u64) -> Vec<Sample> {
    let ops = ops.max(AT_A_TIME);
    drop(peer.run(run::<P>(AT_A_TIME)));
    let (mut late, cost) = meter::measure(|| peer.run(run::<P>(ops)));
    late.sort_unstable();
    let micros = |share| percentile(&late, share).as_nanos() as f64 / 1_000.0;
    vec![
        Sample { figure: "late_p50", value: micros(0.5), unit: "µs" },
        Sample { figure: "late_p99", value: micros(0.99), unit: "µs" },
        Sample { figure: "cpu", value: cost.cpu_nanos(ops), unit: "CPU ns" },
    ]
}

/// By how much each sleep was late.
pub(super) async fn run<P: Peer>(ops: u64) -> Vec<Duration> {
    let mut late = Vec::with_capacity(ops as usize);
    let mut tasks = Vec::with_capacity(AT_A_TIME as usize);
    for first in (0..ops).step_by(AT_A_TIME as usize) {
        let count = AT_A_TIME.min(ops - first);
        tasks.extend((0..count).map(|number| {
            P::spawn(async move {
                let duration = SHORTEST + STEP * number as u32;
                let begun = Instant::now();
                P::sleep(duration).await;
                // Early would be a bug: let it fail.
                begun.elapsed().checked_sub(duration).expect("no sleep ends early")
            })
        }));
        for task in tasks.drain(..) {
            late.push(task.await);
        }
    }
    late
}
