//! What is done to tasks: running, waking, cancelling, freeing.

use std::mem::ManuallyDrop;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{Context, RawWaker, RawWakerVTable, Waker};

use loopool_executors::caught::tell;

use super::cell::Header;
use super::cold::Requested;
use super::join::JoinError;
use super::state::{DropOutcome, IdleOutcome, WakeOutcome};
use crate::cancel::{Before, Below, Record, RequestId};
use crate::context;
use crate::event_loop::Core;
use crate::scheduler::{End, Shared};

/// A task that is to be polled: one queue entry and its reference.
pub(crate) struct Runnable {
    header: NonNull<Header>,
}

// SAFETY: a runnable of a local task is only put into queues of its own loop (`Shared::schedule`),
// and everything else in a cell is made to be used from any thread (`state.rs`).
unsafe impl Send for Runnable {}

impl Runnable {
    /// # Safety
    /// The caller has the reference that goes with SCHEDULED.
    pub(crate) unsafe fn from_header(header: NonNull<Header>) -> Self {
        Runnable { header }
    }

    /// The pointer, with its reference.
    pub(crate) fn into_header(self) -> NonNull<Header> {
        ManuallyDrop::new(self).header
    }

    pub(crate) fn header_pointer(&self) -> NonNull<Header> {
        self.header
    }

    fn header(&self) -> &Header {
        // SAFETY: the reference that comes with a runnable keeps the cell alive.
        unsafe { self.header.as_ref() }
    }

    /// The loop the task was made on.
    pub(crate) fn home(&self) -> usize {
        self.header().home()
    }

    /// Where it was made.
    pub(crate) fn location(&self) -> &'static Location<'static> {
        self.header().location()
    }

    /// Whether it may have a name.
    #[inline]
    pub(crate) fn may_have_name(&self) -> bool {
        self.header().cold.is_made()
    }

    /// Whether the task must stay there.
    pub(crate) fn is_local(&self) -> bool {
        self.header().is_local()
    }

    /// Polls the task once. `requeue` gets it back if it was woken meanwhile; `ends` is called when it is
    /// about to end and to wake who awaits it.
    pub(crate) fn run(self, shared: &Shared, requeue: impl FnOnce(Runnable), ends: impl FnOnce()) {
        let pointer = self.into_header();
        // SAFETY: our reference keeps the cell alive until we give it up below.
        let header = unsafe { pointer.as_ref() };
        if header.state.has_new_request() {
            // While the task is SCHEDULED, so that these wakes do not queue it again.
            header.wake_hidden_for_due();
        }
        let outcome = header.state.run();
        if outcome.orphan {
            report_orphan(header);
            return cancelled(pointer, shared, None);
        }
        let record = Record::new(Some(pointer));
        let mut pass = None;
        if outcome.cancel {
            match header.take_due() {
                // Not a line of it has run, and none will.
                Some(request) if outcome.first => {
                    return cancelled(pointer, shared, Some(request));
                }
                Some(request) => pass = Some(Pass::begin(header, &record, request)),
                None => header.strike_undelivered(),
            }
        }
        let ready = {
            let _entered = context::enter(&record);
            // SAFETY: the waker borrows our reference; `ManuallyDrop` keeps it from giving it up.
            let waker = ManuallyDrop::new(unsafe { Waker::from_raw(raw_waker(pointer)) });
            // SAFETY: `run` gave us RUNNING.
            unsafe { (header.vtable().poll)(pointer, &mut Context::from_waker(&waker)) }
        };
        if ready {
            record.end();
            ends();
            return complete(pointer, shared, End::Finished, false);
        }
        if record.is_eventful()
            && let Some(request) = header.raised(&record)
        {
            return cancelled(pointer, shared, Some(request));
        }
        if let Some(pass) = pass
            && let Err(request) = pass.end(pointer, &record)
        {
            return cancelled(pointer, shared, Some(request));
        }
        record.end();
        match header.state.idle() {
            IdleOutcome::Idle => {}
            // SAFETY: our reference goes on with it.
            IdleOutcome::Requeue => requeue(unsafe { Runnable::from_header(pointer) }),
            IdleOutcome::Orphan => {
                report_orphan(header);
                cancelled(pointer, shared, None);
            }
        }
    }

    /// Drops the future of a task that is in no registry at once.
    pub(crate) fn refuse(self, error: JoinError) {
        let pointer = self.into_header();
        let cancelled = error.is_cancelled();
        // SAFETY: our reference keeps the cell alive, and `run` gives us RUNNING.
        let kept = unsafe {
            let _ = pointer.as_ref().state.run();
            (pointer.as_ref().vtable().finish)(pointer, error)
        };
        settle(pointer, kept && cancelled);
    }

