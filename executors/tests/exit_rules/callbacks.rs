//! Done-callbacks that exit, and who waits for their jobs.

use super::*;
use loopool_executors::{CancelToken, Job, JobOptions};

type Boxed = Box<dyn FnOnce() + Send>;

fn exits_in_a_callback<T>(job: &Job<T>) {
    job.add_done_callback(|_| loopool_executors::exit(6));
}

/// Somebody waits for the outcome that the callback has, and another callback for its turn.
fn a_callback_exits<E: Executor<Boxed>>(pool: &E) -> ExitCode {
    announce_exit();
    let mut job = pool.submit(Box::new(|| THERE.wait())).unwrap();
    exits_in_a_callback(&job);
    job.add_done_callback(|outcome| {
        println!("next callback: {}", if outcome.is_err() { "failed" } else { "done" });
    });
    let waits = move || {
        job.result(None).unwrap_err();
        println!("goes on");
    };
    Thread::new(waits).start().unwrap();
    THERE.open();
    park()
}

pub(super) fn a_callback_of_a_thread_pool_exits() -> ExitCode {
    a_callback_exits(&ThreadPoolExecutor::new(1))
}

pub(super) fn a_callback_of_a_cpu_pool_exits() -> ExitCode {
    a_callback_exits(&CpuExecutor::new(1).unwrap())
}

/// Exits once everything is there.
fn job_that_exits(pool: &ThreadPoolExecutor) -> Job<()> {
    let exits = || {
        THERE.wait();
        loopool_executors::exit(6)
    };
    pool.submit(exits).unwrap()
}

/// The job exits, and its callback when it hears of that.
pub(super) fn a_callback_exits_because_its_job_has() -> ExitCode {
    let pool = ThreadPoolExecutor::new(1);
    announce_exit();
    job_that_exits(&pool).add_done_callback(|outcome| {
        println!("{}", if outcome.is_err() { "failed" } else { "done" });
        loopool_executors::exit(7)
    });
    THERE.open();
    park()
}

/// What the callback waits for comes later at the program's end.
pub(super) fn a_callback_waits_for_a_hook_because_its_job_has_exited() -> ExitCode {
    static HOOK: Gate = Gate::new();
    let pool = ThreadPoolExecutor::new(1);
    let hook = || {
        println!("hook");
        HOOK.open();
    };
    register_at_exit(hook).unwrap_or_else(|_| panic!("refused"));
    announce_exit();
    job_that_exits(&pool).add_done_callback(|_| {
        HOOK.wait();
        println!("callback");
    });
    THERE.open();
    park()
}

/// The first one costs the pool its thread, so the other jobs fail.
pub(super) fn every_callback_of_a_process_pool_exits() -> ExitCode {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    announce_exit();
    let mut jobs = [0, 1, 2].map(|n| pool.submit(call(slower_in_a_worker, n)).unwrap());
    jobs.iter().for_each(exits_in_a_callback);
    let waits = move || {
        jobs.iter_mut().for_each(|job| _ = job.result(None).unwrap_err());
        println!("goes on");
    };
    Thread::new(waits).start().unwrap();
    park()
}

/// It is none of the pool's threads that exits.
pub(super) fn a_callback_of_a_job_that_is_late_exits() -> ExitCode {
    let pool = ThreadPoolExecutor::new(1);
    announce_exit();
    // Long enough for the callback to be there before.
    let limit = JobOptions::new().job_timeout(10 * MOMENT);
    let heed = || _ = CancelToken::current().unwrap().wait(None);
    let mut job = pool.with(limit).submit(heed).unwrap();
    exits_in_a_callback(&job);
    let waits = move || {
        job.result(None).unwrap_err();
        println!("goes on");
    };
    Thread::new(waits).start().unwrap();
    park()
}

/// `main` cancels what waits, and exits with the first of these jobs.
fn a_callback_exits_while_it_cancels<E: Executor<Boxed>>(pool: &E) -> ExitCode {
    announce_exit();
    let (begin, begun) = mpsc::channel();
    let busy = move || {
        begin.send(()).unwrap();
        EXIT.wait();
    };
    drop(pool.submit(Box::new(busy)).unwrap());
    begun.recv().unwrap();
    let mut jobs: Vec<_> = (0..3).map(|_| pool.submit(Box::new(|| ())).unwrap()).collect();
    exits_in_a_callback(&jobs[0]);
    let waits = move || {
        for (number, job) in jobs.iter_mut().enumerate() {
            let is_cancelled = job.result(None).unwrap_err().is_cancelled();
            println!("{number} is {}", if is_cancelled { "cancelled" } else { "lost" });
        }
    };
    Thread::new(waits).start().unwrap();
    pool.shutdown(false, true);
    unreachable!("the first callback exits");
}

pub(super) fn a_callback_exits_while_a_thread_pool_cancels() -> ExitCode {
    a_callback_exits_while_it_cancels(&ThreadPoolExecutor::new(1))
}

pub(super) fn a_callback_exits_while_a_cpu_pool_cancels() -> ExitCode {
    a_callback_exits_while_it_cancels(&CpuExecutor::new(1).unwrap())
}

/// The worker that fails all jobs exits with the first one.
pub(super) fn a_callback_exits_while_a_pool_breaks() -> ExitCode {
    let fails = || {
        THERE.wait();
        Err("no".to_owned())
    };
    let pool = ThreadPoolExecutor::builder().initializer(fails).max_workers(1).build();
    announce_exit();
    let [first, mut second] = [(); 2].map(|()| pool.submit(|| ()).unwrap());
    exits_in_a_callback(&first);
    Thread::new(move || println!("{}", second.result(None).unwrap_err())).start().unwrap();
    THERE.open();
    park()
}

/// Of jobs that wait, both, for a worker that will never be ready: one at a time is given to one that starts.
pub(super) fn a_callback_exits_while_a_process_pool_breaks() -> ExitCode {
    let fails = || {
        // Until the callback is there.
        std::thread::sleep(10 * MOMENT);
        Err("no".to_owned())
    };
    let pool = ProcessPoolExecutor::builder().initializer(fails).workers(1).build().unwrap();
    announce_exit();
    let [first, mut second] = [0, 1].map(|n| pool.submit(call(slower_in_a_worker, n)).unwrap());
    exits_in_a_callback(&first);
    let waits = move || println!("{}", second.result(None).unwrap_err());
    Thread::new(waits).start().unwrap();
    park()
}
