//! Limits of a pool's workers, where they run and what they find; and deaths that only threads die.
#![allow(clippy::print_stdout, reason = "what is skipped is named")]

mod common;

use std::time::{Duration, Instant};

use common::{outcome, run};
use loopool_executors::{
    CrashCause, CrashReport, Executor, MemoryGuard, Process, ProcessPoolBuilder,
    ProcessPoolExecutor, Sandbox, call,
};

/// No test comes near this unless something hangs.
const HANG: Duration = Duration::from_secs(120);

fn one() -> ProcessPoolBuilder {
    ProcessPoolExecutor::builder().workers(1)
}

fn add_one(n: u32) -> u32 {
    n + 1
}

fn pid(_: ()) -> u32 {
    std::process::id()
}

/// Runs `fault` in `pool` and, after it, a job that works.
fn crash_of(pool: &ProcessPoolExecutor, fault: fn(u32) -> u32) -> CrashReport {
    let error = outcome(pool.submit(call(fault, 1)).unwrap()).unwrap_err();
    let report = error.crash().unwrap_or_else(|| panic!("{error}")).clone();
    assert_eq!(run(pool, add_one, 1), 2);
    report
}

/// A job, and what it dies of.
type Death = (fn(u32) -> u32, CrashCause);

/// Takes 8 MiB after the other, and touches them.
fn hoard(n: u32) -> u32 {
    let mut hoard = Vec::new();
    loop {
        hoard.push(std::hint::black_box(vec![n as u8; 8 << 20]));
        if hoard.len() == 1 << 20 {
            return n;
        }
    }
}

fn spin(mut n: u32) -> u32 {
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
        if n == 0 {
            std::thread::yield_now();
        }
    }
}

/// Uses so many milliseconds of processor time.
fn burn(millis: u64) -> u64 {
    let clock = || {
        // SAFETY: an all-zero time is a valid one to be written to.
        unsafe {
            let mut time: libc::timespec = std::mem::zeroed();
            libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time);
            Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
        }
    };
    let end = clock() + Duration::from_millis(millis);
    while clock() < end {}
    millis
}

#[test]
#[cfg_attr(loopool_plain_memory, ignore = "AddressSanitizer has far more memory than the limit")]
fn a_job_with_too_much_memory_dies_and_its_neighbours_do_not_notice() {
    let limit = 200 << 20;
    let pool = ProcessPoolExecutor::builder().workers(2).rss_limit(limit).build().unwrap();
    for _ in 0..3 {
        let greedy = pool.submit(call(hoard, 1)).unwrap();
        let modest: Vec<_> = (0..50).map(|n| pool.submit(call(add_one, n)).unwrap()).collect();
        for (n, job) in modest.into_iter().enumerate() {
            assert_eq!(outcome(job).unwrap(), n as u32 + 1);
        }
        let error = outcome(greedy).unwrap_err();
        let report = error.crash().unwrap();
        assert_eq!(report.cause, CrashCause::OutOfMemory, "{error}");
        assert_eq!(report.signal, Some(libc::SIGKILL));
        assert!(report.peak_memory > limit / 2, "{report:?}");
    }
    let (told, guard) = pool.enforced().unwrap().rss_limit.unwrap();
    assert_eq!(told, limit);
    match guard {
        MemoryGuard::Program => {
            println!("no control group is delegated here: the program's watch was tested")
        }
        other => println!("tested: {other:?}"),
    }
    let stats = pool.stats();
    assert_eq!((stats.finished, stats.crashed), (150, 3));
}

#[test]
fn a_worker_that_was_killed_from_outside_did_not_run_out_of_memory() {
    // Not under a limit either.
    let pool = one().rss_limit(1 << 40).build().unwrap();
    let suicide = |_: u32| -> u32 {
        // SAFETY: a plain system call.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) as u32 }
    };
    let report = crash_of(&pool, suicide);
    assert_eq!((report.cause, report.signal), (CrashCause::Signal, Some(libc::SIGKILL)));
}

