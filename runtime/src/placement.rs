//! Tasks that are made on a loop of the caller's choice.
//!
//! What crosses threads is the *maker*, which is `Send`; the future that it makes need not be, because
//! it is made, polled and dropped on the loop's own thread. To the rest of the runtime both are one
//! local task of that loop: [`Placed`] is the maker until it is first polled, so a task that is
//! cancelled before that drops its maker uncalled.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::event_loop::pointer_to;
use crate::scheduler::Shared;
use crate::task::Task;

/// A maker, then what it made.
enum Placed<M, F> {
    Maker(M),
    Made(F),
    /// The maker is at work, or has panicked.
    Gone,
}

impl<M, F> Future for Placed<M, F>
where
    M: FnOnce() -> F,
    F: Future,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: only what is in `Made` is pinned: it is put there once, dropped there, and never
        // moved.
        let this = unsafe { self.get_unchecked_mut() };
        if let Placed::Maker(_) = this
            && let Placed::Maker(make) = std::mem::replace(this, Placed::Gone)
        {
            *this = Placed::Made(make());
        }
        match this {
            // SAFETY: as above.
            Placed::Made(future) => unsafe { Pin::new_unchecked(future) }.poll(cx),
            _ => unreachable!("a task whose poll has panicked is not polled again"),
        }
    }
}

/// Makes the task, from any thread.
pub(crate) fn spawn_on<M, F>(
    shared: &Arc<Shared>,
    loop_index: usize,
    make: M,
    location: &'static Location<'static>,
) -> Result<Task<F::Output>, NoSuchLoop<M>>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    let loops = shared.loop_count;
    if loop_index >= loops {
        return Err(NoSuchLoop { maker: make, loop_index, loops });
    }
    let placed = Placed::Maker(make);
    // SAFETY: local, and until its loop polls it there is nothing in it but the maker, which is
    // `Send`; so is the output. `'static`, and a task that is registered keeps the runtime alive.
    let (runnable, task) =
        unsafe { crate::task::new_task(placed, pointer_to(shared), loop_index, true, location) };
    if let Some(runnable) = shared.admit(runnable, &task) {
        shared.schedule(runnable);
    }
    Ok(task)
}

/// As [`spawn_on`], once for each loop.
pub(crate) fn spawn_on_each<M, F>(
    shared: &Arc<Shared>,
    make: &M,
    location: &'static Location<'static>,
) -> Vec<Task<F::Output>>
where
    M: Fn(usize) -> F + Send + Clone + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    let place = |index| {
        let make = make.clone();
        // Every index is that of a loop.
        spawn_on(shared, index, move || make(index), location).ok()
    };
    (0..shared.loop_count).filter_map(place).collect()
}

/// The runtime has no loop of this number. The maker comes back.
pub struct NoSuchLoop<M> {
    maker: M,
    loop_index: usize,
    loops: usize,
}

impl<M> NoSuchLoop<M> {
    /// What would have made the future.
    pub fn into_maker(self) -> M {
        self.maker
    }

    /// The number that was asked for.
    pub fn loop_index(&self) -> usize {
        self.loop_index
    }

    /// How many loops there are; their numbers begin with 0.
    pub fn loops(&self) -> usize {
        self.loops
    }
}

impl<M> fmt::Display for NoSuchLoop<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoSuchLoop { loop_index, loops, .. } = self;
        let last = loops - 1;
        write!(f, "there is no loop {loop_index}: the runtime's loops are 0 to {last}")
    }
}

impl<M> fmt::Debug for NoSuchLoop<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoSuchLoop({self})")
    }
}

impl<M> std::error::Error for NoSuchLoop<M> {}
