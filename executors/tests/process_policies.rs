//! Which worker runs what, and when, in a pool of processes; and what is told of it.

mod common;

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::{PATIENCE, take, until};
use loopool_executors::{
    CircuitSnapshot, Executor, Job, JobOptions, PoolSnapshot, Priority, ProcessPoolBuilder,
    ProcessPoolExecutor, RejectReason, Retry, WorkerPhase, call,
};

/// A file that processes write to, gone with the test.
struct Notes(PathBuf);

impl Notes {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("loopool-policies-{}-{number}", std::process::id());
        Notes(std::env::temp_dir().join(name))
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn note(path: &str, line: String) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn pid(_: ()) -> u32 {
    std::process::id()
}

fn block(_: ()) {
    loop {
        std::thread::park();
    }
}

/// A job that runs until it is cancelled.
fn blocking(pool: &ProcessPoolExecutor, options: JobOptions) -> Job<()> {
    let running = pool.stats().running;
    let job = pool.with(options).submit(call(block, ())).unwrap();
    until("the job begins", || pool.stats().running == running + 1);
    job
}

#[test]
fn spares_are_there_before_any_job_and_are_replaced() {
    let pool = ProcessPoolExecutor::builder().workers(3).min_workers(2).build().unwrap();
    until("two are there", || pool.worker_pids().len() == 2);
    let pids = pool.worker_pids();
    // SAFETY: a worker of ours that idles and was not reaped.
    unsafe { libc::kill(pids[0] as i32, libc::SIGKILL) };
    until("there are two again", || {
        let now = pool.worker_pids();
        now.len() == 2 && !now.contains(&pids[0]) && now.contains(&pids[1])
    });
    assert_eq!(pool.shutdown(true, false).submitted, 0);
}

#[test]
fn jobs_with_one_key_are_run_by_one_worker_while_it_is_free() {
    let pool = ProcessPoolExecutor::builder().workers(4).min_workers(4).build().unwrap();
    until("all are idle", || {
        let workers = pool.snapshot().workers;
        workers.iter().filter(|worker| worker.phase == WorkerPhase::Idle).count() == 4
    });
    // One key each, held by a job of its own while the others get theirs.
    let blockers: Vec<_> =
        (0..3).map(|key| blocking(&pool, JobOptions::new().affinity(key))).collect();
    let fourth = JobOptions::new().affinity(3);
    let home = take(&mut pool.with(fourth).submit(call(pid, ())).unwrap()).unwrap();
    blockers.iter().for_each(|job| assert!(job.cancel()));
    until("there are four again", || pool.worker_pids().len() == 4 && pool.stats().running == 0);
    let mut others = HashSet::new();
    for _ in 0..20 {
        others.insert(take(&mut pool.submit(call(pid, ())).unwrap()).unwrap());
        let again = take(&mut pool.with(fourth).submit(call(pid, ())).unwrap()).unwrap();
        assert_eq!(again, home);
    }
    assert!(!others.is_empty());
}

#[test]
fn a_key_whose_worker_is_busy_or_gone_keeps_nobody_waiting() {
    let pool = ProcessPoolExecutor::builder().workers(2).min_workers(2).build().unwrap();
    let key = JobOptions::new().affinity("document");
    let blocker = blocking(&pool, key);
    // More than wait for it, and others.
    let jobs: Vec<_> = (0..20)
        .flat_map(|_| [key, JobOptions::new()])
        .map(|options| pool.with(options).submit(call(pid, ())).unwrap())
        .collect();
    let pids: HashSet<u32> = jobs.into_iter().map(|mut job| take(&mut job).unwrap()).collect();
    assert_eq!(pids.len(), 1, "the other one has run them all");
    assert!(blocker.cancel());
    let [home] = pids.into_iter().collect::<Vec<_>>()[..] else { panic!() };
    // SAFETY: a worker of ours that idles and was not reaped.
    unsafe { libc::kill(home as i32, libc::SIGKILL) };
    let after = take(&mut pool.with(key).submit(call(pid, ())).unwrap()).unwrap_or_else(|error| {
        assert!(error.crash().is_some(), "it may have been just in time: {error}");
        take(&mut pool.with(key).submit(call(pid, ())).unwrap()).unwrap()
    });
    assert_ne!(after, home);
}

#[test]
fn jobs_that_wait_for_their_worker_are_cancelled_and_forgotten_by_no_shutdown() {
    let pool = ProcessPoolExecutor::builder().workers(2).min_workers(2).build().unwrap();
    let key = JobOptions::new().affinity(1);
    let blocker = blocking(&pool, key);
    let mut jobs: Vec<_> = (0..50).map(|_| pool.with(key).submit(call(pid, ())).unwrap()).collect();
    let cancelled = jobs.iter().filter(|job| job.cancel()).count();
    assert!(blocker.cancel());
    let stats = pool.shutdown(true, false);
    let ended = jobs.iter_mut().map(take).filter(|outcome| outcome.is_err()).count();
    // One that was being run when it was cancelled may have been done before that was heard.
    assert!(ended <= cancelled);
    assert_eq!(stats.finished + stats.cancelled, 51);
    assert_eq!((stats.waiting, stats.running), (0, 0));
}

fn use_memory((path, name, mib): (String, String, u64)) {
    note(&path, format!("{name} +{mib}"));
    std::thread::sleep(Duration::from_millis(2));
    note(&path, format!("{name} -{mib}"));
}

#[test]
fn jobs_run_together_only_as_far_as_their_memory_fits_and_a_large_one_has_its_turn() {
    let pool = ProcessPoolExecutor::builder().workers(4).memory_budget(100).build().unwrap();
    let notes = Notes::new();
    let submit = |name: String, mib: u64| {
        let work = call(use_memory, (notes.path(), name, mib));
        pool.with(JobOptions::new().memory(mib)).submit(work).unwrap()
    };
    let mut jobs = Vec::new();
    for n in 0..60 {
        let mib = if n == 30 { 100 } else { 10 + n % 4 * 20 };
        jobs.push(submit(n.to_string(), mib));
    }
    jobs.iter_mut().for_each(|job| take(job).unwrap());
    let (mut sum, mut most, mut begun) = (0i64, 0, Vec::new());
    for line in notes.lines() {
        let (name, change) = line.split_once(' ').unwrap();
        let change: i64 = change.parse().unwrap();
        if change > 0 {
            begun.push(name.parse::<usize>().unwrap());
        }
        sum += change;
        most = most.max(sum);
    }
    assert!(most <= 100 && sum == 0, "{most}");
    assert_eq!(begun.len(), 60);
    assert_eq!(begun[30], 30, "after all that came before it and before all that came after");
}

#[test]
fn jobs_without_declared_memory_pass_those_that_wait_for_some() {
    let pool = ProcessPoolExecutor::builder().workers(2).memory_budget(10).build().unwrap();
    let all = JobOptions::new().memory(10);
    let blocker = blocking(&pool, all);
    let waiting: Vec<_> = (0..9).map(|_| pool.with(all).submit(call(pid, ())).unwrap()).collect();
    for _ in 0..20 {
        take(&mut pool.submit(call(pid, ())).unwrap()).unwrap();
    }
    assert!(waiting.iter().all(|job| !job.done()));
    assert_eq!((pool.stats().waiting, pool.stats().running), (9, 1));
    assert!(waiting[4].cancel());
    assert!(blocker.cancel());
    let outcomes: Vec<_> = waiting.into_iter().map(|mut job| take(&mut job)).collect();
    assert!(outcomes.iter().enumerate().all(|(n, outcome)| outcome.is_ok() != (n == 4)));
    let refused = pool.with(JobOptions::new().memory(11)).submit(call(pid, ())).unwrap_err();
    assert_eq!(refused.reason(), &RejectReason::OverBudget { memory: 11, budget: 10 });
}

#[test]
fn jobs_without_declared_memory_waited_for_memory_behind_many_that_had_declared_some() {
    let pool = ProcessPoolExecutor::builder().workers(2).memory_budget(10).build().unwrap();
    let all = JobOptions::new().memory(10);
    let blocker = blocking(&pool, all);
    let notes = Notes::new();
    let waiting: Vec<_> = (0..60).map(|n: u32| write(&pool, &notes, all, n)).collect();
    for _ in 0..20 {
        let jobs = [(); 3].map(|()| pool.submit(call(pid, ())).unwrap());
        jobs.into_iter().for_each(|mut job| assert!(take(&mut job).is_ok()));
    }
    assert!(waiting.iter().all(|job| !job.done()));
    assert_eq!((pool.stats().waiting, pool.stats().running), (60, 1));
    assert!(blocker.cancel());
    waiting.into_iter().for_each(|mut job| take(&mut job).unwrap());
    let in_order: Vec<_> = (0..60).map(|n| n.to_string()).collect();
    assert_eq!(notes.lines(), in_order);
}

/// A pool with one worker, which runs a job that ends when there is a file for that, and from which others were taken
/// back that were given to it ahead.
struct TakenBack {
    pool: ProcessPoolExecutor,
    notes: Notes,
    long: Job<()>,
    others: Vec<Job<()>>,
}

impl TakenBack {
    fn new(builder: ProcessPoolBuilder) -> Self {
        let pool = builder.workers(1).build().unwrap();
        loop {
            let notes = Notes::new();
            // Short ones first, so that jobs are given ahead.
            for _ in 0..30 {
                let jobs: Vec<_> = (0..50).map(|_| pool.submit(call(pid, ())).unwrap()).collect();
                jobs.into_iter().for_each(|mut job| assert!(take(&mut job).is_ok()));
            }
            let before = pool.snapshot().taken_back;
            let wait = |path: String| {
                while std::fs::exists(&path).is_ok_and(|it| !it) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            };
            let mut long = pool.submit(call(wait, notes.path())).unwrap();
            let mut others: Vec<_> =
                (0..40).map(|n| write(&pool, &notes, JobOptions::new(), n)).collect();
            until("it takes long", || pool.stats().running == 1);
            if pool.snapshot().taken_back > before {
                return TakenBack { pool, notes, long, others };
            }
            note(&notes.path(), String::new());
            take(&mut long).unwrap();
            others.iter_mut().for_each(|job| take(job).unwrap());
        }
    }

