//! [`Offspring`]: a process of its own as the program knows it, and the list of all of them.
//!
//! 1. A process is on the list from its start until it has been reaped, whoever has or has dropped a
//!    handle: so there is somebody to reap it, and its lifeline stays open for as long as it may live.
//! 2. It is reaped once, under its lock, by whoever sees first that it has ended: a join, a question, the
//!    start of another process, or the end of the program.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use super::death::{self, Remains};
use super::leash::Leash;
use crate::exit::Nag;
use crate::forks;
use crate::shim::Mutex;

/// How long daemon processes may take to end when the program does, before they are killed.
const GRACE: Duration = Duration::from_secs(1);

static ALL: Mutex<Vec<Arc<Offspring>>> = Mutex::new(Vec::new());

pub(super) struct Offspring {
    pid: i32,
    pidfd: OwnedFd,
    pub(super) name: String,
    /// When it was started.
    pub(super) since: Instant,
    /// The kernel kills a daemon when this is closed; only daemons have one.
    lifeline: Option<Leash>,
    remains: Mutex<Option<Remains>>,
}

/// How long to wait before asking again for one that a debugger has.
const A_WHILE: Duration = Duration::from_millis(10);

impl Offspring {
    /// Puts a new process on the list, and takes those off that have ended and that nobody joined.
    pub(super) fn adopt(
        pid: i32,
        pidfd: OwnedFd,
        name: String,
        lifeline: Option<Leash>,
    ) -> Arc<Self> {
        let (since, remains) = (Instant::now(), Mutex::new(None));
        let new = Arc::new(Offspring { pid, pidfd, name, since, lifeline, remains });
        forks::watch();
        let mut all = ALL.lock();
        all.push(new.clone());
        let others = all.clone();
        drop(all);
        for other in others {
            let _ = other.remains();
        }
        new
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid as u32
    }

    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub(super) fn is_daemon(&self) -> bool {
        self.lifeline.is_some()
    }

    /// Waits for its end, and says whether it has ended by then.
    pub(super) fn wait_until(&self, deadline: Option<Instant>) -> bool {
        loop {
            if !death::wait(self.pidfd(), deadline) {
                return false;
            }
            if self.remains().is_some() {
                return true;
            }
            // A debugger has it: its descriptor is ready all the time.
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return false;
            }
            std::thread::sleep(A_WHILE);
        }
    }

    /// Rule 2. None while it lives.
    pub(super) fn remains(&self) -> Option<Remains> {
        let mut remains = self.remains.lock();
        if remains.is_some() || !death::wait(self.pidfd(), Some(Instant::now())) {
            return *remains;
        }
        let found = death::take(&self.pidfd)?;
        *remains = Some(found);
        drop(remains);
        let mut all = ALL.lock();
        let place = all.iter().position(|other| std::ptr::eq(&**other, self));
        let listed = place.map(|place| all.swap_remove(place));
        drop(all);
        drop(listed);
        Some(found)
    }

    /// Sends a signal, unless it has ended.
    pub(super) fn signal(&self, signal: i32) -> io::Result<()> {
        match death::signal(self.pidfd(), signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            sent => sent,
        }
    }

    fn describe(&self) -> String {
        format!("{} (process {})", self.name, self.pid)
    }
}

/// The list, while the process is forked (`forks.rs`).
pub(crate) struct Held(MutexGuard<'static, Vec<Arc<Offspring>>>);

impl Held {
    pub(crate) fn new() -> Self {
        Held(ALL.lock())
    }

    /// A child has no children.
    pub(crate) fn make_anew(&mut self) {
        std::mem::forget(std::mem::take(&mut *self.0));
    }
}

/// The end of the program, for processes: daemons are ended, the others waited for. The door is closed, so
/// there are no new ones.
pub(crate) fn finish(nag: &mut Nag) {
    let (daemons, others): (Vec<_>, Vec<_>) =
        ALL.lock().clone().into_iter().partition(|process| process.is_daemon());
    for daemon in &daemons {
        // Refused for one that has other rights now. The kernel will kill that, with the program.
        let _ = daemon.signal(libc::SIGTERM);
    }
    let grace = Instant::now() + GRACE;
    let killed = daemons
        .into_iter()
        .filter(|daemon| !daemon.wait_until(Some(grace)) && daemon.signal(libc::SIGKILL).is_ok());
    // Taken from the end: those that were killed first.
    let mut others: Vec<_> = others.into_iter().chain(killed).collect();
    while let Some(process) = others.last() {
        let now = Instant::now();
        if process.wait_until(Some(now + nag.patience(now))) {
            others.pop();
        } else {
            nag.warn("for processes", || others.iter().map(|other| other.describe()).collect());
        }
    }
}
