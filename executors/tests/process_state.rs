//! What the workers of a pool of processes keep from job to job, and items in chunks.

mod common;

use std::sync::atomic::{AtomicU32, Ordering};

use common::{take, until};
use loopool_executors::jobs::map_calls;
use loopool_executors::{
    Blob, CpuExecutor, Executor, JobOptions, ProcessPoolExecutor, RejectReason, ThreadPoolExecutor,
    call, call_with,
};

static PREPARED: AtomicU32 = AtomicU32::new(0);

/// Not `Send`, and counts.
struct Counter {
    made_as: u32,
    jobs: std::rc::Rc<std::cell::Cell<u32>>,
}

fn make() -> Result<Counter, String> {
    let made_as = PREPARED.fetch_add(1, Ordering::Relaxed);
    Ok(Counter { made_as, jobs: Default::default() })
}

/// The pid, how many states there were before this one in the process, and how many jobs before this one.
fn count(state: &mut Counter, fail: bool) -> (u32, u32, u32) {
    let jobs = state.jobs.get();
    state.jobs.set(jobs + 1);
    assert!(!fail, "with {jobs} before");
    (std::process::id(), state.made_as, jobs)
}

#[test]
fn a_state_is_made_once_in_each_worker_and_stays() {
    let pool = ProcessPoolExecutor::builder().workers(1).state(make).build().unwrap();
    let mut pids = Vec::new();
    for jobs in 0..5 {
        let (pid, made_as, before) =
            take(&mut pool.submit(call_with(count, false)).unwrap()).unwrap();
        assert_eq!((made_as, before), (0, jobs));
        pids.push(pid);
        // Others go on as always.
        assert_eq!(take(&mut pool.submit(call(|n: u32| n, jobs)).unwrap()).unwrap(), jobs);
    }
    assert!(pids.iter().all(|pid| *pid == pids[0] && *pid != std::process::id()));
    assert_eq!(PREPARED.load(Ordering::Relaxed), 0, "not in the program");
}

#[test]
fn a_state_is_made_after_the_initializer() {
    fn initialize() -> Result<(), String> {
        PREPARED.store(7, Ordering::Relaxed);
        Ok(())
    }
    let builder = ProcessPoolExecutor::builder().workers(1).initializer(initialize).state(make);
    let pool = builder.build().unwrap();
    let (_, made_as, _) = take(&mut pool.submit(call_with(count, false)).unwrap()).unwrap();
    assert_eq!(made_as, 7);
}

#[test]
fn a_panic_costs_the_state_and_its_worker_and_no_other_job() {
    let pool = ProcessPoolExecutor::builder().workers(1).state(make).build().unwrap();
    let (first, _, _) = take(&mut pool.submit(call_with(count, false)).unwrap()).unwrap();
    let mut fails = pool.submit(call_with(count, true)).unwrap();
    let waiting: Vec<_> = (0..10).map(|_| pool.submit(call_with(count, false)).unwrap()).collect();
    assert_eq!(take(&mut fails).unwrap_err().panic_message(), Some("with 1 before"));
    for (before, mut job) in waiting.into_iter().enumerate() {
        let (pid, _, jobs) = take(&mut job).unwrap();
        assert_ne!(pid, first);
        assert_eq!(jobs as usize, before, "it is a new one");
    }
    let stats = pool.shutdown(true, false);
    assert_eq!((stats.finished, stats.failed, stats.crashed), (11, 1, 0));
}

#[test]
fn a_panic_of_a_job_without_state_costs_neither() {
    let pool = ProcessPoolExecutor::builder().workers(1).state(make).build().unwrap();
    let (first, _, _) = take(&mut pool.submit(call_with(count, false)).unwrap()).unwrap();
    let fail: fn(()) = |()| panic!("no");
    assert!(take(&mut pool.submit(call(fail, ())).unwrap()).unwrap_err().is_panic());
    let (pid, _, jobs) = take(&mut pool.submit(call_with(count, false)).unwrap()).unwrap();
    assert_eq!((pid, jobs), (first, 1));
}

#[test]
fn a_state_that_is_not_there_is_refused_before_anything_is_sent() {
    let without = ProcessPoolExecutor::new(1).unwrap();
    let other = ProcessPoolExecutor::builder().workers(1).state(|| Ok(0u8)).build().unwrap();
    for (pool, words) in [(&without, "without `state`"), (&other, "one of type u8")] {
        let refused = pool.submit(call_with(count, true)).unwrap_err();
        assert!(matches!(refused.reason(), RejectReason::WrongState(_)));
        let text = refused.to_string();
        assert!(text.contains("Counter") && text.contains(words), "{text}");
        assert!(refused.into_work().into_argument(), "it comes back");
        assert_eq!((pool.stats().submitted, pool.worker_pids().len()), (0, 0));
    }
}

