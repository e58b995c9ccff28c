//! The owner's end of a source: a descriptor that waits on one loop's reactor.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};

use loopool_executors::caught::drop_caught;

use super::source::{Direction, Seen, Source};
use crate::context;
use crate::fork::Forked;
use crate::scheduler::Shared;

/// A descriptor and, once an operation on it had to wait, its place in a reactor.
///
/// Registered late, so that it lands on the loop where it is used rather than where it was accepted;
/// unless that loop has many more than another one, see [`Place::new`].
pub(crate) struct Registration<T: AsFd> {
    io: T,
    place: OnceLock<Place>,
}

/// So many descriptors stay together: one loop that is awake serves few connections at less cost than two, and
/// calls others when it has more to do than it gets to.
const TOGETHER: usize = 256;
/// Of a loop that has those, so many more than on the emptiest one are nothing to be evened out.
const SLACK: usize = 8;

struct Place {
    shared: Arc<Shared>,
    loop_index: usize,
    source: u32,
}

impl Place {
    /// With the loop that this thread drives, or for which it stands in; or, if that one has [`TOGETHER`], with
    /// the one that has the fewest descriptors, if that is [`SLACK`] fewer. Under load each loop gets through its descriptors
    /// in turn, so whoever is on the loop that has most waits longest, and stealing does not help while
    /// no loop is idle. Not for a task that may not move: each of its wakes would have to come back.
    fn new(fd: BorrowedFd<'_>) -> io::Result<Place> {
        let core = context::current_core().ok_or_else(|| {
            let message = "waiting for a socket needs a running loopool event loop on this thread";
            io::Error::other(message)
        })?;
        let shared = core.shared_arc();
        let loop_index = match context::inside_a_task_that_may_move() {
            true => shared.place_for_source(core.place(), TOGETHER, SLACK),
            false => core.place(),
        };
        let source = shared.loops[loop_index].reactor.register(fd)?;
        Ok(Place { shared, loop_index, source })
    }

    fn source(&self) -> &Source {
        self.shared.loops[self.loop_index].reactor.source(self.source)
    }

    fn is_forked(&self) -> bool {
        self.shared.is_forked()
    }

    fn is_closed(&self) -> bool {
        self.shared.loops[self.loop_index].reactor.is_closed()
    }
}

impl<T: AsFd> Registration<T> {
    /// `io` is in non-blocking mode.
    pub(crate) fn new(io: T) -> Self {
        Registration { io, place: OnceLock::new() }
    }

    pub(crate) fn get(&self) -> &T {
        &self.io
    }

    /// Tries `operation` until it does not block, waiting in between.
    ///
    /// The operation gets `Some` to tell that it did less than it could have: then the next one is
    /// not tried before there is new readiness.
    pub(crate) fn poll_io<R>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        operation: impl FnMut(&T) -> io::Result<Done<R>>,
    ) -> Poll<io::Result<R>> {
        context::within_budget(cx, |cx| self.try_io(cx, direction, operation))
    }

    fn try_io<R>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        mut operation: impl FnMut(&T) -> io::Result<Done<R>>,
    ) -> Poll<io::Result<R>> {
        loop {
            let seen = match self.place.get() {
                Some(place) => Some((place, ready!(poll_ready(place, cx, direction))?)),
                None => None,
            };
            match operation(&self.io) {
                Ok(done) => {
                    if done.drained
                        && let Some((place, seen)) = seen
                        && !seen.closed
                    {
                        place.source().clear(direction, seen);
                    }
                    return Poll::Ready(Ok(done.value));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match seen {
                    Some((place, seen)) => place.source().clear(direction, seen),
                    None => self.register()?,
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// As [`poll_io`](Self::poll_io), as a future that leaves no waker behind when it is given up.
    pub(crate) async fn io<R>(
        &self,
        direction: Direction,
        mut operation: impl FnMut(&T) -> io::Result<Done<R>>,
    ) -> io::Result<R> {
        let mut waiting = Waiting { registration: self, direction, waker: None };
        poll_fn(|cx| {
            let poll = self.poll_io(cx, direction, &mut operation);
            waiting.note(cx, poll.is_pending());
            poll
        })
        .await
    }

    fn register(&self) -> io::Result<()> {
        let place = match Place::new(self.io.as_fd()) {
            // Another thread has just registered it with the same loop, and is about to say so.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                while self.place.get().is_none() {
                    std::thread::yield_now();
                }
                return Ok(());
            }
            place => place?,
        };
        // Two tasks on two loops may both come here first; one registration is enough.
        if let Err(place) = self.place.set(place) {
            let reactor = &place.shared.loops[place.loop_index].reactor;
            reactor.deregister(self.io.as_fd(), place.source);
        }
        Ok(())
    }
}

/// The waker that a future has left in a source, taken back when the future is dropped.
struct Waiting<'a, T: AsFd> {
    registration: &'a Registration<T>,
    direction: Direction,
    waker: Option<Waker>,
}

impl<T: AsFd> Waiting<'_, T> {
    fn note(&mut self, cx: &Context<'_>, pending: bool) {
        if !pending {
            drop_caught("a waker", self.waker.take());
        } else if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.forget();
            self.waker = Some(cx.waker().clone());
        }
    }

    fn forget(&mut self) {
        if let (Some(waker), Some(place)) = (self.waker.take(), self.registration.place.get())
            && !place.is_forked()
        {
            place.source().forget(self.direction, &waker);
            drop_caught("a waker", waker);
        }
    }
}

impl<T: AsFd> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.forget();
    }
}

impl<T: AsFd> Registration<T> {
    /// For what is done without waiting.
    ///
    /// # Errors
    /// [`Forked`] if it was registered, and this process is a fork of the one in which it was.
    pub(crate) fn check_forked(&self) -> io::Result<()> {
        match self.place.get() {
            Some(place) if place.is_forked() => Err(Forked.into()),
            _ => Ok(()),
        }
    }
}

/// What an operation did.
pub(crate) struct Done<R> {
    pub(crate) value: R,
    /// Whether another one would block.
    pub(crate) drained: bool,
}

fn poll_ready(place: &Place, cx: &mut Context<'_>, direction: Direction) -> Poll<io::Result<Seen>> {
    // Nobody would ever end a wait, and what needs none is the parent's.
    if place.is_forked() {
        return Poll::Ready(Err(Forked.into()));
    }
    let source = place.source();
    let mut seen = source.ready(direction);
    if seen.is_none() {
        seen = source.wait(direction, cx.waker());
    }
    match seen {
        _ if place.is_closed() => Poll::Ready(Err(io::Error::other(
            "the event loop that this socket belongs to was closed",
        ))),
        Some(seen) => Poll::Ready(Ok(seen)),
        None => Poll::Pending,
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for Registration<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.io.fmt(f)
    }
}

impl<T: AsFd> Drop for Registration<T> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let reactor = &place.shared.loops[place.loop_index].reactor;
            reactor.deregister(self.io.as_fd(), place.source);
        }
    }
}
