//! The process pool: what crosses, what waits, what is cancelled, what ends.

use std::error::Error;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use loopool_executors::jobs::map_calls;
use loopool_executors::{
    Blob, Executor, Job, JobError, ProcessPoolError, ProcessPoolExecutor, RejectReason, call,
};

/// No test comes near this unless something hangs.
const HANG: Duration = Duration::from_secs(120);

fn outcome<T>(mut job: Job<T>) -> Result<T, JobError> {
    let outcome = job.result(HANG);
    assert!(!matches!(&outcome, Err(error) if error.is_wait_timeout()), "hangs");
    outcome
}

fn add_one(n: u32) -> u32 {
    n + 1
}

fn length<T>(items: Vec<T>) -> usize {
    items.len()
}

#[test]
fn items_generic_instances_and_plain_closures_cross() {
    let pool = ProcessPoolExecutor::new(2).unwrap();
    assert_eq!(outcome(pool.submit(call(add_one, 1)).unwrap()).unwrap(), 2);
    assert_eq!(outcome(pool.submit(call(length::<String>, vec!["a".into()])).unwrap()).unwrap(), 1);
    assert_eq!(outcome(pool.submit(call(length::<u8>, vec![1, 2])).unwrap()).unwrap(), 2);
    let closure = |(a, b): (String, Option<f64>)| format!("{a}{b:?}");
    let job = pool.submit(call(closure, ("x".to_owned(), Some(1.5)))).unwrap();
    assert_eq!(outcome(job).unwrap(), "xSome(1.5)");
    assert_eq!(outcome(pool.submit(call(Some::<u8>, 7)).unwrap()).unwrap(), Some(7));
    assert_eq!(pool.stats().finished, 5);
}

#[test]
fn a_job_runs_in_another_process_of_the_pool() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let pid = outcome(pool.submit(call(|()| std::process::id(), ())).unwrap()).unwrap();
    assert_ne!(pid, std::process::id());
    assert_eq!(pool.worker_pids(), [pid]);
    assert_ne!(pool.fork_server_pid(), Some(pid));
    let again = outcome(pool.submit(call(|()| std::process::id(), ())).unwrap()).unwrap();
    assert_eq!(again, pid, "a worker runs many jobs");
}

#[test]
fn large_values_cross_in_the_message_and_beside_it() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    for len in [0usize, 1, 4095, 4096, 4097, 32_760, 32_768, 70_000, 1 << 20, 5 << 20] {
        let bytes: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
        let back = outcome(pool.submit(call(|bytes: Vec<u8>| bytes, bytes.clone())).unwrap());
        assert!(back.unwrap() == bytes, "a vector of {len}");
        let blob = Blob::from(bytes.clone());
        let back = outcome(pool.submit(call(|blob: Blob| blob, blob)).unwrap()).unwrap();
        assert!(back.into_vec() == bytes, "a blob of {len}");
    }
}

#[test]
fn sixty_four_mebibytes_cross_both_ways() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    for round in 1..=2u8 {
        let blob = Blob::from(vec![round; 64 << 20]);
        let job = pool.submit(call(double, blob)).unwrap();
        let back = outcome(job).unwrap();
        assert_eq!(back.len(), 64 << 20);
        assert!(is_full_of(round * 2, &back));
    }
}

/// Twice the byte that it is full of.
fn double(blob: Blob) -> Blob {
    assert!(is_full_of(blob[0], &blob));
    vec![blob[0] * 2; blob.len()].into()
}

/// Compares whole slices: a loop over the bytes takes a debug build a second.
fn is_full_of(byte: u8, blob: &Blob) -> bool {
    blob[..] == vec![byte; blob.len()]
}

type Nested = Vec<(String, Option<Blob>, Vec<Blob>)>;

#[test]
fn blobs_cross_wherever_they_are_nested() {
    let nested: Nested = (0..20usize)
        .map(|n| {
            let blob = |len: usize| Blob::from(vec![n as u8; len]);
            let more = (0..n).map(|at| blob(at * 1000)).collect();
            (n.to_string(), (n % 2 == 0).then(|| blob(n * 10_000)), more)
        })
        .collect();
    let pool = ProcessPoolExecutor::new(1).unwrap();
    for _ in 0..3 {
        let job = pool.submit(call(|nested: Nested| nested, nested.clone())).unwrap();
        assert!(outcome(job).unwrap() == nested);
    }
}

