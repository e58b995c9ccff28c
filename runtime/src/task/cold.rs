//! What few tasks have: a name, requests to cancel, waiters that a combinator hides.
//!
//! One word in the header. At first it is where the task was made; when one of these is first needed, it
//! becomes the address of an allocation that also has that, with its lowest bit set. Freed with the cell.
//!
//! # Requests
//! The bits in the state word say *that* a request is to be delivered, this says which. Both are
//! changed together under the lock, by whoever requests, takes back, and delivers; so each request is
//! delivered once, under the id that was given for it.
//!
//! A request that an await passes on gets an id of the awaited task's own. It also bears that of its
//! origin, where the chain of awaits began, and a task heeds an origin once: else tasks that await each
//! other in a circle would pass one request around for ever.

use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task::Context;

use loopool_executors::caught::drop_caught;

use super::cell::Header;
use super::state::CancelOutcome;
use crate::cancel::{Before, Below, Holds, Record, RequestId, WakeList};
use crate::shim::Mutex;
use crate::shim::atomic::{AtomicPtr, Ordering};

/// The location, or where the rest is.
pub(super) struct ColdPointer(AtomicPtr<Cold>);

pub(super) struct Cold {
    location: &'static Location<'static>,
    name: Mutex<Option<Arc<str>>>,
    requests: Mutex<Requests>,
    foreign: Mutex<Option<Arc<WakeList>>>,
}

/// Set in the address of a [`Cold`].
const COLD: usize = 1;

