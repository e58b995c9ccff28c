//! The rows of the table.

use super::*;

pub(super) fn main_returns() -> ExitCode {
    start_a_late_thread();
    println!("main ends");
    ExitCode::SUCCESS
}

pub(super) fn main_returns_a_code() -> ExitCode {
    start_a_late_thread();
    println!("main ends");
    ExitCode::from(3)
}

pub(super) fn main_panics() -> ExitCode {
    start_a_late_thread();
    println!("main ends");
    panic!("by the row's rule");
}

pub(super) fn main_exits() -> ExitCode {
    start_a_late_thread();
    println!("main ends");
    std::process::exit(7)
}

pub(super) fn exit_in_a_thread(exit: fn()) -> ExitCode {
    let late = || {
        // Until `main` has said its word, and a moment more, in which it returns.
        THERE.wait();
        std::thread::sleep(MOMENT);
        println!("thread ends");
    };
    Thread::new(late).start().unwrap();
    announce_exit();
    Thread::new(exit).start().unwrap();
    EXIT.wait();
    println!("main runs on");
    THERE.open();
    ExitCode::from(1)
}

pub(super) fn a_thread_exits() -> ExitCode {
    exit_in_a_thread(|| std::process::exit(7))
}

pub(super) fn a_thread_exits_by_ours() -> ExitCode {
    exit_in_a_thread(|| loopool_executors::exit(7))
}

pub(super) fn a_thread_panics() -> ExitCode {
    let panics = || {
        EXIT.wait();
        std::thread::sleep(MOMENT);
        println!("thread panics");
        panic!("by the row's rule");
    };
    Thread::new(panics).start().unwrap();
    announce_exit();
    println!("main ends");
    ExitCode::from(5)
}

pub(super) fn exits(exit: fn()) {
    EXIT.wait();
    println!("exits");
    THERE.open();
    exit();
}

/// Another thread exits while this program waits for one that takes its time.
pub(super) fn exit_meanwhile(start: fn()) -> ExitCode {
    let late = || {
        THERE.wait();
        std::thread::sleep(MOMENT);
        println!("thread ends");
    };
    Thread::new(late).start().unwrap();
    announce_exit();
    start();
    println!("main ends");
    ExitCode::from(3)
}

pub(super) fn a_daemon_exits_meanwhile() -> ExitCode {
    exit_meanwhile(|| {
        Thread::new(|| exits(|| std::process::exit(9))).daemon(true).start().unwrap();
    })
}

pub(super) fn a_foreign_thread_exits_meanwhile() -> ExitCode {
    exit_meanwhile(|| {
        std::thread::spawn(|| exits(|| std::process::exit(9)));
    })
}

pub(super) fn a_thread_exits_meanwhile() -> ExitCode {
    Thread::new(|| exits(|| std::process::exit(9))).start().unwrap();
    announce_exit();
    println!("main ends");
    ExitCode::from(3)
}

pub(super) fn a_thread_exits_meanwhile_by_ours() -> ExitCode {
    Thread::new(|| exits(|| loopool_executors::exit(9))).start().unwrap();
    announce_exit();
    println!("main ends");
    ExitCode::from(3)
}

pub(super) fn foreign_code_exits_meanwhile() -> ExitCode {
    Thread::new(|| park()).start().unwrap();
    let pool = ThreadPoolExecutor::new(1);
    announce_exit();
    std::thread::spawn(move || {
        EXIT.wait();
        // Called before our handler has begun, it would run that itself, and `main` would end the program.
        while pool.submit(|| ()).is_ok() {
            std::thread::yield_now();
        }
        // SAFETY: that two threads call it is what is tried; the C library allows it, in this order.
        exits(|| unsafe { libc::exit(9) });
    });
    println!("main ends");
    ExitCode::from(3)
}

pub(super) fn it_aborts() -> ExitCode {
    start_a_late_thread();
    println!("aborts");
    std::process::abort()
}

pub(super) fn it_exits_at_once() -> ExitCode {
    start_a_late_thread();
    println!("exits at once");
    std::io::stdout().flush().unwrap();
    // SAFETY: a plain system call.
    unsafe { libc::_exit(4) }
}

pub(super) fn it_is_killed() -> ExitCode {
    start_a_late_thread();
    println!("dies");
    // SAFETY: a plain system call.
    unsafe { libc::raise(libc::SIGTERM) };
    park()
}
