//! The timers of one loop: a hierarchical wheel.
//!
//! Eight levels of 64 slots; a slot of the lowest level is 65.536 µs wide, one of each level above 64
//! times as wide as one of the level below, so every deadline that fits into 64 bits of nanoseconds
//! has a place. Insert and cancel are O(1). A slot that time has reached becomes the list of the
//! *reached*; from there each timer is handed out if it is due, or goes to its place, on a lower level
//! now. What was handed out is sorted by (deadline, order of insertion), which gives exact times and a stable
//! order.
//!
//! A timer's level is that of the highest six-bit group in which its tick differs from the present
//! one. So a timer on a lower level is always earlier than one on a higher level, and the next one is
//! found by looking at one bit set per level. (After Varghese and Lauck, "Hashed and Hierarchical
//! Timing Wheels", 1987.)
//!
//! No call takes more than some [`STRETCH`] steps, but for [`clear`](Wheel::clear) and for growth of memory: the lock around the
//! wheel is given back in between, and whoever comes then finds everything in one list or another. Several
//! threads may expire at once. No foreign code runs in here: wakers come out, to be woken or
//! dropped by the caller without the lock.

use std::task::Waker;
use std::time::{Duration, Instant};

use super::nodes::{Node, Nodes};

const LEVELS: usize = 8;
const SLOTS: usize = 64;
/// Bits of nanoseconds below a tick.
const TICK_BITS: u32 = 16;
pub(super) const NIL: u32 = u32::MAX;
/// The list of timers whose slot was reached, or had been when they were inserted.
const REACHED: u16 = (LEVELS * SLOTS) as u16;
/// The list of callbacks that are due but were found by another thread than the loop's.
const CALLS: u16 = REACHED + 1;
const LISTS: usize = CALLS as usize + 1;
/// So many timers are looked at in one go.
const STRETCH: usize = 64;

/// The wheel's time begins so long before it was made, where the system's clock can say that, so that
/// deadlines in the past keep their order.
const PAST: Duration = Duration::from_secs(24 * 3600);

/// A timer that was inserted. Never that of another one, however long it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimerKey {
    index: u32,
    sequence: u64,
}

/// What a timer does when it is due.
#[derive(Debug)]
pub(crate) enum Action {
    /// Wakes a task, on any thread.
    Wake(Waker),
    /// Calls the loop's own callback of this number, on the loop's thread.
    Call(usize),
}

/// A timer that was handed out.
#[derive(Debug)]
pub(crate) struct Due {
    deadline: u64,
    sequence: u64,
    pub(crate) action: Action,
}

impl Due {
    /// By deadline, then insertion.
    pub(crate) fn order(&self) -> (u64, u64) {
        (self.deadline, self.sequence)
    }
}

/// One look at all that is due.
#[derive(Debug)]
pub(crate) struct Pass {
    now: Instant,
    /// It is the loop's own thread that looks. To others callbacks are not handed out.
    callbacks: bool,
    /// The slot of the present tick was looked at; what stayed there is not due.
    present_reached: bool,
}

impl Pass {
    /// By the loop's own thread.
    pub(super) fn new(now: Instant) -> Self {
        Pass { now, callbacks: true, present_reached: false }
    }

    pub(super) fn for_peer(now: Instant) -> Self {
        Pass { callbacks: false, ..Pass::new(now) }
    }
}

/// How far a pass is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Progress {
    More,
    Done,
}

