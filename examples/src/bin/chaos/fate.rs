//! [`Fate`]: what a job does, drawn by its number.

use serde::{Deserialize, Serialize};

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fate {
    /// Answers with a number.
    Small,
    /// Answers with a text and a list, both in the message.
    Middle,
    /// Takes and gives buffers of 100 KiB to 2 MiB.
    Large,
    Abort,
    Segfault,
    /// Is killed from outside while it runs.
    Killed,
    StackOverflow,
    /// Takes more memory than it may.
    Memory,
    /// Never ends by itself.
    Endless,
    Panic,
    Exit,
    /// Is cancelled while it runs.
    CancelledRunning,
    /// Is cancelled as soon as it is submitted, so it may run already or be over.
    CancelledEarly,
}

impl Fate {
    /// The fate of job `number`. Of every hundred jobs, one each goes wrong in each way; which ones depends
    /// on the seed.
    pub(crate) fn of(seed: u64, number: u64) -> Fate {
        let random = mix(seed ^ mix(number / 100));
        let step = STEPS[(random % STEPS.len() as u64) as usize];
        match (number * step + (random >> 32)) % 100 {
            0 => Fate::Abort,
            1 => Fate::Segfault,
            2 => Fate::Killed,
            3 => Fate::StackOverflow,
            4 => Fate::Memory,
            5 => Fate::Endless,
            6 => Fate::Panic,
            7 => Fate::Exit,
            8 => Fate::CancelledRunning,
            9 => Fate::CancelledEarly,
            10..=19 => Fate::Large,
            20..=34 => Fate::Middle,
            _ => Fate::Small,
        }
    }
}

/// Numbers without a factor in common with 100: counting by one of them meets every remainder once.
const STEPS: [u64; 8] = [3, 7, 13, 27, 39, 61, 77, 91];

/// A number as good as random (splitmix64).
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_every_hundred_jobs_each_fault_has_one() {
        for fate in [Fate::Abort, Fate::Killed, Fate::Endless, Fate::CancelledEarly] {
            for hundred in 0..50 {
                let numbers = hundred * 100..(hundred + 1) * 100;
                assert_eq!(numbers.filter(|n| Fate::of(7, *n) == fate).count(), 1, "{fate:?}");
            }
        }
    }

    #[test]
    fn the_seed_decides_which() {
        let victims = |seed| (0..100).find(|n| Fate::of(seed, *n) == Fate::Abort);
        assert!((1..20).any(|seed| victims(seed) != victims(0)));
    }
}
