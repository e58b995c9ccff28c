//! Which workers a pool has, and how they are told apart.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use loopool_executors::{Executor, Job, ProcessPoolExecutor, call};

/// No test comes near this unless something hangs.
const HANG: Duration = Duration::from_secs(120);

fn who(_: u32) -> u32 {
    std::process::id()
}

fn park(_: u32) -> u32 {
    loop {
        std::thread::park();
    }
}

fn name(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap()
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < HANG, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn jobs_one_after_the_other_need_one_worker() {
    let pool = ProcessPoolExecutor::new(4).unwrap();
    assert_eq!(pool.worker_pids(), [0u32; 0], "nobody before there is a job");
    let ask = |n| pool.submit(call(who, n)).unwrap().result(HANG).unwrap();
    let pids: BTreeSet<u32> = (0..50).map(ask).collect();
    assert_eq!((pids.len(), pool.worker_pids().len()), (1, 1));
}

#[test]
fn there_are_never_more_workers_than_allowed() {
    let pool = ProcessPoolExecutor::new(3).unwrap();
    let parked = [1, 2].map(|n| pool.submit(call(park, n)).unwrap());
    let jobs: Vec<Job<u32>> = (0..200).map(|n| pool.submit(call(who, n)).unwrap()).collect();
    let mut pids = BTreeSet::new();
    for mut job in jobs {
        pids.insert(job.result(HANG).unwrap());
        assert!(pool.worker_pids().len() <= 3);
    }
    assert!((1..=3).contains(&pids.len()), "{pids:?}");
    // Those that are parked have a worker each, and keep it.
    until("their start", || pool.stats().running == 2);
    assert!(parked.iter().all(Job::cancel));
}

#[test]
fn by_default_there_are_as_many_as_cpus_that_may_be_used() {
    let pool = ProcessPoolExecutor::builder().build().unwrap();
    let cpus = std::thread::available_parallelism().unwrap().get();
    let jobs: Vec<Job<u32>> =
        (0..cpus as u32 + 3).map(|n| pool.submit(call(park, n)).unwrap()).collect();
    until("the start", || pool.stats().running == cpus);
    assert_eq!((pool.worker_pids().len(), pool.stats().waiting), (cpus, 3));
    pool.kill_workers();
    drop(jobs);
}

/// The calling thread may use one CPU from now on: the first one that it may use now.
fn use_one_cpu() {
    // SAFETY: an all-zero set is an empty one; the calls read and write sets of the size given.
    unsafe {
        let mut now: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        assert_eq!(libc::sched_getaffinity(0, size, &mut now), 0);
        let first = (0..libc::CPU_SETSIZE as usize).find(|cpu| libc::CPU_ISSET(*cpu, &now));
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(first.unwrap(), &mut one);
        assert_eq!(libc::sched_setaffinity(0, size, &one), 0);
    }
}

#[test]
fn cpus_that_may_not_be_used_do_not_count() {
    use_one_cpu();
    let pool = ProcessPoolExecutor::builder().build().unwrap();
    let jobs = [1, 2, 3].map(|n| pool.submit(call(park, n)).unwrap());
    until("the start", || pool.stats().running == 1);
    assert_eq!((pool.worker_pids().len(), pool.stats().waiting), (1, 2));
    pool.kill_workers();
    drop(jobs);
}

#[test]
fn workers_and_fork_server_have_names() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let worker = pool.submit(call(who, 1)).unwrap().result(HANG).unwrap();
    assert_eq!(name(worker), "loopool-worker\n");
    assert_eq!(name(pool.fork_server_pid().unwrap()), "loopool-server\n");
}

#[test]
fn results_come_as_jobs_end_not_as_they_began() {
    let pool = ProcessPoolExecutor::new(2).unwrap();
    let parked = pool.submit(call(park, 1)).unwrap();
    for n in 0..20 {
        assert!(pool.submit(call(who, n)).unwrap().result(HANG).is_ok());
    }
    assert!(!parked.done() && parked.cancel());
}

/// A file of this test program, which its workers know, too.
fn file(program: u32, name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("loopool-staff-{program}-{name}"))
}

#[test]
fn jobs_failed_though_a_worker_was_there_because_others_did_not_start() {
    fn only_one_lives() -> Result<(), String> {
        match std::fs::File::create_new(file(std::os::unix::process::parent_id(), "one")) {
            Ok(_) => Ok(()),
            Err(_) => std::process::exit(9),
        }
    }
    fn hold(path: PathBuf) -> u32 {
        while path.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::process::id()
    }
    let pool =
        ProcessPoolExecutor::builder().workers(2).initializer(only_one_lives).build().unwrap();
    let held = file(std::process::id(), "held");
    std::fs::write(&held, "").unwrap();
    let jobs: Vec<Job<u32>> =
        (0..20).map(|_| pool.submit(call(hold, held.clone())).unwrap()).collect();
    until("giving up", || pool.snapshot().starts.is_open);
    // A few more failures.
    let failures = pool.snapshot().starts.failures;
    until("another try", || pool.snapshot().starts.failures > failures);
    assert!(!jobs.iter().any(Job::done), "one is held, and the others wait for its worker");
    std::fs::remove_file(&held).unwrap();
    let pids: BTreeSet<u32> = jobs.into_iter().map(|mut job| job.result(HANG).unwrap()).collect();
    assert_eq!(pids.len(), 1);
    std::fs::remove_file(file(std::process::id(), "one")).unwrap();
}

#[test]
fn as_many_workers_as_there_are_numbers_were_too_many() {
    let pool = ProcessPoolExecutor::new(usize::MAX).unwrap();
    let jobs: Vec<Job<u32>> = (0..3).map(|n| pool.submit(call(who, n)).unwrap()).collect();
    jobs.into_iter().for_each(|mut job| assert!(job.result(HANG).is_ok()));
}

#[test]
fn a_fork_server_could_not_have_all_the_time_there_is() {
    let pool =
        ProcessPoolExecutor::builder().workers(1).handshake_timeout(Duration::MAX).build().unwrap();
    let server = pool.fork_server_pid().unwrap();
    // SAFETY: it was not reaped.
    unsafe { libc::kill(server as i32, libc::SIGKILL) };
    until("another fork server", || pool.fork_server_pid().is_some_and(|pid| pid != server));
    assert!(pool.submit(call(who, 1)).unwrap().result(HANG).is_ok());
}
