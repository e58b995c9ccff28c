//! [`Herald`]: hears of jobs that run, and ends them as their fate is.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex, MutexGuard};

use loopool::Job;

use crate::fate::Fate;
use crate::tally::Tally;
use crate::work::{Answer, Order};

/// Where the program with this process id listens: a name that is no file, so nothing is left behind.
fn address(program: u32) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("loopool-chaos-{program}"))
}

/// Tells the program, from a job, that it runs.
pub(crate) fn announce(program: u32, fate: Fate, number: u64) -> io::Result<()> {
    let me = u64::from(std::process::id());
    let kind = u64::from(fate == Fate::Killed);
    let message = [kind, number, me].map(u64::to_le_bytes).concat();
    UnixDatagram::unbound()?.send_to_addr(&message, &address(program)?)?;
    Ok(())
}

/// Message of the program to itself: it is over.
const OVER: [u8; 1] = [0];

/// Jobs that are to be cancelled once they run, and those that run but are not here yet.
#[derive(Default)]
struct Waiting {
    jobs: HashMap<u64, (Order, Job<Answer>)>,
    early: HashSet<u64>,
}

pub(crate) struct Herald {
    waiting: Mutex<Waiting>,
    /// Which process was killed for which job.
    killed: Mutex<HashMap<u64, u32>>,
    tally: Arc<Tally>,
}

impl Herald {
    pub(crate) fn new(tally: Arc<Tally>) -> Self {
        Herald { waiting: Mutex::default(), killed: Mutex::default(), tally }
    }

    /// Takes the place where jobs announce themselves.
    pub(crate) fn listen() -> io::Result<UnixDatagram> {
        UnixDatagram::bind_addr(&address(std::process::id())?)
    }

    /// Hears until it is told to [`stop`](Self::stop).
    pub(crate) fn hear(&self, socket: &UnixDatagram) -> io::Result<()> {
        let mut message = [0; 24];
        loop {
            let len = socket.recv(&mut message)?;
            if message[..len] == OVER {
                return Ok(());
            }
            let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| message[at * 8 + n]));
            let (number, pid) = (word(1), word(2) as u32);
            if word(0) == 1 {
                lock(&self.killed).insert(number, pid);
                // SAFETY: a plain system call. The worker is there: its job waits for this.
                unsafe { libc::kill(pid as i32, libc::SIGKILL) };
            } else {
                let mut waiting = lock(&self.waiting);
                let job = waiting.jobs.remove(&number);
                if job.is_none() {
                    waiting.early.insert(number);
                }
                drop(waiting);
                job.into_iter().for_each(|(order, job)| self.cancel(&order, job));
            }
        }
    }

    /// Ends [`hear`](Self::hear).
    pub(crate) fn stop() -> io::Result<()> {
        UnixDatagram::unbound()?.send_to_addr(&OVER, &address(std::process::id())?)?;
        Ok(())
    }

    /// Takes a job that is to be cancelled once it runs, and sees to its outcome.
    pub(crate) fn cancel_when_running(&self, order: Order, job: Job<Answer>) {
        let mut waiting = lock(&self.waiting);
        if waiting.early.remove(&order.number) {
            drop(waiting);
            self.cancel(&order, job);
        } else {
            waiting.jobs.insert(order.number, (order, job));
        }
    }

    fn cancel(&self, order: &Order, mut job: Job<Answer>) {
        if !job.cancel() {
            self.tally.complain(format!("job {} runs and cannot be cancelled", order.number));
        }
        let outcome = job.result(crate::tally::HANG);
        self.tally.judge(order, outcome, None);
    }

    /// Which process was killed for the sake of a job.
    pub(crate) fn killed(&self, number: u64) -> Option<u32> {
        lock(&self.killed).get(&number).copied()
    }

    /// Jobs that have never begun, or have said nothing. They are lost.
    pub(crate) fn forgotten(&self) -> usize {
        lock(&self.waiting).jobs.len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