    /// Ends the long job, and tells in which order the others were run.
    fn end(&mut self, more: Vec<Job<()>>) -> Vec<u32> {
        note(&self.notes.path(), String::new());
        take(&mut self.long).unwrap();
        self.others.drain(..).chain(more).for_each(|mut job| take(&mut job).unwrap());
        self.notes.lines().iter().filter_map(|line| line.parse().ok()).collect()
    }
}

fn write(pool: &ProcessPoolExecutor, notes: &Notes, options: JobOptions, n: u32) -> Job<()> {
    let write = |(path, n): (String, u32)| note(&path, n.to_string());
    pool.with(options).submit(call(write, (notes.path(), n))).unwrap()
}

#[test]
fn jobs_that_were_taken_back_were_in_no_number() {
    let mut taken_back = TakenBack::new(ProcessPoolExecutor::builder());
    until("all are counted", || {
        let stats = taken_back.pool.stats();
        (stats.waiting, stats.running) == (40, 1)
    });
    assert_eq!(taken_back.end(Vec::new()), (0..40).collect::<Vec<_>>());
    assert_eq!((taken_back.pool.stats().waiting, taken_back.pool.stats().running), (0, 0));
}

#[test]
fn jobs_that_were_taken_back_gave_their_places_away() {
    let mut taken_back = TakenBack::new(ProcessPoolExecutor::builder().queue_limit(50));
    let (pool, notes) = (&taken_back.pool, &taken_back.notes);
    let more: Vec<_> = (40..50).map(|n| write(pool, notes, JobOptions::new(), n)).collect();
    until("all are counted", || pool.stats().waiting == 50);
    let refused = pool.submit(call(pid, ())).unwrap_err();
    assert_eq!(refused.reason(), &RejectReason::QueueFull);
    // Who waits for a place gets it when they are run.
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| take(&mut pool.submit_wait(call(pid, ()), None).unwrap()));
        note(&notes.path(), String::new());
        assert!(waits.join().unwrap().is_ok());
    });
    assert_eq!(taken_back.end(more), (0..50).collect::<Vec<_>>());
}