#[test]
fn a_job_that_uses_up_its_processor_time_is_told_apart() {
    let pool = one().cpu_limit(Duration::from_millis(200)).build().unwrap();
    let report = crash_of(&pool, spin);
    assert_eq!((report.cause, report.signal), (CrashCause::CpuLimit, Some(libc::SIGXCPU)));
    assert!(report.cpu_time >= Duration::from_millis(200), "{report:?}");
    let in_threads = |n: u32| {
        let threads: Vec<_> = (0..2).map(|_| std::thread::spawn(move || spin(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    };
    assert_eq!(crash_of(&pool, in_threads).cause, CrashCause::CpuLimit);
}

#[test]
fn processor_time_is_counted_for_each_job_anew_and_waiting_is_free() {
    let pool = one().cpu_limit(Duration::from_millis(500)).build().unwrap();
    let worker = run(&pool, pid, ());
    for _ in 0..4 {
        assert_eq!(run(&pool, burn, 150), 150);
    }
    let sleep = |millis: u64| std::thread::sleep(Duration::from_millis(millis));
    run(&pool, sleep, 700);
    // Between jobs nothing counts.
    let leave_a_thread = |_: ()| {
        std::thread::spawn(|| burn(800));
    };
    run(&pool, leave_a_thread, ());
    std::thread::sleep(Duration::from_millis(900));
    assert_eq!(run(&pool, pid, ()), worker, "it was one worker all the time");
}

#[test]
fn a_worker_has_no_more_descriptors_than_it_may() {
    let pool = one().open_files(32).build().unwrap();
    let open = |_: ()| {
        let files: Vec<_> =
            std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).take(1000).collect();
        files.len()
    };
    let count = run(&pool, open, ());
    assert!((1..32).contains(&count), "{count}");
    assert_eq!(run(&pool, open, ()), count, "they are closed again");
}

fn overflow(n: u32) -> u32 {
    let frame = std::hint::black_box([n; 200]);
    if n == u32::MAX {
        return 0;
    }
    overflow(n.wrapping_add(1) | 1) + frame[(n % 200) as usize]
}

fn wild(n: u32) -> u32 {
    let nowhere = std::ptr::without_provenance::<u32>(std::hint::black_box(n as usize * 8));
    // SAFETY: none; the point is that this is wrong, and that only a worker dies of it.
    unsafe { nowhere.read_volatile() }
}

fn in_a_thread(work: fn(u32) -> u32, n: u32) -> u32 {
    std::thread::spawn(move || work(n)).join().unwrap()
}

fn in_a_c_thread(work: fn(u32) -> u32, n: u32) -> u32 {
    extern "C" fn begin(argument: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: what is given below, and it lives until the thread is joined.
        let (work, n) = unsafe { *argument.cast::<(fn(u32) -> u32, u32)>() };
        std::ptr::without_provenance_mut(work(n) as usize)
    }
    let mut argument = (work, n);
    let mut result = std::ptr::null_mut();
    // SAFETY: the thread is joined before its argument goes.
    unsafe {
        let mut thread = std::mem::zeroed();
        let to = (&raw mut argument).cast();
        assert_eq!(libc::pthread_create(&mut thread, std::ptr::null(), begin, to), 0);
        libc::pthread_join(thread, &mut result);
    }
    result as u32
}

#[test]
fn faults_in_threads_that_a_job_starts_are_told_apart() {
    let rows: [Death; 4] = [
        (|n| in_a_thread(overflow, n), CrashCause::StackOverflow),
        (|n| in_a_thread(wild, n), CrashCause::Segfault),
        (|n| in_a_c_thread(overflow, n), CrashCause::StackOverflow),
        (|n| in_a_c_thread(wild, n), CrashCause::Segfault),
    ];
    let plain = one().build().unwrap();
    let confined = one().sandbox(Sandbox::pure().best_effort().kill_on_denial()).build().unwrap();
    for (fault, cause) in rows {
        for pool in [&plain, &confined] {
            let report = crash_of(pool, fault);
            assert_eq!((report.cause, report.signal), (cause, Some(libc::SIGSEGV)));
        }
        let mut process = Process::new(fault, 1).start().unwrap();
        assert_eq!(process.join(HANG).unwrap_err().crash().unwrap().cause, cause);
    }
}

#[test]
fn a_fault_in_a_copy_of_the_worker_is_not_the_workers() {
    let pool = one().build().unwrap();
    let copy = |n: u32| {
        // SAFETY: the copy touches what it may not, and ends of it; the worker waits for it.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                overflow(n);
                libc::_exit(0);
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            assert_eq!(libc::WTERMSIG(status), libc::SIGSEGV);
        }
        std::process::abort()
    };
    assert_eq!(crash_of(&pool, copy).cause, CrashCause::Abort);
    let report = crash_of(&pool, wild);
    assert_eq!(report.cause, CrashCause::Segfault);
}

#[test]
fn a_crash_report_is_whole_and_can_be_shown() {
    let pool = one().build().unwrap();
    let begun = Instant::now();
    let report = crash_of(&pool, wild);
    assert_eq!(report.attempt, 1);
    assert!(report.uptime > Duration::ZERO && report.uptime <= begun.elapsed(), "{report:?}");
    assert!(report.peak_memory > 0 && !report.core_dumped);
    let text = format!(
        "the job touched memory that is not its own; its worker process {} died of signal 11",
        report.pid
    );
    assert_eq!(report.to_string(), text);
    // Whatever the format: its causes have names.
    let bytes = postcard::to_stdvec(&report).unwrap();
    assert!(!bytes.is_empty());
}

#[test]
fn workers_find_the_environment_that_they_were_given() {
    let variable = |name: String| std::env::var(name).ok();
    let pool =
        one().env("LOOPOOL_A", "1").env("LOOPOOL_A", "2").numeric_threads(1).build().unwrap();
    assert_eq!(run(&pool, variable, "LOOPOOL_A".to_owned()).as_deref(), Some("2"));
    for name in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"]
    {
        assert_eq!(run(&pool, variable, name.to_owned()).as_deref(), Some("1"), "{name}");
    }
    assert_eq!(run(&pool, variable, "PATH".to_owned()), std::env::var("PATH").ok());
    let all = |_: ()| std::env::vars().collect::<Vec<_>>();
    let bare = one().env("LOOPOOL_B", "b").env_clear().build().unwrap();
    assert_eq!(run(&bare, all, ()), [("LOOPOOL_B".to_owned(), "b".to_owned())]);
    // Before anything runs: the initializer finds it, too.
    let initializer = || std::env::var("LOOPOOL_C").map(|_| ()).map_err(|error| error.to_string());
    let pool = one().env("LOOPOOL_C", "c").initializer(initializer).build().unwrap();
    assert_eq!(run(&pool, add_one, 1), 2);
    let error = one().env("NUL", "\0").build().unwrap_err();
    assert!(matches!(error, loopool_executors::ProcessPoolError::Spawn(_)), "{error}");
}

/// The CPUs that this thread may use.
fn cpus(_: ()) -> Vec<u32> {
    // SAFETY: an all-zero set is a valid one to be written to, of the size given.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, size_of_val(&set), &mut set), 0);
        (0..1024).filter(|cpu| libc::CPU_ISSET(*cpu as usize, &set)).collect()
    }
}