static KEPT: Mutex<Vec<Blob>> = Mutex::new(Vec::new());

fn keep(blob: Blob) -> bool {
    let mut kept = KEPT.lock().unwrap();
    if blob[0].is_multiple_of(3) {
        kept.push(blob);
    }
    kept.iter().all(|blob| is_full_of(blob[0], blob))
}

#[test]
fn a_blob_kept_across_jobs_never_changes() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    for n in 0..30u8 {
        let blob = Blob::from(vec![n; 100_000 + usize::from(n) * 50_000]);
        assert!(outcome(pool.submit(call(keep, blob)).unwrap()).unwrap(), "job {n}");
    }
}

/// Fails in either direction.
struct Stubborn(u8);

impl serde::Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => Err(serde::ser::Error::custom("I will not go")),
            1 => panic!("I panic instead of going"),
            other => serializer.serialize_u8(other),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Stubborn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            2 => Err(serde::de::Error::custom("I will not arrive")),
            3 => panic!("I panic instead of arriving"),
            other => Ok(Stubborn(other)),
        }
    }
}

#[test]
fn what_serde_cannot_carry_fails_only_its_job() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    for (kind, words) in [(0, "Serialization"), (1, "panic"), (2, "Deserialization"), (3, "panic")]
    {
        let arguments = pool.submit(call(|it: Stubborn| it.0, Stubborn(kind))).unwrap();
        let results = pool.submit(call(Stubborn, kind)).unwrap();
        let there = outcome(arguments).unwrap_err();
        let Err(back) = outcome(results) else { panic!("{kind} came back") };
        for (error, what) in [(there, "argument"), (back, "result")] {
            assert!(error.is_codec(), "{kind}: {error}");
            let text = error.to_string();
            assert!(text.contains(what) && text.contains(words), "{kind}: {text}");
        }
    }
    assert_eq!(outcome(pool.submit(call(Stubborn, 9)).unwrap()).unwrap().0, 9);
    let stats = pool.stats();
    assert_eq!((stats.failed, stats.finished, stats.running), (8, 1, 0));
    assert_eq!(pool.worker_pids().len(), 1);
}

#[test]
fn a_panic_tells_its_message_and_place_and_costs_no_worker() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let pid = outcome(pool.submit(call(|()| std::process::id(), ())).unwrap()).unwrap();
    let fail = |n: u32| {
        if n > 0 {
            panic!("no more than {n}");
        }
    };
    let error = outcome(pool.submit(call(fail, 3)).unwrap()).unwrap_err();
    assert_eq!(error.panic_message(), Some("no more than 3"));
    assert!(error.to_string().contains("process_pool.rs:"), "{error}");
    assert_eq!(pool.worker_pids(), [pid]);
}

/// Why a job has no value, as a program would say it.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Refusal {
    Empty,
    Unexpected { line: u64, found: Option<char>, expected: Vec<String> },
    Item(i32, Box<Refusal>),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Empty => f.write_str("there is nothing"),
            Refusal::Unexpected { line, .. } => write!(f, "line {line} makes no sense"),
            Refusal::Item(number, _) => write!(f, "item {number} can't be read"),
        }
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Refusal::Item(_, cause) => Some(&**cause),
            _ => None,
        }
    }
}

/// One of each kind; made where it runs.
fn refuse(kind: u32) -> Result<u32, Refusal> {
    let expected = || vec!["}".to_owned(), String::new(), "é".repeat(40_000)];
    Err(match kind {
        0 => Refusal::Empty,
        1 => {
            Refusal::Unexpected { line: u64::MAX, found: Some('\u{10ffff}'), expected: expected() }
        }
        2 => Refusal::Item(-7, refuse(1).unwrap_err().into()),
        value => return Ok(value),
    })
}

