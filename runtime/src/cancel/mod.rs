//! Cancellation: a request that code may take, answer, put off or raise again.
//!
//! | file | holds |
//! |---|---|
//! | `record.rs` | what is true during one poll: which request is visible, who answered it |
//! | `passes.rs` | the guards that change the record while something is polled in a pass |
//! | `memory.rs` | what a scope remembers from one poll to the next |
//! | `holds.rs` | protected futures that are pending |
//! | `scope.rs` | [`cancellable`], the scope that takes a request |
//! | `raise.rs` | [`Cancelled`], and how a request goes on outwards |
//! | `protect.rs` | [`protect`], [`shield`], [`isolate`] |
//! | `wakers.rs` | how those are reached that a combinator would not poll |
//!
//! The task's side (requests, delivery at the root, awaiting) is in `task/`, timeouts in `time/`.
//!
//! # Words
//! A *request* is one wish to cancel, with an id: of a task as a whole ([`Task::cancel`]), or of what
//! is inside a timeout whose time is up. A *pass* is one poll of a subtree during which one request is
//! visible to it; it begins at the task's root or in a fired timeout, nowhere else. A *scope* is a
//! future that can take a request: [`cancellable`], or the await of a [`Task`]. It is *open* from its
//! first poll until it is resolved, and *fresh* if it is first polled in the present pass. To *take* a
//! request is to drop the inner future and resolve to [`Cancelled`]; to *answer* it is to take it, or
//! to pass it on to an awaited task.
//!
//! # Rules
//! 1. *Poll first.* If the inner future is ready, the value wins. Only one that stayed pending can be
//!    taken from.
//! 2. *Innermost takes.* A scope whose inner future stayed pending takes the visible request, unless
//!    somebody below answered it in this pass, a protected future below is pending, or the scope is
//!    closed (5). It resolves in the same poll.
//! 3. *Siblings each get it.* An answer hides the request from the ancestors, not from the scopes of
//!    other branches that were open before the pass.
//! 4. A scope remembers in which pass it was answered below, because a combinator may poll it several
//!    times within one.
//! 5. *Once per flow.* A fresh scope, timeout or await whose enclosing scope has an answer in this pass
//!    belongs to the answerer's clean-up: it and everything below it are closed for this pass.
//! 6. *The root.* Ready: the request is void. Pending, with no answer and nothing held: the future is
//!    dropped, the task ends cancelled. Answered: the request is used up. Held only: it stays due, and
//!    the next poll is a pass again.
//! 7. *New* and *due* are two bits of the task (`task/state.rs`): the first makes it be polled, the
//!    second only makes the next poll a pass. One bit would have a protected task spin.
//! 8. A request that arrives during a poll waits for the next one. Several before the delivery are one
//!    delivery and several counts.
//! 9. Before the first poll the future is dropped unpolled.
//! 10. *Raise.* [`Cancelled::reraise`] hands the request to the nearest [`cancellable`] around it; to a
//!     timeout only if it is that one's own; at the root the task ends cancelled. It passes through
//!     [`protect`]. It exists only while its future does.
//! 11. A raise ends its siblings at once, also one in the midst of its clean-up; but it waits for those
//!     that are protected.
//! 12. *Timeout* (`time/timeout.rs`). Looks whether its time is up before it polls, and then polls once,
//!     in a pass of its own. A request from outside that may be taken in the same poll goes first, and
//!     counts as the delivery if it is answered below. Ready is ready, even late.
//! 13. *Awaiting a task* passes the request on to the task instead of dropping anything, and goes on
//!     waiting. The error says if the task was cancelled so.
//! 14. *Combinators that poll only who was woken*: who waits with a waker other than the task's own
//!     leaves it in a list of the task, and is woken before a pass, once per request. A combinator may
//!     also stop half-way, to let others run: whoever was woken and not polled in the pass gets the
//!     request when it is polled, in a pass of its own; and as long as a combinator reaches more of
//!     them, and nobody has answered, the request is put off. It is also put off for some milliseconds
//!     when none is reached: a thread may be in the way that is about to wake one of them.
//! 15. The record is found through a pointer of the thread, saved and restored. Without a record (in
//!     another executor) scopes are transparent, and a timeout makes a small one for its own subtree.
//!     So it is in [`isolate`], and in [`block_in_place`](crate::block_in_place), where another executor
//!     may be driven; but there the task's code may still ask, and drop what the record knows of.
//! 16. A scope is in its final state before the destructor of what was inside it runs.
//! 17. A scope obeys the task that polls it now, whichever polled it before.
//! 18. [`cancelling`] counts the requests to the task that were not taken back, and the fired timeouts
//!     around the caller. [`uncancel`] takes one of the former back; the last one withdraws a request
//!     that was not delivered.
//! 19. Whoever is pending because its budget is used up is pending for 1, too.

mod holds;
mod memory;
mod passes;
mod protect;
mod raise;
mod record;
mod scope;
mod wakers;

use std::fmt;
use std::num::NonZeroU64;

pub(crate) use self::holds::Holds;
pub(crate) use self::memory::Memory;
pub(crate) use self::passes::{Closed, FiredPoll};
pub use self::protect::{Isolate, Protect, Shield, Shieldable, isolate, protect, shield};
pub(crate) use self::raise::lost;
pub use self::raise::{Cancelled, Never, Reraise};
pub(crate) use self::record::{Before, Below, Record};
pub use self::scope::{Cancellable, cancellable};
pub(crate) use self::wakers::{ForeignWaker, WakeList};
#[cfg(doc)]
use crate::task::Task;
use crate::{context, task};

/// Which request to cancel it was: every [`Task::cancel`] that is delivered by itself, and every
/// timeout whose time was up, has its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(NonZeroU64);

impl RequestId {
    pub(crate) fn new() -> Self {
        RequestId(record::unique())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({})", self.0)
    }
}

/// How many requests to cancel the current task there are that were not taken back by [`uncancel`],
/// and how many timeouts around the caller have fired. Zero outside tasks and timeouts.
pub fn cancelling() -> usize {
    context::with_record_around(|record| {
        record.map_or(0, |record| {
            let requests = record.task().map_or(0, task::requests);
            requests + record.fired()
        })
    })
}

/// Takes one request to cancel the current task back: says that it was dealt with. Gives the number
/// that is left. The last one also withdraws a request that was not delivered yet.
///
/// Zero outside tasks.
///
/// ```
/// # loopool::run(async {
/// let task = loopool::create_task(async {
///     let forever = loopool::cancellable(std::future::pending::<()>());
///     assert!(forever.await.is_err());
///     (loopool::cancelling(), loopool::uncancel())
/// });
/// # let mut task = task;
/// # while loopool::timeout(std::time::Duration::from_millis(1), loopool::shield(&mut task)).await.is_ok() {}
/// task.cancel();
/// assert_eq!(task.await.unwrap(), (1, 0));
/// # });
/// ```
pub fn uncancel() -> usize {
    context::with_record_around(|record| record.map_or(0, Record::uncancel))
}
