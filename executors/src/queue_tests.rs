use super::*;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

#[derive(Clone, Default)]
struct Entry {
    name: usize,
    gone: Rc<Cell<bool>>,
}

impl Queued for Entry {
    fn start(&self) -> bool {
        !self.gone.get()
    }
    fn is_gone(&self) -> bool {
        self.gone.get()
    }
}

type Queue = JobQueue<Entry>;

fn entry(name: usize) -> Entry {
    Entry { name, ..Entry::default() }
}

fn push(queue: &mut Queue, priority: Priority, name: usize) -> Entry {
    let entry = entry(name);
    queue.push(priority, entry.clone());
    entry
}

/// As a job that is cancelled does it; how many were freed by that.
fn cancel(queue: &mut Queue, entry: &Entry) -> usize {
    entry.gone.set(true);
    let mut leftovers = Leftovers::new();
    queue.note_gone(&mut leftovers);
    leftovers.gone.len()
}

fn pop(queue: &mut Queue) -> Option<usize> {
    queue.pop(&mut Leftovers::new()).map(|entry| entry.name)
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Somebody who waits for a place.
#[derive(Default)]
struct Guest {
    ticket: Ticket,
    wakes: Arc<Wakes>,
}

impl Guest {
    fn has_place(&mut self, queue: &mut Queue) -> bool {
        let waker = self.wakes.clone().into();
        queue.poll_place(&mut self.ticket, waker, &mut Leftovers::new()).is_ready()
    }
    fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::SeqCst)
    }
}

#[test]
fn a_cancelled_entry_gives_its_place_away() {
    let mut queue = JobQueue::new(Some(2));
    let first = push(&mut queue, Priority::Normal, 1);
    push(&mut queue, Priority::Normal, 2);
    assert!(queue.is_full());
    assert_eq!(cancel(&mut queue, &first), 0);
    assert_eq!(queue.waiting(), 1);
    assert!(!queue.is_full());
    push(&mut queue, Priority::Normal, 3);
    let mut leftovers = Leftovers::new();
    assert_eq!(queue.pop(&mut leftovers).unwrap().name, 2);
    assert_eq!((leftovers.gone.len(), queue.waiting()), (1, 1));
}

#[test]
fn cancelled_entries_are_freed_before_they_outnumber_the_rest() {
    let mut queue = JobQueue::new(None);
    let priorities = [Priority::High, Priority::Normal, Priority::Low];
    let entries: Vec<_> =
        (0..100).map(|name| push(&mut queue, priorities[name % 3], name)).collect();
    let freed: usize = entries[..60].iter().map(|entry| cancel(&mut queue, entry)).sum();
    assert!(freed >= 50, "{freed}");
    assert_eq!(queue.waiting(), 40);
    let mut left: Vec<_> = std::iter::from_fn(|| pop(&mut queue)).collect();
    left.sort_unstable();
    assert_eq!(left, (60..100).collect::<Vec<_>>());
}

#[test]
fn popping_one_before_its_cancellation_was_noted_keeps_the_count_right() {
    let mut queue = JobQueue::new(None);
    let gone = push(&mut queue, Priority::Normal, 0);
    gone.gone.set(true);
    assert_eq!(pop(&mut queue), None);
    queue.note_gone(&mut Leftovers::new());
    assert_eq!(queue.waiting(), 0);
    push(&mut queue, Priority::Normal, 1);
    assert_eq!(queue.waiting(), 1);
}

#[test]
fn the_higher_priority_comes_first_and_the_older_within_one() {
    let mut queue = JobQueue::new(None);
    for (name, priority) in [
        (0, Priority::Low),
        (1, Priority::Normal),
        (2, Priority::High),
        (3, Priority::Normal),
        (4, Priority::High),
    ] {
        push(&mut queue, priority, name);
    }
    let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue)).collect();
    assert_eq!(order, [2, 4, 1, 3, 0]);
}

#[test]
fn an_old_job_of_low_priority_is_taken_however_many_better_ones_come() {
    let mut queue = JobQueue::new(None);
    for name in 0..3 {
        push(&mut queue, Priority::Low, name);
    }
    let mut taken = Vec::new();
    for name in 100..200 {
        push(&mut queue, Priority::High, name);
        taken.push(pop(&mut queue).unwrap());
    }
    let places: Vec<_> =
        (0..3).map(|low| taken.iter().position(|name| *name == low).unwrap()).collect();
    assert_eq!(places, [7, 15, 23], "one in eight is the oldest");
}

#[test]
fn one_is_taken_out_of_turn_by_its_number() {
    let mut queue = JobQueue::new(None);
    let numbers: Vec<_> = (0..5).map(|name| queue.push(Priority::Normal, entry(name))).collect();
    let gone = push(&mut queue, Priority::High, 9);
    let mut leftovers = Leftovers::new();
    assert_eq!(queue.take(numbers[3], &mut leftovers).unwrap().name, 3);
    assert!(queue.take(numbers[3], &mut leftovers).is_none());
    assert!(queue.take(77, &mut leftovers).is_none());
    cancel(&mut queue, &gone);
    assert!(queue.take(5, &mut leftovers).is_none(), "it does not want to be run");
    assert_eq!(std::iter::from_fn(|| pop(&mut queue)).collect::<Vec<_>>(), [0, 1, 2, 4]);
}

