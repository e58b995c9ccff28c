//! The task cell: one allocation that holds header, future and output.
//!
//! `Cell<F>` starts with a [`Header`], so a pointer to the one is a pointer to the other; what
//! depends on `F` is reached through the header's [`Vtable`]. Who may touch which part when is in
//! `state.rs`.

use std::alloc::Layout;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

use loopool_executors::caught::{drop_caught, report_panic, tell};

use super::cold::ColdPointer;
use super::join::JoinError;
use super::memory;
use super::state::State;
use crate::scheduler::Shared;
use crate::shim::UnsafeCell;

/// What every task has, whatever its future.
#[repr(C)]
pub(crate) struct Header {
    pub(super) state: State,
    vtable: &'static Vtable,
    /// The runtime. Valid while the task is not complete; see `scheduler/mod.rs`, "Lifetime".
    pub(super) shared: NonNull<Shared>,
    /// Under the lock of the registry of `home`.
    pub(crate) links: UnsafeCell<Links>,
    /// Rule 3 of `state.rs`; so whoever has it drops it, not the cell.
    pub(super) join_waker: UnsafeCell<ManuallyDrop<Option<Waker>>>,
    /// Where it was made, and what few tasks have.
    pub(super) cold: ColdPointer,
}

/// Neighbours in a registry; whoever is in one has a predecessor, the first one itself.
#[derive(Default)]
pub(crate) struct Links {
    pub(crate) prev: Option<NonNull<Header>>,
    pub(crate) next: Option<NonNull<Header>>,
}

pub(super) struct Vtable {
    /// Polls the future; true when its output, or its panic, is in the cell. Caller: RUNNING.
    pub(super) poll: unsafe fn(NonNull<Header>, &mut Context<'_>) -> bool,
    /// Drops the future and puts an error in its place; false if the outcome is another, because the
    /// future's destructor panicked. Caller: RUNNING.
    pub(super) finish: unsafe fn(NonNull<Header>, JoinError) -> bool,
    /// Moves the output to where the pointer shows. Caller: rule 2.
    pub(super) take_output: unsafe fn(NonNull<Header>, NonNull<()>),
    /// Drops the output, if it was not taken. Caller: rule 2.
    pub(super) drop_output: unsafe fn(NonNull<Header>),
    /// Frees the memory. Caller: the last reference, COMPLETE.
    pub(super) dealloc: unsafe fn(NonNull<Header>),
}

enum Stage<F: Future> {
    Running(F),
    Finished(Result<F::Output, JoinError>),
    Consumed,
}

#[repr(C)]
struct Cell<F: Future> {
    header: Header,
    stage: UnsafeCell<Stage<F>>,
}

/// Makes a task, queued and with a handle: two references.
pub(super) fn allocate<F: Future>(
    future: F,
    shared: NonNull<Shared>,
    home: usize,
    local: bool,
    location: &'static Location<'static>,
) -> NonNull<Header> {
    let header = Header {
        state: State::new(home, local),
        vtable: const {
            &Vtable {
                poll: poll::<F>,
                finish: finish::<F>,
                take_output: take_output::<F>,
                drop_output: drop_output::<F>,
                dealloc: dealloc::<F>,
            }
        },
        shared,
        links: UnsafeCell::new(Links::default()),
        join_waker: UnsafeCell::new(ManuallyDrop::new(None)),
        cold: ColdPointer::new(location),
    };
    let cell = memory::allocate(Layout::new::<Cell<F>>()).cast::<Cell<F>>();
    // SAFETY: memory for it, and ours.
    unsafe { cell.write(Cell { header, stage: UnsafeCell::new(Stage::Running(future)) }) };
    cell.cast()
}

impl Header {
    /// Where the task was made.
    #[inline]
    pub(crate) fn location(&self) -> &'static Location<'static> {
        self.cold.location()
    }

    /// The loop it was made on.
    #[inline]
    pub(crate) fn home(&self) -> usize {
        self.state.home()
    }

    /// Whether it must stay there.
    #[inline]
    pub(crate) fn is_local(&self) -> bool {
        self.state.is_local()
    }

    pub(super) fn vtable(&self) -> &'static Vtable {
        self.vtable
    }
}

/// # Safety
/// `header` is the header of a live `Cell<F>`.
unsafe fn cell<'a, F: Future>(header: NonNull<Header>) -> &'a Cell<F> {
    // SAFETY: the caller's promise; `Cell` is `repr(C)` and starts with its header.
    unsafe { header.cast::<Cell<F>>().as_ref() }
}

