//! A hundred thousand sleeps of 0 to 200 ms at the same time: how late they end, and what they cost
//! with the tasks that sleep.

use std::time::{Duration, Instant};

use super::{Sample, WARM_UP};
use crate::meter;
use crate::report::percentile;
use crate::runtimes::Peer;

/// All at the same time.
pub(super) const OPS: u64 = 100_000;

/// Two deadlines are so far apart at least: not a round number, so that they do not gather on the
/// ticks of a runtime that has ticks.
const STEP: Duration = Duration::from_nanos(1_999);

/// Sleep `n` has length `n × STRIDE modulo MODULUS`: every length comes once, in no order. Both are
/// primes.
const STRIDE: u64 = 48_271;
const MODULUS: u64 = 100_003;

pub(super) fn measure<P: Peer>(peer: &P) -> Vec<Sample> {
    drop(peer.run(run::<P>(OPS / WARM_UP)));
    let (mut late, cost) = meter::measure(|| peer.run(run::<P>(OPS)));
    assert_eq!(late.len() as u64, OPS);
    late.sort_unstable();
    let micros = |share| percentile(&late, share).as_nanos() as f64 / 1_000.0;
    vec![
        Sample { figure: "late_p50", value: micros(0.5), unit: "µs" },
        Sample { figure: "late_p99", value: micros(0.99), unit: "µs" },
        Sample { figure: "cpu", value: cost.cpu_nanos(OPS), unit: "CPU ns" },
    ]
}

/// By how much each sleep was late.
pub(super) async fn run<P: Peer>(ops: u64) -> Vec<Duration> {
    let sleep = |number: u64| {
        P::spawn(async move {
            let duration = STEP * (number * STRIDE % MODULUS) as u32;
            let begun = Instant::now();
            P::sleep(duration).await;
            // Early would be a bug: let it fail.
            begun.elapsed().checked_sub(duration).expect("no sleep ends early")
        })
    };
    let tasks: Vec<_> = (0..ops).map(sleep).collect();
    let mut late = Vec::with_capacity(ops as usize);
    for task in tasks {
        late.push(task.await);
    }
    late
}