#[test]
fn places_go_to_those_who_wait_in_their_order_and_to_nobody_who_comes_later() {
    let mut queue = JobQueue::new(Some(1));
    push(&mut queue, Priority::Normal, 0);
    let (mut first, mut second) = (Guest::default(), Guest::default());
    assert!(!first.has_place(&mut queue) && !second.has_place(&mut queue));
    assert_eq!(pop(&mut queue), Some(0));
    assert_eq!((first.wakes(), second.wakes()), (1, 0));
    assert!(queue.is_full(), "the free place is the first one's");
    assert!(!queue.admits(&mut Ticket::default()));
    assert!(!second.has_place(&mut queue));
    assert!(first.has_place(&mut queue) && first.has_place(&mut queue));
    assert!(queue.admits(&mut first.ticket));
    push(&mut queue, Priority::Normal, 1);
    assert!(!queue.admits(&mut first.ticket), "a ticket is good for one place");
    assert_eq!(pop(&mut queue), Some(1));
    assert_eq!(second.wakes(), 1);
    assert!(second.has_place(&mut queue) && queue.admits(&mut second.ticket));
}

#[test]
fn who_goes_away_hands_the_place_on() {
    let mut queue = JobQueue::new(Some(1));
    let waiting = push(&mut queue, Priority::Normal, 0);
    let mut guests: Vec<_> = (0..3).map(|_| Guest::default()).collect();
    for guest in &mut guests {
        assert!(!guest.has_place(&mut queue));
    }
    queue.give_back(&mut guests[0].ticket, &mut Leftovers::new());
    assert_eq!(cancel(&mut queue, &waiting), 0);
    assert_eq!(guests.iter().map(Guest::wakes).collect::<Vec<_>>(), [0, 1, 0]);
    queue.give_back(&mut guests[1].ticket, &mut Leftovers::new());
    assert_eq!(guests.iter().map(Guest::wakes).collect::<Vec<_>>(), [0, 1, 1]);
    queue.give_back(&mut guests[2].ticket, &mut Leftovers::new());
    assert!(!queue.is_full() && queue.granted.is_empty());
}

#[test]
fn a_place_that_is_free_is_given_at_once_and_a_closed_queue_lets_everybody_ask() {
    let mut queue = JobQueue::new(Some(1));
    let mut first = Guest::default();
    assert!(first.has_place(&mut queue) && queue.is_full());
    let mut second = Guest::default();
    assert!(!second.has_place(&mut queue));
    queue.close(&mut Leftovers::new());
    assert_eq!(second.wakes(), 1);
    assert!(second.has_place(&mut queue) && Guest::default().has_place(&mut queue));
}

#[test]
fn those_that_were_taken_out_and_wait_elsewhere_keep_their_places() {
    let mut queue = JobQueue::new(Some(2));
    push(&mut queue, Priority::Normal, 0);
    push(&mut queue, Priority::Normal, 1);
    let mut guest = Guest::default();
    assert!(!guest.has_place(&mut queue));
    queue.note_elsewhere(1, &mut Leftovers::new());
    assert_eq!(pop(&mut queue), Some(0));
    assert_eq!((guest.wakes(), queue.waiting(), queue.is_full()), (0, 1, true));
    queue.note_elsewhere(0, &mut Leftovers::new());
    assert_eq!(guest.wakes(), 1);
    assert!(guest.has_place(&mut queue) && queue.is_full());
}

/// Needs more than somebody who runs it, if its number is odd.
struct Picky(usize);

impl Queued for Picky {
    fn start(&self) -> bool {
        true
    }
    fn is_gone(&self) -> bool {
        false
    }
    fn is_demanding(&self) -> bool {
        self.0 % 2 == 1
    }
}

#[test]
fn demanding_entries_have_their_turn_and_are_passed_by_when_they_are_not_wanted() {
    use Priority::*;
    let order = |wanted: Wanted| {
        let mut queue = JobQueue::new(None);
        for (name, priority) in [Normal, Normal, Normal, Low, High, High].into_iter().enumerate() {
            queue.push(priority, Picky(name));
        }
        let mut leftovers = Leftovers::new();
        let next = || queue.pop_of(wanted, &mut leftovers).map(|entry| entry.0);
        std::iter::from_fn(next).collect::<Vec<_>>()
    };
    assert_eq!(order(Wanted::ANY), [4, 5, 0, 1, 2, 3]);
    assert_eq!(order(Wanted { above: None, demanding: false }), [4, 0, 2]);
    assert_eq!(order(Wanted { above: Some(Low), demanding: true }), [4, 5, 0, 1, 2]);
    assert_eq!(order(Wanted { above: Some(Normal), demanding: false }), [4]);
    assert_eq!(order(Wanted { above: Some(High), demanding: true }), [0; 0]);
}
