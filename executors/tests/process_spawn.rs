//! Workers that begin by an exec of their own.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use loopool_executors::{
    CrashCause, Executor, Job, JobError, JobOptions, ProcessPoolBuilder, ProcessPoolExecutor,
    Retry, Sandbox, StartMethod, call,
};

/// No test comes near this unless something hangs.
const HANG: Duration = Duration::from_secs(120);

fn spawning() -> ProcessPoolBuilder {
    ProcessPoolExecutor::builder().workers(1).start_method(StartMethod::Spawn)
}

fn outcome<T>(mut job: Job<T>) -> Result<T, JobError> {
    let outcome = job.result(HANG);
    assert!(!outcome.as_ref().is_err_and(JobError::is_wait_timeout), "hangs");
    outcome
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < HANG, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn add_one(n: u64) -> u64 {
    n + 1
}

fn deeper(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 100]);
    if n == u64::MAX { 0 } else { deeper(frame[0] + 1) + frame[99] }
}

fn wild(_: u64) -> u64 {
    // SAFETY: none; the point is that this is wrong, and that only a worker dies of it.
    unsafe { std::ptr::without_provenance::<u64>(std::hint::black_box(8)).read_volatile() }
}

#[test]
fn jobs_end_as_they_do_elsewhere() {
    let pool = spawning().workers(2).build().unwrap();
    let jobs: Vec<_> = (0..500).map(|n| pool.submit(call(add_one, n)).unwrap()).collect();
    for (n, job) in (0..).zip(jobs) {
        assert_eq!(outcome(job).unwrap(), n + 1);
    }
    let panics = |n: u64| -> u64 { panic!("number {n}") };
    let error = outcome(pool.submit(call(panics, 7)).unwrap()).unwrap_err();
    assert_eq!(error.panic_message(), Some("number 7"));
    let aborts = |_: u64| -> u64 { std::process::abort() };
    for (fault, cause) in [
        (aborts as fn(u64) -> u64, CrashCause::Abort),
        (deeper, CrashCause::StackOverflow),
        (wild, CrashCause::Segfault),
    ] {
        let error = outcome(pool.submit(call(fault, 1)).unwrap()).unwrap_err();
        assert_eq!(error.crash().map(|report| report.cause), Some(cause), "{error}");
        assert_eq!(outcome(pool.submit(call(add_one, 1)).unwrap()).unwrap(), 2);
    }
    let park = |_: u64| -> u64 {
        loop {
            std::thread::park();
        }
    };
    let endless = pool.submit(call(park, 1)).unwrap();
    until("the job", || pool.stats().running == 1);
    assert!(endless.cancel() && outcome(endless).unwrap_err().is_cancelled());
    let large = vec![3u8; 8 << 20];
    let reversed = |mut bytes: Vec<u8>| {
        bytes.reverse();
        bytes
    };
    assert_eq!(outcome(pool.submit(call(reversed, large.clone())).unwrap()).unwrap(), large);
    let retry = Retry::new(2).on_crash().idempotent();
    let retried = pool.with(JobOptions::new().retry(retry)).submit(call(aborts, 1)).unwrap();
    assert_eq!(outcome(retried).unwrap_err().quarantine().map(<[_]>::len), Some(2));
    pool.shutdown(true, false);
}

/// What is the same in all processes of a program that are copies of one.
fn addresses(_: u64) -> (u64, usize, usize) {
    let local = 0u8;
    let here = addresses as fn(u64) -> (u64, usize, usize);
    let random = std::fs::read_to_string("/proc/sys/kernel/randomize_va_space");
    let random = random.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    (random, here as usize, (&raw const local).addr())
}

#[test]
#[allow(clippy::print_stdout, reason = "what is skipped is named")]
fn each_has_addresses_of_its_own() {
    // Each job has a new worker.
    let places = |builder: ProcessPoolBuilder| -> HashSet<(usize, usize)> {
        let pool = builder.workers(1).max_tasks_per_child(1).build().unwrap();
        let jobs: Vec<_> = (0..4).map(|_| pool.submit(call(addresses, 0)).unwrap()).collect();
        let places = jobs.into_iter().map(|job| outcome(job).unwrap());
        places.map(|(_, code, stack)| (code, stack)).collect()
    };
    if addresses(0).0 == 0 {
        return println!("skipped: this system gives every process the same addresses");
    }
    assert_eq!(places(ProcessPoolExecutor::builder()).len(), 1, "copies are alike");
    assert_eq!(places(spawning()).len(), 4);
}

/// Of each descriptor that is open in a worker, what it is.
fn descriptors(_: u64) -> Vec<String> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let mut kinds: Vec<String> = targets
        .map(|path| path.display().to_string().split([':', '/']).next().unwrap_or("").to_owned())
        .collect();
    kinds.sort_unstable();
    kinds
}

#[test]
fn it_has_what_a_copy_has_and_no_more() {
    let open =
        |pool: &ProcessPoolExecutor| outcome(pool.submit(call(descriptors, 0)).unwrap()).unwrap();
    let copies = ProcessPoolExecutor::new(1).unwrap();
    assert_eq!(open(&spawning().build().unwrap()), open(&copies));
    // What a job starts inherits none of it.
    let inherited = |_: u64| {
        let list = std::process::Command::new("ls").arg("/proc/self/fd").output().unwrap();
        String::from_utf8(list.stdout).unwrap().split_whitespace().count() as u64
    };
    let pool = spawning().build().unwrap();
    let [ours, theirs] =
        [&pool, &copies].map(|pool| outcome(pool.submit(call(inherited, 0)).unwrap()).unwrap());
    assert_eq!(ours, theirs);
}

#[test]
fn options_hold_for_it() {
    let pool = spawning()
        .env("LOOPOOL_SPAWNED", "yes")
        .initializer(|| match std::env::var("LOOPOOL_SPAWNED") {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        })
        .memory_limit(1 << 30)
        .sandbox(Sandbox::no_network().best_effort())
        .state(|| Ok(40u64))
        .max_tasks_per_child(3)
        .build()
        .unwrap();
    let pids: HashSet<u64> = (0..6)
        .map(|_| outcome(pool.submit(call(|_: u64| u64::from(std::process::id()), 0)).unwrap()))
        .map(Result::unwrap)
        .collect();
    assert_eq!(pids.len(), 2);
    assert_eq!(pool.enforced().unwrap().memory_limit, Some(1 << 30));
    let refused = |_: u64| std::net::UdpSocket::bind("127.0.0.1:0").is_err();
    let is_confined = pool.enforced().unwrap().seccomp;
    assert_eq!(outcome(pool.submit(call(refused, 0)).unwrap()).unwrap(), is_confined);
    let nested = |_: u64| ProcessPoolExecutor::new(1).is_err();
    assert!(outcome(pool.submit(call(nested, 0)).unwrap()).unwrap(), "it is daemonic");
}
