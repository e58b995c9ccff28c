//! Reaching those whom a combinator would not poll (rule 14).
//!
//! `FuturesUnordered`, `buffer_unordered` and large `join_all`s hand each child a waker of their own and
//! poll only those who were woken. Whoever waits with a waker that is not the task's leaves a copy of it
//! in a list of the task. The wakers in the list are woken before a request is delivered.
//!
//! The list belongs to the task and to those who are in it; nothing here keeps a task alive. Wakers
//! are foreign code: cloned, woken and dropped without the lock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Waker};

use super::record::Record;
use crate::shim::Mutex;
use crate::{context, task};

/// The wakers of one task, in the order in which they were left.
pub(crate) struct WakeList(Mutex<Wakers>);

struct Wakers {
    next: u64,
    left: BTreeMap<u64, Arc<Waker>>,
}

impl WakeList {
    pub(crate) fn new() -> Self {
        WakeList(Mutex::new(Wakers { next: 0, left: BTreeMap::new() }))
    }

    /// Wakes everybody in the list, who stays in it.
    pub(crate) fn wake_all(&self) {
        let left: Vec<_> = self.0.lock().left.values().cloned().collect();
        for waker in left {
            context::wake_caught(&waker);
            task::drop_caught("a waker", waker);
        }
    }

    fn insert(&self, waker: Arc<Waker>) -> u64 {
        let mut wakers = self.0.lock();
        let key = wakers.next;
        wakers.next += 1;
        wakers.left.insert(key, waker);
        key
    }

    fn remove(&self, key: u64) -> Option<Arc<Waker>> {
        self.0.lock().left.remove(&key)
    }
}

/// Somebody's place in such a list, if it has one.
#[derive(Default)]
pub(crate) struct ForeignWaker(Option<Box<Place>>);

struct Place {
    list: Arc<WakeList>,
    key: u64,
    /// The same waker as in the list.
    waker: Arc<Waker>,
}

impl ForeignWaker {
    /// For somebody who is pending: sees to it that a pass of the task that polls reaches it.
    #[inline]
    pub(crate) fn leave(&mut self, record: &Record, cx: &Context<'_>) {
        match record.task() {
            Some(task) if Self::is_needed(record, cx) => {
                self.leave_foreign(task::wake_list(task), cx.waker());
            }
            _ => self.forget(),
        }
    }

    /// Whether the task is polled with a waker that is not its own.
    #[inline]
    pub(crate) fn is_needed(record: &Record, cx: &Context<'_>) -> bool {
        record.task().is_some_and(|task| cx.waker().data() != task.as_ptr().cast_const().cast())
    }

    #[cold]
    fn leave_foreign(&mut self, list: Arc<WakeList>, waker: &Waker) {
        if let Some(place) = &self.0
            && Arc::ptr_eq(&place.list, &list)
            && place.waker.will_wake(waker)
        {
            return;
        }
        let waker = Arc::new(waker.clone());
        self.forget();
        let key = list.insert(waker.clone());
        self.0 = Some(Box::new(Place { list, key, waker }));
    }

    /// For somebody who is ready, or pending with the task's own waker.
    #[inline]
    pub(crate) fn forget(&mut self) {
        if let Some(place) = self.0.take() {
            place.leave_list();
        }
    }
}

impl Place {
    #[cold]
    fn leave_list(self) {
        let in_list = self.list.remove(self.key);
        task::drop_caught("a waker", (in_list, self.waker));
    }
}

impl Drop for ForeignWaker {
    fn drop(&mut self) {
        self.forget();
    }
}

impl fmt::Debug for ForeignWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ForeignWaker").field(&self.0.is_some()).finish()
    }
}
