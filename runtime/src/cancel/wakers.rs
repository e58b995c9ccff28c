//! Reaching those whom a combinator would not poll (rule 14).
//!
//! `FuturesUnordered`, `buffer_unordered` and large `join_all`s hand each child a waker of their own and
//! poll only those who were woken. Whoever waits with a waker that is not the task's leaves a copy of it
//! in a list of the task. The wakers in the list are woken before a request is delivered.
//!
//! The list belongs to the task and to those who are in it; nothing here keeps a task alive, but for the
//! timer of a next try, for as long as that lasts. Wakers are foreign code: cloned, woken and dropped without
//! the lock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use loopool_executors::caught::{drop_caught, run_caught};

use super::RequestId;
use super::passes::LatePoll;
use super::record::Record;
use crate::context::wake_caught;
use crate::shim::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use crate::shim::{Mutex, thread};
use crate::task;
use crate::time::{self, Timer};

/// So often a request that has reached nobody is tried again at once. Usually the thread in the way goes on
/// meanwhile.
const QUICK_TRIES: usize = 2;
/// That thread may have been put aside. So it is tried again after this time, and each time after twice that,
const FIRST_REST: Duration = Duration::from_micros(50);
/// so often, which makes 51 milliseconds: then those who are left are taken for out of reach. Rests are counted,
/// not time, because a machine that puts all threads aside gives that one no chance.
const MOST_RESTS: u32 = 10;

/// The wakers of one task, in the order in which they were left.
pub(crate) struct WakeList {
    wakers: Mutex<Wakers>,
    /// How many a request is still to reach. Changed under the lock. Read without it, relaxed, by
    /// whoever polls the task: only that one makes it greater, and polls are ordered by the task's state.
    unreached: AtomicUsize,
    tries: Mutex<Tries>,
    /// A raise waits for something protected; like `unreached`.
    raise_held: AtomicBool,
}

struct Wakers {
    next: u64,
    left: BTreeMap<u64, Left>,
    /// The last request to the task as a whole.
    of_task: Option<RequestId>,
}

/// What was done in vain to reach them, for the present request.
#[derive(Default)]
struct Tries {
    quick: usize,
    rests: u32,
    /// For the last one, or the next.
    timer: Option<Timer>,
    next: Weak<NextTry>,
}

/// Who is to be polled for the next try; none any more once the time has come. The timer alone holds it:
/// these wakers hold the task, which holds the list.
struct NextTry(Mutex<Option<Vec<Waker>>>);

struct Left {
    waker: Arc<Waker>,
    /// The request that its owner was woken for, until it is polled.
    due: Option<RequestId>,
}

impl WakeList {
    pub(crate) fn new() -> Self {
        WakeList {
            wakers: Mutex::new(Wakers { next: 0, left: BTreeMap::new(), of_task: None }),
            unreached: AtomicUsize::new(0),
            tries: Mutex::new(Tries::default()),
            raise_held: AtomicBool::new(false),
        }
    }

    /// Wakes everybody in the list for a request to the task. Once per request.
    pub(crate) fn wake_for_task(&self, request: RequestId) {
        {
            let mut wakers = self.wakers.lock();
            if wakers.of_task.replace(request) == Some(request) {
                return;
            }
        }
        self.wake_for(request);
    }

    /// Wakes everybody in the list for a request of a timeout, which is around some of them.
    pub(crate) fn wake_for(&self, request: RequestId) {
        {
            let mut tries = self.tries.lock();
            (tries.quick, tries.rests) = (0, 0);
        }
        let woken: Vec<_> = {
            let mut wakers = self.wakers.lock();
            self.unreached.store(wakers.left.len(), Relaxed);
            wakers.left.values_mut().map(|left| left.wake_for(request)).collect()
        };
        wake_each(woken);
    }

    /// Whether `cx` is woken for one more try, after one in vain.
    pub(crate) fn tries_again(&self, cx: &Context<'_>) -> bool {
        if self.tries.lock().is_quick() {
            cx.waker().wake_by_ref();
            // For the thread that is about to wake one of them.
            thread::yield_now();
            return true;
        }
        let (rests, next) = self.tries.lock().rests();
        if next.is_some_and(|next| next.adds(cx.waker())) {
            return true;
        }
        if rests == MOST_RESTS {
            return false;
        }
        let next = Arc::new(NextTry::of(cx.waker().clone()));
        let weak = Arc::downgrade(&next);
        let rest = FIRST_REST * 2_u32.pow(rests);
        let timer = time::wake_at(Instant::now() + rest, || Waker::from(next));
        let again = timer.is_some();
        let _past = {
            let mut tries = self.tries.lock();
            tries.rests += 1;
            tries.next = weak;
            std::mem::replace(&mut tries.timer, timer)
        };
        again
    }