#[test]
fn urgent_jobs_waited_behind_all_that_were_taken_back() {
    let mut taken_back = TakenBack::new(ProcessPoolExecutor::builder());
    let urgent = JobOptions::new().priority(Priority::High);
    let (pool, notes) = (&taken_back.pool, &taken_back.notes);
    let more = (100..200).map(|n| write(pool, notes, urgent, n)).collect();
    let order = taken_back.end(more);
    assert_eq!((order.len(), order[0]), (140, 100));
    for (place, n) in order.iter().filter(|n| **n < 100).enumerate() {
        let urgent_before =
            order.iter().take_while(|other| *other != n).filter(|n| **n >= 100).count();
        assert!(urgent_before <= 7 * (place + 1), "{n} after {urgent_before}: {order:?}");
    }
    assert!(order.iter().filter(|n| **n < 100).is_sorted());
}

#[test]
fn a_job_that_waits_for_memory_has_its_limits_and_its_end() {
    let pool = ProcessPoolExecutor::builder().workers(2).memory_budget(10).build().unwrap();
    let all = JobOptions::new().memory(10);
    let blocker = blocking(&pool, all);
    let brief = all.queue_timeout(Duration::from_millis(20));
    let mut late = pool.with(brief).submit(call(pid, ())).unwrap();
    assert!(take(&mut late).unwrap_err().is_queue_timeout());
    let mut waits = pool.with(all).submit(call(pid, ())).unwrap();
    // So it is out of the queue by now.
    take(&mut pool.submit(call(pid, ())).unwrap()).unwrap();
    pool.shutdown(false, true);
    assert!(take(&mut waits).unwrap_err().is_cancelled());
    assert!(blocker.cancel());
    let stats = pool.shutdown(true, false);
    assert_eq!((stats.timed_out, stats.cancelled, stats.finished), (1, 2, 1));
}

