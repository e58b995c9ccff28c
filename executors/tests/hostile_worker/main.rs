//! Workers that have been taken over by hostile input: each attack is a job that turns against the program
//! with all that it finds in its process, and then ends. Whatever it does, the program goes on, every other
//! job has its own result, and nothing is left behind.
//!
//! The attacks are tables, a file for each surface. A few seeds by default, more with
//! `LOOPOOL_TEST_ATTACKS=100`; `LOOPOOL_TEST_SEED` draws others.

mod board;
mod descriptors;
mod floods;
mod frames;
mod random;
mod sealed;
mod shared_memory;
mod socket;
mod streams;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use loopool_executors::{Blob, Executor, Job, JobError, Process, ProcessPoolExecutor, call};

use board::Board;
use random::Random;
use socket::Socket;

/// No test comes near this unless something hangs.
const HANG: Duration = Duration::from_secs(120);

/// How often each attack is made by default, with different seeds.
const TIMES: u64 = 3;

/// Honest jobs beside each attack.
const HONEST: u64 = 8;

const WORKERS: usize = 3;

/// An argument of this size lies in memory of its own.
const FAR: usize = 6 << 20;

/// What a worker of an attack exits with, if nobody has killed it.
const OVER: i32 = 77;

/// A way to turn against the program.
struct Attack {
    name: &'static str,
    run: fn(&mut Target<'_>),
    /// It may answer its own job, so that this worker is given another one before it ends. That one
    /// crashes, as it does in every worker that dies.
    answers: bool,
    /// What it is about has this name in the worker's memory, and is not there in every build.
    mapping: Option<&'static str>,
}

/// An attack on a surface that is there in any case.
const fn attack(name: &'static str, run: fn(&mut Target<'_>)) -> Attack {
    Attack { name, run, answers: false, mapping: None }
}

/// What an attack has at hand.
struct Target<'a> {
    socket: &'a Socket,
    random: &'a mut Random,
    board: Option<Board>,
    /// The slot of its own job.
    slot: u64,
}

fn attacks() -> impl Iterator<Item = &'static Attack> {
    frames::ATTACKS
        .iter()
        .chain(descriptors::ATTACKS)
        .chain(floods::ATTACKS)
        .chain(streams::ATTACKS)
        .chain(shared_memory::ATTACKS)
        .chain(sealed::ATTACKS)
}

impl Target<'_> {
    /// Says that the answer came by the socket. There, whoever has no ring is heard in any case.
    fn say_by_socket(&self) {
        const BY_SOCKET: [u8; 1] = [1];
        if let Some(board) = &self.board {
            board.answer(&BY_SOCKET, 1);
            board.count(1);
        }
    }
}

/// The job. It never returns: a worker that was taken over is not given back.
fn turn_against_the_program((index, seed, _ballast): (usize, u64, Blob)) -> u64 {
    let socket = Socket::find();
    let mut random = Random::new(seed);
    if let (Some(attack), Some(socket)) = (attacks().nth(index), &socket) {
        let board = Board::find();
        let slot = board.as_ref().map_or(0, |board| u64::from(board.slot()));
        (attack.run)(&mut Target { socket, random: &mut random, board, slot });
    }
    // SAFETY: no more than a system call.
    unsafe { libc::_exit(OVER) }
}

fn echo((number, blob): (u64, Blob)) -> (u64, Blob) {
    (random::mix(number), blob.iter().rev().copied().collect::<Vec<u8>>().into())
}

/// Whether a worker of this build has a mapping with this name, after a job with a large argument.
fn has_mapping((name, _ballast): (String, Blob)) -> bool {
    std::fs::read_to_string("/proc/self/maps").unwrap().contains(&name)
}

fn outcome<T>(mut job: Job<T>, what: &str) -> Result<T, JobError> {
    let outcome = job.result(HANG);
    assert!(!outcome.as_ref().is_err_and(JobError::is_wait_timeout), "{what} hangs");
    outcome
}

const CONVICTED: &str = "convicted";

/// What came of an attack's own job.
fn end(outcome: &Result<u64, JobError>) -> &'static str {
    match outcome {
        Ok(_) => "answered",
        Err(error) if error.is_codec() && error.to_string().contains("was killed") => CONVICTED,
        Err(error) if error.is_codec() => "answered what is no answer",
        Err(error) if error.is_timeout() => "timed out",
        Err(error) if error.is_panic() => "panicked, it says",
        Err(error) if error.crash().is_some() => "died",
        Err(_) => "otherwise",
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// What every descriptor is of.
fn descriptors() -> Vec<String> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let mut targets: Vec<String> = targets.map(|path| path.display().to_string()).collect();
    targets.sort_unstable();
    targets
}

