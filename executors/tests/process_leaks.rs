//! A storm of faults, in a program of its own so that descriptors and children can be counted.

use std::time::{Duration, Instant};

use loopool_executors::{Blob, Executor, ProcessPoolExecutor, call};

const HANG: Duration = Duration::from_secs(120);
const WORKERS: usize = 3;
const JOBS: u32 = 150;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Returns,
    Panics,
    Aborts,
    Segfaults,
    Exits,
    IsKilled,
    IsCancelled,
}

fn fate(n: u32) -> Fate {
    match n.wrapping_mul(2_654_435_761) >> 24 & 31 {
        0 => Fate::Panics,
        1 => Fate::Aborts,
        2 => Fate::Segfaults,
        3 => Fate::Exits,
        4 => Fate::IsKilled,
        5 => Fate::IsCancelled,
        _ => Fate::Returns,
    }
}

fn suffer((n, ballast): (u32, Blob)) -> (u32, Blob) {
    match fate(n) {
        Fate::Returns => {}
        Fate::Panics => panic!("job {n}"),
        Fate::Aborts => std::process::abort(),
        Fate::Exits => std::process::exit(3),
        // SAFETY: none; the point is that this is wrong, and that only a worker dies of it.
        Fate::Segfaults => unsafe {
            std::ptr::without_provenance::<u32>(std::hint::black_box(8)).read_volatile();
        },
        // SAFETY: a plain system call.
        Fate::IsKilled => unsafe {
            libc::kill(libc::getpid(), libc::SIGKILL);
        },
        Fate::IsCancelled => loop {
            std::thread::park();
        },
    }
    (n, ballast)
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn children() -> Vec<u32> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()
        })
        .collect()
}

fn zombies() -> usize {
    let is_zombie = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|it| it.contains(") Z "))
    };
    children().iter().filter(|pid| is_zombie(pid)).count()
}

/// How often the manager's thread has gone to sleep so far.
fn times_slept() -> String {
    let is_manager = |task: &std::path::PathBuf| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "loopool-procs\n")
    };
    let mut tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let status = std::fs::read_to_string(tasks.find(is_manager).unwrap().join("status")).unwrap();
    status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap().to_owned()
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        let numbers = (descriptors(), children(), zombies());
        assert!(start.elapsed() < HANG, "{what} does not happen: {numbers:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_storm_of_faults_costs_exactly_the_faulty_jobs_and_leaks_nothing() {
    let before = descriptors();
    let pool = ProcessPoolExecutor::new(WORKERS).unwrap();
    let quiet =
        || pool.worker_pids().len() == WORKERS && children().len() == WORKERS + 1 && zombies() == 0;
    // Every worker gets its arena and gives its result file.
    let round = |jobs: u32| {
        let jobs: Vec<_> = (0..jobs)
            .map(|n| {
                let ballast = Blob::from(vec![n as u8; if n % 5 == 0 { 50_000 } else { 10 }]);
                (n, pool.submit(call(suffer, (n, ballast))).unwrap())
            })
            .collect();
        for (n, mut job) in jobs {
            if fate(n) == Fate::IsCancelled {
                until("the start", || job.running());
                assert!(job.cancel());
            }
            let outcome = job.result(HANG);
            let signal =
                |signal| outcome.as_ref().unwrap_err().crash().unwrap().signal == Some(signal);
            match fate(n) {
                Fate::Returns => {
                    let (back, ballast) = outcome.unwrap();
                    assert_eq!(back, n);
                    assert!(ballast.iter().all(|byte| *byte == n as u8));
                }
                Fate::Panics => {
                    let text = format!("job {n}");
                    assert_eq!(outcome.unwrap_err().panic_message(), Some(&*text));
                }
                Fate::Aborts => assert!(signal(libc::SIGABRT)),
                Fate::Segfaults => assert!(signal(libc::SIGSEGV)),
                Fate::IsKilled => assert!(signal(libc::SIGKILL)),
                Fate::Exits => {
                    assert_eq!(outcome.unwrap_err().crash().unwrap().exit_code, Some(3));
                }
                Fate::IsCancelled => assert!(outcome.unwrap_err().is_cancelled()),
            }
        }
        until("the old number of workers", quiet);
    };
    round(JOBS);
    // A job socket, a lifeline, an output pipe, a pidfd; perhaps an arena and a result file.
    let most = descriptors() + 2 * WORKERS;
    for _ in 0..3 {
        round(JOBS);
        until("the old number of descriptors", || descriptors() <= most);
    }
    let expected =
        |which: fn(Fate) -> bool| 4 * (0..JOBS).filter(|n| which(fate(*n))).count() as u64;
    let stats = pool.stats();
    assert_eq!(stats.finished, expected(|fate| fate == Fate::Returns));
    assert_eq!(stats.failed, expected(|fate| fate == Fate::Panics));
    assert_eq!(stats.cancelled, expected(|fate| fate == Fate::IsCancelled));
    let crashes = [Fate::Aborts, Fate::Segfaults, Fate::Exits, Fate::IsKilled];
    assert_eq!(
        stats.crashed,
        crashes
            .map(|crash| { 4 * (0..JOBS).filter(|n| fate(*n) == crash).count() as u64 })
            .iter()
            .sum::<u64>()
    );
    assert_eq!((stats.running, stats.waiting, stats.timed_out), (0, 0, 0));

    // When nothing happens the manager sleeps: it is not even woken to look.
    until("idleness", || {
        let slept = times_slept();
        std::thread::sleep(Duration::from_millis(300));
        times_slept() == slept
    });

    // Nothing is left when it ends, and nothing when it is only dropped.
    pool.shutdown(true, false);
    assert_eq!(children(), [0u32; 0]);
    drop(pool);
    assert_eq!(descriptors(), before);
    for _ in 0..3 {
        let pool = ProcessPoolExecutor::new(WORKERS).unwrap();
        let job = pool.submit(call(suffer, (fate_of(Fate::Returns), Blob::default()))).unwrap();
        drop(job);
        drop(pool);
        until("the end", || children().is_empty() && descriptors() == before);
    }
}

fn fate_of(wanted: Fate) -> u32 {
    (0..).find(|n| fate(*n) == wanted).unwrap()
}
