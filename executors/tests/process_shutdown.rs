//! How pools of processes end: with what runs, with what can't be carried, by force.

use std::time::{Duration, Instant};

use loopool_executors::{Executor, Job, JobError, ProcessPoolExecutor, call};

/// No test comes near this unless something hangs.
const HANG: Duration = Duration::from_secs(120);

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

fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}

/// Waits until the file is gone.
fn hold(path: String) -> u32 {
    while std::fs::exists(&path).unwrap() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::process::id()
}

fn park(_: u32) -> u32 {
    loop {
        std::thread::park();
    }
}

fn path(name: &str) -> String {
    let path = std::env::temp_dir().join(format!("loopool-{name}-{}", std::process::id()));
    path.into_os_string().into_string().unwrap()
}

#[test]
fn a_shutdown_that_cancels_lets_what_runs_end_with_its_result() {
    let pool = ProcessPoolExecutor::new(2).unwrap();
    let file = path("held");
    std::fs::write(&file, "").unwrap();
    let running = [0, 1].map(|_| pool.submit(call(hold, file.clone())).unwrap());
    until("the start", || pool.stats().running == 2);
    let waiting: Vec<_> =
        (0..100).map(|_| pool.submit(call(hold, file.clone())).unwrap()).collect();
    pool.shutdown(false, true);
    let mut decided = 0;
    for job in waiting {
        assert!(job.done() && outcome(job).unwrap_err().is_cancelled());
        decided += 1;
    }
    assert_eq!((decided, pool.stats().running), (100, 2));
    std::fs::remove_file(&file).unwrap();
    for job in running {
        outcome(job).unwrap();
    }
    let stats = pool.shutdown(true, false);
    assert_eq!((stats.finished, stats.cancelled, stats.running, stats.workers), (2, 100, 0, 0));
}

/// Will not be written.
struct Stubborn;

impl serde::Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("I will not go"))
    }
}

impl<'de> serde::Deserialize<'de> for Stubborn {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Stubborn)
    }
}

#[test]
fn what_cannot_be_carried_after_a_shutdown_that_does_not_wait_fails_and_the_pool_ends() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let file = path("stubborn");
    std::fs::write(&file, "").unwrap();
    let result = pool.submit(call(
        |path: String| {
            hold(path);
            Stubborn
        },
        file.clone(),
    ));
    let argument = pool.submit(call(|_: Stubborn| 1, Stubborn));
    let behind: Job<Stubborn> = pool.submit(call(|_: u32| Stubborn, 1)).unwrap();
    pool.shutdown(false, false);
    std::fs::remove_file(&file).unwrap();
    assert!(outcome(result.unwrap()).err().unwrap().is_codec());
    assert!(outcome(argument.unwrap()).unwrap_err().is_codec());
    assert!(outcome(behind).err().unwrap().is_codec());
    let stats = pool.shutdown(true, false);
    assert_eq!((stats.submitted, stats.failed, stats.workers), (3, 3, 0));
}

#[test]
fn killed_workers_are_gone_with_what_they_ran_and_the_pool_is_of_no_use() {
    let pool = ProcessPoolExecutor::new(2).unwrap();
    let running = [1, 2].map(|n| pool.submit(call(park, n)).unwrap());
    until("the start", || pool.stats().running == 2);
    let waiting: Vec<_> = (0..10).map(|n| pool.submit(call(park, n)).unwrap()).collect();
    let workers = pool.worker_pids();
    assert_eq!(workers.len(), 2);
    pool.kill_workers();
    for job in running.into_iter().chain(waiting) {
        assert!(outcome(job).unwrap_err().is_cancelled());
    }
    until("the end of the workers", || !workers.iter().any(|pid| is_alive(*pid)));
    assert!(pool.submit(call(park, 1)).unwrap_err().is_shut_down());
    pool.kill_workers();
    let stats = pool.shutdown(true, false);
    assert_eq!((stats.cancelled, stats.finished, stats.crashed, stats.workers), (12, 0, 0, 0));
    pool.kill_workers();
    assert!(pool.worker_pids().is_empty() && pool.fork_server_pid().is_none());
}

#[test]
fn workers_are_killed_after_a_shutdown_that_lets_them_run() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let running = pool.submit(call(park, 1)).unwrap();
    until("the start", || pool.stats().running == 1);
    let waiting = pool.submit(call(park, 2)).unwrap();
    pool.shutdown(false, false);
    assert!(!waiting.done());
    pool.kill_workers();
    assert!(outcome(running).unwrap_err().is_cancelled());
    assert!(outcome(waiting).unwrap_err().is_cancelled());
    assert_eq!(pool.shutdown(true, false).cancelled, 2);
}

#[test]
fn a_pool_whose_workers_are_still_to_come_is_killed_too() {
    for _ in 0..20 {
        let pool = ProcessPoolExecutor::new(3).unwrap();
        let jobs = [1, 2, 3].map(|n| pool.submit(call(park, n)).unwrap());
        pool.kill_workers();
        for job in jobs {
            assert!(outcome(job).unwrap_err().is_cancelled());
        }
        assert_eq!(pool.shutdown(true, false).cancelled, 3);
    }
}

/// Says when it is asked to end, and does so.
fn heed(path: String) {
    let token = loopool_executors::CancelToken::current().unwrap();
    std::fs::write(format!("{path}-begun"), "").unwrap();
    token.wait(None);
    std::fs::write(path, "asked").unwrap();
}

#[test]
fn workers_that_are_terminated_are_asked_first() {
    let pool = ProcessPoolExecutor::builder().workers(2).cancel_grace(HANG).build().unwrap();
    let paths = ["terminated-1", "terminated-2"].map(path);
    let running = paths.clone().map(|path| pool.submit(call(heed, path)).unwrap());
    let begun = |path: &String| std::fs::exists(format!("{path}-begun")).unwrap();
    until("the start", || paths.iter().all(begun));
    let workers = pool.worker_pids();
    let waiting: Vec<_> = (0..5).map(|n| pool.submit(call(park, n)).unwrap()).collect();
    pool.terminate_workers();
    for job in running {
        assert!(outcome(job).unwrap_err().is_cancelled());
    }
    for job in waiting {
        assert!(outcome(job).unwrap_err().is_cancelled());
    }
    assert!(pool.submit(call(park, 1)).unwrap_err().is_shut_down());
    pool.terminate_workers();
    let stats = pool.shutdown(true, false);
    assert_eq!((stats.cancelled, stats.workers), (7, 0));
    assert!(!workers.iter().any(|pid| is_alive(*pid)));
    for path in paths {
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "asked");
        std::fs::remove_file(format!("{path}-begun")).unwrap();
        std::fs::remove_file(path).unwrap();
    }
}

/// One that does not heed is killed, by force, while it is asked.
#[test]
fn who_is_terminated_and_stays_can_be_killed() {
    let pool = ProcessPoolExecutor::builder().workers(1).cancel_grace(HANG).build().unwrap();
    let begun = path("stubborn");
    let stays = |path: String| {
        std::fs::write(path, "").unwrap();
        park(0)
    };
    let stubborn = pool.submit(call(stays, begun.clone())).unwrap();
    until("the start", || std::fs::exists(&begun).unwrap());
    std::fs::remove_file(begun).unwrap();
    let [worker] = pool.worker_pids()[..] else { panic!("one worker") };
    pool.terminate_workers();
    assert!(outcome(stubborn).unwrap_err().is_cancelled());
    assert!(is_alive(worker));
    pool.kill_workers();
    pool.shutdown(true, false);
    assert!(!is_alive(worker));
}
