//! The handler that runs when the program ends, on the thread that ends it.

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::Nag;
use super::leaving::{self, Leaver};
use crate::caught::{run_caught, tell};
use crate::forks;
use crate::shim::Mutex;
use crate::starting;

/// How long flushing the standard output may take.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);

/// The process that registered the handler. Written before the C library has the handler, which orders its
/// accesses to its list by a lock.
static ARMED_BY: AtomicU32 = AtomicU32::new(0);

/// Whether somebody has.
pub(super) static ARMED: Mutex<bool> = Mutex::new(false);

/// Registers the handler, once.
pub(super) fn arm() {
    forks::watch();
    let mut armed = ARMED.lock();
    if std::mem::replace(&mut *armed, true) {
        return;
    }
    ARMED_BY.store(std::process::id(), Relaxed);
    // SAFETY: a function that may be called at any time, and from which no panic comes.
    let refused = unsafe { libc::atexit(at_exit) };
    drop(armed);
    if refused != 0 {
        tell(|| tracing::error!("no handler for the program's end: nobody will be waited for"));
    }
}

extern "C" fn at_exit() {
    if std::process::id() != ARMED_BY.load(Relaxed) {
        return;
    }
    run_caught("the end of the program", || {
        let mut leavers = leaving::begin();
        // SAFETY: called by the C library's `exit`, which does not return.
        leavers.push(unsafe { Leaver::this_thread() });
        let leavers = Arc::new(Mutex::new(leavers));
        let theirs = leavers.clone();
        let (progress, steps) = mpsc::channel();
        let work = move || {
            finish(std::mem::take(&mut *theirs.lock()));
            // Refused when nobody waits any more, and then nobody cares.
            let _ = progress.send(());
            let _ = std::io::stdout().flush();
            let _ = progress.send(());
        };
        match starting::thread("loopool-exit", work) {
            Ok(_) => {
                // An error says that the thread has ended, by a panic that was told of.
                let _ = steps.recv();
                let _ = steps.recv_timeout(FLUSH_LIMIT);
            }
            Err(_) => finish(std::mem::take(&mut *leavers.lock())),
        }
    });
}

/// Everything but the flush, in the order of the module's page.
fn finish(leavers: Vec<Leaver>) {
    let mut nag = Nag::new(Instant::now());
    leavers.into_iter().for_each(Leaver::strike);
    super::run_hooks();
    super::finish_executors(&mut nag);
    super::finish_threads(&mut nag);
    crate::process::finish(&mut nag);
}