#[test]
fn memory_of_a_worker_that_is_still_dying_is_not_given_away() {
    let builder = ProcessPoolExecutor::builder().workers(1).memory_budget(10);
    let pool = builder.cancel_grace(PATIENCE).build().unwrap();
    let all = pool.with(JobOptions::new().memory(10));
    let notes = Notes::new();
    let stubborn = |path: String| {
        note(&path, "begun".to_owned());
        block(())
    };
    let blocker = all.submit(call(stubborn, notes.path())).unwrap();
    until("it has begun", || !notes.lines().is_empty());
    let [old] = pool.worker_pids()[..] else { panic!("one worker") };
    assert!(blocker.cancel());
    let mut waits = all.submit(call(pid, ())).unwrap();
    for _ in 0..20 {
        take(&mut pool.submit(call(pid, ())).unwrap()).unwrap();
    }
    assert!(Path::new(&format!("/proc/{old}")).exists() && !waits.done());
    // SAFETY: it was not reaped: it is still there, and nobody else ends it.
    unsafe { libc::kill(old as i32, libc::SIGKILL) };
    assert_ne!(take(&mut waits).unwrap(), old);
}

#[test]
fn a_snapshot_shows_workers_jobs_and_causes() {
    let pool = ProcessPoolExecutor::builder().workers(2).min_workers(2).build().unwrap();
    let named = JobOptions::new().name("blocks");
    let blocker = blocking(&pool, named);
    let retry = Retry::new(3).on_crash().pauses(Duration::ZERO, Duration::ZERO).idempotent();
    let abort = |_: ()| -> () { std::process::abort() };
    let mut crashes = pool.with(named.retry(retry)).submit(call(abort, ())).unwrap();
    assert!(take(&mut crashes).unwrap_err().quarantine().is_some());
    take(&mut pool.submit(call(pid, ())).unwrap()).unwrap();
    until("both are there", || pool.worker_pids().len() == 2);
    let snapshot = pool.snapshot();
    assert_eq!(snapshot.crashes, [("Abort".to_owned(), 3)].into());
    assert_eq!((snapshot.retries, snapshot.recycled), (2, 0));
    assert_eq!(snapshot.starts, CircuitSnapshot::default());
    assert_eq!((snapshot.queue_time.count(), snapshot.run_time.count()), (5, 4));
    let of = |name: &str| {
        let task = &snapshot.tasks[name];
        (task.queue_time.count(), task.run_time.count(), task.crashes)
    };
    // The blocker runs still; three attempts have crashed.
    assert_eq!((of("blocks"), of("fn(()) -> u32")), ((4, 3, 3), (1, 1, 0)));
    assert_eq!((snapshot.tasks.len(), snapshot.convicted), (2, 0));
    assert_eq!(snapshot.fork_server, pool.fork_server_pid());
    let pids: HashSet<u32> = pool.worker_pids().into_iter().collect();
    assert!(snapshot.workers.iter().map(|worker| worker.pid).collect::<HashSet<_>>() == pids);
    let busy = snapshot.workers.iter().find(|worker| worker.phase == WorkerPhase::Busy).unwrap();
    let job = busy.job.as_ref().unwrap();
    assert_eq!((&*job.name, job.attempt, busy.jobs), ("blocks", 1, 0));
    assert!(job.running_for <= busy.uptime && busy.uptime < 2 * PATIENCE);
    assert!(busy.resident_memory.unwrap() > 10_000);

    let bytes = postcard::to_stdvec(&snapshot).unwrap();
    let back: PoolSnapshot = postcard::from_bytes(&bytes).unwrap();
    assert_eq!((back.workers, back.crashes), (snapshot.workers, snapshot.crashes));
    assert_eq!(back.stats, snapshot.stats);

    assert!(blocker.cancel());
    let mut unnamed = pool.submit(call(block, ())).unwrap();
    until("it shows", || {
        let workers = pool.snapshot().workers;
        workers.iter().any(|it| it.job.as_ref().is_some_and(|job| job.name == "fn(())"))
    });
    assert!(unnamed.cancel() && take(&mut unnamed).unwrap_err().is_cancelled());
    pool.shutdown(true, false);
    assert!(pool.snapshot().workers.is_empty());
}

