//! The functions that workers run.

use std::path::PathBuf;
use std::time::Duration;
use std::{fs, process, thread};

use super::pool::Buffer;

/// As little as there is.
pub(super) fn echo(number: u64) -> u64 {
    number
}

/// What an item becomes.
pub(super) fn next(number: u64) -> u64 {
    number + 1
}

/// What a chunk of them becomes.
pub(super) fn next_of_each(numbers: Vec<u64>) -> Vec<u64> {
    numbers.into_iter().map(next).collect()
}

/// Sleeps, and says which process it is.
pub(super) fn nap(millis: u64) -> u32 {
    thread::sleep(Duration::from_millis(millis));
    process::id()
}

/// Makes the file, and sleeps until it is killed.
pub(super) fn hold(begun: PathBuf) {
    // Who waits for the file in vain says so.
    let _ = fs::write(begun, []);
    thread::sleep(Duration::from_secs(3_600));
}

/// How far it is from a byte that is looked at to the next one: a page.
const STEP: usize = 4_096;

/// Looks at a byte of every page.
pub(super) fn look_at(bytes: &[u8]) -> u64 {
    bytes.iter().step_by(STEP).map(|&byte| u64::from(byte)).sum()
}

/// The same in a worker.
pub(super) fn there<B: Buffer>(bytes: B) -> u64 {
    look_at(&bytes)
}

/// … which gives them back.
pub(super) fn and_back<B: Buffer>(bytes: B) -> B {
    std::hint::black_box(look_at(&bytes));
    bytes
}
