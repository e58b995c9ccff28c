//! [`Injector`]: what threads outside want run by any of the loops.
//!
//! In several queues, so that such threads need not push at the same end. A thread keeps to one of them, so what it
//! pushes is taken in its order. Who takes, takes from each that has something, so none is passed over.
//!
//! Who looks whether there is anything, before he sleeps, looks at all of them after the fence of `idle.rs`; who pushes
//! has pushed before his.

use crossbeam_deque::{self as deque, Steal, Worker};
use crossbeam_utils::CachePadded;

/// More would cost everybody who looks for work more than they save those who push.
const QUEUES_AT_MOST: usize = 8;

/// The most tasks taken at once.
const BATCH: usize = 32;

pub(crate) struct Injector<T> {
    queues: Box<[CachePadded<deque::Injector<T>>]>,
}

impl<T> Injector<T> {
    /// For so many loops.
    pub(crate) fn new(loops: usize) -> Self {
        let queue = |_| CachePadded::new(deque::Injector::new());
        Injector { queues: (0..loops.clamp(1, QUEUES_AT_MOST)).map(queue).collect() }
    }

    pub(crate) fn push(&self, task: T) {
        self.queues[number_of_this_thread() % self.queues.len()].push(task);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.is_empty())
    }

    pub(crate) fn len(&self) -> usize {
        self.queues.iter().map(|queue| queue.len()).sum()
    }

    /// Moves a batch into `into`, in equal parts from all queues that have something. False when there was nothing.
    pub(crate) fn take(&self, into: &Worker<T>) -> bool {
        let full = self.queues.iter().filter(|queue| !queue.is_empty()).count();
        if full == 0 {
            return false;
        }
        let part = BATCH / full;
        let take_from = |queue: &deque::Injector<T>| {
            !queue.is_empty() && settled(|| queue.steal_batch_with_limit(into, part))
        };
        self.queues.iter().fold(false, |taken, queue| take_from(queue) | taken)
    }
}

/// Tries until nobody interferes. Whether something was taken.
fn settled(steal: impl Fn() -> Steal<()>) -> bool {
    loop {
        match steal() {
            Steal::Success(()) => return true,
            Steal::Empty => return false,
            Steal::Retry => {}
        }
    }
}

/// A number that a thread keeps and that it shares with few others.
fn number_of_this_thread() -> usize {
    thread_local! {
        static PLACE: u8 = const { 0 };
    }
    // Threads differ in where their variables lie, by multiples of a page. Fibonacci hashing (Knuth, The Art of
    // Computer Programming, volume 3, 6.4) spreads that over the upper half.
    let place = PLACE.with(|place| std::ptr::from_ref(place).addr());
    ((place as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    const THREADS: usize = 16;
    const EACH: usize = 100;

    /// With what many threads that live at the same time have pushed: who, and its how manieth.
    fn filled() -> Injector<(usize, usize)> {
        let injector = Injector::new(100);
        let all_there = Barrier::new(THREADS);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (injector, all_there) = (&injector, &all_there);
                scope.spawn(move || {
                    all_there.wait();
                    (0..EACH).for_each(|number| injector.push((thread, number)));
                    all_there.wait();
                });
            }
        });
        injector
    }

    #[test]
    fn what_a_thread_pushes_is_taken_in_its_order() {
        let (injector, taken) = (filled(), Worker::new_fifo());
        assert_eq!(injector.len(), THREADS * EACH);
        while injector.take(&taken) {}
        assert!(injector.is_empty());
        let mut next = [0; THREADS];
        while let Some((thread, number)) = taken.pop() {
            assert_eq!(number, next[thread]);
            next[thread] += 1;
        }
        assert_eq!(next, [EACH; THREADS]);
    }

    #[test]
    fn no_queue_is_passed_over() {
        let (injector, taken) = (filled(), Worker::new_fifo());
        assert_eq!(injector.queues.len(), QUEUES_AT_MOST);
        let lengths = || injector.queues.iter().map(|queue| queue.len()).collect::<Vec<_>>();
        let before = lengths();
        let full = before.iter().filter(|len| **len > 0).count();
        assert!(full > 1, "threads keep to different queues: {before:?}");
        assert!(injector.take(&taken));
        let shorter = lengths().iter().zip(&before).filter(|(now, before)| now < before).count();
        assert_eq!(shorter, full);
        assert!(taken.len() <= BATCH);
    }
}