    /// Drops the future of a queued task at once.
    pub(crate) fn shut_down(self, shared: &Shared) {
        let pointer = self.into_header();
        // SAFETY: our reference keeps the cell alive.
        let _ = unsafe { pointer.as_ref() }.state.run();
        dropped(pointer, shared);
    }
}

impl Drop for Runnable {
    fn drop(&mut self) {
        // Every queue is drained by `shut_down`; a runnable that is dropped instead would leave a
        // future alive in a runtime that is gone.
        debug_assert!(std::thread::panicking(), "a queued task was dropped without being run");
    }
}

/// A poll of a task that delivers a request.
struct Pass {
    request: RequestId,
    before: Before,
}

impl Pass {
    #[cold]
    fn begin(header: &Header, record: &Record, request: RequestId) -> Self {
        // For a request that came after the look before the task was RUNNING.
        header.wake_hidden(request);
        record.begin_own(request);
        Pass { request, before: record.before_all() }
    }

    /// The future stayed pending. The request, if the task is to end by it.
    #[cold]
    fn end(self, pointer: NonNull<Header>, record: &Record) -> Result<(), RequestId> {
        let Pass { request, before } = self;
        // SAFETY: the caller has RUNNING and a reference, which the waker borrows: `ManuallyDrop` keeps it
        // from giving it up.
        let (header, waker) =
            unsafe { (pointer.as_ref(), ManuallyDrop::new(Waker::from_raw(raw_waker(pointer)))) };
        if record.own_is_void() {
            header.strike(request);
            return Ok(());
        }
        match header.below(record, before, &Context::from_waker(&waker)) {
            Below::Nothing => return Err(request),
            Below::Held | Below::OnItsWay => header.put_off(request),
            Below::Answered => super::note_answer(pointer, request),
        }
        Ok(())
    }
}

/// Drops the future of an idle task at once. Nothing happens to one that is queued or running,
/// besides that it is asked to cancel.
///
/// # Safety
/// `header` is in the registry, whose lock is held by the caller until this has added a reference.
pub(crate) unsafe fn claim_for_shutdown(header: NonNull<Header>) -> Option<Claimed> {
    // SAFETY: registered tasks are not complete, hence not freed.
    unsafe { header.as_ref() }.state.take_for_shutdown().then_some(Claimed(header))
}

/// An idle task in the hands of a shutdown, with RUNNING and a reference.
pub(crate) struct Claimed(NonNull<Header>);

impl Claimed {
    pub(crate) fn finish(self, shared: &Shared) {
        dropped(self.0, shared);
    }
}

/// A reference to a task, to ask it to end once the registry's lock is released.
///
/// # Safety
/// `header` is in the registry, whose lock is held by the caller.
pub(crate) unsafe fn handle_for_cancel(header: NonNull<Header>) -> CancelLater {
    // SAFETY: registered tasks are alive.
    unsafe { header.as_ref() }.state.add_ref();
    CancelLater(header)
}

pub(crate) struct CancelLater(NonNull<Header>);

impl CancelLater {
    pub(crate) fn cancel(self) {
        let _ = cancel(self.0, None);
    }
}

impl Drop for CancelLater {
    fn drop(&mut self) {
        drop_reference(self.0);
    }
}

// SAFETY: a counted reference; `cancel` is made for any thread.
unsafe impl Send for CancelLater {}
// SAFETY: as above.
unsafe impl Sync for CancelLater {}

/// Whoever listens is foreign code, and the task is in our hands.
#[cold]
fn report_orphan(header: &Header) {
    let message = "a pending task was destroyed: nothing could wake it any more";
    tell(|| tracing::error!(spawned_at = %header.location(), message));
}

/// Drops the future of a task that is RUNNING. By this request, or by nobody's.
#[cold]
fn cancelled(pointer: NonNull<Header>, shared: &Shared, request: Option<RequestId>) {
    // SAFETY: the caller has RUNNING and a reference.
    let header = unsafe { pointer.as_ref() };
    let passed_on = request.is_some_and(|request| header.was_passed_on(request));
    // SAFETY: as above.
    let kept = unsafe { (header.vtable().finish)(pointer, JoinError::cancelled(passed_on)) };
    complete(pointer, shared, if kept { End::Cancelled } else { End::Finished }, kept);
}

/// As [`cancelled`], at the end of the loop.
#[cold]
fn dropped(pointer: NonNull<Header>, shared: &Shared) {
    // SAFETY: as above.
    let kept = unsafe { (pointer.as_ref().vtable().finish)(pointer, JoinError::cancelled(false)) };
    complete(pointer, shared, End::Dropped, kept);
}

