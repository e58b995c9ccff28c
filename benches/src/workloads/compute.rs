//! A task has something computed on several cores, and waits: what rayon's own operations take when the
//! runtime's pool for computing runs them.

use std::sync::{Arc, LazyLock};

use rayon::prelude::*;
use rayon::{ThreadPool, join};

use super::next;
use crate::runtimes::Peer;

/// Forks of one job: of each of Fibonacci's numbers down from the 26th one. About two milliseconds.
const NUMBER: u64 = 26;
const VALUE: u64 = 121_393;
const FORKS: u64 = 196_417;

/// Numbers that one job sorts: some milliseconds.
const SORTED: u64 = 1 << 18;

/// Numbers that one job adds up: some milliseconds, too.
const ADDED: u64 = 1 << 22;

/// So many jobs in a run: some 100 ms.
pub(super) const JOINS: u64 = 40 * FORKS;
pub(super) const SORTS: u64 = 24 * SORTED;
pub(super) const SUMS: u64 = 40 * ADDED;

/// What is sorted and added up.
static NUMBERS: LazyLock<Arc<[u64]>> = LazyLock::new(|| {
    let mut state = 1;
    (0..ADDED).map(|_| next(&mut state)).collect()
});

/// What comes of adding them up, which nobody has done in parallel.
static SUM: LazyLock<u64> =
    LazyLock::new(|| NUMBERS.iter().fold(0, |sum: u64, number| sum.wrapping_add(weigh(*number))));

/// Something to do per number, so that not only memory is measured.
fn weigh(number: u64) -> u64 {
    number.count_ones() as u64 ^ number.wrapping_mul(number)
}

fn jobs(ops: u64, of_one: u64) -> u64 {
    ops.div_ceil(of_one)
}

pub(super) async fn joins<P: Peer>(ops: u64) {
    for _ in 0..jobs(ops, FORKS) {
        assert_eq!(P::compute(|| fibonacci(std::hint::black_box(NUMBER))).await, VALUE);
    }
}

pub(super) fn joins_on_rayon(pool: &ThreadPool, ops: u64) {
    for _ in 0..jobs(ops, FORKS) {
        assert_eq!(pool.install(|| fibonacci(std::hint::black_box(NUMBER))), VALUE);
    }
}

fn fibonacci(number: u64) -> u64 {
    if number < 2 {
        return number;
    }
    let (one, other) = join(|| fibonacci(number - 1), || fibonacci(number - 2));
    one + other
}

pub(super) async fn sorts<P: Peer>(ops: u64) {
    for _ in 0..jobs(ops, SORTED) {
        let numbers = unsorted();
        assert!(P::compute(|| sort(numbers)).await.is_sorted());
    }
}

pub(super) fn sorts_on_rayon(pool: &ThreadPool, ops: u64) {
    for _ in 0..jobs(ops, SORTED) {
        let numbers = unsorted();
        assert!(pool.install(|| sort(numbers)).is_sorted());
    }
}

fn unsorted() -> Vec<u64> {
    NUMBERS[..SORTED as usize].to_vec()
}

fn sort(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.par_sort_unstable();
    numbers
}

pub(super) async fn sums<P: Peer>(ops: u64) {
    for _ in 0..jobs(ops, ADDED) {
        assert_eq!(P::compute(sum).await, *SUM);
    }
}

pub(super) fn sums_on_rayon(pool: &ThreadPool, ops: u64) {
    for _ in 0..jobs(ops, ADDED) {
        assert_eq!(pool.install(sum), *SUM);
    }
}

fn sum() -> u64 {
    NUMBERS.par_iter().map(|number| weigh(*number)).reduce(|| 0, u64::wrapping_add)
}