unsafe fn poll<F: Future>(header: NonNull<Header>, cx: &mut Context<'_>) -> bool {
    // SAFETY: the vtable belongs to this type.
    let cell = unsafe { cell::<F>(header) };
    let polled = catch_unwind(AssertUnwindSafe(|| {
        cell.stage.with_mut(|stage| {
            // SAFETY: the caller has RUNNING, so the stage is ours alone.
            match unsafe { &mut *stage } {
                // SAFETY: the future is in the heap and is dropped in place, never moved.
                Stage::Running(future) => unsafe { Pin::new_unchecked(future) }.poll(cx),
                _ => unreachable!("a task was polled after its end"),
            }
        })
    }));
    let result = match polled {
        Ok(Poll::Pending) => return false,
        Ok(Poll::Ready(output)) => Ok(output),
        Err(payload) => Err(JoinError::panicked(payload)),
    };
    // SAFETY: still RUNNING.
    unsafe { store(cell, result) };
    true
}

unsafe fn finish<F: Future>(header: NonNull<Header>, error: JoinError) -> bool {
    // SAFETY: the vtable belongs to this type, and the caller has RUNNING.
    unsafe { store(cell::<F>(header), Err(error)) }
}

/// Drops the future and stores the result. A panic of the future's destructor becomes the result,
/// unless there is a panic already; false then.
///
/// # Safety
/// The caller has RUNNING.
unsafe fn store<F: Future>(cell: &Cell<F>, mut result: Result<F::Output, JoinError>) -> bool {
    let mut kept = true;
    let dropped = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the caller's promise. `Consumed` is written even if the destructor panics, because
        // assignment drops the old value and writes the new one on unwinding, too.
        cell.stage.with_mut(|stage| unsafe { *stage = Stage::Consumed })
    }));
    if let Err(payload) = dropped {
        match &result {
            Err(error) if error.is_panic() => {
                report_panic("the destructor of a task's future", payload)
            }
            _ => {
                kept = false;
                let replaced = std::mem::replace(&mut result, Err(JoinError::panicked(payload)));
                drop_caught("a task's output", replaced);
            }
        }
    }
    // SAFETY: as above; the old value is `Consumed`, which has no destructor.
    cell.stage.with_mut(|stage| unsafe { *stage = Stage::Finished(result) });
    kept
}

unsafe fn take_output<F: Future>(header: NonNull<Header>, to: NonNull<()>) {
    // SAFETY: the vtable belongs to this type; rule 2 makes the stage the caller's; `to` points to
    // an `Option<Result<F::Output, JoinError>>` by the contract with `Task<F::Output>`.
    unsafe {
        let stage = cell::<F>(header)
            .stage
            .with_mut(|stage| std::mem::replace(&mut *stage, Stage::Consumed));
        if let Stage::Finished(result) = stage {
            to.cast::<Option<Result<F::Output, JoinError>>>().write(Some(result));
        }
    }
}

unsafe fn drop_output<F: Future>(header: NonNull<Header>) {
    // SAFETY: as in `take_output`.
    let stage = unsafe {
        cell::<F>(header).stage.with_mut(|stage| std::mem::replace(&mut *stage, Stage::Consumed))
    };
    if let Stage::Finished(result) = stage {
        if let Err(error) = &result
            && error.is_panic()
        {
            // SAFETY: the caller's reference keeps the cell alive.
            report_unseen(unsafe { header.as_ref() }, error);
        }
        drop_caught("a task's output", result);
    }
}

/// A panic that nobody has asked for, nor can any more.
#[cold]
fn report_unseen(header: &Header, error: &JoinError) {
    let message = "nobody has asked for the outcome of a task that panicked";
    let name = header.name();
    tell(
        || tracing::error!(%error, name = name.as_deref(), spawned_at = %header.location(), message),
    );
}

unsafe fn dealloc<F: Future>(header: NonNull<Header>) {
    let cell = header.cast::<Cell<F>>();
    // SAFETY: made in `allocate`; the caller has the last reference. The stage holds no output any more:
    // whose it was has taken or dropped it (rule 2).
    unsafe {
        // In models this is seen to meet whatever use of the cell is not over.
        #[cfg(loopool_loom)]
        {
            header.as_ref().join_waker.with_mut(|_| ());
            cell.as_ref().stage.with_mut(|_| ());
        }
        header.as_ref().cold.free();
        cell.drop_in_place();
        memory::free(cell.cast(), Layout::new::<Cell<F>>());
    }
}

/// A header is written for every task that is made: it stays small.
#[cfg(all(target_pointer_width = "64", not(loopool_loom)))]
const _: () = assert!(size_of::<Header>() == 64);

/// What a task with next to no future costs: the stage adds to the header what the larger of future and output needs,
/// and two words at least.
#[cfg(all(target_pointer_width = "64", not(loopool_loom)))]
const _: () = assert!(size_of::<Cell<std::future::Ready<()>>>() <= 80);
