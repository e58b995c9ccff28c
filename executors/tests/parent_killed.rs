//! The program is killed, at any moment: nothing of it may be left one second later.
//!
//! This test is such a program itself: it starts copies of itself that make pools, and kills them. All that
//! comes of one copy has its mark in the environment, by which it is found.
//!
//! Some moments by default; 200 with `LOOPOOL_TEST_KILLS=200`. `LOOPOOL_TEST_SEED` draws others.

#![allow(clippy::print_stdout, reason = "this test is its own harness")]

#[path = "common/program.rs"]
mod program;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use loopool_executors::{Executor, Job, Process, ProcessPoolExecutor, call};
use program::Program;

const SITUATION: &str = "LOOPOOL_TEST_SITUATION";
const MARK: &str = "LOOPOOL_TEST_MARK";

/// How many moments there are by default: each situation has some of both kinds.
const FEW: u64 = 32;

/// What is promised.
const PROMISE: Duration = Duration::from_secs(1);

/// What the program is doing when it is killed.
const SITUATIONS: [(&str, fn()); 8] = [
    ("jobs compute", jobs_compute),
    ("jobs sleep", jobs_sleep),
    ("workers are in the initializer", in_the_initializer),
    ("workers start, and crash, and start", workers_start),
    ("pools are made and dropped", pools_come_and_go),
    ("the thread that made the pool has ended", made_by_a_thread_that_ended),
    ("jobs have started processes", jobs_have_children),
    ("a daemon process runs", a_daemon_runs),
];

fn main() {
    match std::env::var(SITUATION) {
        Ok(name) => {
            let situation = SITUATIONS.iter().find(|(other, _)| *other == name);
            situation.unwrap_or_else(|| panic!("no such situation: {name}")).1();
            loop {
                std::thread::park();
            }
        }
        Err(_) => all(),
    }
}

fn all() {
    let filter = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    let name = "nothing_is_left_of_a_program_that_was_killed";
    if filter.is_some_and(|filter| !name.contains(&filter)) {
        return;
    }
    let number = |name: &str, default| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let (kills, seed) = (number("LOOPOOL_TEST_KILLS", FEW), number("LOOPOOL_TEST_SEED", 1));
    let mut met = 0;
    let mut longest = Duration::ZERO;
    for round in 0..kills {
        let (processes, took) = kill_at_a_moment(round, mix(seed ^ mix(round)));
        met += u64::from(processes > 1);
        longest = longest.max(took);
    }
    // A test that always came too early would prove nothing.
    assert!(met * 2 >= kills, "only {met} of {kills} programs had processes");
    println!("test {name} ... ok ({kills} kills, {met} with processes, gone within {longest:?})");
}

/// How many processes there were, and how long it took them to go.
fn kill_at_a_moment(round: u64, random: u64) -> (usize, Duration) {
    let (name, _) = SITUATIONS[(round % SITUATIONS.len() as u64) as usize];
    let mark = format!("{}-{round}", std::process::id());
    let mut program = Program(
        Command::new("/proc/self/exe")
            .env(SITUATION, name)
            .env(MARK, &mark)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    // One half at any moment from the start on, the other some time after there is a worker.
    if round / SITUATIONS.len() as u64 % 2 == 1 {
        let start = Instant::now();
        while marked(&mark).len() < 3 {
            assert!(start.elapsed() < Duration::from_secs(60), "{name}: no worker");
        }
    }
    let moment = Duration::from_micros(random % 20_000);
    std::thread::sleep(moment);
    let processes = marked(&mark).len();
    program.kill();
    let killed = Instant::now();
    loop {
        // A look takes time itself where the machine is busy.
        let took = killed.elapsed();
        let left = marked(&mark);
        if left.is_empty() {
            return (processes, took);
        }
        if took > PROMISE {
            let left: Vec<String> = left.iter().map(|pid| describe(*pid)).collect();
            panic!("round {round}, {name}, after {moment:?}: {took:?} later there is {left:?}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The processes that live and have the mark. Those that have ended have no environment.
fn marked(mark: &str) -> BTreeSet<u32> {
    let wanted = format!("{MARK}={mark}");
    let has_it = |pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    let entries = std::fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(has_it).collect()
}

fn describe(pid: u32) -> String {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
    let stat = read("stat").unwrap_or_default();
    format!("{} {}", stat.chars().take(60).collect::<String>(), read("wchan").unwrap_or_default())
}

/// A number as good as random (splitmix64).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn compute(mut n: u64) -> u64 {
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}

fn sleep(n: u64) -> u64 {
    loop {
        std::thread::sleep(Duration::from_secs(n + 1000));
    }
}

/// Submits, and keeps the pool.
fn occupy(pool: ProcessPoolExecutor, function: fn(u64) -> u64, jobs: u64) {
    let jobs: Vec<Job<u64>> =
        (0..jobs).filter_map(|n| pool.submit(call(function, n)).ok()).collect();
    std::mem::forget((pool, jobs));
}

fn jobs_compute() {
    occupy(ProcessPoolExecutor::new(3).unwrap(), compute, 3);
}

fn jobs_sleep() {
    occupy(ProcessPoolExecutor::new(3).unwrap(), sleep, 10);
}

fn in_the_initializer() {
    let initializer = || {
        // One of them computes, the others sleep.
        if std::process::id().is_multiple_of(3) {
            compute(1)
        } else {
            sleep(1)
        };
        Ok(())
    };
    let pool = ProcessPoolExecutor::builder().workers(3).initializer(initializer).build().unwrap();
    occupy(pool, sleep, 3);
}

fn workers_start() {
    let pool = ProcessPoolExecutor::new(3).unwrap();
    loop {
        let crash = |_: u64| std::process::abort();
        let jobs: Vec<Job<u64>> = (0..3).map(|n| pool.submit(call(crash, n)).unwrap()).collect();
        for mut job in jobs {
            job.result(None).unwrap_err();
        }
    }
}

fn pools_come_and_go() {
    loop {
        let pool = ProcessPoolExecutor::new(2).unwrap();
        let mut job = pool.submit(call(|n: u64| n, 1)).unwrap();
        assert_eq!(job.result(None).unwrap(), 1);
        drop(pool);
    }
}

/// The kernel's own signal for a parent's death comes when the *thread* ends.
fn made_by_a_thread_that_ended() {
    let make = || occupy(ProcessPoolExecutor::new(3).unwrap(), sleep, 3);
    std::thread::spawn(make).join().unwrap();
}

fn jobs_have_children() {
    let start = |n: u64| {
        // Environment and group are the worker's.
        let child = Command::new("sleep").arg("1000").spawn();
        let grandchild =
            Command::new("sh").args(["-c", "sleep 1000 & while :; do :; done"]).spawn();
        std::mem::forget((child, grandchild));
        sleep(n)
    };
    occupy(ProcessPoolExecutor::new(2).unwrap(), start, 2);
}

fn a_daemon_runs() {
    let daemon = Process::new(|n: u64| _ = sleep(n), 1).daemon(true).start().unwrap();
    let other = Process::new(|n: u64| _ = compute(n), 1).daemon(true).start().unwrap();
    std::mem::forget((daemon, other));
}
