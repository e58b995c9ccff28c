//! How a loop is left, and how it is emptied at the end.

use std::ptr::NonNull;

use super::core::{Core, Entry};
use crate::scheduler::Registry;
use crate::task::{Header, Runnable};

impl Core {
    /// The thread leaves the loop, which nobody drives then: what others may take is given to them.
    pub(super) fn leave(&self) {
        if !self.shared().stands_alone() {
            self.give_away();
        }
        self.shared().idle.leave(self.index());
        if self.index() == 0 && self.shared().loop_count > 1 {
            self.shared().main_loop_changed(false);
        }
        // Also what was pushed from outside: the call for help may have reached us.
        if !self.shared().stands_alone() && self.shared().has_stealable() {
            self.shared().call_anybody();
        }
    }

    /// Puts the tasks that may move where everybody looks. Not into the deque, where loops look only when
    /// they have nothing else to do. True when there were some; the caller wakes somebody.
    pub(super) fn give_away(&self) -> bool {
        let mut some = false;
        while let Some(task) = self.half().slot.take().or_else(|| self.deque.pop()) {
            self.shared().inject(task);
            some = true;
        }
        some
    }

    /// Whether there is a callback or local task, which cannot go elsewhere.
    pub(super) fn holds_what_stays(&self) -> bool {
        !self.ready.borrow().is_empty()
            || !self.callback_timers.borrow().is_empty()
            || self.half().registry.with(|registry| self.local_tasks(registry)) > 0
    }

    /// Ends a local task of this loop at once, wherever it waits; not one that is being polled.
    pub(super) fn abandon(&self, task: NonNull<Header>) {
        loop {
            self.read_mailbox();
            if let Some(runnable) = self.take_ready(task) {
                return runnable.shut_down(self.shared());
            }
            let is_it = |other: &Header| std::ptr::eq(other, task.as_ptr());
            let claimed = self.half().registry.with(|registry| registry.claim(is_it));
            let found = !claimed.is_empty();
            for claimed in claimed {
                claimed.finish(self.shared());
            }
            if found {
                return;
            }
            // A waker on another thread has won the right to queue it and has not queued it yet.
            std::thread::yield_now();
        }
    }

    /// Takes a task out of the loop's own queue.
    fn take_ready(&self, task: NonNull<Header>) -> Option<Runnable> {
        let mut ready = self.ready.borrow_mut();
        let is_it =
            |entry: &Entry| matches!(entry, Entry::Task(other) if other.header_pointer() == task);
        let place = ready.iter().position(is_it)?;
        match ready.remove(place)? {
            Entry::Task(task) => Some(task),
            _ => unreachable!("the entry was just found to be a task"),
        }
    }

    /// Drops everything that belongs to this thread: callbacks, local tasks, what lies in its queues. If all other
    /// loops have done so, drops the rest as well. On the loop's own thread, once nothing is run any more; from
    /// then on it takes nothing. Says whether it was the last.
    pub(crate) fn clear(&self) -> bool {
        self.clearing.set(true);
        while self.clear_some() || !self.close_registry() {}
        self.closed.set(true);
        let is_last = self.shared().ending.leave();
        if is_last {
            self.shared().finish();
        }
        self.clearing.set(false);
        is_last
    }

    /// After [`clear`](Self::clear), while another loop is stuck: drops what can be dropped now.
    pub(crate) fn drop_what_can_be_reached(&self) {
        self.clearing.set(true);
        self.shared().drop_what_can_be_reached();
        self.clearing.set(false);
    }

    /// Closes the list of tasks, if no local one is left. One that is left is being woken by another
    /// thread, which has not queued it yet.
    fn close_registry(&self) -> bool {
        let done = self.half().registry.with(|registry| {
            let done = self.local_tasks(registry) == 0;
            if done {
                registry.close();
            }
            done
        });
        if !done {
            std::thread::yield_now();
        }
        done
    }

    /// Drops what is there; true when there was something.
    fn clear_some(&self) -> bool {
        let mut some = false;
        self.read_mailbox();
        let entries = std::mem::take(&mut *self.ready.borrow_mut());
        for entry in entries {
            some = true;
            match entry {
                Entry::Task(task) => task.shut_down(self.shared()),
                Entry::Callback(callback) => callback.cancel(),
                Entry::Remote(callback) => callback.cancel(),
            }
        }
        while let Some(task) = self.half().slot.take().or_else(|| self.deque.pop()) {
            some = true;
            task.shut_down(self.shared());
        }
        let timers = std::mem::take(&mut *self.callback_timers.borrow_mut());
        for callback in timers.into_callbacks() {
            some = true;
            callback.cancel();
        }
        let claimed = self.half().registry.with(|registry| registry.claim(Header::is_local));
        for task in claimed {
            some = true;
            task.finish(self.shared());
        }
        some
    }

    fn local_tasks(&self, registry: &Registry) -> usize {
        let mut count = 0;
        registry.for_each(|task| {
            // SAFETY: in the registry, under its lock.
            count += usize::from(unsafe { task.as_ref() }.is_local());
        });
        count
    }
}