/// A worker that shares a processor with who waits for it is taken off it for a moment, between two jobs.
#[test]
fn no_job_sees_that_its_worker_is_moved() {
    let (all, pool) = (cpus(()), one().build().unwrap());
    for round in 0..5_000 {
        assert_eq!(run(&pool, cpus, ()), all, "round {round}");
    }
}

/// Says where it runs, once the other one runs, too.
fn cpus_beside_another((mine, other): (String, String)) -> Vec<u32> {
    std::fs::write(&mine, "").unwrap();
    while !std::fs::exists(&other).unwrap() {
        std::thread::sleep(Duration::from_millis(1));
    }
    cpus(())
}

#[test]
fn each_worker_has_the_cpus_it_was_given() {
    let all = cpus(());
    let pool = one().cpus([all[0]]).build().unwrap();
    assert_eq!(run(&pool, cpus, ()), [all[0]]);
    if all.len() < 2 {
        println!("skipped: this machine has one CPU");
        return;
    }
    let pool = ProcessPoolExecutor::builder().workers(2).cpus(all[..2].to_vec()).cpus_per_worker(1);
    let pool = pool.build().unwrap();
    let directory = std::env::temp_dir().join(format!("loopool-cpus-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    // Also after deaths that would let a simple count go astray.
    for round in 0..6 {
        let file =
            |which: u32| directory.join(format!("{round}-{which}")).to_str().unwrap().to_owned();
        let jobs = [(0, 1), (1, 0)].map(|(mine, other)| {
            pool.submit(call(cpus_beside_another, (file(mine), file(other)))).unwrap()
        });
        let mut found: Vec<_> = jobs.into_iter().map(|job| outcome(job).unwrap()).collect();
        found.sort();
        assert_eq!(found, [[all[0]], [all[1]]], "round {round}");
        for _ in 0..=round % 3 {
            crash_of(&pool, wild);
        }
    }
    std::fs::remove_dir_all(directory).unwrap();
    // A machine that has not that many.
    let pool = one().cpus([1020]).build().unwrap();
    let error = outcome(pool.submit(call(add_one, 1)).unwrap()).unwrap_err();
    assert!(error.to_string().contains("1020"), "{error}");
}

#[test]
fn workers_die_first_when_memory_runs_out() {
    let score =
        |_: ()| std::fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().to_owned();
    let pool = one().oom_score_adj(1000).build().unwrap();
    assert_eq!(run(&pool, score, ()), "1000");
    assert_ne!(score(()), "1000", "the program stays as it is");
}

#[test]
fn a_job_that_was_asked_to_end_had_all_the_memory_it_liked() {
    fn grow(path: String) {
        let token = loopool_executors::CancelToken::current().unwrap();
        std::fs::write(&path, std::process::id().to_string()).unwrap();
        token.wait(None);
        let mut all = Vec::new();
        loop {
            all.push(std::hint::black_box(vec![1u8; 8 << 20]));
            if all.len() > 100 {
                std::thread::park();
            }
        }
    }
    let path = std::env::temp_dir().join(format!("loopool-grace-{}", std::process::id()));
    let builder = ProcessPoolExecutor::builder().workers(1).rss_limit(256 << 20);
    let pool = builder.cancel_grace(Duration::from_secs(3600)).build().unwrap();
    let mut job = pool.submit(call(grow, path.display().to_string())).unwrap();
    let pid = || std::fs::read_to_string(&path).ok()?.parse::<u32>().ok();
    let begun = std::time::Instant::now();
    while pid().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the job begins");
        std::thread::sleep(Duration::from_millis(1));
    }
    let pid = pid().unwrap();
    job.cancel();
    assert!(job.result(Duration::from_secs(60)).unwrap_err().is_cancelled());
    while std::path::Path::new(&format!("/proc/{pid}")).exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::fs::remove_file(path).unwrap();
}
