//! The waiting jobs of an executor: first in, first out, bounded if wished.
//!
//! A job that is cancelled while it waits gives its place away at once (the bound counts jobs that
//! still want to run), and what it holds is freed before cancelled jobs outnumber the others.
//!
//! The count of cancelled entries may be one too low for a moment: a job marks itself cancelled first
//! and tells the queue second, and `pop` may meet it in between. Hence a signed count.

use std::collections::VecDeque;

/// Something that waits and may be cancelled meanwhile.
pub(crate) trait Queued {
    /// Marks it as running; false when it was cancelled.
    fn start(&self) -> bool;

    /// Whether it was cancelled.
    fn is_cancelled(&self) -> bool;
}

/// Below this many cancelled entries the queue is not searched for them.
const PURGE_AT_LEAST: usize = 32;

pub(crate) struct JobQueue<J> {
    entries: VecDeque<J>,
    next_id: u64,
    cancelled: isize,
    limit: Option<usize>,
}

impl<J: Queued> JobQueue<J> {
    pub(crate) fn new(limit: Option<usize>) -> Self {
        JobQueue { entries: VecDeque::new(), next_id: 0, cancelled: 0, limit }
    }

    /// How many entries wait that are not cancelled.
    pub(crate) fn waiting(&self) -> usize {
        self.entries.len().saturating_add_signed(-self.cancelled)
    }

    /// Whether as many entries wait as may.
    pub(crate) fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.waiting() >= limit)
    }

    /// A number for the entry that is pushed next, under the same lock, so that [`take`](Self::take) finds it.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Appends. Whoever pushes has asked [`is_full`](Self::is_full) under the same lock.
    pub(crate) fn push(&mut self, entry: J) {
        self.entries.push_back(entry);
    }

    /// Takes the next entry that is not cancelled and marks it as running. Cancelled ones on the way
    /// go to `garbage`, to be dropped without the lock.
    pub(crate) fn pop(&mut self, garbage: &mut Vec<J>) -> Option<J> {
        while let Some(entry) = self.entries.pop_front() {
            if entry.start() {
                return Some(entry);
            }
            self.cancelled -= 1;
            garbage.push(entry);
        }
        None
    }

    /// Takes the entry with this number out of turn and marks it as running, unless it was taken out or
    /// cancelled before.
    pub(crate) fn take(&mut self, id: u64, id_of: impl FnMut(&J) -> u64) -> Option<J> {
        let place = self.entries.binary_search_by_key(&id, id_of).ok()?;
        if self.entries[place].start() { self.entries.remove(place) } else { None }
    }

    /// Notes a cancellation; returns entries to be dropped without the lock.
    #[must_use = "drop it without the lock"]
    pub(crate) fn note_cancelled(&mut self) -> Vec<J> {
        self.cancelled += 1;
        let many = self.cancelled.max(0) as usize;
        if many < PURGE_AT_LEAST || many * 2 < self.entries.len() {
            return Vec::new();
        }
        let entries = std::mem::take(&mut self.entries);
        let (garbage, kept): (Vec<J>, Vec<J>) =
            entries.into_iter().partition(|entry| entry.is_cancelled());
        self.entries = kept.into();
        self.cancelled -= garbage.len() as isize;
        garbage
    }

    /// Takes everything out, running nothing.
    #[must_use = "drop it without the lock"]
    pub(crate) fn drain(&mut self) -> VecDeque<J> {
        self.cancelled = 0;
        std::mem::take(&mut self.entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    struct Entry(Rc<Cell<bool>>);

    impl Queued for Entry {
        fn start(&self) -> bool {
            !self.0.get()
        }
        fn is_cancelled(&self) -> bool {
            self.0.get()
        }
    }

    #[test]
    fn a_cancelled_entry_gives_its_place_away() {
        let mut queue = JobQueue::new(Some(2));
        let flags: Vec<_> = (0..3).map(|_| Rc::new(Cell::new(false))).collect();
        queue.push(Entry(flags[0].clone()));
        queue.push(Entry(flags[1].clone()));
        assert!(queue.is_full());
        flags[0].set(true);
        assert!(queue.note_cancelled().is_empty());
        assert_eq!(queue.waiting(), 1);
        assert!(!queue.is_full());
        queue.push(Entry(flags[2].clone()));
        let mut garbage = Vec::new();
        assert!(Rc::ptr_eq(&queue.pop(&mut garbage).unwrap().0, &flags[1]));
        assert_eq!((garbage.len(), queue.waiting()), (1, 1));
    }

    #[test]
    fn cancelled_entries_are_freed_before_they_outnumber_the_rest() {
        let mut queue = JobQueue::new(None);
        let flags: Vec<_> = (0..100).map(|_| Rc::new(Cell::new(false))).collect();
        for flag in &flags {
            queue.push(Entry(flag.clone()));
        }
        let mut freed = 0;
        for flag in &flags[..60] {
            flag.set(true);
            freed += queue.note_cancelled().len();
        }
        assert!(freed >= 50, "{freed}");
        assert_eq!(queue.waiting(), 40);
    }

    #[test]
    fn popping_one_before_its_cancellation_was_noted_keeps_the_count_right() {
        let mut queue = JobQueue::new(None);
        let flag = Rc::new(Cell::new(true));
        queue.push(Entry(flag));
        assert!(queue.pop(&mut Vec::new()).is_none());
        let _ = queue.note_cancelled();
        assert_eq!(queue.waiting(), 0);
        queue.push(Entry(Rc::new(Cell::new(false))));
        assert_eq!(queue.waiting(), 1);
    }
}
