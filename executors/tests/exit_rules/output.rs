//! The standard output.

use super::*;

pub(super) fn a_partial_line_is_saved() -> ExitCode {
    let holder = || {
        let mut output = std::io::stdout().lock();
        THERE.open();
        std::thread::sleep(MOMENT);
        write!(output, "main ends\nexit begins\npartial").unwrap();
    };
    Thread::new(holder).start().unwrap();
    THERE.wait();
    ExitCode::SUCCESS
}

pub(super) extern "C" fn open_the_gate() {
    EXIT.open();
}

/// A daemon lets go of it when everything else is over.
pub(super) fn a_flush_is_waited_for() -> ExitCode {
    let keeper = || {
        let mut output = std::io::stdout().lock();
        THERE.open();
        EXIT.wait();
        std::thread::sleep(MOMENT / 10);
        write!(output, "flushed").unwrap();
    };
    Thread::new(keeper).daemon(true).start().unwrap();
    Thread::new(|| ()).start().unwrap();
    at_exit(open_the_gate);
    THERE.wait();
    ExitCode::SUCCESS
}

pub(super) fn somebody_keeps_the_standard_output() -> ExitCode {
    println!("kept");
    let keeper = || {
        let _output = std::io::stdout().lock();
        THERE.open();
        park()
    };
    Thread::new(keeper).daemon(true).start().unwrap();
    Thread::new(|| ()).start().unwrap();
    THERE.wait();
    ExitCode::SUCCESS
}
