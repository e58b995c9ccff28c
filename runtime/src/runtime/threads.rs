//! Threads that are started, and waited for at the end.
//!
//! Who has not begun is not waited for (`life.rs`). Who has is: with what a thread does goes the sender of a
//! channel through which nothing is sent, and when the channel has no sender any more, all of them are done.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{JoinHandle, Thread};
use std::time::Instant;

use loopool_executors::caught::tell;
use loopool_executors::starting;

use super::life::Life;

pub(super) struct Threads {
    started: Vec<Started>,
    alive: Sender<Infallible>,
    ended: Receiver<Infallible>,
}

struct Started {
    thread: JoinHandle<()>,
    life: Arc<Life>,
}

impl Default for Threads {
    fn default() -> Self {
        let (alive, ended) = channel();
        Threads { started: Vec::new(), alive, ended }
    }
}

impl Threads {
    /// Has a new thread do `life`.
    pub(super) fn start(
        &mut self,
        name: String,
        life: impl FnOnce() + Send + 'static,
    ) -> io::Result<Thread> {
        self.started.retain(|started| !started.thread.is_finished());
        let alive = self.alive.clone();
        let life = Arc::new(Life::new(move || {
            // Dropped last, also by a panic.
            let _alive = alive;
            life();
        }));
        let own = life.clone();
        let thread = starting::thread(name, move || {
            let _found = own.live();
        })?;
        let unparker = thread.thread().clone();
        self.started.push(Started { thread, life });
        Ok(unparker)
    }

    /// Waits until all are done, until `deadline` at the longest, and returns the names of those that
    /// are not. With `stand_in`, does what those have to do that have not begun. Those that are done are
    /// joined, which waits for the destructors of their thread-locals, without a limit.
    pub(super) fn join(self, deadline: Instant, stand_in: bool) -> Vec<String> {
        let Threads { mut started, alive, ended } = self;
        drop(alive);
        if stand_in {
            started.retain(|started| !started.life.live());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let all = ended.recv_timeout(left) == Err(RecvTimeoutError::Disconnected);
        let mut stuck = Vec::new();
        for Started { thread, .. } in started {
            if all || thread.is_finished() {
                if thread.join().is_err() {
                    tell(|| tracing::error!("a loop's thread panicked"));
                }
            } else {
                let name = thread.thread().name().unwrap_or("?");
                tell(|| tracing::error!(name, "a loop is stuck in a poll and was left behind"));
                stuck.push(name.to_owned());
            }
        }
        stuck
    }
}