    /// A raise waits for something protected.
    pub(crate) fn hold_raise(&self) {
        self.raise_held.store(true, Relaxed);
    }

    /// Something protected is done: whoever raises, and may be hidden, is to do it again.
    pub(crate) fn release_raises(&self) {
        if self.raise_held.swap(false, Relaxed) {
            let all = self.wakers.lock().left.values().map(|left| left.waker.clone()).collect();
            wake_each(all);
        }
    }

    /// How many a request is still to reach.
    pub(crate) fn unreached(&self) -> usize {
        self.unreached.load(Relaxed)
    }

    fn insert(&self, waker: Arc<Waker>) -> u64 {
        let mut wakers = self.wakers.lock();
        let key = wakers.next;
        wakers.next += 1;
        wakers.left.insert(key, Left { waker, due: None });
        key
    }

    fn remove(&self, key: u64) -> Option<Left> {
        let mut wakers = self.wakers.lock();
        let left = wakers.left.remove(&key)?;
        self.count_reached(left.due);
        Some(left)
    }

    /// The owner is polled: what it was woken for, and whether that was for the task as a whole.
    fn reach(&self, key: u64) -> Option<(RequestId, bool)> {
        let mut wakers = self.wakers.lock();
        let due = wakers.left.get_mut(&key)?.due.take();
        self.count_reached(due);
        due.map(|due| (due, wakers.of_task == Some(due)))
    }

    fn count_reached(&self, due: Option<RequestId>) {
        if due.is_some() {
            self.unreached.fetch_sub(1, Relaxed);
        }
    }

    fn put_off(&self, key: u64, request: RequestId) {
        if let Some(left) = self.wakers.lock().left.get_mut(&key)
            && left.due.is_none()
        {
            left.due = Some(request);
            self.unreached.fetch_add(1, Relaxed);
        }
    }
}

fn wake_each(wakers: Vec<Arc<Waker>>) {
    for waker in wakers {
        run_caught("a waker", || waker.wake_by_ref());
        drop_caught("a waker", waker);
    }
}

impl Tries {
    fn is_quick(&mut self) -> bool {
        let quick = self.quick < QUICK_TRIES;
        self.quick += usize::from(quick);
        quick
    }

    /// How many rests there were, with the present one, and who waits for its end.
    fn rests(&self) -> (u32, Option<Arc<NextTry>>) {
        (self.rests, self.next.upgrade())
    }
}

impl NextTry {
    fn of(waker: Waker) -> Self {
        NextTry(Mutex::new(Some(vec![waker])))
    }

    /// Has it woken with the others. False when they were woken.
    fn adds(&self, waker: &Waker) -> bool {
        let mut waker = Some(waker.clone());
        let mut waiting = self.0.lock();
        let adds = waiting.as_mut().is_some_and(|waiting| {
            let known = waker
                .as_ref()
                .is_some_and(|waker| waiting.iter().any(|other: &Waker| other.will_wake(waker)));
            if !known {
                waiting.extend(waker.take());
            }
            true
        });
        drop(waiting);
        drop_caught("a waker", waker);
        adds
    }
}

/// It is time for the next try.
impl Wake for NextTry {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waiting = self.0.lock().take();
        waiting.into_iter().flatten().for_each(wake_caught);
    }
}

impl Left {
    fn wake_for(&mut self, request: RequestId) -> Arc<Waker> {
        self.due = Some(request);
        self.waker.clone()
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
    #[inline]
    pub(crate) fn is_left(&self) -> bool {
        self.0.is_some()
    }

    /// For somebody who is polled: the pass in which it gets a request that it was woken for and that
    /// has not reached it in its own pass.
    #[inline]
    pub(crate) fn reached<'a>(&self, record: &'a Record) -> Option<LatePoll<'a>> {
        self.0.as_ref().filter(|place| place.list.unreached() > 0)?.reached(record)
    }

    /// The request was put off in the pass that came late: it comes again.
    pub(crate) fn put_off(&self, late: Option<&LatePoll<'_>>) {
        if let (Some(place), Some(late)) = (&self.0, late)
            && let Some(request) = late.held()
        {
            place.list.put_off(place.key, request);
        }
    }

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
    fn reached<'a>(&self, record: &'a Record) -> Option<LatePoll<'a>> {
        let (due, of_task) = self.list.reach(self.key)?;
        let here =
            record.task().is_some_and(|task| Arc::ptr_eq(&task::wake_list(task), &self.list));
        let for_us = here && (of_task || record.is_fired(due));
        let late = for_us && !record.is_visible(due) && !record.is_closed();
        late.then(|| LatePoll::begin(record, due))
    }

    #[cold]
    fn leave_list(self) {
        let in_list = self.list.remove(self.key);
        drop_caught("a waker", (in_list.map(|left| left.waker), self.waker));
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