#[test]
fn recycled_workers_and_their_jobs_are_counted() {
    let pool = ProcessPoolExecutor::builder().workers(1).max_tasks_per_child(2).build().unwrap();
    let mut per_worker: HashMap<u32, u32> = HashMap::new();
    for _ in 0..10 {
        let pid = take(&mut pool.submit(call(pid, ())).unwrap()).unwrap();
        *per_worker.entry(pid).or_default() += 1;
    }
    assert!(per_worker.len() == 5 && per_worker.values().all(|jobs| *jobs == 2));
    assert_eq!(pool.snapshot().recycled, 5);
}

#[test]
fn a_pool_whose_workers_die_at_their_start_says_so_and_heals_by_itself() {
    let die: fn() -> Result<(), String> = || {
        let file = std::env::var_os("LOOPOOL_TEST_CIRCUIT").unwrap_or_default();
        if Path::new(&file).exists() { Ok(()) } else { std::process::exit(9) }
    };
    let healed = Notes::new();
    // SAFETY: no other test of this program reads or writes the environment while this runs but
    // through the standard library, which locks it.
    unsafe { std::env::set_var("LOOPOOL_TEST_CIRCUIT", &healed.0) };
    let pool =
        ProcessPoolExecutor::builder().workers(1).min_workers(1).initializer(die).build().unwrap();
    until("it gives up", || pool.snapshot().starts.is_open);
    let starts = pool.snapshot().starts;
    assert!(starts.failures >= 5 && starts.last_error.unwrap().contains("exit code 9"));
    let error = take(&mut pool.submit(call(pid, ())).unwrap()).unwrap_err();
    assert!(error.is_rejected() && error.to_string().contains("exit code 9"), "{error}");
    note(&healed.path(), String::new());
    // Without a job.
    until("it heals", || pool.snapshot().starts == CircuitSnapshot::default());
    until("it is there", || pool.worker_pids().len() == 1);
    take(&mut pool.submit(call(pid, ())).unwrap()).unwrap();
}

