//! The tasks of a loop: so that shutdown finds those that sleep.
//!
//! Holds no reference. A task is entered before anybody can poll it and leaves before it is complete,
//! both under the list's lock; so under that lock every task in the list is alive. How many there are in
//! all of a runtime is known under all of its locks only: a task on one loop makes one on another, and
//! ends.

use std::ptr::NonNull;

use crate::short_lock::ShortLock;
use crate::task::{Claimed, Header, Links, claim_for_shutdown};

pub(crate) struct Registry {
    head: Option<NonNull<Header>>,
    count: usize,
    closed: bool,
}

// SAFETY: the pointers are followed under the lock around the registry only.
unsafe impl Send for Registry {}

impl Registry {
    pub(crate) fn new() -> Self {
        Registry { head: None, count: 0, closed: false }
    }

    /// Takes no more tasks.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// Enters a task. False when the registry is closed.
    pub(crate) fn insert(&mut self, task: NonNull<Header>) -> bool {
        if self.closed {
            return false;
        }
        if let Some(head) = self.head {
            links(head, |links| links.prev = Some(task));
        }
        let next = self.head.replace(task);
        // The first one's predecessor is itself: so who has one is in the list.
        links(task, |links| *links = Links { prev: Some(task), next });
        self.count += 1;
        true
    }

    /// Takes a task out, if it was ever entered. True when it was the last one.
    pub(crate) fn remove(&mut self, task: NonNull<Header>) -> bool {
        let Links { prev: Some(prev), next } = links(task, std::mem::take) else { return false };
        let first = prev == task;
        if first {
            self.head = next;
        } else {
            links(prev, |links| links.next = next);
        }
        if let Some(next) = next {
            links(next, |links| links.prev = Some(if first { next } else { prev }));
        }
        self.count -= 1;
        self.count == 0
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Calls `f` with each task.
    pub(crate) fn for_each(&self, mut f: impl FnMut(NonNull<Header>)) {
        let mut next = self.head;
        while let Some(task) = next {
            next = links(task, |links| links.next);
            f(task);
        }
    }

    /// Takes the sleeping tasks that `wanted` says yes to, to have their futures dropped. The others
    /// are asked to cancel.
    pub(crate) fn claim(&self, wanted: impl Fn(&Header) -> bool) -> Vec<Claimed> {
        let mut claimed = Vec::new();
        self.for_each(|task| {
            // SAFETY: in the list, under its lock.
            if wanted(unsafe { task.as_ref() }) {
                // SAFETY: as above.
                claimed.extend(unsafe { claim_for_shutdown(task) });
            }
        });
        claimed
    }
}

fn links<R>(task: NonNull<Header>, f: impl FnOnce(&mut Links) -> R) -> R {
    // SAFETY: in the list or being entered, so alive; the links are touched under the list's lock
    // only, which every caller holds.
    unsafe { task.as_ref().links.with_mut(|links| f(&mut *links)) }
}

/// How many tasks there are in all of them, at one moment. Takes the locks in the order of the loops, so that
/// two who count do not wait for each other; all others take one at a time.
pub(crate) fn count_all<'a>(
    mut registries: impl Iterator<Item = &'a ShortLock<Registry>>,
) -> usize {
    let Some(first) = registries.next() else { return 0 };
    first.with(|registry| registry.count() + count_all(registries))
}
