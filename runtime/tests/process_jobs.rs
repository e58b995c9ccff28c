//! Jobs in processes, awaited on event loops.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use loopool::{
    Executor, JobError, ProcessPoolExecutor, call, cancellable, create_local_task, create_task,
    run_in_executor, sleep, timeout, yield_now,
};

/// No test comes near this unless something hangs.
const HANG: Duration = Duration::from_secs(120);

fn add_one(n: u32) -> u32 {
    n + 1
}

fn park(_: u32) -> u32 {
    loop {
        std::thread::park();
    }
}

/// Says that it has begun by removing the file, and never ends.
fn begin(path: String) -> u32 {
    std::fs::remove_file(&path).unwrap();
    park(0)
}

/// Until the job that is to [`begin`] has. (One that only waits in its worker is taken back, not killed.)
async fn begun(path: &str) {
    until("the beginning", || !std::fs::exists(path).unwrap()).await;
}

/// Waits until the file is gone.
fn hold(path: String) -> u32 {
    while std::fs::exists(&path).unwrap() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::process::id()
}

fn held(name: &str) -> String {
    let path = std::env::temp_dir().join(format!("loopool-{name}-{}", std::process::id()));
    std::fs::write(&path, "").unwrap();
    path.into_os_string().into_string().unwrap()
}

fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < HANG, "{what} does not happen");
        sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn results_and_errors_are_awaited() {
    let pool = ProcessPoolExecutor::new(2).unwrap();
    loopool::run(async {
        let sums = (0..20).map(|n| run_in_executor(&pool, call(add_one, n)).unwrap());
        for (n, sum) in sums.collect::<Vec<_>>().into_iter().enumerate() {
            assert_eq!(sum.await.unwrap(), n as u32 + 1);
        }
        let panics = |_: u32| -> u32 { panic!("not today") };
        let error = run_in_executor(&pool, call(panics, 1)).unwrap().await.unwrap_err();
        assert_eq!(error.panic_message(), Some("not today"));
        let aborts = |_: u32| -> u32 { std::process::abort() };
        let error = run_in_executor(&pool, call(aborts, 1)).unwrap().await.unwrap_err();
        assert_eq!(error.crash().unwrap().signal, Some(6));
    });
}

#[test]
fn the_loop_goes_on_while_jobs_run() {
    let pool = ProcessPoolExecutor::new(2).unwrap();
    let file = held("goes-on");
    loopool::run(async {
        let turns = Rc::new(Cell::new(0u32));
        let jobs: Vec<_> =
            (0..4).map(|_| run_in_executor(&pool, call(hold, file.clone())).unwrap()).collect();
        let counting = create_local_task({
            let (turns, file) = (turns.clone(), file.clone());
            async move {
                for _ in 0..1000 {
                    turns.set(turns.get() + 1);
                    yield_now().await;
                }
                std::fs::remove_file(&file).unwrap();
            }
        });
        for job in jobs {
            job.await.unwrap();
            assert_eq!(turns.get(), 1000, "the job was over before the loop had its turns");
        }
        counting.await.unwrap();
    });
}

/// The job's process is gone and the pool goes on.
async fn check_that_it_was_killed(pool: &ProcessPoolExecutor, worker: u32) {
    until("the end of the worker", || !is_alive(worker)).await;
    assert_eq!(run_in_executor(pool, call(add_one, 1)).unwrap().await.unwrap(), 2);
    assert_eq!((pool.stats().cancelled, pool.stats().finished), (1, 1));
}

#[test]
fn a_job_whose_task_is_cancelled_is_killed() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let file = held("begins-cancelled");
    loopool::run(async move {
        let pool = std::sync::Arc::new(pool);
        let task = create_task({
            let (pool, file) = (pool.clone(), file.clone());
            async move { cancellable(run_in_executor(&*pool, call(begin, file)).unwrap()).await }
        });
        begun(&file).await;
        let worker = pool.worker_pids()[0];
        task.cancel();
        let outcome = task.await;
        assert!(!matches!(outcome, Ok(Ok(Ok(_)))), "the job has no end");
        check_that_it_was_killed(&pool, worker).await;
    });
}

#[test]
fn a_job_that_nobody_awaits_any_more_is_killed() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let file = held("begins-dropped");
    loopool::run(async {
        let job = run_in_executor(&pool, call(begin, file.clone())).unwrap();
        begun(&file).await;
        let worker = pool.worker_pids()[0];
        drop(job);
        check_that_it_was_killed(&pool, worker).await;
    });
}

#[test]
fn a_job_that_is_late_for_its_task_is_killed() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let file = held("begins-late");
    loopool::run(async {
        let job = run_in_executor(&pool, call(begin, file.clone())).unwrap();
        begun(&file).await;
        let worker = pool.worker_pids()[0];
        assert!(timeout(Duration::from_millis(20), job).await.is_err());
        check_that_it_was_killed(&pool, worker).await;
    });
}

#[test]
fn a_job_that_waits_and_is_dropped_is_never_run() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let file = held("never-run");
    loopool::run(async {
        let running = run_in_executor(&pool, call(hold, file.clone())).unwrap();
        until("the start", || pool.stats().running == 1).await;
        let worker = pool.worker_pids();
        drop((0..10).map(|n| run_in_executor(&pool, call(park, n)).unwrap()).collect::<Vec<_>>());
        std::fs::remove_file(&file).unwrap();
        assert_eq!(vec![running.await.unwrap()], worker);
        assert_eq!((pool.stats().cancelled, pool.stats().finished), (10, 1));
    });
}

#[test]
fn tasks_of_all_loops_share_a_pool() {
    let pool = std::sync::Arc::new(ProcessPoolExecutor::new(2).unwrap());
    let tasks = 16u32;
    let jobs = 50u32;
    loopool::run({
        let pool = pool.clone();
        async move {
            let ask = |task: u32| {
                let pool = pool.clone();
                create_task(async move {
                    for n in 0..jobs {
                        let number = task * 1000 + n;
                        let sum: Result<u32, JobError> =
                            run_in_executor(&*pool, call(add_one, number)).unwrap().await;
                        assert_eq!(sum.unwrap(), number + 1);
                    }
                })
            };
            for task in (0..tasks).map(ask).collect::<Vec<_>>() {
                task.await.unwrap();
            }
        }
    });
    assert_eq!(pool.shutdown(true, false).finished, u64::from(tasks * jobs));
}

#[test]
fn a_full_queue_is_awaited() {
    let pool = ProcessPoolExecutor::builder().workers(1).queue_limit(1).build().unwrap();
    let file = held("full");
    loopool::run(async {
        let running = run_in_executor(&pool, call(hold, file.clone())).unwrap();
        until("the start", || pool.stats().running == 1).await;
        let waiting = run_in_executor(&pool, call(add_one, 1)).unwrap();
        assert!(run_in_executor(&pool, call(add_one, 2)).unwrap_err().is_queue_full());
        let pending = pool.submit_async(call(add_one, 3));
        std::fs::remove_file(&file).unwrap();
        let job = timeout(HANG, pending).await.unwrap().unwrap();
        running.await.unwrap();
        assert_eq!((waiting.await.unwrap(), job.await.unwrap()), (2, 4));
    });
}
