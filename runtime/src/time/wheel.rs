//! The timers of one loop: a hierarchical wheel.
//!
//! Eight levels of 64 slots; a slot of the lowest level is 65.536 µs wide, one of each level above 64
//! times as wide as one of the level below, so every deadline that fits into 64 bits of nanoseconds
//! has a place. Insert and cancel are O(1). When a slot of a higher level is reached, what is in it is
//! spread over the lower ones; a slot of the lowest level is sorted by (deadline, order of insertion)
//! when it is due, which gives exact times and a stable order.
//!
//! A timer's level is that of the highest six-bit group in which its tick differs from the present
//! one. So a timer on a lower level is always earlier than one on a higher level, and the next one is
//! found by looking at one bit set per level. (After Varghese and Lauck, "Hashed and Hierarchical
//! Timing Wheels", 1987.)
//!
//! No foreign code runs in here: wakers come out, to be woken or dropped by the caller without the
//! lock.

use std::task::Waker;
use std::time::{Duration, Instant};

const LEVELS: usize = 8;
const SLOTS: usize = 64;
/// Bits of nanoseconds below a tick.
const TICK_BITS: u32 = 16;
const NIL: u32 = u32::MAX;
/// The list of timers that are due already when they are inserted.
const OVERDUE: u16 = (LEVELS * SLOTS) as u16;

/// The wheel's time begins so long before it was made, so that deadlines in the past keep their order.
const PAST: Duration = Duration::from_secs(24 * 3600);

/// A timer that was inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimerKey {
    index: u32,
    generation: u32,
}

/// What a timer does when it is due.
#[derive(Debug)]
pub(crate) enum Action {
    /// Wakes a task, on any thread.
    Wake(Waker),
    /// Calls the loop's own callback of this number, on the loop's thread.
    Call(usize),
}

struct Node {
    deadline: u64,
    sequence: u64,
    action: Option<Action>,
    generation: u32,
    list: u16,
    previous: u32,
    next: u32,
}