#[test]
fn threads_and_cores_have_none_and_say_so() {
    let on_thread = ThreadPoolExecutor::new(1).submit(call_with(count, false)).unwrap();
    let on_core = CpuExecutor::new(1).unwrap().submit(call_with(count, false)).unwrap();
    for mut job in [on_thread, on_core] {
        let error = take(&mut job).unwrap_err();
        let text = error.panic_message().unwrap();
        assert!(text.contains("Counter") && text.contains("no state"), "{text}");
    }
}

#[test]
fn a_state_that_cannot_be_made_breaks_the_pool_with_its_reason() {
    let error: fn() -> Result<Counter, String> = || Err("no model file".to_owned());
    let panic: fn() -> Result<Counter, String> = || panic!("no model file");
    for make in [error, panic] {
        let pool = ProcessPoolExecutor::builder().workers(1).state(make).build().unwrap();
        let mut job = pool.submit(call_with(count, false)).unwrap();
        let error = take(&mut job).unwrap_err();
        let text = error.to_string();
        assert!(error.is_rejected() && text.contains("no model file") && text.contains("state"));
        until("the end of the workers", || pool.worker_pids().is_empty());
    }
}

#[test]
fn chunks_cross_and_what_befalls_one_item_does_not_befall_the_others() {
    fn half(n: u64) -> u64 {
        assert!(n.is_multiple_of(2), "{n} is odd");
        n / 2
    }
    let pool = ProcessPoolExecutor::new(2).unwrap();
    for chunksize in [1, 3, 100] {
        let before = pool.stats().submitted;
        let results: Vec<_> =
            map_calls(&pool, half, 0..50).chunksize(chunksize).into_iter().collect();
        assert_eq!(results.len(), 50);
        for (n, result) in results.into_iter().enumerate() {
            match result {
                Ok(half) => assert_eq!(half * 2, n as u64),
                Err(error) => {
                    assert_eq!(error.panic_message(), Some(&*format!("{n} is odd")));
                    assert!(error.to_string().contains("process_state.rs"), "{error}");
                    assert!(!n.is_multiple_of(2));
                }
            }
        }
        let jobs = pool.stats().submitted - before;
        assert_eq!(jobs, 50u64.div_ceil(chunksize as u64), "so many messages");
    }
    let lengths =
        map_calls(&pool, |blob: Blob| blob.len(), (0..9).map(|n| vec![0; n * 20_000].into()));
    let lengths: Result<Vec<usize>, _> = lengths.chunksize(4).into_iter().collect();
    assert_eq!(lengths.unwrap().iter().sum::<usize>(), 36 * 20_000);
}

#[test]
fn a_worker_that_ran_an_item_was_killed_with_the_iterator() {
    let sign = |path: &str, name: &str| std::path::PathBuf::from(format!("{path}.{name}"));
    let work = |(n, path): (u32, String)| {
        if n == 1 {
            std::fs::write(format!("{path}.begun"), "").unwrap();
            until("it may end", || std::fs::exists(format!("{path}.release")).unwrap());
        }
    };
    let path = std::env::temp_dir().join(format!("loopool-map-{}", std::process::id()));
    let path = path.into_os_string().into_string().unwrap();
    let pool = ProcessPoolExecutor::new(2).unwrap();
    let mut results = map_calls(&pool, work, [0, 1].map(|n| (n, path.clone()))).into_iter();
    results.next().unwrap().unwrap();
    until("it has begun", || sign(&path, "begun").exists());
    drop(results);
    std::fs::write(sign(&path, "release"), "").unwrap();
    let stats = pool.shutdown(true, false);
    assert_eq!((stats.finished, stats.cancelled), (2, 0));
    ["begun", "release"].iter().for_each(|name| std::fs::remove_file(sign(&path, name)).unwrap());
}

#[test]
fn a_crash_costs_its_chunk_and_options_are_for_chunks_too() {
    let crash = |n: u32| if n == 5 { std::process::abort() } else { n };
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let results: Vec<_> = map_calls(&pool, crash, 0..12).chunksize(4).into_iter().collect();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 8);
    assert_eq!(results[4].as_ref().unwrap_err().crash().unwrap().signal, Some(libc::SIGABRT));
    let brief = pool.with(JobOptions::new().deadline(std::time::Instant::now()));
    let results: Vec<_> = map_calls(&brief, crash, 0..2).chunksize(2).into_iter().collect();
    assert!(results[0].as_ref().unwrap_err().is_queue_timeout());
    // Endless, as for any other executor.
    let hundred: Vec<_> =
        map_calls(&pool, |n: u32| n, 0..).buffersize(3).into_iter().take(100).collect();
    assert!(hundred.into_iter().enumerate().all(|(n, result)| result.unwrap() == n as u32));
}
