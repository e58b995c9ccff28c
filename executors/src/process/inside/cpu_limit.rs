//! The limit of a job's processor time.
//!
//! `RLIMIT_CPU` counts whole seconds of a whole process; a timer on the process's clock counts the same time,
//! finely, and can be set anew for each job. It ends the process by the same signal, SIGXCPU.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

/// The timer of this worker, and what it is set to.
struct Limit {
    timer: libc::timer_t,
    time: Duration,
}

// SAFETY: a timer's id is a number of the kernel's that any thread may use.
unsafe impl Send for Limit {}
// SAFETY: as above.
unsafe impl Sync for Limit {}

static LIMIT: OnceLock<Limit> = OnceLock::new();

/// Prepares this process for limited jobs.
pub(crate) fn prepare(time: Option<Duration>) -> io::Result<()> {
    let Some(time) = time else { return Ok(()) };
    // SAFETY: an all-zero `sigevent` is valid; the timer is written before it is read.
    let timer = unsafe {
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = libc::SIGXCPU;
        let mut timer: libc::timer_t = std::mem::zeroed();
        if libc::timer_create(libc::CLOCK_PROCESS_CPUTIME_ID, &mut event, &mut timer) < 0 {
            return Err(io::Error::last_os_error());
        }
        timer
    };
    // A worker does this once.
    let _ = LIMIT.set(Limit { timer, time: time.max(Duration::from_nanos(1)) });
    Ok(())
}

/// A job under way, whose time counts until this is dropped.
#[must_use]
pub(crate) struct Counting(Option<&'static Limit>);

/// Counts from here on, if there is a limit.
pub(crate) fn count() -> Counting {
    let limit = LIMIT.get();
    if let Some(limit) = limit {
        limit.set(limit.time);
    }
    Counting(limit)
}

impl Drop for Counting {
    fn drop(&mut self) {
        if let Some(limit) = self.0 {
            limit.set(Duration::ZERO);
        }
    }
}

impl Limit {
    /// Ends the process after this much more of its time; zero: not at all.
    fn set(&self, time: Duration) {
        // SAFETY: an all-zero `itimerspec` is valid, and the timer is there for as long as the process.
        // Refused only for nanoseconds out of range, which a `Duration` has not.
        unsafe {
            let mut value: libc::itimerspec = std::mem::zeroed();
            // Longer than any machine runs, and it fits whatever type the C library has.
            value.it_value.tv_sec = time.as_secs().min(i32::MAX as u64) as _;
            value.it_value.tv_nsec = time.subsec_nanos() as _;
            libc::timer_settime(self.timer, 0, &value, std::ptr::null_mut());
        }
    }
}
