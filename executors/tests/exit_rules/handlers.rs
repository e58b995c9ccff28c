//! Hooks, other exit handlers, and forks.

use super::*;

pub(super) fn hooks_run_last_first() -> ExitCode {
    let pool = ThreadPoolExecutor::new(1);
    let first = move || {
        println!("first hook");
        assert!(register_at_exit(|| ()).unwrap_err().is_shut_down());
        drop(pool.submit(|| println!("job")).unwrap());
    };
    register_at_exit(first).unwrap();
    register_at_exit(|| println!("last hook")).unwrap();
    println!("main ends");
    ExitCode::SUCCESS
}

pub(super) extern "C" fn earlier_handler() {
    let thread = Thread::new(|| ()).start().is_err_and(|error| error.is_shutting_down());
    let daemon = Thread::new(|| ()).daemon(true).start().is_err_and(|it| it.is_shutting_down());
    let process = Process::new(|_: ()| (), ()).start().is_err_and(|it| it.is_shutting_down());
    let hook = register_at_exit(|| ()).is_err();
    let all = [thread, daemon, process, hook];
    println!("earlier handler: {}", if all == [true; 4] { "refused" } else { "started" });
}

pub(super) extern "C" fn later_handler() {
    let late = || {
        THERE.wait();
        std::thread::sleep(MOMENT);
        println!("its thread ends");
    };
    let started = Thread::new(late).start().is_ok();
    println!("later handler: {}", if started { "started" } else { "refused" });
    THERE.open();
}

/// The C library runs them backwards.
pub(super) fn handlers_before_and_after_ours() -> ExitCode {
    at_exit(earlier_handler);
    Thread::new(|| ()).start().unwrap();
    at_exit(later_handler);
    println!("main ends");
    ExitCode::SUCCESS
}

/// A fork has the lists, and none of the threads.
pub(super) fn a_fork_waits_for_nobody() -> ExitCode {
    start_a_late_thread();
    // SAFETY: the child does nothing but end, with this program's handlers; the only other thread waits at
    // the gate and holds no lock then, or is not there yet.
    let status = unsafe {
        match libc::fork() {
            0 => {
                // Nothing of the child's is to be seen but its code.
                libc::close(libc::STDOUT_FILENO);
                libc::exit(8)
            }
            pid => {
                let mut status = 0;
                libc::waitpid(pid, &mut status, 0);
                status
            }
        }
    };
    println!("the fork ended with {}", libc::WEXITSTATUS(status));
    println!("main ends");
    ExitCode::SUCCESS
}