#[test]
fn an_error_that_a_job_returns_keeps_its_type_and_its_fields() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let pid = outcome(pool.submit(call(|()| std::process::id(), ())).unwrap()).unwrap();
    for kind in 0..4 {
        let job: Job<Result<u32, Refusal>> = pool.submit(call(refuse, kind)).unwrap();
        // For the pool it is a value.
        assert_eq!(outcome(job).unwrap(), refuse(kind));
    }
    let in_chunks = map_calls(&pool, refuse, 0..4).chunksize(3).into_iter();
    let in_chunks: Result<Vec<_>, JobError> = in_chunks.collect();
    assert_eq!(in_chunks.unwrap(), (0..4).map(refuse).collect::<Vec<_>>());

    // As whoever has it in a box gets at it.
    let error = outcome(pool.submit(call(refuse, 2)).unwrap()).unwrap().unwrap_err();
    let error: Box<dyn Error> = error.into();
    assert_eq!(error.to_string(), "item -7 can't be read");
    let Some(Refusal::Unexpected { line, found, expected }) =
        error.source().unwrap().downcast_ref()
    else {
        panic!("its cause is another one: {error:?}")
    };
    assert_eq!((*line, *found), (u64::MAX, Some('\u{10ffff}')));
    assert_eq!((expected[0].as_str(), expected.len(), expected[2].len()), ("}", 3, 80_000));
    assert!(matches!(*error.downcast::<Refusal>().unwrap(), Refusal::Item(-7, _)));
    let stats = pool.stats();
    assert_eq!((stats.finished, stats.failed, stats.crashed), (8, 0, 0));
    assert_eq!(pool.worker_pids(), [pid]);
}