pub(crate) struct Wheel {
    origin: Instant,
    /// Everything before this tick has been handed out.
    tick: u64,
    occupied: [u64; LEVELS],
    heads: Box<[u32; LEVELS * SLOTS + 1]>,
    nodes: Vec<Node>,
    free: u32,
    sequence: u64,
    len: usize,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Wheel {
            origin: Instant::now(),
            tick: PAST.as_nanos() as u64 >> TICK_BITS,
            occupied: [0; LEVELS],
            heads: Box::new([NIL; LEVELS * SLOTS + 1]),
            nodes: Vec::new(),
            free: NIL,
            sequence: 0,
            len: 0,
        }
    }

    /// Timers that are outstanding.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn nanos(&self, at: Instant) -> u64 {
        let since = match at.checked_duration_since(self.origin) {
            Some(after) => after.saturating_add(PAST),
            None => PAST.saturating_sub(self.origin.saturating_duration_since(at)),
        };
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    fn instant(&self, nanos: u64) -> Instant {
        self.origin + Duration::from_nanos(nanos) - PAST
    }

    pub(crate) fn insert(&mut self, deadline: Instant, action: Action) -> TimerKey {
        let deadline = self.nanos(deadline);
        let sequence = self.sequence;
        self.sequence += 1;
        let index = self.allocate();
        let node = &mut self.nodes[index as usize];
        node.deadline = deadline;
        node.sequence = sequence;
        node.action = Some(action);
        let key = TimerKey { index, generation: node.generation };
        self.link(index);
        self.len += 1;
        key
    }

    /// Takes a timer out before it was due. `None` when it has been handed out.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<Action> {
        self.node(key)?;
        self.unlink(key.index);
        self.release(key.index)
    }

    /// Whether the timer would wake the same task as `waker`. `None` when it has been handed out.
    pub(crate) fn would_wake(&mut self, key: TimerKey, waker: &Waker) -> Option<bool> {
        let action = self.node(key)?.action.as_ref();
        Some(matches!(action, Some(Action::Wake(known)) if known.will_wake(waker)))
    }

    /// Exchanges the waker; the one before comes back. `None` when the timer has been handed out.
    pub(crate) fn replace_waker(&mut self, key: TimerKey, waker: Waker) -> Option<Option<Action>> {
        Some(self.node(key)?.action.replace(Action::Wake(waker)))
    }

    /// Takes every timer out.
    pub(crate) fn clear(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for index in 0..self.nodes.len() as u32 {
            if self.nodes[index as usize].action.is_some() {
                self.unlink(index);
                actions.extend(self.release(index));
            }
        }
        actions
    }

    fn node(&mut self, key: TimerKey) -> Option<&mut Node> {
        let node = self.nodes.get_mut(key.index as usize)?;
        (node.generation == key.generation && node.action.is_some()).then_some(node)
    }

    /// A time before which nothing is due. Exact when the next timer is near; else a time at which
    /// the wheel wants to be turned.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if self.heads[OVERDUE as usize] != NIL {
            return Some(self.instant(0));
        }
        self.next_in_slots()
    }

    /// As [`next_deadline`](Self::next_deadline), for another thread than the loop's, after
    /// [`expire_for_peer`](Self::expire_for_peer): the callbacks that it left overdue do not count.
    pub(crate) fn next_deadline_for_peer(&self) -> Option<Instant> {
        self.next_in_slots()
    }

    fn next_in_slots(&self) -> Option<Instant> {
        let (level, slot) = self.next_slot()?;
        let nanos = if level == 0 {
            self.list(slot).map(|index| self.nodes[index as usize].deadline).min()?
        } else {
            self.start(level, slot) << TICK_BITS
        };
        Some(self.instant(nanos))
    }

    /// Hands out what is due at `now`, in order of (deadline, insertion).
    pub(crate) fn expire(&mut self, now: Instant, due: &mut Vec<Action>) {
        self.turn(now, due, true);
    }

    /// As [`expire`](Self::expire), for another thread than the loop's: callbacks stay, overdue, for
    /// the loop itself.
    pub(crate) fn expire_for_peer(&mut self, now: Instant, due: &mut Vec<Action>) {
        self.turn(now, due, false);
    }

    fn turn(&mut self, now: Instant, due: &mut Vec<Action>, callbacks: bool) {
        let now = self.nanos(now);
        let mut batch = Vec::new();
        self.collect(OVERDUE as usize, now, &mut batch);
        self.hand_out(&mut batch, due, callbacks);
        let target = now >> TICK_BITS;
        while let Some((level, slot)) = self.next_slot() {
            let start = self.start(level, slot);
            if start > target {
                break;
            }
            self.tick = start;
            if level == 0 {
                self.collect(slot, now, &mut batch);
                self.hand_out(&mut batch, due, callbacks);
                if start == target {
                    return;
                }
            } else {
                self.spread(level, slot);
            }
        }
        self.tick = self.tick.max(target);
    }

    /// The earliest slot with something in it: the lowest bit of the lowest level that has one.
    fn next_slot(&self) -> Option<(usize, usize)> {
        let level = self.occupied.iter().position(|&bits| bits != 0)?;
        let place = self.occupied[level].trailing_zeros() as usize;
        Some((level, level * SLOTS + place))
    }

    /// The first tick of a slot.
    fn start(&self, level: usize, slot: usize) -> u64 {
        let shift = 6 * level as u32;
        let above = self.tick.checked_shr(shift + 6).unwrap_or(0) << 6;
        (above | (slot % SLOTS) as u64) << shift
    }

    fn link(&mut self, index: u32) {
        let tick = self.nodes[index as usize].deadline >> TICK_BITS;
        let list = if tick < self.tick {
            OVERDUE
        } else {
            let level = (63 - ((tick ^ self.tick) | 1).leading_zeros()) / 6;
            let place = (tick >> (6 * level)) as usize % SLOTS;
            self.occupied[level as usize] |= 1 << place;
            (level as usize * SLOTS + place) as u16
        };
        self.link_to(list, index);
    }

    fn link_to(&mut self, list: u16, index: u32) {
        let head = std::mem::replace(&mut self.heads[list as usize], index);
        if head != NIL {
            self.nodes[head as usize].previous = index;
        }
        let node = &mut self.nodes[index as usize];
        node.list = list;
        node.previous = NIL;
        node.next = head;
    }

    fn unlink(&mut self, index: u32) {
        let Node { list, previous, next, .. } = self.nodes[index as usize];
        if next != NIL {
            self.nodes[next as usize].previous = previous;
        }
        if previous != NIL {
            self.nodes[previous as usize].next = next;
            return;
        }
        self.heads[list as usize] = next;
        if next == NIL && list != OVERDUE {
            self.occupied[list as usize / SLOTS] &= !(1 << (list as usize % SLOTS));
        }
    }

    fn list(&self, list: usize) -> impl Iterator<Item = u32> {
        let mut next = self.heads[list];
        std::iter::from_fn(move || {
            let index = next;
            (index != NIL).then(|| {
                next = self.nodes[index as usize].next;
                index
            })
        })
    }

    fn collect(&mut self, list: usize, now: u64, batch: &mut Vec<u32>) {
        let due = |index: &u32| self.nodes[*index as usize].deadline <= now;
        batch.extend(self.list(list).filter(due));
    }

    fn hand_out(&mut self, batch: &mut Vec<u32>, due: &mut Vec<Action>, callbacks: bool) {
        let order = |index: &u32| {
            let node = &self.nodes[*index as usize];
            (node.deadline, node.sequence)
        };
        batch.sort_unstable_by_key(order);
        for index in batch.drain(..) {
            self.unlink(index);
            let callback = matches!(self.nodes[index as usize].action, Some(Action::Call(_)));
            if callback && !callbacks {
                self.link_to(OVERDUE, index);
            } else {
                due.extend(self.release(index));
            }
        }
    }

    fn spread(&mut self, level: usize, slot: usize) {
        let mut index = std::mem::replace(&mut self.heads[slot], NIL);
        self.occupied[level] &= !(1 << (slot % SLOTS));
        while index != NIL {
            let next = self.nodes[index as usize].next;
            self.link(index);
            index = next;
        }
    }

    fn allocate(&mut self) -> u32 {
        if self.free != NIL {
            let index = self.free;
            self.free = self.nodes[index as usize].next;
            return index;
        }
        self.nodes.push(Node {
            deadline: 0,
            sequence: 0,
            action: None,
            generation: 0,
            list: 0,
            previous: NIL,
            next: NIL,
        });
        (self.nodes.len() - 1) as u32
    }

    fn release(&mut self, index: u32) -> Option<Action> {
        let node = &mut self.nodes[index as usize];
        let action = node.action.take();
        node.generation = node.generation.wrapping_add(1);
        node.next = self.free;
        self.free = index;
        self.len -= 1;
        action
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(actions: Vec<Action>) -> Vec<usize> {
        let call = |action| match action {
            Action::Call(number) => number,
            Action::Wake(_) => unreachable!(),
        };
        actions.into_iter().map(call).collect()
    }

    /// A plain list is the oracle for random inserts, cancels and turns.
    #[test]
    fn agrees_with_a_sorted_list() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        for _ in 0..200 {
            let mut wheel = Wheel::new();
            let origin = wheel.origin;
            let mut oracle: Vec<(u64, usize, TimerKey)> = Vec::new();
            let mut now = PAST.as_nanos() as u64;
            for number in 0..300 {
                match next(10) {
                    0..6 => {
                        let reach = 1 << next(44);
                        let back = next(2) * next(1 << 20);
                        let at = (now + next(reach)).saturating_sub(back);
                        let at_instant = origin + Duration::from_nanos(at) - PAST;
                        let key = wheel.insert(at_instant, Action::Call(number));
                        oracle.push((at, number, key));
                    }
                    6..8 if !oracle.is_empty() => {
                        let victim = next(oracle.len() as u64) as usize;
                        let (_, number, key) = oracle.remove(victim);
                        assert!(matches!(wheel.cancel(key), Some(Action::Call(n)) if n == number));
                        assert!(wheel.cancel(key).is_none());
                    }
                    _ => {
                        let earliest = oracle.iter().map(|entry| entry.0).min();
                        let promised = wheel.next_deadline();
                        assert_eq!(earliest.is_some(), promised.is_some());
                        if let (Some(earliest), Some(promised)) = (earliest, promised) {
                            assert!(promised <= origin + Duration::from_nanos(earliest) - PAST);
                        }
                        let reach = 1 << next(44);
                        now += next(reach);
                        let mut due = Vec::new();
                        wheel.expire(origin + Duration::from_nanos(now) - PAST, &mut due);
                        let (mut expected, kept): (Vec<_>, Vec<_>) =
                            oracle.into_iter().partition(|entry| entry.0 <= now);
                        oracle = kept;
                        expected.sort_by_key(|entry| (entry.0, entry.1));
                        let numbers: Vec<_> = expected.iter().map(|entry| entry.1).collect();
                        assert_eq!(calls(due), numbers);
                        assert_eq!(wheel.len(), oracle.len());
                    }
                }
            }
        }
    }

    #[test]
    fn equal_deadlines_keep_the_order_of_insertion() {
        let mut wheel = Wheel::new();
        let at = wheel.origin + Duration::from_millis(7);
        for number in 0..50 {
            wheel.insert(at, Action::Call(number));
        }
        let mut due = Vec::new();
        wheel.expire(at - Duration::from_nanos(1), &mut due);
        assert!(due.is_empty());
        wheel.expire(at, &mut due);
        assert_eq!(calls(due), (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn a_peer_leaves_callbacks_to_the_loop() {
        let mut wheel = Wheel::new();
        let at = wheel.origin + Duration::from_millis(3);
        let callback = wheel.insert(at, Action::Call(1));
        wheel.insert(at, Action::Wake(Waker::noop().clone()));
        wheel.insert(at, Action::Call(2));
        let mut due = Vec::new();
        wheel.expire_for_peer(at, &mut due);
        assert!(matches!(due[..], [Action::Wake(_)]), "{due:?}");
        assert!(wheel.next_deadline().is_some_and(|next| next <= at));
        assert!(wheel.cancel(callback).is_some());
        due.clear();
        wheel.expire(at, &mut due);
        assert_eq!((calls(due), wheel.len()), (vec![2], 0));
    }

    #[test]
    fn a_cancelled_timer_frees_its_place() {
        let mut wheel = Wheel::new();
        let at = wheel.origin + Duration::from_secs(3600);
        for _ in 0..10_000 {
            let key = wheel.insert(at, Action::Call(0));
            wheel.cancel(key);
        }
        assert_eq!((wheel.len(), wheel.nodes.len()), (0, 1));
        assert!(wheel.next_deadline().is_none());
    }

    #[test]
    fn an_hour_ahead_needs_few_turns() {
        let mut wheel = Wheel::new();
        wheel.insert(wheel.origin + Duration::from_secs(3600), Action::Call(1));
        let mut turns = 0;
        let mut due = Vec::new();
        while let Some(next) = wheel.next_deadline() {
            wheel.expire(next, &mut due);
            turns += 1;
        }
        assert_eq!(calls(due), [1]);
        assert!(turns <= LEVELS, "{turns}");
    }
}
