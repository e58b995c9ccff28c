//! What jobs and pools of threads tell an operator. (Pools of processes: `process_logs.rs`.)

mod common;
#[path = "common/notebook.rs"]
mod notebook;

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, mpsc};

use common::{PATIENCE, block, outcome, take};
use loopool_executors::{
    CpuExecutor, Executor, Job, JobError, ProcessPoolExecutor, Promise, RejectReason,
    ThreadPoolExecutor, call,
};
use notebook::{lines, listen};
use tracing::Level;

fn warnings() -> Vec<String> {
    lines().into_iter().map(|(_, line)| line).collect()
}

/// What was written down with these words in it.
fn told(words: &str) -> Vec<String> {
    warnings().into_iter().filter(|line| line.contains(words)).collect()
}

/// Callbacks of one job, two of which panic, with its name in what they say.
struct Callbacks {
    name: &'static str,
    called: Arc<Mutex<Vec<usize>>>,
}

impl Callbacks {
    fn of<T>(job: &Job<T>, name: &'static str) -> Self {
        listen(Level::WARN);
        let called = Arc::<Mutex<Vec<_>>>::default();
        for number in 0..4 {
            let called = called.clone();
            job.add_done_callback(move |_| {
                called.lock().unwrap().push(number);
                if number == 1 || number == 2 {
                    // Past the hook, which would tell of it, too.
                    resume_unwind(Box::new(format!("callback {number} of {name} gives up")));
                }
            });
        }
        Callbacks { name, called }
    }

    /// All have run, in order, and each of the two panics was told of once.
    #[track_caller]
    fn check(self) {
        let name = self.name;
        assert_eq!(*self.called.lock().unwrap(), [0, 1, 2, 3], "{name}");
        let lines = told(&format!("of {name} gives up"));
        assert_eq!(lines.len(), 2, "{lines:?}");
        for (line, number) in lines.iter().zip(1..) {
            for part in ["done-callback panicked", &format!("callback {number} of {name}")] {
                assert!(line.contains(part), "{part} is missing: {line}");
            }
        }
    }
}

#[test]
fn a_panic_of_a_callback_is_written_down_whatever_the_outcome_is() {
    let (promise, mut job) = Promise::new();
    let callbacks = Callbacks::of(&job, "a value");
    promise.set_result(1).unwrap();
    callbacks.check();
    // Late ones, for which there is an outcome and there is none.
    Callbacks::of(&job, "what is done").check();
    assert_eq!(job.result(None).unwrap(), 1);
    Callbacks::of(&job, "what was taken").check();

    let (promise, mut job) = Promise::<u8>::new();
    let callbacks = Callbacks::of(&job, "an error");
    promise.set_exception(JobError::rejected("no"));
    callbacks.check();
    assert!(job.result(None).unwrap_err().is_rejected());

    let (_promise, mut job) = Promise::<u8>::new();
    let callbacks = Callbacks::of(&job, "what was cancelled");
    assert!(job.cancel());
    callbacks.check();
    assert!(job.result(None).unwrap_err().is_cancelled());
}

#[test]
fn a_panic_of_a_callback_is_written_down_and_costs_no_thread_of_a_pool() {
    let (threads, cores) = (ThreadPoolExecutor::new(1), CpuExecutor::new(1).unwrap());
    let processes = ProcessPoolExecutor::new(1).unwrap();

    let (release, mut job) = block(&threads);
    let callbacks = Callbacks::of(&job, "a thread's job");
    drop(release);
    assert_eq!(take(&mut job).unwrap(), 0);
    callbacks.check();
    assert_eq!(outcome(threads.submit(|| 2).unwrap()).unwrap(), 2);

    let (release, mut job) = block(&cores);
    let callbacks = Callbacks::of(&job, "a core's job");
    drop(release);
    assert_eq!(take(&mut job).unwrap(), 0);
    callbacks.check();
    assert_eq!(outcome(cores.submit(|| 2).unwrap()).unwrap(), 2);

    let mut job = processes.submit(call(|n: u32| n, 1)).unwrap();
    let callbacks = Callbacks::of(&job, "a process's job");
    assert_eq!(take(&mut job).unwrap(), 1);
    callbacks.check();
    assert_eq!(outcome(processes.submit(call(|n: u32| n, 2)).unwrap()).unwrap(), 2);
}

#[test]
fn why_an_initializer_of_threads_failed_is_written_down_before_a_job_hears_of_it() {
    listen(Level::WARN);
    type Fails = fn() -> Result<(), String>;
    let fails: [(Fails, &str); 2] = [
        (|| Err("no model called squid".to_owned()), "failed: no model called squid"),
        (|| resume_unwind(Box::new("no room for it")), "panicked: no room for it"),
    ];
    for (initializer, reason) in fails {
        let (begin, may_begin) = mpsc::channel::<()>();
        let may_begin = Mutex::new(may_begin);
        let pool = ThreadPoolExecutor::builder()
            .max_workers(3)
            .initializer(move || {
                // An error, too, is a beginning.
                let _ = may_begin.lock().unwrap().recv_timeout(PATIENCE);
                initializer()
            })
            .build();
        let waiting: Vec<_> = (0..3).map(|n| pool.submit(move || n).unwrap()).collect();
        assert_eq!(told(reason).len(), 0);
        drop(begin);
        for job in waiting {
            let error = outcome(job).unwrap_err();
            assert!(error.is_rejected() && error.to_string().contains(reason), "{error}");
            assert_eq!(told(reason).len(), 1);
        }
        let refused = pool.submit(|| 3).unwrap_err();
        assert!(matches!(refused.reason(), RejectReason::Broken(why) if why.contains(reason)));
        pool.shutdown(true, false);
        let lines = told(reason);
        assert!(lines.len() == 1 && lines[0].contains("a pool of threads is broken"), "{lines:?}");
    }
}

#[test]
fn why_a_later_thread_failed_is_written_down_and_jobs_that_run_go_on() {
    listen(Level::WARN);
    let reason = "one of them is enough";
    let threads = Mutex::new(0);
    let pool = ThreadPoolExecutor::builder()
        .max_workers(2)
        .initializer(move || {
            let mut threads = threads.lock().unwrap();
            *threads += 1;
            if *threads == 1 { Ok(()) } else { Err(reason.to_owned()) }
        })
        .build();
    let (release, mut running) = block(&pool);
    assert!(outcome(pool.submit(|| 1).unwrap()).unwrap_err().is_rejected());
    assert_eq!(told(reason).len(), 1);
    drop(release);
    assert_eq!(take(&mut running).unwrap(), 0);
    pool.shutdown(true, false);
    assert_eq!(told(reason).len(), 1);
}