/// Blocks the worker until it is killed.
fn block(_: ()) {
    loop {
        std::thread::park();
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < HANG, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_running_job_is_cancelled_by_killing_its_worker() {
    fn say_and_block(sign: std::path::PathBuf) {
        std::fs::write(sign, "").unwrap();
        block(());
    }
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let sign = std::env::temp_dir().join(format!("loopool-begun-{}", std::process::id()));
    let job = pool.submit(call(say_and_block, sign.clone())).unwrap();
    // One that has not begun would be taken back, and its worker live on.
    until("the start", || sign.exists());
    std::fs::remove_file(&sign).unwrap();
    let worker = pool.worker_pids();
    assert!(job.running() && job.cancel());
    assert!(outcome(job).unwrap_err().is_cancelled());
    assert_eq!(outcome(pool.submit(call(add_one, 1)).unwrap()).unwrap(), 2);
    assert_ne!(pool.worker_pids(), worker);
    let stats = pool.stats();
    assert_eq!((stats.cancelled, stats.finished, stats.crashed, stats.running), (1, 1, 0, 0));
}

#[test]
fn a_waiting_job_is_cancelled_and_gives_its_place_away() {
    let pool = ProcessPoolExecutor::builder().workers(1).queue_limit(2).build().unwrap();
    let running = pool.submit(call(block, ())).unwrap();
    until("the start", || pool.stats().running == 1);
    let first = pool.submit(call(add_one, 1)).unwrap();
    let second = pool.submit(call(add_one, 2)).unwrap();
    let refused = pool.submit(call(add_one, 3)).unwrap_err();
    assert!(refused.is_queue_full());
    assert!(first.cancel());
    let third = pool.submit(refused.into_work()).unwrap();
    assert!(outcome(first).unwrap_err().is_cancelled());
    assert_eq!(pool.stats().waiting, 2);
    assert!(running.cancel());
    assert_eq!((outcome(second).unwrap(), outcome(third).unwrap()), (3, 4));
    assert_eq!((pool.stats().cancelled, pool.stats().finished), (2, 2));
}

#[test]
fn the_time_limit_counts_running_time_and_kills() {
    let limit = Duration::from_millis(200);
    let pool = ProcessPoolExecutor::builder().workers(1).job_timeout(limit).build().unwrap();
    let endless = pool.submit(call(block, ())).unwrap();
    let waits_longer = pool.submit(call(block, ())).unwrap();
    let quick = pool.submit(call(add_one, 1)).unwrap();
    for job in [endless, waits_longer] {
        let error = outcome(job).unwrap_err();
        assert!(error.is_timeout(), "{error}");
    }
    // A machine that has much to do may take longer than the limit for anything.
    let again = || outcome(pool.submit(call(add_one, 1)).unwrap());
    let mut outcomes = std::iter::once(outcome(quick)).chain(std::iter::repeat_with(again));
    let mut late = 0;
    let sum = outcomes.find(|sum| {
        let is_late = sum.as_ref().is_err_and(JobError::is_timeout);
        late += u64::from(is_late);
        !is_late
    });
    assert_eq!(sum.unwrap().unwrap(), 2);
    assert_eq!(pool.stats().timed_out, 2 + late);
}

static PREPARED: AtomicU32 = AtomicU32::new(0);

fn prepare() -> Result<(), String> {
    PREPARED.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

#[test]
fn the_initializer_runs_once_in_each_worker() {
    let pool = ProcessPoolExecutor::builder().workers(2).initializer(prepare).build().unwrap();
    for _ in 0..10 {
        let job = pool.submit(call(|()| PREPARED.load(Ordering::Relaxed), ())).unwrap();
        assert_eq!(outcome(job).unwrap(), 1);
    }
    assert_eq!(PREPARED.load(Ordering::Relaxed), 0, "not in the program");
}

#[test]
fn an_initializer_that_fails_breaks_the_pool_with_its_reason() {
    let error: fn() -> Result<(), String> = || Err("no model file".to_owned());
    let panic: fn() -> Result<(), String> = || panic!("no model file");
    for initializer in [error, panic] {
        let pool =
            ProcessPoolExecutor::builder().workers(2).initializer(initializer).build().unwrap();
        let jobs: Vec<_> = (0..5).filter_map(|n| pool.submit(call(add_one, n)).ok()).collect();
        for job in jobs {
            let error = outcome(job).unwrap_err();
            assert!(error.is_rejected() && error.to_string().contains("no model file"), "{error}");
        }
        let refused = pool.submit(call(add_one, 1)).unwrap_err();
        assert!(matches!(refused.reason(), RejectReason::Broken(why) if why.contains("no model")));
        until("the end of the workers", || pool.worker_pids().is_empty());
    }
}

#[test]
fn an_initializer_that_dies_fails_the_jobs_and_is_tried_again_for_later_ones() {
    let die: fn() -> Result<(), String> = || {
        let file = std::env::var_os("LOOPOOL_TEST_HEALED").unwrap_or_default();
        if std::path::Path::new(&file).exists() { Ok(()) } else { std::process::exit(9) }
    };
    let healed = std::env::temp_dir().join(format!("loopool-healed-{}", std::process::id()));
    // SAFETY: no other test of this program reads or writes the environment while this runs but
    // through the standard library, which locks it.
    unsafe { std::env::set_var("LOOPOOL_TEST_HEALED", &healed) };
    let pool = ProcessPoolExecutor::builder().workers(1).initializer(die).build().unwrap();
    for _ in 0..2 {
        let error = outcome(pool.submit(call(add_one, 1)).unwrap()).unwrap_err();
        assert!(error.is_rejected() && error.to_string().contains("exit code 9"), "{error}");
    }
    std::fs::write(&healed, "").unwrap();
    let job = pool.submit(call(add_one, 1)).unwrap();
    assert_eq!(outcome(job).unwrap(), 2);
    std::fs::remove_file(&healed).unwrap();
}

#[test]
fn a_worker_makes_no_pool_of_its_own() {
    let nest = |()| match ProcessPoolExecutor::new(1) {
        Err(error @ ProcessPoolError::Nested) => error.to_string(),
        other => format!("{other:?}"),
    };
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let said = outcome(pool.submit(call(nest, ())).unwrap()).unwrap();
    assert!(said.contains("in the program"), "{said}");
}

#[test]
fn a_function_of_a_shared_library_is_refused_before_anything_is_sent() {
    // SAFETY: a well-known function of the C library; it is not called through the wrong type, since
    // the pool refuses it.
    let foreign = unsafe {
        let address = libc::dlsym(libc::RTLD_DEFAULT, c"abs".as_ptr());
        assert!(!address.is_null());
        std::mem::transmute::<*mut libc::c_void, fn(i32) -> i32>(address)
    };
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let refused = pool.submit(call(foreign, -3)).unwrap_err();
    assert_eq!(refused.reason(), &RejectReason::ForeignFunction);
    assert_eq!(pool.worker_pids(), [0u32; 0]);
}

#[test]
fn a_worker_has_lower_priority_no_input_and_none_of_our_files() {
    let facts = |()| {
        let fds: Vec<(String, String)> = std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let target = std::fs::read_link(entry.path()).ok()?;
                Some((entry.file_name().into_string().ok()?, target.display().to_string()))
            })
            .collect();
        // SAFETY: a plain system call.
        let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        // SAFETY: a plain system call.
        let group = unsafe { libc::getpgrp() };
        let mut line = String::new();
        let input = std::io::stdin().read_line(&mut line).unwrap();
        (fds, nice, group as u32 == std::process::id(), input)
    };
    // SAFETY: a plain system call.
    let mine = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    let inode = file.metadata().unwrap().ino();
    let pool = ProcessPoolExecutor::builder().workers(2).nice(3).build().unwrap();
    for _ in 0..4 {
        let (fds, nice, leads, input) = outcome(pool.submit(call(facts, ())).unwrap()).unwrap();
        assert_eq!((nice, leads, input), ((mine + 3).min(19), true, 0));
        let others: Vec<_> = fds
            .iter()
            .filter(|(fd, target)| fd.parse::<u32>().unwrap() > 2 && !target.contains("/fd"))
            .collect();
        assert_eq!(others.len(), 3, "job socket, lifeline and bell, but: {fds:?} ({inode})");
        assert!(fds.contains(&("0".to_owned(), "/dev/null".to_owned())), "{fds:?}");
    }
}

#[test]
fn shutdown_runs_what_waits_or_cancels_it_and_refuses_the_rest() {
    let pool = ProcessPoolExecutor::new(2).unwrap();
    let jobs: Vec<_> = (0..50).map(|n| pool.submit(call(add_one, n)).unwrap()).collect();
    pool.shutdown(true, false);
    for (n, job) in jobs.into_iter().enumerate() {
        assert!(job.done());
        assert_eq!(outcome(job).unwrap(), n as u32 + 1);
    }
    assert!(pool.submit(call(add_one, 1)).unwrap_err().is_shut_down());
    assert!(pool.worker_pids().is_empty() && pool.fork_server_pid().is_none());
    pool.shutdown(true, true);

    let pool = ProcessPoolExecutor::new(1).unwrap();
    let running = pool.submit(call(block, ())).unwrap();
    until("the start", || pool.stats().running == 1);
    let waiting: Vec<_> = (0..5).map(|n| pool.submit(call(add_one, n)).unwrap()).collect();
    pool.shutdown(false, true);
    for job in waiting {
        assert!(outcome(job).unwrap_err().is_cancelled());
    }
    assert!(running.running() && running.cancel());
    pool.shutdown(true, false);
    assert_eq!(pool.stats().cancelled, 6);
}

#[test]
fn a_dropped_pool_runs_what_was_submitted() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let jobs: Vec<_> = (0..20).map(|n| pool.submit(call(add_one, n)).unwrap()).collect();
    drop(pool);
    for (n, job) in jobs.into_iter().enumerate() {
        assert_eq!(outcome(job).unwrap(), n as u32 + 1);
    }
}

