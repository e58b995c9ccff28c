//! Threads that are started, and waited for at the end.
//!
//! # Protocol
//! What a thread has to do lies where two may take it: the thread, when it begins, and who ends the
//! runtime. One of them gets it, and does it. So a thread that the system has not let begin is not waited
//! for: what is left to do at the end is to leave, and who ends the runtime does that in its place. The
//! thread finds nothing when it begins, and ends. To start a thread and to wait until it runs costs far more
//! than all the rest of a runtime that is needed for a moment only.
//!
//! A thread that has begun is waited for. With what it does goes the sender of a channel through which
//! nothing is sent: when the channel has no sender any more, all of them are done.
//!
//! Modelled in `loom-tests/tests/ending.rs`.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle, Thread};
use std::time::Instant;

use loopool_executors::caught::tell;

use crate::shim::Mutex;

/// What a thread has to do.
type Life = Box<dyn FnOnce() + Send>;

pub(super) struct Threads {
    started: Vec<Started>,
    alive: Sender<Infallible>,
    ended: Receiver<Infallible>,
}

struct Started {
    thread: JoinHandle<()>,
    /// Until somebody takes it.
    life: Arc<Mutex<Option<Life>>>,
}

impl Threads {
    pub(super) fn new() -> Self {
        let (alive, ended) = channel();
        Threads { started: Vec::new(), alive, ended }
    }

    /// Has a new thread do `life`.
    pub(super) fn start(
        &mut self,
        name: String,
        life: impl FnOnce() + Send + 'static,
    ) -> io::Result<Thread> {
        self.started.retain(|started| !started.thread.is_finished());
        let alive = self.alive.clone();
        let life: Life = Box::new(move || {
            // Dropped last, also by a panic.
            let _alive = alive;
            life();
        });
        let life = Arc::new(Mutex::new(Some(life)));
        let own = life.clone();
        let thread = Builder::new().name(name).spawn(move || {
            let life = own.lock().take();
            if let Some(life) = life {
                life();
            }
        })?;
        let unparker = thread.thread().clone();
        self.started.push(Started { thread, life });
        Ok(unparker)
    }

    /// Waits until all have ended, until `deadline` at the longest, and returns the names of those that
    /// have not. With `stand_in`, does what those have to do that have not begun.
    pub(super) fn join(self, deadline: Instant, stand_in: bool) -> Vec<String> {
        let Threads { mut started, alive, ended } = self;
        drop(alive);
        if stand_in {
            started.retain(|started| {
                let life = started.life.lock().take();
                life.map(|life| life()).is_none()
            });
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