pub(crate) struct Wheel {
    /// Where its time begins.
    origin: Instant,
    /// Everything before this tick was reached.
    tick: u64,
    occupied: [u64; LEVELS],
    heads: Box<[u32; LISTS]>,
    nodes: Nodes,
    /// Timers that were inserted, and that were taken out: each way writes to one of the two.
    inserted: u64,
    removed: u64,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let origin = now.checked_sub(PAST).unwrap_or(now);
        let mut wheel = Wheel {
            origin,
            tick: 0,
            occupied: [0; LEVELS],
            heads: Box::new([NIL; LISTS]),
            nodes: Nodes::default(),
            inserted: 0,
            removed: 0,
        };
        wheel.tick = wheel.nanos(now) >> TICK_BITS;
        wheel
    }

    /// Timers that are outstanding.
    pub(crate) fn len(&self) -> usize {
        (self.inserted - self.removed) as usize
    }

    fn nanos(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.origin);
        // Without 128 bits. Full after 584 years.
        let seconds = since.as_secs().saturating_mul(1_000_000_000);
        seconds.saturating_add(u64::from(since.subsec_nanos()))
    }

    fn instant(&self, nanos: u64) -> Instant {
        self.origin + Duration::from_nanos(nanos)
    }

    pub(crate) fn insert(&mut self, deadline: Instant, action: Action) -> TimerKey {
        let deadline = self.nanos(deadline);
        let sequence = self.inserted;
        self.inserted += 1;
        let list = self.list_for(deadline, is_call(&action));
        let next = self.heads[list as usize];
        let node = Node { deadline, sequence, action, previous: NIL, next, list };
        let index = self.nodes.insert(node);
        self.heads[list as usize] = index;
        if next != NIL {
            self.nodes[next].previous = index;
        }
        TimerKey { index, sequence }
    }

    /// Takes a timer out before it was due. `None` when it has been handed out.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<Action> {
        self.node(key)?;
        self.unlink(key.index);
        Some(self.remove(key.index))
    }

    /// Whether the timer would wake the same task as `waker`. `None` when it has been handed out.
    pub(crate) fn would_wake(&mut self, key: TimerKey, waker: &Waker) -> Option<bool> {
        let action = &self.node(key)?.action;
        Some(matches!(action, Action::Wake(known) if known.will_wake(waker)))
    }

    /// Exchanges the waker; the one before comes back. When the timer has been handed out, `waker` does.
    pub(crate) fn replace_waker(&mut self, key: TimerKey, waker: Waker) -> Result<Action, Waker> {
        match self.node(key) {
            Some(node) => Ok(std::mem::replace(&mut node.action, Action::Wake(waker))),
            None => Err(waker),
        }
    }

    /// Takes every timer out.
    pub(crate) fn clear(&mut self) -> Vec<Action> {
        let mut actions = Vec::with_capacity(self.len());
        for list in 0..LISTS as u16 {
            while let Some(index) = self.pop(list) {
                actions.push(self.remove(index));
            }
        }
        actions
    }

    fn node(&mut self, key: TimerKey) -> Option<&mut Node> {
        self.nodes.get_mut(key.index, key.sequence)
    }

    fn remove(&mut self, index: u32) -> Action {
        self.removed += 1;
        self.nodes.remove(index)
    }

    /// A time before which nothing is due. Exact when the next timer is near and not in a crowd; else a time
    /// at which the wheel wants to be turned.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if self.heads[CALLS as usize] != NIL {
            return Some(self.instant(0));
        }
        self.next_deadline_for_peer()
    }

    /// As [`next_deadline`](Self::next_deadline), for another thread than the loop's: callbacks that are
    /// due do not count.
    pub(crate) fn next_deadline_for_peer(&self) -> Option<Instant> {
        if self.heads[REACHED as usize] != NIL {
            return Some(self.instant(0));
        }
        let (level, slot) = self.next_slot()?;
        let start = self.start(level, slot) << TICK_BITS;
        let exact = if level == 0 { self.earliest(slot) } else { None };
        Some(self.instant(exact.unwrap_or(start)))
    }

    /// The earliest deadline in a list, unless it is long.
    fn earliest(&self, list: usize) -> Option<u64> {
        let mut earliest = None;
        let mut index = self.heads[list];
        for _ in 0..STRETCH {
            if index == NIL {
                return earliest;
            }
            let node = &self.nodes[index];
            earliest = Some(earliest.map_or(node.deadline, |other| node.deadline.min(other)));
            index = node.next;
        }
        None
    }

    /// Hands out what is due, in no order, as far as it gets.
    pub(super) fn expire(&mut self, pass: &mut Pass, due: &mut Vec<Due>) -> Progress {
        // Another thread may have read the clock later and turned the wheel before us.
        let now = self.nanos(pass.now).max(self.tick << TICK_BITS);
        let target = now >> TICK_BITS;
        for _ in 0..STRETCH {
            if let Some(index) = self.pop(REACHED) {
                self.hand_out(index, now, pass.callbacks, due);
            } else if pass.callbacks
                && let Some(index) = self.pop(CALLS)
            {
                self.hand_out(index, now, true, due);
            } else if !self.reach(target, pass) {
                self.tick = target;
                return Progress::Done;
            }
        }
        Progress::More
    }

    /// One timer that is in no list.
    fn hand_out(&mut self, index: u32, now: u64, callbacks: bool, due: &mut Vec<Due>) {
        let &Node { deadline, sequence, ref action, .. } = &self.nodes[index];
        let call = is_call(action);
        if deadline > now {
            let list = self.list_for(deadline, call);
            self.link(list, index);
        } else if call && !callbacks {
            self.link(CALLS, index);
        } else {
            due.push(Due { deadline, sequence, action: self.remove(index) });
        }
    }

    /// Moves the time on to the next slot with something in it, and that to the reached, of which there are
    /// none. False when there is no slot up to `target`.
    fn reach(&mut self, target: u64, pass: &mut Pass) -> bool {
        let Some((level, slot)) = self.next_slot() else { return false };
        let start = self.start(level, slot);
        if start > target {
            return false;
        }
        if level == 0 && start == target && std::mem::replace(&mut pass.present_reached, true) {
            return false;
        }
        self.tick = start;
        self.occupied[level] &= !(1 << (slot % SLOTS));
        let head = std::mem::replace(&mut self.heads[slot], NIL);
        self.heads[REACHED as usize] = head;
        self.nodes[head].list = REACHED;
        true
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

    /// Where a timer belongs, which is not empty from now on.
    #[inline]
    fn list_for(&mut self, deadline: u64, call: bool) -> u16 {
        let tick = deadline >> TICK_BITS;
        if tick < self.tick {
            return if call { CALLS } else { REACHED };
        }
        let level = (63 - ((tick ^ self.tick) | 1).leading_zeros()) / 6;
        let place = (tick >> (6 * level)) as usize % SLOTS;
        self.occupied[level as usize] |= 1 << place;
        (level as usize * SLOTS + place) as u16
    }

    fn link(&mut self, list: u16, index: u32) {
        let head = std::mem::replace(&mut self.heads[list as usize], index);
        if head != NIL {
            self.nodes[head].previous = index;
        }
        let node = &mut self.nodes[index];
        node.list = list;
        node.previous = NIL;
        node.next = head;
    }

    /// Which list it is in, only the first one of a list need know: so a slot is moved in one step.
    fn unlink(&mut self, index: u32) {
        let &Node { list, previous, next, .. } = &self.nodes[index];
        if next != NIL {
            let node = &mut self.nodes[next];
            node.previous = previous;
            node.list = list;
        }
        if previous != NIL {
            self.nodes[previous].next = next;
            return;
        }
        self.heads[list as usize] = next;
        if next == NIL && list < REACHED {
            self.occupied[list as usize / SLOTS] &= !(1 << (list as usize % SLOTS));
        }
    }

    fn pop(&mut self, list: u16) -> Option<u32> {
        let index = self.heads[list as usize];
        (index != NIL).then(|| {
            self.unlink(index);
            index
        })
    }
}

