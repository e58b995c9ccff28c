//! What the programs are made of.

use super::*;

/// Opened once, for all.
pub(super) struct Gate(Mutex<bool>, Condvar);

impl Gate {
    pub(super) const fn new() -> Self {
        Gate(Mutex::new(false), Condvar::new())
    }

    pub(super) fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    pub(super) fn wait(&self) {
        drop(self.1.wait_while(self.0.lock().unwrap(), |open| !*open).unwrap());
    }
}

/// Opened when the program ends.
pub(super) static EXIT: Gate = Gate::new();
/// Opened when somebody else has come to where the row wants him.
pub(super) static THERE: Gate = Gate::new();

pub(super) extern "C" fn exit_begins() {
    println!("exit begins");
    EXIT.open();
}

pub(super) fn at_exit(handler: extern "C" fn()) {
    // SAFETY: the handlers here may run at any time.
    assert_eq!(unsafe { libc::atexit(handler) }, 0);
}

/// Says so when the exit begins. To be called when the library has registered its own handler: so this one
/// comes first.
pub(super) fn announce_exit() {
    at_exit(exit_begins);
}

/// A thread that ends its work when the program is ending, after a moment.
pub(super) fn start_a_late_thread() {
    let late = || {
        EXIT.wait();
        std::thread::sleep(MOMENT);
        println!("thread ends");
    };
    Thread::new(late).start().unwrap();
    announce_exit();
}

pub(super) fn park() -> ! {
    loop {
        std::thread::park();
    }
}
