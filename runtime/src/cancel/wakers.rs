//! Reaching those whom a combinator would not poll (rule 14).
//!
//! `FuturesUnordered`, `buffer_unordered` and large `join_all`s hand each child a waker of their own and
//! poll only those who were woken. Whoever waits with a waker that is not the task's leaves a copy of it
//! in a list of the task. The wakers in the list are woken before a request is delivered.
//!
//! # Protocol
//! 1. Requests are *called out*: noted in order, with a number, and everybody in the list is woken. A request of a timeout
//!    is called out to all, too, because nobody knows who is inside it; it is struck off with the timeout, and one of the
//!    task when it is taken back, or when there is a newer one.
//! 2. Each waiter has *heard* what was called out up to some number: when it came, and when it is polled. Of what it has
//!    not heard it gets the first that is for it: one of the task, or of a timeout around it whose time is up. If there
//!    are more it is woken again.
//! 3. Who is polled inside something protected hears nothing and is *shut out*, until something protected is done; then
//!    it is woken, since the combinator may have no other reason to poll it. So is who comes while it is so, as far as
//!    the request of that pass is concerned. If somebody else answers the request meanwhile it was for them.
//! 4. A request has *reached* all but those who have not heard it and are not shut out.
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
    /// Somebody is shut out; like `unreached`.
    some_shut_out: AtomicBool,
}

#[derive(Default)]
struct Wakers {
    next: u64,
    left: BTreeMap<u64, Left>,
    /// The last request to the task as a whole.
    of_task: Option<RequestId>,
    /// That one, as long as it is only due.
    undelivered: Option<RequestId>,
    /// Rule 1, the oldest first.
    calls: Vec<Call>,
    next_call: u64,
}

struct Call {
    number: u64,
    request: RequestId,
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
    /// What was called out before this number.
    heard: u64,
    /// Requests that it has heard of and did not get yet.
    again: Vec<RequestId>,
    /// Rule 3.
    is_shut_out: bool,
}

/// How somebody is polled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    Open,
    /// Nothing gets in for now.
    ShutOut,
    /// Nothing gets in, and what does not is not for it.
    Closed,
}

impl WakeList {
    pub(crate) fn new() -> Self {
        WakeList {
            wakers: Mutex::new(Wakers::default()),
            unreached: AtomicUsize::new(0),
            tries: Mutex::new(Tries::default()),
            raise_held: AtomicBool::new(false),
            some_shut_out: AtomicBool::new(false),
        }
    }

    /// Wakes everybody in the list for a request to the task, which `is_delivered` now or is to be. Once per request.
    pub(crate) fn wake_for_task(&self, request: RequestId, is_delivered: bool) {
        {
            let mut wakers = self.wakers.lock();
            wakers.undelivered = (!is_delivered).then_some(request);
            let before = wakers.of_task.replace(request);
            if before == Some(request) {
                return;
            }
            wakers.calls.retain(|call| Some(call.request) != before);
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
            let number = wakers.next_call;
            wakers.next_call += 1;
            wakers.calls.push(Call { number, request });
            for left in wakers.left.values_mut() {
                left.is_shut_out = false;
            }
            self.count(&wakers);
            wakers.left.values().map(|left| left.waker.clone()).collect()
        };
        wake_each(woken);
    }

    /// The request to the task that they were woken for was taken back before it was delivered.
    pub(crate) fn strike_undelivered(&self) {
        let undelivered = self.wakers.lock().undelivered.take();
        if let Some(request) = undelivered {
            self.strike(request);
        }
    }

    /// The request was taken back, or its timeout is gone.
    pub(crate) fn strike(&self, request: RequestId) {
        let mut wakers = self.wakers.lock();
        wakers.calls.retain(|call| call.request != request);
        wakers.of_task.take_if(|of_task| *of_task == request);
        for left in wakers.left.values_mut() {
            left.again.retain(|again| *again != request);
        }
        self.count(&wakers);
    }

