//! Processes, daemons or not.

use super::*;

pub(super) fn sleep_for_ever(_: ()) {
    park()
}

pub(super) fn exists(pid: u32) -> bool {
    // SAFETY: signal 0 only asks.
    unsafe { libc::kill(pid as i32, 0) == 0 }
}

pub(super) fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < HANG, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(super) extern "C" fn all_is_over() {
    println!("all is over");
}

/// The daemon goes when the main code has ended, while the other still runs.
pub(super) fn daemon_and_other_processes() -> ExitCode {
    at_exit(all_is_over);
    let daemon = Process::new(sleep_for_ever, ()).daemon(true).start().unwrap();
    let other = |daemon: u32| {
        until("the end of the daemon", || !exists(daemon));
        println!("the daemon has gone");
        std::thread::sleep(MOMENT);
        println!("process ends");
    };
    println!("main ends");
    Process::new(other, daemon.pid()).start().unwrap();
    ExitCode::SUCCESS
}

pub(super) extern "C" fn ignore(_: i32) {
    let line = b"asked to end\n";
    // SAFETY: async-signal-safe, and the buffer has the length given.
    unsafe { libc::write(libc::STDOUT_FILENO, line.as_ptr().cast(), line.len()) };
}

/// Tells its parent when it has become so.
pub(super) fn be_deaf(parent: u32) {
    // SAFETY: the handler does only what a handler may; a plain system call.
    unsafe {
        libc::signal(libc::SIGTERM, ignore as extern "C" fn(i32) as usize);
        libc::kill(parent as i32, libc::SIGUSR1);
    }
    park()
}

pub(super) fn a_daemon_that_will_not_end() -> ExitCode {
    at_exit(all_is_over);
    let mut signals = nix::sys::signal::SigSet::empty();
    signals.add(nix::sys::signal::Signal::SIGUSR1);
    signals.thread_block().unwrap();
    Process::new(be_deaf, std::process::id()).daemon(true).start().map(drop).unwrap();
    signals.wait().unwrap();
    println!("main ends");
    ExitCode::SUCCESS
}

pub(super) fn a_process_waits_for_its_threads() -> ExitCode {
    let function = |_: ()| {
        start_a_late_thread();
        println!("process ends");
    };
    Process::new(function, ()).start().unwrap().join(None).unwrap();
    println!("joined");
    ExitCode::SUCCESS
}

pub(super) fn a_process_may_have_children() -> ExitCode {
    let function = |_: ()| {
        let mut child = Process::new(|n: u32| n, 1).start().unwrap();
        let mut thread = Thread::new(|| 2).start().unwrap();
        let pool = ProcessPoolExecutor::new(1).unwrap();
        let three = pool.submit(call(|n: u32| n, 3)).unwrap().result(None).unwrap();
        let (one, two) = (child.join(None).unwrap(), thread.join(None).unwrap());
        println!("child, thread and pool: {one} {two} {three}");
    };
    Process::new(function, ()).start().unwrap().join(None).unwrap();
    println!("joined");
    ExitCode::SUCCESS
}

pub(super) fn a_daemon_process_may_not() -> ExitCode {
    let function = |_: ()| {
        let child = Process::new(|n: u32| n, 1);
        assert!(child.is_daemon());
        let refused = child.daemon(false).start().unwrap_err();
        println!("{}", if refused.is_nested() { "nested" } else { "started" });
        assert_eq!(refused.into_unstarted().into_argument(), 1);
        let made = ProcessPoolExecutor::new(1);
        println!(
            "{}",
            if matches!(made, Err(ProcessPoolError::Nested)) { "nested" } else { "made" }
        );
    };
    Process::new(function, ()).daemon(true).start().unwrap().join(None).unwrap();
    println!("joined");
    ExitCode::SUCCESS
}

pub(super) extern "C" fn count_children() {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let lists = threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("children")).ok());
    println!("{} children", lists.map(|list| list.split_whitespace().count()).sum::<usize>());
}

pub(super) fn processes_nobody_joins_leave_no_zombies() -> ExitCode {
    at_exit(count_children);
    for n in 0..4 {
        Process::new(|n: u32| n, n).daemon(n % 2 == 0).start().map(drop).unwrap();
    }
    println!("main ends");
    ExitCode::SUCCESS
}