/// The output is in the cell: out of the registry, wake who waits, give up the runner's reference.
fn complete(pointer: NonNull<Header>, shared: &Shared, end: End, cancelled: bool) {
    // First, while the task is not complete: from then on, the runtime may be freed by others.
    shared.unregister(pointer, end);
    settle(pointer, cancelled);
}

/// The rest of [`complete`], which does not need the runtime.
fn settle(pointer: NonNull<Header>, cancelled: bool) {
    // SAFETY: the runner's reference keeps the cell alive.
    let header = unsafe { pointer.as_ref() };
    let outcome = header.state.complete(cancelled);
    if !outcome.join_interest {
        // SAFETY: complete and no handle: the output is ours (rule 2).
        unsafe { (header.vtable().drop_output)(pointer) };
    }
    if outcome.join_waker {
        // SAFETY: JOIN_WAKER was set when we completed: moved to us, and not touched again (rule 3).
        let waker = header.join_waker.with(|waker| unsafe { std::ptr::read(waker) });
        if let Some(waker) = ManuallyDrop::into_inner(waker) {
            context::wake_caught(waker);
        }
    }
    drop_reference_to_complete(pointer);
}

/// Gives up one reference to a task that is complete.
pub(super) fn drop_reference_to_complete(pointer: NonNull<Header>) {
    // SAFETY: the caller's reference keeps the cell alive until here.
    if unsafe { pointer.as_ref() }.state.drop_ref_of_complete() {
        // SAFETY: it was the last one, and the task is complete.
        unsafe { (pointer.as_ref().vtable().dealloc)(pointer) }
    }
}

/// Gives up one reference.
pub(super) fn drop_reference(pointer: NonNull<Header>) {
    // SAFETY: the caller's reference keeps the cell alive until here.
    match unsafe { pointer.as_ref() }.state.drop_ref() {
        DropOutcome::Shared => {}
        // SAFETY: it was the last one, and the task is complete.
        DropOutcome::Dealloc => unsafe { (pointer.as_ref().vtable().dealloc)(pointer) },
        DropOutcome::SubmitOrphan => submit(pointer),
    }
}

/// Puts a task into a queue whose SCHEDULED bit the caller has just set, with its reference.
fn submit(pointer: NonNull<Header>) {
    // SAFETY: SCHEDULED with a reference, by the caller's word.
    let (runnable, shared) =
        unsafe { (Runnable::from_header(pointer), pointer.as_ref().shared.as_ptr().cast_const()) };
    if let Err(runnable) = context::with_loop_of(shared, runnable, Core::schedule) {
        // SAFETY: the task is SCHEDULED and in no queue, so it cannot complete, so the runtime waits
        // for it and lives until the push; our own count carries it through the notification.
        let shared = unsafe {
            Arc::increment_strong_count(shared);
            Arc::from_raw(shared)
        };
        shared.schedule_remote(runnable);
    }
}

/// Asks a task to end; with the request's origin, if it is passed on by who awaits it. `None` when it is
/// done already.
pub(super) fn cancel(pointer: NonNull<Header>, origin: Option<RequestId>) -> Option<RequestId> {
    // SAFETY: the caller's reference keeps the cell alive.
    match unsafe { pointer.as_ref() }.request(origin) {
        Requested::Submit(request) => {
            submit(pointer);
            Some(request)
        }
        Requested::Noted(request) => Some(request),
        Requested::InVain => None,
    }
}

static WAKER: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

fn raw_waker(pointer: NonNull<Header>) -> RawWaker {
    RawWaker::new(pointer.as_ptr().cast_const().cast(), &WAKER)
}

/// The task of a waker. Not by way of a reference to the header, from which the rest of the cell could
/// not be reached.
///
/// # Safety
/// `data` comes from `raw_waker`.
unsafe fn task_of(data: *const ()) -> NonNull<Header> {
    // SAFETY: the caller's promise: it was made from a `NonNull`.
    unsafe { NonNull::new_unchecked(data.cast_mut().cast()) }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: wakers hold a reference.
    unsafe { task_of(data).as_ref() }.state.add_ref();
    RawWaker::new(data, &WAKER)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: wakers hold a reference, which this call uses up.
    let task = unsafe { task_of(data) };
    // SAFETY: as above.
    match unsafe { task.as_ref() }.state.wake_by_value() {
        WakeOutcome::Submit => submit(task),
        WakeOutcome::Nothing => {}
        // SAFETY: the last reference of a complete task.
        WakeOutcome::Dealloc => unsafe { (task.as_ref().vtable().dealloc)(task) },
    }
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: wakers hold a reference.
    let task = unsafe { task_of(data) };
    // SAFETY: as above.
    if unsafe { task.as_ref() }.state.wake_by_ref() == WakeOutcome::Submit {
        submit(task);
    }
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: wakers hold a reference, which this call uses up.
    drop_reference(unsafe { task_of(data) });
}
