//! What a thread has in hand: the jobs that it runs, outcomes that its callbacks look at, lists that it works off.
//! If it exits in there it never comes back to any of them, and somebody else takes them over.
//!
//! # Rules
//! 1. What is in hand is borrowed until the work on it returns or unwinds, and so is the list of it, which lies on
//!    the thread's stack, the innermost first.
//! 2. A thread that exits does neither. So what it had in hand stays where it is, until the process is gone, and other
//!    threads may look at it. It is [left behind](leave_behind) once, however often the thread says that it exits.

use std::cell::Cell;
use std::ptr::NonNull;
use std::vec;

use crate::cancel_token::CancelToken;
use crate::shim::Mutex;

/// Something that a thread has in hand.
pub(crate) trait InHand: Sync {
    /// The token of the job, if it is one that runs.
    fn token(&self) -> Option<CancelToken> {
        None
    }

    /// The thread that had it in hand never comes back to it. Called by another thread, once.
    fn take_over(&self);
}

struct Inside {
    what: NonNull<dyn InHand>,
    /// What the thread had in hand before.
    outer: Option<NonNull<Inside>>,
}

thread_local! {
    /// The innermost.
    static INNERMOST: Cell<Option<NonNull<Inside>>> = const { Cell::new(None) };
}

/// Does `work` with `what` in hand.
pub(crate) fn with_in_hand<R>(what: &dyn InHand, work: impl FnOnce() -> R) -> R {
    /// Brings the one before back, however `work` ends.
    struct Restore(Option<NonNull<Inside>>);

    impl Drop for Restore {
        fn drop(&mut self) {
            // It has no destructor, so it is there till the thread's end.
            let _ = INNERMOST.try_with(|innermost| innermost.set(self.0));
        }
    }

    // SAFETY: only the lifetime is changed. It is taken away by `Restore` before the borrow ends, and whoever copies it
    // to where it may outlast that knows that it does not end (rule 2).
    let what: &'static dyn InHand = unsafe { std::mem::transmute(what) };
    let outer = INNERMOST.try_with(Cell::get).ok().flatten();
    let inside = Inside { what: what.into(), outer };
    let _restore = Restore(outer);
    let _ = INNERMOST.try_with(|innermost| innermost.set(Some(NonNull::from(&inside))));
    work()
}

/// From this on outwards.
fn outwards(mut next: Option<NonNull<Inside>>) -> impl Iterator<Item = NonNull<dyn InHand>> {
    std::iter::from_fn(move || {
        // SAFETY: `with_in_hand` put it there and has not returned, or it would have taken it away: so what it
        // points to is still there, on this thread's stack, and so are those further out.
        let inside = unsafe { next?.as_ref() };
        next = inside.outer;
        Some(inside.what)
    })
}

/// The token of the innermost job that the calling thread runs.
pub(crate) fn current_token() -> Option<CancelToken> {
    let innermost = INNERMOST.try_with(Cell::get).ok().flatten();
    // SAFETY: as in `outwards`: `with_in_hand` borrows it until it returns.
    outwards(innermost).find_map(|what| unsafe { what.as_ref() }.token())
}

/// Something that a thread had in hand when it exited.
pub(crate) struct LeftBehind(NonNull<dyn InHand>);

// SAFETY: a shared reference to something `Sync`, which stays (rule 2).
unsafe impl Send for LeftBehind {}

impl LeftBehind {
    /// Does what is to be done about it, foreign code included.
    pub(crate) fn take_over(self) {
        // SAFETY: the thread has not returned from `with_in_hand` and never will (rule 2).
        unsafe { self.0.as_ref() }.take_over();
    }
}

/// What the calling thread has in hand, the innermost first; nothing when it has said so before.
///
/// # Safety
/// The thread neither returns nor unwinds from where it is.
pub(crate) unsafe fn leave_behind() -> Vec<LeftBehind> {
    let innermost = INNERMOST.try_with(Cell::take).ok().flatten();
    outwards(innermost).map(LeftBehind).collect()
}

/// Calls `f` with each of the `items`, in order. If the thread exits in that, the others are seen to by another one.
pub(crate) fn for_each<T: Send>(items: Vec<T>, f: impl Fn(T) + Sync) {
    if !items.is_empty() {
        List { items: Mutex::new(items.into_iter()), f }.work_off();
    }
}

/// Items, and what is done with each.
struct List<T, F> {
    items: Mutex<vec::IntoIter<T>>,
    f: F,
}

impl<T: Send, F: Fn(T) + Sync> List<T, F> {
    fn work_off(&self) {
        with_in_hand(self, || {
            loop {
                let item = self.items.lock().next();
                let Some(item) = item else { return };
                (self.f)(item);
            }
        });
    }
}

impl<T: Send, F: Fn(T) + Sync> InHand for List<T, F> {
    fn take_over(&self) {
        self.work_off();
    }
}
