//! Workers of a pool of processes that are replaced because they have had their time, without victims.

mod common;

use std::collections::HashMap;
use std::time::Duration;

use common::{take, until};
use loopool_executors::{Executor, ProcessPoolExecutor, call};

fn pid(_: ()) -> u32 {
    std::process::id()
}

#[test]
fn with_one_job_per_worker_each_has_a_process_of_its_own() {
    let pool = ProcessPoolExecutor::builder().workers(2).max_tasks_per_child(1).build().unwrap();
    let jobs: Vec<_> = (0..40).map(|_| pool.submit(call(pid, ())).unwrap()).collect();
    let mut pids: Vec<u32> = jobs.into_iter().map(|mut job| take(&mut job).unwrap()).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 40);
    let stats = pool.shutdown(true, false);
    assert_eq!((stats.finished, stats.crashed, stats.failed), (40, 0, 0));
}

/// Writes down when it comes and when it goes.
fn come_and_go(path: String) -> u32 {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(b"+").unwrap();
    file.write_all(b"-").unwrap();
    std::process::id()
}

#[test]
fn no_worker_runs_more_jobs_than_it_may_and_no_more_of_them_work_at_a_time() {
    for (workers, most) in [(1, 5), (3, 5), (2, 40)] {
        let pool = ProcessPoolExecutor::builder()
            .workers(workers)
            .max_tasks_per_child(most)
            .build()
            .unwrap();
        let notes = std::env::temp_dir()
            .join(format!("loopool-recycling-{}-{workers}-{most}", std::process::id()));
        let path = notes.display().to_string();
        let submit = |_| pool.submit(call(come_and_go, path.clone())).unwrap();
        let jobs: Vec<_> = (0..200).map(submit).collect();
        let mut per_worker: HashMap<u32, u64> = HashMap::new();
        for mut job in jobs {
            *per_worker.entry(take(&mut job).unwrap()).or_default() += 1;
        }
        assert!(per_worker.values().all(|jobs| *jobs <= most), "{per_worker:?}");
        let (mut inside, mut together) = (0, 0);
        for step in std::fs::read(&notes).unwrap() {
            inside += if step == b'+' { 1 } else { -1 };
            together = together.max(inside);
        }
        std::fs::remove_file(&notes).unwrap();
        assert!(inside == 0 && (1..=workers as i32).contains(&together), "{together}");
        let least = most - most / 8;
        let used_up = per_worker.values().filter(|jobs| **jobs >= least).count();
        // But for the last, and the successors that were ready for them.
        let last = 2 * workers;
        assert!(used_up + last >= per_worker.len(), "each has had its time: {per_worker:?}");
    }
}

#[test]
fn an_old_worker_goes_when_its_successor_is_there_and_never_with_a_job() {
    let age = Duration::from_millis(20);
    let pool = ProcessPoolExecutor::builder().workers(1).max_worker_age(age).build().unwrap();
    // Older than it may be by the end of this job.
    let nap = |ms: u64| {
        std::thread::sleep(Duration::from_millis(ms));
        std::process::id()
    };
    let first = take(&mut pool.submit(call(nap, 200)).unwrap()).unwrap();
    let mut seen = vec![first];
    until("three more have come", || {
        assert!(!pool.worker_pids().is_empty(), "there is always one");
        let pid = take(&mut pool.submit(call(pid, ())).unwrap()).unwrap();
        if !seen.contains(&pid) {
            seen.push(pid);
        }
        seen.len() >= 4
    });
    // Without any job, too.
    let last = pool.worker_pids();
    until("another one comes", || {
        let now = pool.worker_pids();
        assert!(!now.is_empty());
        now.iter().all(|pid| !last.contains(pid))
    });
    let stats = pool.shutdown(true, false);
    assert_eq!((stats.finished, stats.crashed, stats.failed), (stats.submitted, 0, 0));
}

/// Takes memory and keeps it.
fn keep(mib: usize) -> u32 {
    std::mem::forget(std::hint::black_box(vec![1u8; mib << 20]));
    std::process::id()
}

#[test]
fn a_worker_that_has_grown_is_replaced_and_one_that_has_not_stays() {
    let pool =
        ProcessPoolExecutor::builder().workers(1).max_worker_memory(256 << 20).build().unwrap();
    let first = take(&mut pool.submit(call(keep, 1)).unwrap()).unwrap();
    for _ in 0..30 {
        // More than the time between two looks, in all.
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(take(&mut pool.submit(call(keep, 1)).unwrap()).unwrap(), first);
    }
    assert_eq!(take(&mut pool.submit(call(keep, 300)).unwrap()).unwrap(), first);
    // Nobody submits: it is looked at all the same.
    until("it goes", || {
        let now = pool.worker_pids();
        assert!(!now.is_empty(), "there is always one");
        !now.contains(&first)
    });
    let second = take(&mut pool.submit(call(keep, 1)).unwrap()).unwrap();
    assert_ne!(second, first);
    assert_eq!(pool.stats().crashed, 0);
}

#[test]
fn workers_that_grow_together_go_one_by_one() {
    let pool =
        ProcessPoolExecutor::builder().workers(3).max_worker_memory(200 << 20).build().unwrap();
    let grow = |mib: usize| {
        let pid = keep(mib);
        // So that each has one.
        std::thread::sleep(Duration::from_millis(100));
        pid
    };
    let jobs: Vec<_> = (0..3).map(|_| pool.submit(call(grow, 220)).unwrap()).collect();
    let grown: Vec<u32> = jobs.into_iter().map(|mut job| take(&mut job).unwrap()).collect();
    until("they go", || {
        let now = pool.worker_pids();
        assert!((3..=4).contains(&now.len()), "three, or three and a successor: {now:?}");
        now.iter().all(|pid| !grown.contains(pid))
    });
    assert_eq!(pool.stats().crashed, 0);
}

#[test]
fn a_job_that_did_not_end_kept_all_workers_from_being_replaced() {
    fn block(_: ()) {
        loop {
            std::thread::park();
        }
    }
    let builder = ProcessPoolExecutor::builder().workers(2).min_workers(2);
    let pool = builder.max_worker_age(Duration::from_millis(20)).build().unwrap();
    let job = pool.submit(call(block, ())).unwrap();
    until("the others go on being replaced", || pool.snapshot().recycled >= 6);
    assert_eq!(pool.stats().running, 1);
    assert!(job.cancel());
}