#[test]
fn a_done_callback_may_use_and_shut_down_the_pool() {
    let pool = std::sync::Arc::new(ProcessPoolExecutor::new(1).unwrap());
    let (send, receive) = std::sync::mpsc::channel();
    let job = pool.submit(call(add_one, 1)).unwrap();
    let same = pool.clone();
    job.add_done_callback(move |_| {
        let next = same.submit(call(add_one, 2)).unwrap();
        same.shutdown(true, false);
        send.send(next).unwrap();
    });
    assert_eq!(outcome(receive.recv_timeout(HANG).unwrap()).unwrap(), 3);
    pool.shutdown(true, false);
}

#[test]
fn jobs_of_many_threads_all_come_back() {
    let pool = ProcessPoolExecutor::new(2).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let pool = &pool;
            scope.spawn(move || {
                let jobs: Vec<_> = (0..200)
                    .map(|n| pool.submit(call(add_one, thread * 1000 + n)).unwrap())
                    .collect();
                for (n, job) in jobs.into_iter().enumerate() {
                    assert_eq!(outcome(job).unwrap(), thread * 1000 + n as u32 + 1);
                }
            });
        }
    });
    let stats = pool.stats();
    assert_eq!((stats.finished, stats.waiting, stats.running), (800, 0, 0));
}

