//! Functions that may block, away from the loops: one at a time, ten thousand in flight, and a thousand that
//! really do block.

use std::time::Duration;

use futures::channel::oneshot;
use futures::executor::block_on;

use super::spin;
use crate::runtimes::Peer;

/// Round trips: some 200 ms, two wake-ups of sleeping threads each.
pub(super) const ROUND_TRIPS: u64 = 10_000;

/// Short jobs: some 200 ms on the slowest peer.
pub(super) const JOBS: u64 = 50_000;

/// So many jobs wait or run at a time.
const IN_FLIGHT: u64 = 10_000;

/// Functions that sleep: twenty to forty milliseconds a thousand.
pub(super) const NAPS: u64 = 2_000;

/// How long each of them sleeps.
const NAP: Duration = Duration::from_millis(10);

/// How many may sleep at a time: as many as tokio lets. The blocking crate lets 500.
pub(super) const ASLEEP: usize = 512;

/// About a microsecond.
const STEPS: u64 = 500;

pub(super) async fn latency<P: Peer>(ops: u64) {
    for number in 0..ops {
        assert_eq!(P::spawn_blocking(move || number).await, number);
    }
}

pub(super) async fn throughput<P: Peer>(ops: u64) {
    let mut jobs = Vec::with_capacity(IN_FLIGHT as usize);
    let mut sum = 0;
    for first in (0..ops).step_by(IN_FLIGHT as usize) {
        let until = ops.min(first + IN_FLIGHT);
        jobs.extend((first..until).map(|number| P::spawn_blocking(move || job(number))));
        for job in jobs.drain(..) {
            sum += job.await;
        }
    }
    assert_eq!(sum, ops * (ops - 1) / 2);
}

pub(super) async fn naps<P: Peer>(ops: u64) {
    let nap = |number| {
        P::spawn_blocking(move || {
            std::thread::sleep(NAP);
            number
        })
    };
    let jobs: Vec<_> = (0..ops).map(nap).collect();
    let mut sum = 0;
    for job in jobs {
        sum += job.await;
    }
    assert_eq!(sum, ops * (ops - 1) / 2);
}

/// The same jobs without a handle for each.
pub(super) async fn map<P: Peer>(ops: u64) {
    let mut sum = 0;
    for first in (0..ops).step_by(IN_FLIGHT as usize) {
        sum += P::map_blocking(job, first..ops.min(first + IN_FLIGHT)).await;
    }
    assert_eq!(sum, ops * (ops - 1) / 2);
}

fn job(number: u64) -> u64 {
    spin(STEPS);
    number
}

/// Round trips with rayon, from a thread that is none of its pool's.
pub(super) fn latency_on_rayon(pool: &rayon::ThreadPool, ops: u64) {
    for number in 0..ops {
        assert_eq!(pool.install(|| number), number);
    }
}

/// Short jobs with rayon, with a one-shot channel each: who spawns one there has no handle otherwise.
pub(super) fn throughput_on_rayon(pool: &rayon::ThreadPool, ops: u64) {
    let mut sum = 0;
    let mut results = Vec::with_capacity(IN_FLIGHT as usize);
    for first in (0..ops).step_by(IN_FLIGHT as usize) {
        results.extend((first..ops.min(first + IN_FLIGHT)).map(|number| {
            let (done, result) = oneshot::channel();
            pool.spawn_fifo(move || {
                // Nobody waits any more when the program ends.
                let _ = done.send(job(number));
            });
            result
        }));
        for result in results.drain(..) {
            sum += block_on(result).expect("the pool drops no job");
        }
    }
    assert_eq!(sum, ops * (ops - 1) / 2);
}

/// The same jobs in a scope; each leaves its number in a place of its own.
pub(super) fn map_on_rayon(pool: &rayon::ThreadPool, ops: u64) {
    let mut sum = 0;
    let mut numbers = vec![0; IN_FLIGHT as usize];
    for first in (0..ops).step_by(IN_FLIGHT as usize) {
        let count = IN_FLIGHT.min(ops - first);
        pool.in_place_scope(|scope| {
            for (place, number) in numbers.iter_mut().zip(first..first + count) {
                scope.spawn(move |_| *place = job(number));
            }
        });
        sum += numbers[..count as usize].iter().sum::<u64>();
    }
    assert_eq!(sum, ops * (ops - 1) / 2);
}
