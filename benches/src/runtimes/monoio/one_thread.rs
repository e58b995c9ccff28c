//! Values that stay on the thread that made them, in a coat that says `Send`.
//!
//! The workloads are written once, for runtimes that move tasks between threads: so what they hold
//! must be `Send`. monoio never moves a task, and what it gives is not `Send`. The coat looks at the
//! thread each time it is opened, which costs about a nanosecond.

use std::cell::Cell;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

static NEXT: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// Zero until it is asked for.
    static THREAD: Cell<u64> = const { Cell::new(0) };
}

/// A number that no other thread has or had.
fn this_thread() -> u64 {
    THREAD.with(|thread| {
        if thread.get() == 0 {
            // Relaxed: only that the numbers differ matters.
            thread.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        thread.get()
    })
}

/// A value that only the thread that made it can touch.
#[derive(Debug)]
pub struct OneThread<T> {
    value: ManuallyDrop<T>,
    thread: u64,
}

// SAFETY: the value is reached through `check` and `drop` only, which let no other thread at it.
unsafe impl<T> Send for OneThread<T> {}
// SAFETY: as above: a shared reference on another thread gives nothing away.
unsafe impl<T> Sync for OneThread<T> {}

impl<T> OneThread<T> {
    pub(super) fn new(value: T) -> Self {
        OneThread { value: ManuallyDrop::new(value), thread: this_thread() }
    }

    fn check(&self) {
        assert!(self.thread == this_thread(), "this value belongs to another thread");
    }
}

impl<T> Deref for OneThread<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.check();
        &self.value
    }
}

impl<T> DerefMut for OneThread<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.check();
        &mut self.value
    }
}

impl<T: Clone> Clone for OneThread<T> {
    fn clone(&self) -> Self {
        OneThread::new(T::clone(self))
    }
}

impl<T> Drop for OneThread<T> {
    fn drop(&mut self) {
        // Left to leak elsewhere: its destructor must not run there.
        if self.thread == this_thread() {
            // SAFETY: dropped once, here, on the thread that made it; nobody reaches it any more.
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
    }
}

impl<F: Future> Future for OneThread<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.check();
        // SAFETY: the field is pinned whenever the whole is: nothing moves it out, `drop` drops it where
        // it lies, and its thread was looked at.
        let value = unsafe { self.map_unchecked_mut(|coat| &mut *coat.value) };
        value.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn other_threads_neither_reach_it_nor_drop_it() {
        let value = Arc::new(());
        let coat = OneThread::new(value.clone());
        let there = thread::spawn(move || {
            assert!(std::panic::catch_unwind(|| Arc::strong_count(&coat)).is_err());
        });
        there.join().unwrap();
        assert_eq!(Arc::strong_count(&value), 2, "it has leaked");
        drop(OneThread::new(value.clone()));
        assert_eq!(Arc::strong_count(&value), 2);
    }
}