    /// Rule 3: somebody has answered the request.
    pub(crate) fn note_answer(&self, request: RequestId) {
        if !self.some_shut_out.load(Relaxed) {
            return;
        }
        let mut wakers = self.wakers.lock();
        let Wakers { left, calls, next_call, .. } = &mut *wakers;
        for left in left.values_mut().filter(|left| left.is_shut_out) {
            left.again.retain(|again| *again != request);
            if calls.iter().all(|call| call.number < left.heard || call.request == request) {
                left.heard = *next_call;
            }
        }
        self.count(&wakers);
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

    /// Something protected is done: whoever raises, and may be hidden, is to do it again; and rule 3.
    pub(crate) fn release(&self) {
        let all = self.raise_held.swap(false, Relaxed);
        if !all && !self.some_shut_out.load(Relaxed) {
            return;
        }
        let woken: Vec<_> = {
            let mut wakers = self.wakers.lock();
            let woken = wakers
                .left
                .values_mut()
                .filter_map(|left| {
                    let is_woken = std::mem::take(&mut left.is_shut_out) || all;
                    is_woken.then(|| left.waker.clone())
                })
                .collect();
            self.count(&wakers);
            woken
        };
        wake_each(woken);
    }

    /// How many a request is still to reach.
    pub(crate) fn unreached(&self) -> usize {
        self.unreached.load(Relaxed)
    }

    /// With the request that it is shut out from, if it is.
    fn insert(&self, waker: Arc<Waker>, shut_out_from: Option<RequestId>) -> u64 {
        let mut wakers = self.wakers.lock();
        let key = wakers.next;
        wakers.next += 1;
        let heard = wakers.next_call;
        let is_shut_out = shut_out_from.is_some();
        let again = shut_out_from.into_iter().collect();
        let left = Left { waker, heard, again, is_shut_out };
        wakers.left.insert(key, left);
        if is_shut_out {
            self.some_shut_out.store(true, Relaxed);
        }
        key
    }

    fn remove(&self, key: u64) -> Option<Left> {
        let mut wakers = self.wakers.lock();
        let left = wakers.left.remove(&key)?;
        if wakers.misses(&left) {
            self.unreached.fetch_sub(1, Relaxed);
        }
        Some(left)
    }

    /// The owner is polled: the first request that it has not got and of which `is_for_it` says so (it is told which one is
    /// of the task), and whether there are more.
    fn reach(
        &self,
        key: u64,
        door: Door,
        visible: Option<RequestId>,
        is_for_it: impl Fn(RequestId, bool) -> bool,
    ) -> (Option<RequestId>, bool) {
        let mut wakers = self.wakers.lock();
        let Wakers { left, calls, next_call, of_task, .. } = &mut *wakers;
        let Some(left) = left.get_mut(&key).filter(|left| left.misses(calls)) else {
            return (None, false);
        };
        if door == Door::ShutOut {
            left.is_shut_out = true;
            self.some_shut_out.store(true, Relaxed);
            self.unreached.fetch_sub(1, Relaxed);
            return (None, false);
        }
        let unheard = calls.iter().filter(|call| call.number >= left.heard);
        left.again.extend(unheard.map(|call| call.request));
        left.heard = *next_call;
        // What is visible it gets now, in the pass, and goes first.
        let gets_it_now = visible.is_some_and(|visible| left.again.contains(&visible));
        let stays = |request: RequestId| {
            Some(request) != visible && is_for_it(request, *of_task == Some(request))
        };
        left.again.retain(|request| door == Door::Open && stays(*request));
        let found = (!gets_it_now && !left.again.is_empty()).then(|| left.again.remove(0));
        let more = !left.again.is_empty();
        if !more {
            self.unreached.fetch_sub(1, Relaxed);
        }
        (found, more)
    }

    fn put_off(&self, key: u64, request: RequestId) {
        let mut wakers = self.wakers.lock();
        let Wakers { left, calls, .. } = &mut *wakers;
        if let Some(left) = left.get_mut(&key) {
            let missed = left.misses(calls);
            if !left.again.contains(&request) {
                left.again.insert(0, request);
            }
            if !missed && left.misses(calls) {
                self.unreached.fetch_add(1, Relaxed);
            }
        }
    }

    /// Everything is counted anew.
    fn count(&self, wakers: &Wakers) {
        let unreached = wakers.left.values().filter(|left| wakers.misses(left)).count();
        self.unreached.store(unreached, Relaxed);
        let some = wakers.left.values().any(|left| left.is_shut_out);
        self.some_shut_out.store(some, Relaxed);
    }
}

impl Wakers {
    fn misses(&self, left: &Left) -> bool {
        left.misses(&self.calls)
    }
}

impl Left {
    /// Whether a request is still to reach it (rule 4).
    fn misses(&self, calls: &[Call]) -> bool {
        let is_new = |call: &Call| call.number >= self.heard;
        !self.is_shut_out && (!self.again.is_empty() || calls.last().is_some_and(is_new))
    }
}

fn wake_again(cx: &Context<'_>) {
    run_caught("a waker", || cx.waker().wake_by_ref());
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
    pub(crate) fn reached<'a>(&self, record: &'a Record, cx: &Context<'_>) -> Option<LatePoll<'a>> {
        self.0.as_ref().filter(|place| place.list.unreached() > 0)?.reached(record, cx)
    }

    /// It is pending after the pass that came late. If the request was put off in it, it comes again, and so do the others
    /// that it has not got; else they come now.
    pub(crate) fn after(&self, late: Option<LatePoll<'_>>, cx: &Context<'_>) {
        let (Some(place), Some(late)) = (&self.0, late) else { return };
        let (held, more) = (late.held(), late.more());
        drop(late);
        match held {
            Some(request) => place.list.put_off(place.key, request),
            None if more => wake_again(cx),
            None => {}
        }
    }

    /// For somebody who is pending: sees to it that a pass of the task that polls reaches it.
    #[inline]
    pub(crate) fn leave(&mut self, record: &Record, cx: &Context<'_>) {
        match record.task() {
            Some(task) if Self::is_needed(record, cx) => {
                self.leave_foreign(task::wake_list(task), record.shut_out_from(), cx.waker());
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
    fn leave_foreign(
        &mut self,
        list: Arc<WakeList>,
        shut_out_from: Option<RequestId>,
        waker: &Waker,
    ) {
        if let Some(place) = &self.0
            && Arc::ptr_eq(&place.list, &list)
            && place.waker.will_wake(waker)
        {
            return;
        }
        let waker = Arc::new(waker.clone());
        self.forget();
        let key = list.insert(waker.clone(), shut_out_from);
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
    fn reached<'a>(&self, record: &'a Record, cx: &Context<'_>) -> Option<LatePoll<'a>> {
        let is_here =
            record.task().is_some_and(|task| Arc::ptr_eq(&task::wake_list(task), &self.list));
        let is_for_us = |request, of_task| is_here && (of_task || record.is_fired(request));
        let (door, visible) = (record.door(), record.visible());
        let (found, more) = self.list.reach(self.key, door, visible, is_for_us);
        if more && found.is_none() {
            wake_again(cx);
        }
        found.map(|request| LatePoll::begin(record, request, more))
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