fn is_call(action: &Action) -> bool {
    matches!(action, Action::Call(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than are handed out in one go.
    const CROWD: usize = 200;
    const _: () = assert!(CROWD > 3 * STRETCH);
    const BOTH_DONE: (Progress, Progress) = (Progress::Done, Progress::Done);

    fn calls(due: Vec<Due>) -> Vec<usize> {
        let call = |due: Due| match due.action {
            Action::Call(number) => number,
            Action::Wake(_) => unreachable!(),
        };
        due.into_iter().map(call).collect()
    }

    impl Wheel {
        /// As `Timers` do it.
        fn run(&mut self, mut pass: Pass, due: &mut Vec<Due>) {
            while self.expire(&mut pass, due) == Progress::More {}
            due.sort_unstable_by_key(Due::order);
        }
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
            let mut now = wheel.tick << TICK_BITS;
            for number in 0..300 {
                match next(10) {
                    0..6 => {
                        let reach = 1 << next(44);
                        let back = next(2) * next(1 << 20);
                        let at = (now + next(reach)).saturating_sub(back);
                        let at_instant = origin + Duration::from_nanos(at);
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
                            assert!(promised <= origin + Duration::from_nanos(earliest));
                        }
                        let reach = 1 << next(44);
                        now += next(reach);
                        let mut due = Vec::new();
                        wheel.run(Pass::new(origin + Duration::from_nanos(now)), &mut due);
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
        let at = Instant::now() + Duration::from_millis(7);
        for number in 0..CROWD {
            wheel.insert(at, Action::Call(number));
        }
        let mut due = Vec::new();
        wheel.run(Pass::new(at - Duration::from_nanos(1)), &mut due);
        assert!(due.is_empty());
        wheel.run(Pass::new(at), &mut due);
        assert_eq!(calls(due), (0..CROWD).collect::<Vec<_>>());
    }

    #[test]
    fn a_crowd_is_handed_out_once_to_two_that_take_turns() {
        let mut wheel = Wheel::new();
        let at = Instant::now() + Duration::from_millis(7);
        for number in 0..CROWD {
            let call = number % 2 == 0;
            let action =
                if call { Action::Call(number) } else { Action::Wake(Waker::noop().clone()) };
            wheel.insert(at, action);
        }
        let mut take_turns = |now: Instant| {
            let (mut own, mut peers) = (Vec::new(), Vec::new());
            let (mut pass, mut peers_pass) = (Pass::new(now), Pass::for_peer(now));
            loop {
                let progress = wheel.expire(&mut pass, &mut own);
                if (progress, wheel.expire(&mut peers_pass, &mut peers)) == BOTH_DONE {
                    break;
                }
            }
            own.sort_unstable_by_key(Due::order);
            peers.sort_unstable_by_key(Due::order);
            (own, peers, wheel.len())
        };
        let (own, peers, left) = take_turns(at - Duration::from_nanos(1));
        assert_eq!((own.len(), peers.len(), left), (0, 0, CROWD));
        let (own, peers, left) = take_turns(at);
        assert_eq!(left, 0);
        assert!(!peers.is_empty() && peers.iter().all(|due| !is_call(&due.action)));
        let mut all: Vec<_> = own.iter().chain(&peers).map(|due| due.sequence).collect();
        all.sort_unstable();
        assert_eq!(all, (0..CROWD as u64).collect::<Vec<_>>());
        let own_calls = own.into_iter().filter(|due| is_call(&due.action)).collect();
        assert_eq!(calls(own_calls), (0..CROWD).step_by(2).collect::<Vec<_>>());
    }

    #[test]
    fn a_peer_leaves_callbacks_to_the_loop() {
        let mut wheel = Wheel::new();
        let at = Instant::now() + Duration::from_millis(3);
        let callback = wheel.insert(at, Action::Call(1));
        wheel.insert(at, Action::Wake(Waker::noop().clone()));
        wheel.insert(at, Action::Call(2));
        let mut due = Vec::new();
        wheel.run(Pass::for_peer(at), &mut due);
        assert!(matches!(due[..], [Due { action: Action::Wake(_), .. }]), "{due:?}");
        assert!(wheel.next_deadline().is_some_and(|next| next <= at));
        assert!(wheel.cancel(callback).is_some());
        due.clear();
        wheel.run(Pass::new(at), &mut due);
        assert_eq!((calls(due), wheel.len()), (vec![2], 0));
    }

    #[test]
    fn a_cancelled_timer_frees_its_place() {
        let mut wheel = Wheel::new();
        let at = Instant::now() + Duration::from_secs(3600);
        for _ in 0..10_000 {
            let key = wheel.insert(at, Action::Call(0));
            wheel.cancel(key);
        }
        assert_eq!(wheel.len(), 0);
        assert!(wheel.nodes.capacity() <= 4, "{}", wheel.nodes.capacity());
        assert!(wheel.next_deadline().is_none());
    }

    #[test]
    fn an_hour_ahead_needs_few_turns() {
        let mut wheel = Wheel::new();
        wheel.insert(Instant::now() + Duration::from_secs(3600), Action::Call(1));
        let mut turns = 0;
        let mut due = Vec::new();
        while let Some(next) = wheel.next_deadline() {
            wheel.run(Pass::new(next), &mut due);
            turns += 1;
        }
        assert_eq!(calls(due), [1]);
        assert!(turns <= LEVELS, "{turns}");
    }
}