#[test]
fn stats_lagged_behind_the_outcome_of_jobs_that_shutdown_cancels() {
    use std::sync::Arc;
    let pool = Arc::new(ProcessPoolExecutor::new(1).unwrap());
    let nap = |ms: u64| std::thread::sleep(Duration::from_millis(ms));
    let running = pool.submit(call(nap, 200)).unwrap();
    while !running.running() {
        std::thread::yield_now();
    }
    let waiting = pool.submit(call(nap, 0)).unwrap();
    let seen = Arc::new(AtomicU32::new(0));
    waiting.add_done_callback({
        let (pool, seen) = (pool.clone(), seen.clone());
        move |_| seen.store(pool.stats().cancelled as u32, Ordering::SeqCst)
    });
    pool.shutdown(false, true);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    outcome(running).unwrap();
}

/// Megabytes of it: too much for the board.
fn much_of(n: u8) -> Blob {
    vec![n; 3 << 20].into()
}

#[test]
fn long_results_that_nobody_has_read_yet_are_each_ones_own() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let me = std::thread::current().id();
    let mut tries_with_many = 0;
    for round in 0.. {
        assert!(round < 200, "no jobs are given ahead");
        // So many short ones that the next are given ahead; and at the last the pool's thread is kept from reading.
        let short: Vec<_> = (0..500).map(|n| pool.submit(call(|n: u32| n, n)).unwrap()).collect();
        let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel::<()>());
        short[499].add_done_callback(move |_| {
            let is_kept = std::thread::current().id() != me;
            begin.send(is_kept).unwrap();
            if is_kept {
                let _ = gone.recv();
            }
        });
        if !begun.recv().unwrap() {
            continue;
        }
        let long: Vec<_> = (1..=6).map(|n| pool.submit(call(much_of, n)).unwrap()).collect();
        let given = pool.stats().running;
        let worker = pool.worker_pids()[0];
        until_asleep(worker);
        drop(go);
        for (n, job) in (0..).zip(short) {
            assert_eq!(outcome(job).unwrap(), n);
        }
        for (n, job) in (1..).zip(long) {
            let bytes = outcome(job).unwrap();
            assert!(bytes.len() == 3 << 20 && bytes.iter().all(|byte| *byte == n), "{n}");
        }
        tries_with_many += u32::from(given > 2);
        if tries_with_many == 3 {
            return;
        }
    }
}

/// Until it has nothing to do.
fn until_asleep(pid: u32) {
    let begun = std::time::Instant::now();
    let mut looks = 0;
    while looks < 5 {
        assert!(begun.elapsed() < HANG);
        std::thread::sleep(Duration::from_millis(2));
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let is_asleep = stat.rsplit(')').next().unwrap().trim_start().starts_with('S');
        looks = if is_asleep { looks + 1 } else { 0 };
    }
}

#[test]
fn the_thread_of_a_job_can_be_signalled_from_another_one() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let signal_yourself = |()| {
        // SAFETY: a number of this thread's.
        let me = unsafe { libc::pthread_self() } as usize;
        // SAFETY: this thread waits for the one that sends it nothing, only asks whether it could.
        let send = move || unsafe { libc::pthread_kill(me as libc::pthread_t, 0) };
        std::thread::spawn(send).join().unwrap()
    };
    assert_eq!(outcome(pool.submit(call(signal_yourself, ())).unwrap()).unwrap(), 0);
}

/// What the program starts without us, at any time, has none of ours.
#[test]
fn no_descriptor_of_a_pool_is_inherited() {
    let inherited = |fd: &i32| {
        // SAFETY: only asks.
        let flags = unsafe { libc::fcntl(*fd, libc::F_GETFD) };
        flags >= 0 && flags & libc::FD_CLOEXEC == 0
    };
    let open = || {
        let entries = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|it| it.ok());
        entries.map(|it| it.file_name().to_str().unwrap().parse::<i32>().unwrap())
    };
    // What this program was started with.
    let before: Vec<i32> = open().filter(inherited).collect();
    let pool = ProcessPoolExecutor::builder().workers(2).rss_limit(1 << 40).build().unwrap();
    // All that there may be: boards, arenas, result files, sealed blobs.
    let ballast: Blob = vec![1u8; 6 << 20].into();
    for n in 0..4 {
        pool.submit(call(|(n, blob): (u32, Blob)| (n, blob), (n, ballast.clone())))
            .unwrap()
            .result(HANG)
            .unwrap();
    }
    assert!(open().count() > before.len() + 10);
    let now: Vec<i32> = open().filter(inherited).collect();
    assert_eq!(now, before);
}
