//! The portable driver: `polling`, edge-triggered, waited on by its own `wait`.
//!
//! It cannot ask for the peer's half-close, so a short read does not mean that the end was not
//! reached, and every read goes on until it would block.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use polling::{Event, PollMode, Poller};

use super::source::Ready;

pub(crate) const SHORT_READ_DRAINS: bool = false;

/// Whether a thread other than the owner may ask for events: it could swallow the owner's wake-up, and
/// would not know.
pub(crate) const OPEN_TO_PEERS: bool = false;

const BATCH: NonZeroUsize = NonZeroUsize::new(256).unwrap();

pub(super) struct Driver(Poller);

pub(crate) struct Events(polling::Events);

impl Events {
    pub(crate) fn new() -> Self {
        Events(polling::Events::with_capacity(BATCH))
    }

    /// Whether the wake-up is among them; never told.
    pub(super) fn has_wake(&self) -> bool {
        false
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Ready)> {
        self.0.iter().map(|event| {
            // An error is fetched by the next operation and is gone then, so it does not close.
            let error = event.is_err().unwrap_or(false);
            let ready = Ready::READABLE
                .when(event.readable || error)
                .or(Ready::WRITABLE.when(event.writable || error))
                .or(Ready::READ_CLOSED.or(Ready::WRITE_CLOSED).when(event.is_interrupt()));
            (event.key as u64, ready)
        })
    }
}

impl Driver {
    pub(super) fn new() -> io::Result<Self> {
        let poller = Poller::new()?;
        if !poller.supports_edge() {
            let message = "this system's poller has no edge-triggered mode, which loopool needs";
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        Ok(Driver(poller))
    }

    pub(super) fn register(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        // SAFETY: `Registration` deregisters the descriptor before it is closed.
        unsafe { self.0.add_with_mode(fd.as_raw_fd(), Event::all(token as usize), PollMode::Edge) }
    }

    pub(super) fn deregister(&self, fd: BorrowedFd<'_>) {
        // Only fails for a descriptor that is not registered, and then there is nothing to do.
        let _ = self.0.delete(fd);
    }

    pub(super) fn wake(&self) {
        // A poller that cannot be woken has nobody waiting on it.
        let _ = self.0.notify();
    }

    pub(super) fn wait(&self, events: &mut Events, limit: Option<Duration>) -> io::Result<()> {
        events.0.clear();
        self.0.wait(&mut events.0, limit).map(drop)
    }
}
