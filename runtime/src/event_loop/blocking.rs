//! [`block_in_place`]: blocking on purpose.
//!
//! The loop says that it blocks, so nobody waits to find out: what lies in its slot goes into its deque,
//! and if all others sleep or block, too, somebody is called. What the function wakes goes into the
//! deque as well, never into the slot, and somebody is called for it.
//!
//! It may drive another executor. What that one polls does not see the task's record: the budget would be
//! that of a poll which does not end meanwhile, and scopes would take the task's request.

use super::core::{Core, MAINTENANCE};
use crate::context;

/// Runs a function that blocks, on this thread: for calls that are too short, or too tied to what is
/// borrowed, for [`to_thread`](crate::to_thread).
///
/// While it runs, the other loops of the runtime take this one's tasks and look after its sockets and
/// timers, at once; when they all block, too, a [spare worker](crate::RuntimeBuilder::spare_workers) does.
/// Local tasks and callbacks of this loop wait, and so do the other branches of a `join!` in the same
/// task. It is not reported as a stall.
///
/// What another executor polls in it, such as `block_on`, does not belong to the task, as if it were
/// [isolated](crate::isolate). The function itself may ask whether the task is [to end](crate::cancelling).
///
/// A function that waits for other tasks waits for ever once it is called on all loops and spare workers
/// at the same time.
///
/// Outside a loop, and in a loop that stands alone, it merely calls the function. May be nested.
///
/// ```
/// # loopool::run(async {
/// let mut words = vec!["loop", "pool"];
/// loopool::block_in_place(|| words.sort_by_key(|word| std::cmp::Reverse(word.len())));
/// assert_eq!(words.len(), 2);
/// # });
/// ```
///
/// # Panics
/// With the function's own panic.
pub fn block_in_place<F, R>(function: F) -> R
where
    F: FnOnce() -> R,
{
    let core = context::current_core();
    let _blocking = core.as_deref().and_then(Blocking::begin);
    let _aside = context::set_record_aside();
    function()
}

/// Until it is dropped, the loop blocks.
struct Blocking<'a>(&'a Core);

impl<'a> Blocking<'a> {
    /// `None` when it does already.
    fn begin(core: &'a Core) -> Option<Self> {
        if core.blocking.replace(true) {
            return None;
        }
        core.half().counters.blocked();
        core.shared().idle.begin_blocking(core.index());
        if !core.shared().stands_alone() {
            if let Some(task) = core.half().slot.take() {
                core.deque.push(task);
            }
            core.shared().call_for(core.index());
        }
        Some(Blocking(core))
    }
}

impl Drop for Blocking<'_> {
    fn drop(&mut self) {
        let Blocking(core) = *self;
        core.blocking.set(false);
        // It was away for long: a look at everything comes next.
        core.since_maintenance.set(MAINTENANCE);
        core.half().counters.blocked();
        core.shared().idle.end_blocking(core.index());
    }
}
