//! The executors' part.

use super::*;

pub(super) fn late_job(number: usize) -> usize {
    EXIT.wait();
    std::thread::sleep(MOMENT / 3);
    println!("job {number}");
    number
}

pub(super) extern "C" fn submit_late() {
    let refused = LATE.get().unwrap()();
    println!("late: {}", if refused { "refused" } else { "taken" });
}

/// What an exit handler tries that comes after ours.
pub(super) static LATE: OnceLock<Box<dyn Fn() -> bool + Send + Sync>> = OnceLock::new();

/// Whether this one refuses, and a new one as well.
pub(super) fn refuses<E: Executor<fn()>>(pool: &E, new: &E) -> bool {
    [pool, new].into_iter().all(|pool| {
        let Err(refused) = pool.submit(|| ()) else { return false };
        refused.is_shut_down() && refused.to_string().contains("the program is ending")
    })
}

pub(super) fn a_thread_pools_jobs_are_run() -> ExitCode {
    at_exit(submit_late);
    let pool = ThreadPoolExecutor::new(1);
    (0..3).for_each(|n| drop(pool.submit(move || late_job(n)).unwrap()));
    let _ = LATE.set(Box::new(move || refuses(&pool, &ThreadPoolExecutor::new(1))));
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

pub(super) fn a_dropped_thread_pools_jobs_are_run() -> ExitCode {
    let pool = ThreadPoolExecutor::new(1);
    (0..3).for_each(|n| drop(pool.submit(move || late_job(n)).unwrap()));
    drop(pool);
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

pub(super) fn a_thread_pool_shut_down_without_waiting() -> ExitCode {
    let pool = ThreadPoolExecutor::new(1);
    (0..3).for_each(|n| drop(pool.submit(move || late_job(n)).unwrap()));
    pool.shutdown(false, false);
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

pub(super) fn a_cpu_pools_jobs_are_run() -> ExitCode {
    at_exit(submit_late);
    let pool = CpuExecutor::new(1).unwrap();
    (0..3).for_each(|n| drop(pool.submit(move || late_job(n)).unwrap()));
    let _ = LATE.set(Box::new(move || refuses(&pool, &CpuExecutor::new(1).unwrap())));
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

pub(super) fn a_dropped_cpu_pools_jobs_are_run() -> ExitCode {
    let pool = CpuExecutor::new(1).unwrap();
    (0..3).for_each(|n| drop(pool.submit(move || late_job(n)).unwrap()));
    drop(pool);
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

pub(super) fn a_cpu_pools_only_job_is_waited_for() -> ExitCode {
    let pool = CpuExecutor::new(1).unwrap();
    let job = || {
        THERE.open();
        late_job(0)
    };
    drop(pool.submit(job).unwrap());
    announce_exit();
    THERE.wait();
    println!("main ends");
    ExitCode::SUCCESS
}

pub(super) fn slow_in_a_worker(number: usize) -> usize {
    std::thread::sleep(MOMENT);
    number
}

pub(super) fn submit_to_processes(pool: &ProcessPoolExecutor) {
    for number in 0..3 {
        let job = pool.submit(call(slow_in_a_worker, number)).unwrap();
        job.add_done_callback(|outcome| {
            EXIT.wait();
            println!("job {}", outcome.as_ref().unwrap());
        });
    }
}

pub(super) fn a_process_pools_jobs_are_run() -> ExitCode {
    at_exit(submit_late);
    let pool = ProcessPoolExecutor::new(1).unwrap();
    submit_to_processes(&pool);
    let _ = LATE.set(Box::new(move || {
        let refused = pool.submit(call(slow_in_a_worker, 3)).unwrap_err();
        let made = ProcessPoolExecutor::new(1);
        refused.is_shut_down() && matches!(made, Err(ProcessPoolError::ShuttingDown))
    }));
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

pub(super) fn a_dropped_process_pools_jobs_are_run() -> ExitCode {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    submit_to_processes(&pool);
    drop(pool);
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

/// The only worker exits, with jobs behind it.
pub(super) fn exit_in_a_job<E>(pool: &E) -> ExitCode
where
    E: Executor<Box<dyn FnOnce() + Send>>,
{
    announce_exit();
    let exits = || {
        THERE.wait();
        std::process::exit(6)
    };
    drop(pool.submit(Box::new(exits)).unwrap());
    for number in 1..3 {
        drop(pool.submit(Box::new(move || _ = late_job(number))).unwrap());
    }
    THERE.open();
    park()
}

pub(super) fn a_thread_pools_job_exits() -> ExitCode {
    exit_in_a_job(&ThreadPoolExecutor::new(1))
}

pub(super) fn a_cpu_pools_job_exits() -> ExitCode {
    exit_in_a_job(&CpuExecutor::new(1).unwrap())
}

pub(super) fn a_thread_pools_job_exits_meanwhile() -> ExitCode {
    let pool = ThreadPoolExecutor::new(1);
    drop(pool.submit(|| exits(|| loopool_executors::exit(9))).unwrap());
    drop(pool.submit(|| late_job(1)).unwrap());
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

pub(super) fn a_callback_of_a_process_pool_exits() -> ExitCode {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    announce_exit();
    let job = pool.submit(call(slow_in_a_worker, 0)).unwrap();
    job.add_done_callback(|_| std::process::exit(6));
    park()
}

/// The thread goes on until the executors are closed.
pub(super) fn executors_are_closed_before_threads_have_ended() -> ExitCode {
    let pool = ThreadPoolExecutor::new(1);
    let thread = move || {
        EXIT.wait();
        until("the refusal", || pool.submit(|| ()).is_err());
        println!("thread ends");
    };
    Thread::new(thread).start().unwrap();
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

/// Somebody waits for the job that exits, and has to go on.
fn whoever_waits_goes_on<E>(pool: E) -> ExitCode
where
    E: Executor<Box<dyn FnOnce() + Send>> + 'static,
{
    let waits = move || {
        let mut job = pool.submit(Box::new(|| std::process::exit(6))).unwrap();
        job.result(None).unwrap_err();
        println!("goes on");
    };
    announce_exit();
    Thread::new(waits).start().unwrap();
    park()
}

pub(super) fn whoever_waits_for_a_thread_pools_job_that_exits() -> ExitCode {
    whoever_waits_goes_on(ThreadPoolExecutor::new(2))
}

pub(super) fn whoever_waits_for_a_cpu_pools_job_that_exits() -> ExitCode {
    whoever_waits_goes_on(CpuExecutor::new(2).unwrap())
}

/// Its handle is not among the others yet when it exits.
pub(super) fn one_of_many_threads_that_were_just_started_exits() -> ExitCode {
    let pool = ThreadPoolExecutor::new(256);
    announce_exit();
    for number in 0..200 {
        let work = move || match number {
            100 => std::process::exit(3),
            _ => std::thread::sleep(MOMENT),
        };
        drop(pool.submit(work).unwrap());
    }
    park()
}

pub(super) fn an_initializer_exits() -> ExitCode {
    let exits = || {
        THERE.wait();
        std::process::exit(4)
    };
    let pool = ThreadPoolExecutor::builder().initializer(exits).max_workers(1).build();
    announce_exit();
    let mut job = pool.submit(|| ()).unwrap();
    Thread::new(move || println!("{}", job.result(None).unwrap_err())).start().unwrap();
    THERE.open();
    park()
}

/// Job 1 exits, job 2 waits for job 3, and there was one thread.
pub(super) fn a_stand_in_runs_what_its_jobs_wait_for() -> ExitCode {
    let pool = std::sync::Arc::new(CpuExecutor::new(1).unwrap());
    announce_exit();
    let exits = || {
        THERE.wait();
        std::process::exit(6)
    };
    drop(pool.submit(exits).unwrap());
    let (send, jobs) = mpsc::channel::<loopool_executors::Job<usize>>();
    let waits = move || println!("waited for {}", jobs.recv().unwrap().result(None).unwrap());
    drop(pool.submit(waits).unwrap());
    send.send(pool.submit(|| 3).unwrap()).unwrap();
    THERE.open();
    park()
}

/// There was one thread. Job 0 exits, and so does job 1, on the thread that has taken its place.
pub(super) fn a_stand_ins_job_exits_too() -> ExitCode {
    let pool = CpuExecutor::new(1).unwrap();
    announce_exit();
    let exits = || {
        THERE.wait();
        loopool_executors::exit(6)
    };
    drop(pool.submit(exits).unwrap());
    let exits = || {
        EXIT.wait();
        loopool_executors::exit(7)
    };
    drop(pool.submit(exits).unwrap());
    drop(pool.submit(|| late_job(2)).unwrap());
    THERE.open();
    park()
}

/// Of two threads one exits. The other one's job leaves a job in that thread's own queue, and waits for all.
pub(super) fn a_cpu_pools_job_shuts_it_down_when_another_one_has_exited() -> ExitCode {
    static SUBMITTED: Gate = Gate::new();
    let pool = std::sync::Arc::new(CpuExecutor::new(2).unwrap());
    let inner = pool.clone();
    // Hooks come when those who have exited are struck, and before the executors are closed.
    let hook = || {
        THERE.open();
        SUBMITTED.wait();
    };
    register_at_exit(hook).unwrap_or_else(|_| panic!("refused"));
    announce_exit();
    let shuts_down = move || {
        THERE.wait();
        // Whoever stands in finds nothing, and goes.
        std::thread::sleep(MOMENT);
        drop(inner.submit(|| ()).unwrap());
        SUBMITTED.open();
        inner.shutdown(true, false);
        println!("shut down");
    };
    drop(pool.submit(shuts_down).unwrap());
    drop(pool.submit(|| loopool_executors::exit(6)).unwrap());
    park()
}

/// A hook submits to a pool that has no thread left.
pub(super) fn a_hook_submits_to_a_pool_whose_only_thread_exits() -> ExitCode {
    let pool = std::sync::Arc::new(CpuExecutor::new(1).unwrap());
    let inner = pool.clone();
    let hook = move || println!("hook: {}", inner.submit(|| 5).unwrap().result(None).unwrap());
    register_at_exit(hook).unwrap_or_else(|_| panic!("refused"));
    announce_exit();
    drop(pool.submit(|| std::process::exit(6)).unwrap());
    park()
}

/// Long enough for its callback to be there before.
pub(super) fn slower_in_a_worker(number: usize) -> usize {
    std::thread::sleep(10 * MOMENT);
    number
}

pub(super) fn a_pool_of_processes_without_its_manager_fails_what_waits() -> ExitCode {
    let pool = std::sync::Arc::new(ProcessPoolExecutor::new(1).unwrap());
    announce_exit();
    let job = pool.submit(call(slower_in_a_worker, 0)).unwrap();
    job.add_done_callback(|_| {
        THERE.wait();
        std::process::exit(6)
    });
    let mut waiting = pool.submit(call(slow_in_a_worker, 1)).unwrap();
    let waits = move || {
        let error = waiting.result(None).unwrap_err();
        println!("{error}");
        pool.shutdown(true, false);
        println!("shut down");
    };
    Thread::new(waits).start().unwrap();
    THERE.open();
    park()
}

/// Two jobs with limits; the first one's callback waits for the second one.
pub(super) fn limits_are_kept_to_the_end() -> ExitCode {
    let pool = ThreadPoolExecutor::new(2);
    let limited = |millis| {
        let limit = Duration::from_millis(millis);
        let nap = || _ = loopool_executors::CancelToken::current().unwrap().wait(None);
        pool.with(loopool_executors::JobOptions::new().job_timeout(limit)).submit(nap).unwrap()
    };
    // Long enough for the callback to be there before.
    let (first, mut second) = (limited(600), limited(700));
    first.add_done_callback(move |_| {
        println!("{}", second.result(None).unwrap_err().is_timeout());
    });
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}
