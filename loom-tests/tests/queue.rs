//! The queue of an executor, as it ships, under a lock as the pools have it: places, cancellations, shutdown.

#[allow(dead_code, unreachable_pub, reason = "the models use a part")]
#[path = "../../executors/src/queue.rs"]
mod queue;

#[allow(dead_code, unreachable_pub, reason = "the models use a part")]
#[path = "../../executors/src/caught.rs"]
mod caught;

/// Stand-in: without its documentation.
mod options {
    #[allow(dead_code, reason = "the models use one")]
    #[derive(Clone, Copy)]
    pub(crate) enum Priority {
        High,
        Normal,
        Low,
    }

    impl Priority {
        pub(crate) const COUNT: usize = 3;
    }
}

/// Stand-in.
mod error {
    pub(crate) fn panic_message(_: &(dyn std::any::Any + Send)) -> &str {
        "caught"
    }
}

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::Poll;

use loom::thread;
use loopool_loom_tests::shim::{Arc, Mutex, atomic::AtomicU8, atomic::Ordering};
use loopool_loom_tests::{Alarm, Bounds, model};

use self::options::Priority;
use self::queue::{JobQueue, Leftovers, Queued, Ticket};

const BOUNDS: Bounds = Bounds { small: 3, full: Some(5) };

const PENDING: u8 = 0;
const RUNNING: u8 = 1;
const GONE: u8 = 2;

/// A job with the one step out of pending that the cell of a promise has (its own model is `promise.rs`).
#[derive(Clone)]
struct Entry(Arc<AtomicU8>);

impl Entry {
    fn new() -> Self {
        Entry(Arc::new(AtomicU8::new(PENDING)))
    }

