//! The tasks of a loop: so that shutdown finds those that sleep.
//!
//! Holds no reference. A task is entered before anybody can poll it and leaves before it is complete,
//! both under the list's lock; so under that lock every task in the list is alive.

use std::ptr::NonNull;

use crate::task::{Claimed, Header, Links, claim_for_shutdown};

pub(crate) struct Registry {
    head: Option<NonNull<Header>>,
    closed: bool,
}

// SAFETY: the pointers are followed under the lock around the registry only.
unsafe impl Send for Registry {}

impl Registry {
    pub(crate) fn new() -> Self {
        Registry { head: None, closed: false }
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
        let head = self.head.replace(task);
        links(task, |links| *links = Links { prev: None, next: head });
        registered(task, |registered| *registered = true);
        true
    }

    /// Takes a task out; false when it was never entered.
    pub(crate) fn remove(&mut self, task: NonNull<Header>) -> bool {
        if !registered(task, std::mem::take) {
            return false;
        }
        let Links { prev, next } = links(task, std::mem::take);
        match prev {
            Some(prev) => links(prev, |links| links.next = next),
            None => self.head = next,
        }
        if let Some(next) = next {
            links(next, |links| links.prev = prev);
        }
        true
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

fn registered<R>(task: NonNull<Header>, f: impl FnOnce(&mut bool) -> R) -> R {
    // SAFETY: as for the links.
    unsafe { task.as_ref().registered.with_mut(|registered| f(&mut *registered)) }
}
