//! Random programs that are cancelled at random moments.
//!
//! Whatever a program is made of: it ends, and is not busy for nothing; no flow is given one request
//! twice; what was made is dropped once; a value that was ready arrives; a task ends as cancelled only
//! when it was asked to, and always when nobody answers.
//!
//! `LOOPOOL_RANDOM_PROGRAMS` says how many are run (for many, `--release` is wanted), and
//! `LOOPOOL_RANDOM_SEED` is that of the first one: a failure names the seed of the one that failed.

mod alone;
mod program;
mod racing;
mod run;
mod world;

use crate::program::Program;

const BATCH: u64 = 512;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Runs so many programs in batches, and fails with the first that goes wrong.
fn run_all(count: u64, batch: u64, mut run: impl FnMut(&[Program]) -> Vec<Vec<String>>) {
    let first = number("LOOPOOL_RANDOM_SEED", 1);
    let mut seeds = first..first + count;
    while !seeds.is_empty() {
        let batch: Vec<_> = seeds.by_ref().take(batch as usize).collect();
        let programs: Vec<_> = batch.iter().map(|&seed| Program::new(seed)).collect();
        let complaints = run(&programs);
        let wrong = complaints.iter().position(|complaints| !complaints.is_empty());
        let Some(index) = wrong else { continue };
        let smallest = shrink(programs[index].clone(), &mut run);
        panic!(
            "seed {}: {:#?}\nof\n{:?}\nmade smaller:\n{smallest:#?}",
            batch[index], complaints[index], programs[index]
        );
    }
}

/// Leaves out what can be left out. Finds nothing smaller when the failure needs luck.
fn shrink(mut program: Program, mut run: impl FnMut(&[Program]) -> Vec<Vec<String>>) -> Program {
    for _ in 0..100 {
        let smaller = program.smaller();
        if smaller.is_empty() {
            break;
        }
        let complaints = run(&smaller);
        match complaints.iter().position(|complaints| !complaints.is_empty()) {
            Some(index) => program = smaller[index].clone(),
            None => break,
        }
    }
    program
}

#[test]
fn programs_on_one_loop() {
    run_all(number("LOOPOOL_RANDOM_PROGRAMS", 10_000), BATCH, alone::run);
}

#[test]
fn programs_on_two_loops_with_requests_from_another_thread() {
    let runtime = loopool::Runtime::builder().loops(2).build().expect("a runtime");
    let count = number("LOOPOOL_RANDOM_PROGRAMS", 10_000) / 2;
    run_all(count, 64, |programs| racing::run(&runtime, programs));
}