const _: () = assert!(align_of::<Location<'static>>() > COLD && align_of::<Cold>() > COLD);

#[derive(Default)]
struct Requests {
    /// Those that were not taken back.
    count: usize,
    /// What the next pass delivers.
    due: Option<RequestId>,
    /// Those that came from whoever awaits the task.
    passed_on: Vec<PassedOn>,
    /// What is protected in it. Used by the runner only.
    holds: Holds,
}

struct PassedOn {
    id: RequestId,
    /// The request with which the chain of awaits began.
    origin: RequestId,
}

impl ColdPointer {
    pub(super) fn new(location: &'static Location<'static>) -> Self {
        ColdPointer(AtomicPtr::new(ptr::from_ref(location).cast_mut().cast()))
    }

    /// Where the task was made.
    #[inline]
    pub(super) fn location(&self) -> &'static Location<'static> {
        match self.get() {
            Ok(cold) => cold.location,
            Err(location) => location,
        }
    }

    #[inline]
    fn get(&self) -> Result<&Cold, &'static Location<'static>> {
        // Acquire: pairs with the Release in `get_or_make`.
        let word = self.0.load(Ordering::Acquire);
        if word.addr() & COLD != 0 {
            // SAFETY: once set it stays until `free`, whose caller is the last one.
            Ok(unsafe { &*word.map_addr(|address| address & !COLD) })
        } else {
            // SAFETY: what `new` was given.
            Err(unsafe { &*word.cast() })
        }
    }

    /// What there is besides the location.
    #[inline]
    fn made(&self) -> Option<&Cold> {
        self.get().ok()
    }

    /// Whether there is more than the location.
    #[inline]
    pub(super) fn is_made(&self) -> bool {
        // Relaxed: nothing is read from it.
        self.0.load(Ordering::Relaxed).addr() & COLD != 0
    }

    fn get_or_make(&self) -> &Cold {
        let location = match self.get() {
            Ok(cold) => return cold,
            Err(location) => location,
        };
        let new = Box::into_raw(Box::new(Cold {
            location,
            name: Mutex::new(None),
            requests: Mutex::new(Requests::default()),
            foreign: Mutex::new(None),
        }));
        // Release: publishes the new one. Acquire: on failure, that of the other thread.
        let set = self.0.compare_exchange(
            ptr::from_ref(location).cast_mut().cast(),
            new.map_addr(|address| address | COLD),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        let pointer = match set {
            Ok(_) => new,
            Err(other) => {
                // SAFETY: it was made above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(new) });
                other.map_addr(|address| address & !COLD)
            }
        };
        // SAFETY: as in `get`.
        unsafe { &*pointer }
    }

    /// # Safety
    /// Nobody uses the task any more.
    #[inline]
    pub(super) unsafe fn free(&self) {
        if self.is_made() {
            // SAFETY: the caller's promise.
            unsafe { self.free_cold() }
        }
    }

    /// # Safety
    /// As [`free`](Self::free), and it is made.
    #[cold]
    unsafe fn free_cold(&self) {
        // Acquire: as in `get`.
        let pointer = self.0.load(Ordering::Acquire).map_addr(|address| address & !COLD);
        // SAFETY: made by `Box` in `get_or_make`, freed once, by the caller's promise. A list that is
        // still used by a scope that has outlived the task goes on by its own count.
        drop_caught("what a task had", unsafe { Box::from_raw(pointer) });
    }
}

/// What a request led to.
pub(super) enum Requested {
    /// Put the task into a queue, with a reference.
    Submit(RequestId),
    Noted(RequestId),
    /// It is complete, or has heeded that origin before.
    InVain,
}

impl Header {
    pub(crate) fn name(&self) -> Option<Arc<str>> {
        self.cold.made()?.name.lock().clone()
    }

    pub(super) fn set_name(&self, name: Arc<str>) {
        let before = self.cold.get_or_make().name.lock().replace(name);
        drop(before);
    }

    /// A request to cancel; with its origin, if it comes from who awaits the task.
    pub(super) fn request(&self, origin: Option<RequestId>) -> Requested {
        if self.state.is_complete() {
            return Requested::InVain;
        }
        let mut requests = self.cold.get_or_make().requests.lock();
        if origin.is_some_and(|origin| requests.passed_on.iter().any(|it| it.origin == origin)) {
            return Requested::InVain;
        }
        let outcome = self.state.cancel();
        if outcome == CancelOutcome::TooLate {
            return Requested::InVain;
        }
        requests.count += 1;
        let id = *requests.due.get_or_insert_with(RequestId::new);
        requests.passed_on.extend(origin.map(|origin| PassedOn { id, origin }));
        match outcome {
            CancelOutcome::Submit => Requested::Submit(id),
            _ => Requested::Noted(id),
        }
    }

    /// For the runner, before a poll that is to deliver: the request that is due. `None` if it was
    /// withdrawn in the meantime.
    #[cold]
    pub(super) fn take_due(&self) -> Option<RequestId> {
        let mut requests = self.cold.made().map(|cold| cold.requests.lock());
        if !self.state.begin_pass() {
            return None;
        }
        let due = requests.as_mut().and_then(|requests| requests.due.take());
        // A shutdown asks without a request of its own.
        Some(due.unwrap_or_else(RequestId::new))
    }

    /// For the runner, after a poll in which the request was only put off: the next one delivers it. If there
    /// is a newer one by now, that one stands for both.
    pub(super) fn put_off(&self, request: RequestId) {
        let mut requests = self.cold.get_or_make().requests.lock();
        // None is left when it was taken back in that very poll.
        if requests.count > 0 {
            requests.due.get_or_insert(request);
            self.state.hold();
        }
    }

    /// For the runner, after a poll that was a pass: what became of the request.
    pub(super) fn below(&self, record: &Record, before: Before, cx: &Context<'_>) -> Below {
        let protected = match self.cold.made() {
            Some(cold) => record.is_protected(before, &mut cold.requests.lock().holds),
            // A shutdown asks once, without a request of its own.
            None => record.is_protected(before, &mut Holds::default()),
        };
        record.below(before, protected, cx)
    }

    /// For the runner, after a poll in which something was raised, or protected: what was raised and nobody took, unless
    /// it waits.
    #[cold]
    pub(super) fn raised(&self, record: &Record) -> Option<RequestId> {
        if record.lists_any() {
            record.remember_all(&mut self.cold.get_or_make().requests.lock().holds);
        }
        match self.cold.made() {
            Some(cold) => record.raised(&mut cold.requests.lock().holds),
            None => record.raised(&mut Holds::default()),
        }
    }

    /// Whether the request came from who awaits the task.
    pub(super) fn was_passed_on(&self, request: RequestId) -> bool {
        let is_it = |it: &PassedOn| it.id == request;
        self.cold.made().is_some_and(|cold| cold.requests.lock().passed_on.iter().any(is_it))
    }

    /// Where `request`, one of this task or of a timeout in it, began.
    fn origin(&self, request: RequestId) -> RequestId {
        let Some(cold) = self.cold.made() else { return request };
        let requests = cold.requests.lock();
        let passed_on = requests.passed_on.iter().find(|it| it.id == request);
        passed_on.map_or(request, |it| it.origin)
    }

    /// Requests that were not taken back.
    pub(super) fn requests(&self) -> usize {
        self.cold.made().map_or(0, |cold| cold.requests.lock().count)
    }

    /// Takes one back and says how many are left; none when there was none. With the last one goes a request that is due.
    pub(super) fn uncancel(&self) -> Option<usize> {
        let cold = self.cold.made()?;
        let mut requests = cold.requests.lock();
        let left = requests.count.checked_sub(1)?;
        requests.count = left;
        if left == 0
            && let Some(request) = requests.due.take()
        {
            let _ = self.state.begin_pass();
            // Hidden waiters may have been called already, if it was put off.
            if let Some(list) = cold.foreign.lock().as_ref() {
                list.strike(request);
            }
        }
        Some(left)
    }

    /// The list of hidden waiters.
    pub(super) fn wake_list(&self) -> Arc<WakeList> {
        let mut list = self.cold.get_or_make().foreign.lock();
        list.get_or_insert_with(|| Arc::new(WakeList::new())).clone()
    }

    /// Wakes the hidden waiters, if there are any, for a request to this task that is due.
    #[cold]
    pub(super) fn wake_hidden_for_due(&self) {
        if let Some(list) = self.existing_wake_list() {
            let due = self.cold.made().and_then(|cold| cold.requests.lock().due);
            if let Some(request) = due {
                list.wake_for_task(request, false);
            }
        }
    }

    /// The request that was due was taken back when they had been woken.
    #[cold]
    pub(super) fn strike_undelivered(&self) {
        if let Some(list) = self.existing_wake_list() {
            list.strike_undelivered();
        }
    }

    /// A request that hidden waiters may have been called for was taken back, or its timeout is gone.
    #[cold]
    pub(super) fn strike(&self, request: RequestId) {
        if let Some(list) = self.existing_wake_list() {
            list.strike(request);
        }
    }

    fn existing_wake_list(&self) -> Option<Arc<WakeList>> {
        self.cold.made().and_then(|cold| cold.foreign.lock().clone())
    }

    /// Hidden waiters that a request is still to reach.
    pub(super) fn unreached(&self) -> usize {
        self.existing_wake_list().map_or(0, |list| list.unreached())
    }

    /// As [`wake_hidden_for_due`](Self::wake_hidden_for_due), for a request that is in our hands.
    pub(super) fn wake_hidden(&self, request: RequestId) {
        if let Some(list) = self.existing_wake_list() {
            list.wake_for_task(request, true);
        }
    }
}

/// For the task that is polled on this thread.
pub(crate) fn requests(task: NonNull<Header>) -> usize {
    // SAFETY: a task that is polled is alive.
    unsafe { task.as_ref() }.requests()
}

/// As [`requests`].
pub(crate) fn uncancel(task: NonNull<Header>) -> Option<usize> {
    // SAFETY: as above.
    unsafe { task.as_ref() }.uncancel()
}

/// As [`requests`]: where a request began that is visible in the task.
pub(crate) fn origin(task: NonNull<Header>, request: RequestId) -> RequestId {
    // SAFETY: as above.
    unsafe { task.as_ref() }.origin(request)
}

/// As [`requests`].
pub(crate) fn wake_list(task: NonNull<Header>) -> Arc<WakeList> {
    // SAFETY: as above.
    unsafe { task.as_ref() }.wake_list()
}

/// As [`requests`]: for the request of a timeout in the task.
pub(crate) fn wake_hidden_for_timeout(task: NonNull<Header>, request: RequestId) {
    // SAFETY: as above.
    if let Some(list) = unsafe { task.as_ref() }.existing_wake_list() {
        list.wake_for(request);
    }
}

/// As [`requests`].
pub(crate) fn unreached(task: NonNull<Header>) -> usize {
    // SAFETY: as above.
    unsafe { task.as_ref() }.unreached()
}

/// As [`requests`]: a raise waits for something protected.
pub(crate) fn hold_raise(task: NonNull<Header>) {
    // SAFETY: as above.
    if let Some(list) = unsafe { task.as_ref() }.existing_wake_list() {
        list.hold_raise();
    }
}

/// As [`requests`]: something protected is done.
pub(crate) fn release(task: NonNull<Header>) {
    // SAFETY: as above.
    if let Some(list) = unsafe { task.as_ref() }.existing_wake_list() {
        list.release();
    }
}

/// As [`requests`]: somebody has answered the request.
pub(crate) fn note_answer(task: NonNull<Header>, request: RequestId) {
    // SAFETY: as above.
    if let Some(list) = unsafe { task.as_ref() }.existing_wake_list() {
        list.note_answer(request);
    }
}

/// As [`requests`]: the request of a timeout that is gone.
pub(crate) fn strike(task: NonNull<Header>, request: RequestId) {
    // SAFETY: as above.
    unsafe { task.as_ref() }.strike(request);
}

/// As [`requests`]: whether it was woken since its poll began.
pub(crate) fn is_woken(task: NonNull<Header>) -> bool {
    // SAFETY: as above.
    unsafe { task.as_ref() }.state.is_scheduled()
}

/// As [`requests`]: whether `cx` is woken to try once more to reach its hidden waiters.
pub(crate) fn tries_again(task: NonNull<Header>, cx: &Context<'_>) -> bool {
    // SAFETY: as above.
    unsafe { task.as_ref() }.existing_wake_list().is_some_and(|list| list.tries_again(cx))
}