/// Stops a process, as from outside, and waits until that is so.
fn stop(pid: u32) {
    // SAFETY: a worker of ours that was not reaped.
    unsafe { libc::kill(pid as i32, libc::SIGSTOP) };
    until("it has stopped", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(')').next().unwrap().trim_start().starts_with('T')
    });
}

#[test]
fn a_worker_that_had_stopped_kept_its_place_without_a_job() {
    for times_out in [false, true] {
        let pool = ProcessPoolExecutor::builder().workers(1).build().unwrap();
        let stopped = take(&mut pool.submit(call(pid, ())).unwrap()).unwrap();
        stop(stopped);
        let limit = JobOptions::new().job_timeout(Duration::from_millis(20));
        let options = if times_out { limit } else { JobOptions::new() };
        let mut job = pool.with(options).submit(call(pid, ())).unwrap();
        until("the worker has it", || pool.stats().running == 1 || times_out);
        assert!(times_out || job.cancel());
        let error = take(&mut job).unwrap_err();
        assert!(if times_out { error.is_timeout() } else { error.is_cancelled() });
        let next = take(&mut pool.submit(call(pid, ())).unwrap()).unwrap();
        assert_ne!(next, stopped);
    }
}

#[test]
fn memory_that_a_cancelled_job_had_kept_was_given_to_nobody() {
    for _ in 0..20 {
        let builder = ProcessPoolExecutor::builder().workers(2).min_workers(2);
        let pool = builder.memory_budget(100).build().unwrap();
        until("both are idle", || {
            let workers = pool.snapshot().workers;
            workers.iter().filter(|worker| worker.phase == WorkerPhase::Idle).count() == 2
        });
        let key = JobOptions::new().affinity("document");
        let home = blocking(&pool, key);
        // It waits for its home, which is busy, and the other one waits for its memory.
        let kept = pool.with(key.memory(80)).submit(call(block, ())).unwrap();
        let mut held = pool.with(JobOptions::new().memory(80)).submit(call(pid, ())).unwrap();
        kept.cancel();
        take(&mut held).unwrap();
        assert!(home.cancel());
    }
}

#[test]
fn a_shutdown_cancels_what_a_worker_was_given_ahead() {
    let pool = ProcessPoolExecutor::builder().workers(1).build().unwrap();
    let begun = Notes::new();
    // Short ones first, so that jobs are given ahead.
    for _ in 0..3 {
        let jobs: Vec<_> = (0..500).map(|_| pool.submit(call(pid, ())).unwrap()).collect();
        jobs.into_iter().for_each(|mut job| assert!(take(&mut job).is_ok()));
    }
    let wait = |path: String| {
        note(&path, "begun".to_owned());
        while std::fs::exists(format!("{path}.end")).is_ok_and(|it| !it) {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let mut first = pool.submit(call(wait, begun.path())).unwrap();
    let others: Vec<_> = (0..50).map(|_| pool.submit(call(pid, ())).unwrap()).collect();
    until("the first has begun", || begun.lines().len() == 1);
    pool.shutdown(false, true);
    for mut job in others {
        assert!(take(&mut job).unwrap_err().is_cancelled());
    }
    let end = format!("{}.end", begun.path());
    std::fs::write(&end, "").unwrap();
    take(&mut first).unwrap();
    std::fs::remove_file(end).unwrap();
    let stats = pool.shutdown(true, false);
    assert_eq!((stats.finished, stats.cancelled), (1501, 50));
}

#[test]
fn how_long_workers_rest_is_counted_between_their_jobs() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    for n in 0..10 {
        take(&mut pool.submit(call(pid, ())).unwrap()).unwrap();
        assert_eq!(pool.snapshot().idle_time.count(), n);
    }
}