fn ballast(len: usize) -> Blob {
    vec![7; len].into()
}

/// A process of its own has the same at hand. Nobody hears it before it has ended.
fn attack_as_a_process(name: &str, index: usize, seed: u64) {
    let argument = (index, seed, ballast(100_000));
    let process = Process::new(turn_against_the_program, argument).daemon(true);
    let mut process = process.start().unwrap();
    // One that stands still is ended; it does not matter if it is another one.
    let mut outcome = process.join(Duration::from_millis(500));
    if outcome.as_ref().is_err_and(JobError::is_wait_timeout) {
        process.kill().unwrap();
        outcome = process.join(HANG);
    }
    let hangs = outcome.as_ref().is_err_and(JobError::is_wait_timeout);
    assert!(!hangs && !process.is_alive(), "{name}: it does not end");
}

#[test]
fn no_attack_costs_more_than_its_job() {
    let (times, seed) = (number("LOOPOOL_TEST_ATTACKS", TIMES), number("LOOPOOL_TEST_SEED", 1));
    let pool = || {
        let limit = Duration::from_secs(2);
        ProcessPoolExecutor::builder().workers(WORKERS).job_timeout(limit).build().unwrap()
    };
    // What a program has only once is there afterwards.
    pool().shutdown(true, false);
    let before = descriptors();
    let pool = pool();
    let mut submitted = 0;
    let mut next_id = || {
        submitted += 1;
        submitted
    };
    let mut stderr = std::io::stderr();
    let (mut made, mut skipped, mut struck) = (0, 0, 0);
    let mut ends = BTreeMap::new();
    for (index, attack) in attacks().enumerate() {
        if let Some(name) = attack.mapping {
            next_id();
            let asked = pool.submit(call(has_mapping, (name.to_owned(), ballast(FAR))));
            if !outcome(asked.unwrap(), "an honest job").unwrap() {
                let _ = writeln!(stderr, "SKIPPED {}: workers have no {name} yet", attack.name);
                skipped += 1;
                continue;
            }
        }
        for round in 0..times {
            let name = format!("{}, round {round}", attack.name);
            let seed = random::mix(seed ^ random::mix(index as u64 * 1000 + round));
            next_id();
            let near = 100_000 + (seed % 100_000) as usize;
            let len = if attack.mapping.is_some() && round % 2 == 0 { FAR } else { near };
            let argument = (index, seed, ballast(len));
            let hostile = pool.submit(call(turn_against_the_program, argument)).unwrap();
            let honest: Vec<_> = (0..HONEST)
                .map(|n| {
                    let number = next_id();
                    let blob = ballast(if n % 4 == 0 { 10_000 } else { 10 });
                    (number, pool.submit(call(echo, (number, blob.clone()))).unwrap(), blob)
                })
                .collect();
            let mut struck_now = 0;
            for (number, job, blob) in honest {
                match outcome(job, &name) {
                    Ok(back) => assert!(back == echo((number, blob)), "{name}: a wrong result"),
                    Err(error) => {
                        struck_now += 1;
                        let may = attack.answers && struck_now == 1;
                        assert!(may, "{name}: an honest job failed: {error}");
                    }
                }
            }
            struck += struck_now;
            made += 1;
            // Anything may come of the attack's own job, but something has to.
            *ends.entry(end(&outcome(hostile, &name))).or_insert(0) += 1;
        }
    }
    let start = Instant::now();
    while pool.worker_pids().len() < WORKERS {
        assert!(start.elapsed() < HANG, "the pool does not recover");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(pool.snapshot().convicted > 0);
    let stats = pool.shutdown(true, false);
    let ended = stats.finished + stats.failed + stats.crashed + stats.timed_out + stats.cancelled;
    assert_eq!((stats.submitted, ended, stats.running), (submitted, submitted, 0), "{stats:?}");
    drop(pool);
    let mut processes = 0;
    for (index, attack) in attacks().enumerate() {
        // Its standard output is the program's own.
        if attack.mapping.is_some() || attack.name == streams::OUTPUT {
            continue;
        }
        for round in 0..times {
            let seed = random::mix(seed ^ random::mix(index as u64 * 1000 + round));
            attack_as_a_process(
                &format!("{}, as a process, round {round}", attack.name),
                index,
                seed,
            );
            processes += 1;
        }
    }
    assert_eq!(descriptors(), before, "descriptors are left");
    let _ = writeln!(
        stderr,
        "{made} attacks, {processes} by single processes, {skipped} kinds skipped, {struck} jobs in workers that had answered; {ends:?}"
    );
    assert!(
        ends.contains_key(CONVICTED),
        "nobody was convicted: do the attacks reach the program?"
    );
}
