//! Each loop's reactor: it sleeps here, and learns here which descriptors are ready.
//!
//! | file | holds |
//! |---|---|
//! | `epoll.rs`, `portable.rs` | the driver: the system's poller, one of the two per build |
//! | `slots.rs` | where sources live, found by number without a lock |
//! | `source.rs` | one descriptor's readiness and who waits for it |
//! | `registration.rs` | the owner's end of a source |
//!
//! A descriptor is registered once, with the loop on which its first operation had to wait, or with a
//! much emptier one (`registration.rs`); its wakes run there, wherever the task that waits was last
//! polled.

#[cfg_attr(all(target_os = "linux", not(loopool_portable_reactor)), path = "epoll.rs")]
#[cfg_attr(not(all(target_os = "linux", not(loopool_portable_reactor))), path = "portable.rs")]
mod driver;
pub(crate) mod registration;
mod slots;
mod source;

use std::io;
use std::os::fd::BorrowedFd;
use std::task::Waker;
use std::time::Duration;

use loopool_executors::caught::drop_each_caught;
use loopool_executors::origin::Origin;

use self::driver::OPEN_TO_PEERS;
pub(crate) use self::driver::{Events, SHORT_READ_DRAINS};
pub(crate) use self::registration::Registration;
use self::slots::Slots;
pub(crate) use self::source::{Direction, Ready, Source};
use crate::context::wake_caught;
use crate::fork::Forked;
use crate::shim::atomic::{AtomicBool, AtomicUsize, Ordering};

pub(crate) struct Reactor {
    driver: driver::Driver,
    sources: Slots<Source>,
    registered: AtomicUsize,
    closed: AtomicBool,
    origin: Origin,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Reactor {
            driver: driver::Driver::new()?,
            sources: Slots::new(),
            registered: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            origin: Origin::here(),
        })
    }

    /// Whether this process has only a copy of it. Then the descriptors in it are the parent's as well,
    /// and no call here does anything.
    pub(crate) fn is_forked(&self) -> bool {
        self.origin.is_left_behind()
    }

    /// Ends the owner's wait, the present one or the next.
    pub(crate) fn wake(&self) {
        if !self.is_forked() {
            self.driver.wake();
        }
    }

    /// Waits for events, at most `limit`, and hands the wakers of those who waited for them to
    /// `wakers`, to be woken by [`wake_all`].
    ///
    /// Two steps: first the readiness of the whole batch is noted, then wakers are called, which are
    /// foreign code. So whatever they do, no edge is lost.
    pub(crate) fn wait(
        &self,
        events: &mut Events,
        limit: Option<Duration>,
        wakers: &mut Vec<Waker>,
    ) -> io::Result<()> {
        if self.is_forked() {
            // Whoever drives the loop looks, too, before the next turn.
            return Ok(());
        }
        self.driver.wait(events, limit)?;
        for (token, ready) in events.iter() {
            let (generation, index) = ((token >> 32) as u32, token as u32);
            if let Some(source) = self.sources.get(index)
                && source.generation() & GENERATION == generation
            {
                source.set(ready);
                source.take_wakers(ready, wakers);
            }
        }
        Ok(())
    }

    /// As [`wait`](Self::wait) for a thread that is not the owner's, without waiting.
    pub(crate) fn poll_for_peer(
        &self,
        events: &mut Events,
        wakers: &mut Vec<Waker>,
    ) -> io::Result<()> {
        self.wait_for_peer(events, Some(Duration::ZERO), wakers, || true)
    }

    /// As [`wait`](Self::wait) for a thread that is not the owner's. An event goes to one thread only, so
    /// the owner's wake-up is written again if it was among them and the owner, asked for afterwards, is
    /// `there`. Does nothing with a driver that is not open to peers.
    pub(crate) fn wait_for_peer(
        &self,
        events: &mut Events,
        limit: Option<Duration>,
        wakers: &mut Vec<Waker>,
        there: impl FnOnce() -> bool,
    ) -> io::Result<()> {
        if OPEN_TO_PEERS {
            self.wait(events, limit, wakers)?;
            if events.has_wake() && there() {
                self.wake();
            }
        }
        Ok(())
    }

    /// Whether a thread other than the owner's may ask.
    pub(crate) fn is_open_to_peers(&self) -> bool {
        OPEN_TO_PEERS
    }

    /// Descriptors that are registered.
    pub(crate) fn registered(&self) -> usize {
        self.registered.load(Ordering::Relaxed)
    }

    /// Nobody will wait on this reactor any more: everybody who waits for it is told.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let mut wakers = Vec::new();
        let all = Ready::READ_CLOSED.or(Ready::WRITE_CLOSED);
        self.sources.for_each(|source| {
            source.set(all);
            source.take_wakers(all, &mut wakers);
        });
        wake_all(&mut wakers);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn register(&self, fd: BorrowedFd<'_>) -> io::Result<u32> {
        if self.is_forked() {
            return Err(Forked.into());
        }
        let index = self.sources.acquire().ok_or(io::ErrorKind::OutOfMemory)?;
        let source = self.source(index);
        source.reset();
        let generation = source.generation() & GENERATION;
        let token = (u64::from(generation) << 32) | u64::from(index);
        if let Err(error) = self.driver.register(fd, token) {
            self.sources.release(index);
            return Err(error);
        }
        self.registered.fetch_add(1, Ordering::Relaxed);
        Ok(index)
    }

    fn deregister(&self, fd: BorrowedFd<'_>, index: u32) {
        if self.is_forked() {
            return;
        }
        self.driver.deregister(fd);
        let wakers = self.source(index).retire();
        self.sources.release(index);
        self.registered.fetch_sub(1, Ordering::Relaxed);
        drop_each_caught("a waker", wakers);
    }

    fn source(&self, index: u32) -> &Source {
        self.sources.get(index).expect("a registered source has a slot")
    }
}

/// The part of a slot's generation that fits into a token; one bit less than there is room, because
/// the tokens of the drivers' own descriptors have all bits set.
const GENERATION: u32 = u32::MAX >> 1;

/// Wakes and empties the list.
pub(crate) fn wake_all(wakers: &mut Vec<Waker>) {
    wakers.drain(..).for_each(wake_caught);
}