    fn leave(&self, to: u8) -> bool {
        self.0.compare_exchange(PENDING, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Queued for Entry {
    fn start(&self) -> bool {
        self.leave(RUNNING)
    }
    fn is_gone(&self) -> bool {
        self.0.load(Ordering::Acquire) != PENDING
    }
}

/// What the pools do around the queue.
struct Pool {
    queue: Mutex<JobQueue<Entry>>,
    /// Written under that lock.
    closed: AtomicBool,
}

#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Full,
    Closed,
}

impl Pool {
    fn new(limit: usize) -> Arc<Self> {
        let queue = Mutex::new(JobQueue::new(Some(limit)));
        Arc::new(Pool { queue, closed: AtomicBool::new(false) })
    }

    fn submit(&self, ticket: &mut Ticket, entry: Entry) -> Result<(), Refusal> {
        let mut queue = self.queue.lock();
        if self.closed.load(Relaxed) {
            return Err(Refusal::Closed);
        }
        if !queue.admits(ticket) {
            return Err(Refusal::Full);
        }
        assert!(queue.waiting() < 1, "the bound of the models, which is one, holds");
        queue.push(Priority::Normal, entry);
        Ok(())
    }

    /// Waits for a place, and submits.
    fn submit_wait(&self, entry: Entry) -> Result<(), Refusal> {
        let alarm = Alarm::new();
        let mut ticket = Ticket::default();
        loop {
            let mut leftovers = Leftovers::new();
            let waker = Alarm::waker(&alarm);
            let place = self.queue.lock().poll_place(&mut ticket, waker, &mut leftovers);
            match place {
                Poll::Ready(()) => break,
                Poll::Pending => alarm.wait(),
            }
        }
        let submitted = self.submit(&mut ticket, entry);
        let mut leftovers = Leftovers::new();
        self.queue.lock().give_back(&mut ticket, &mut leftovers);
        submitted
    }

    fn pop(&self) -> Option<Entry> {
        let mut leftovers = Leftovers::new();
        self.queue.lock().pop(&mut leftovers)
    }

    fn cancel(&self, entry: &Entry) -> bool {
        let gone = entry.leave(GONE);
        if gone {
            let mut leftovers = Leftovers::new();
            self.queue.lock().note_gone(&mut leftovers);
        }
        gone
    }

    fn close(&self, cancel: bool) -> Vec<Entry> {
        let mut leftovers = Leftovers::new();
        let mut queue = self.queue.lock();
        self.closed.store(true, Relaxed);
        queue.close(&mut leftovers);
        if cancel { queue.drain(&mut leftovers) } else { Vec::new() }
    }
}

/// Two wait for the place that a worker, or a cancellation, makes free: nobody sleeps for ever.
#[test]
fn whoever_waits_for_a_place_gets_one() {
    model(BOUNDS, || {
        let pool = Pool::new(1);
        let first = Entry::new();
        pool.submit(&mut Ticket::default(), first.clone()).unwrap();
        let waiting = thread::spawn({
            let pool = pool.clone();
            move || pool.submit_wait(Entry::new())
        });
        let cancelled = pool.cancel(&first);
        assert!(cancelled);
        waiting.join().unwrap().unwrap();
        assert!(pool.pop().is_some());
        assert_eq!(pool.queue.lock().waiting(), 0);
    });
}

/// A worker takes a job that is cancelled at that moment: it is run or gone, and the count of those that wait is
/// right afterwards.
#[test]
fn a_job_is_taken_or_cancelled() {
    model(BOUNDS, || {
        let pool = Pool::new(1);
        let entry = Entry::new();
        pool.submit(&mut Ticket::default(), entry.clone()).unwrap();
        let worker = thread::spawn({
            let pool = pool.clone();
            move || pool.pop().is_some()
        });
        let cancelled = pool.cancel(&entry);
        let taken = worker.join().unwrap();
        assert!(taken != cancelled);
        assert_eq!(pool.queue.lock().waiting(), 0);
        pool.submit(&mut Ticket::default(), Entry::new()).unwrap();
        assert_eq!(pool.queue.lock().waiting(), 1);
        assert_eq!(pool.submit(&mut Ticket::default(), Entry::new()), Err(Refusal::Full));
    });
}

/// The pool is shut down while somebody waits for a place and a job is cancelled: the one who waits is told, and
/// the job ends once.
#[test]
fn a_shutdown_tells_who_waits_and_ends_each_job_once() {
    model(BOUNDS, || {
        let pool = Pool::new(1);
        let entry = Entry::new();
        pool.submit(&mut Ticket::default(), entry.clone()).unwrap();
        let ends = std::sync::Arc::new(AtomicUsize::new(0));
        let waiting = thread::spawn({
            let pool = pool.clone();
            move || pool.submit_wait(Entry::new())
        });
        let cancelling = thread::spawn({
            let (pool, ends) = (pool.clone(), ends.clone());
            move || {
                if pool.cancel(&entry) {
                    ends.fetch_add(1, Relaxed);
                }
            }
        });
        let drained = pool.close(true).len();
        cancelling.join().unwrap();
        let submitted = waiting.join().unwrap();
        let left = usize::from(pool.pop().is_some());
        let submitted_later = usize::from(submitted.is_ok());
        assert!(matches!(submitted, Ok(()) | Err(Refusal::Closed)));
        assert_eq!(ends.load(Relaxed) + drained + left, 1 + submitted_later);
        assert_eq!(pool.queue.lock().waiting(), 0);
    });
}

/// Who waits for a place goes away just when it is given: the next one gets it.
#[test]
fn a_place_that_nobody_takes_is_handed_on() {
    model(BOUNDS, || {
        let pool = Pool::new(1);
        pool.submit(&mut Ticket::default(), Entry::new()).unwrap();
        let leaving = thread::spawn({
            let pool = pool.clone();
            move || {
                let alarm = Alarm::new();
                let mut ticket = Ticket::default();
                let mut leftovers = Leftovers::new();
                let waker = Alarm::waker(&alarm);
                let _ = pool.queue.lock().poll_place(&mut ticket, waker, &mut leftovers);
                pool.queue.lock().give_back(&mut ticket, &mut leftovers);
            }
        });
        let waiting = thread::spawn({
            let pool = pool.clone();
            move || pool.submit_wait(Entry::new())
        });
        assert!(pool.pop().is_some());
        waiting.join().unwrap().unwrap();
        leaving.join().unwrap();
    });
}

/// As many as there are places for, whatever the order.
#[test]
fn two_who_wait_get_one_place_each() {
    model(Bounds { small: 2, full: Some(3) }, || {
        let pool = Pool::new(1);
        pool.submit(&mut Ticket::default(), Entry::new()).unwrap();
        let waiting = [(); 2].map(|()| {
            let pool = pool.clone();
            thread::spawn(move || pool.submit_wait(Entry::new()))
        });
        let mut taken = 0;
        while taken < 3 {
            match pool.pop() {
                Some(_) => taken += 1,
                None => thread::yield_now(),
            }
        }
        for thread in waiting {
            thread.join().unwrap().unwrap();
        }
    });
}

#[test]
fn a_closed_queue_leaves_nobody_waiting() {
    model(BOUNDS, || {
        let pool = Pool::new(1);
        pool.submit(&mut Ticket::default(), Entry::new()).unwrap();
        let waiting = thread::spawn({
            let pool = pool.clone();
            move || pool.submit_wait(Entry::new())
        });
        assert!(pool.close(false).is_empty());
        assert_eq!(waiting.join().unwrap(), Err(Refusal::Closed));
    });
}
