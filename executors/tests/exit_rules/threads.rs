//! Threads, daemons or not.

use super::*;

pub(super) fn threads_of_threads_are_waited_for() -> ExitCode {
    let parent = || {
        EXIT.wait();
        let child = || {
            THERE.wait();
            std::thread::sleep(MOMENT);
            println!("its thread ends");
        };
        Thread::new(child).start().unwrap();
        println!("thread ends");
        THERE.open();
    };
    Thread::new(parent).start().unwrap();
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

pub(super) static ENDED: AtomicUsize = AtomicUsize::new(0);

pub(super) extern "C" fn count_the_ended() {
    println!("{} threads have ended", ENDED.load(SeqCst));
}

/// They may not even have begun when `main` has ended.
pub(super) fn no_thread_is_lost() -> ExitCode {
    at_exit(count_the_ended);
    for _ in 0..64 {
        Thread::new(|| ENDED.fetch_add(1, SeqCst)).start().unwrap();
    }
    println!("main ends");
    ExitCode::SUCCESS
}

pub(super) fn forty_daemons() -> ExitCode {
    let (begin, begun) = mpsc::channel();
    for _ in 0..40 {
        let begin = begin.clone();
        let busy = move || {
            begin.send(()).unwrap();
            let mut texts = Vec::new();
            loop {
                texts.push(format!("{texts:?}").len().to_string());
                texts.truncate(20);
            }
        };
        Thread::new(busy).daemon(true).start().unwrap();
    }
    assert_eq!(begun.iter().take(40).count(), 40);
    Thread::new(|| ()).start().unwrap();
    ExitCode::SUCCESS
}

/// The daemon lives for as long as the other does.
pub(super) fn daemon_and_other_threads() -> ExitCode {
    let (ask, asked) = mpsc::channel::<mpsc::Sender<&str>>();
    let daemon = move || {
        asked.iter().for_each(|answer| answer.send("the daemon lives").unwrap());
        println!("the daemon ends");
    };
    Thread::new(daemon).daemon(true).start().unwrap();
    let other = move || {
        EXIT.wait();
        std::thread::sleep(MOMENT);
        let (answer, answered) = mpsc::channel();
        ask.send(answer).unwrap();
        println!("{}", answered.recv().unwrap());
        println!("thread ends");
        // The daemon would say so if it could.
        std::mem::forget(ask);
    };
    Thread::new(other).start().unwrap();
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

pub(super) struct Slow;

impl Drop for Slow {
    fn drop(&mut self) {
        std::thread::sleep(MOMENT);
        println!("destroyed");
    }
}

thread_local!(static SLOW: Slow = const { Slow });

pub(super) fn thread_locals_of_pools_are_destroyed() -> ExitCode {
    let pool = ThreadPoolExecutor::new(1);
    let job = || {
        SLOW.with(|_| ());
        late_job(0)
    };
    drop(pool.submit(job).unwrap());
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

pub(super) fn thread_locals_are_destroyed() -> ExitCode {
    let thread = || {
        SLOW.with(|_| ());
        EXIT.wait();
        println!("thread ends");
    };
    Thread::new(thread).start().unwrap();
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

/// `main` goes on when the thread that exits is over, and must not end the program first.
pub(super) fn main_waits_for_a_thread_that_exits() -> ExitCode {
    let mut thread = Thread::new(|| loopool_executors::exit(6)).start().unwrap();
    let _: Result<(), _> = thread.join(None);
    ExitCode::SUCCESS
}
