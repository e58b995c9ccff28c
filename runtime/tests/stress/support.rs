//! Randomness, counters, gates and threads.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::thread::JoinHandle;

use futures::channel::oneshot;
use loopool::{Runtime, yield_now};

use crate::sanitizer;

/// Marsaglia's xorshift64*.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // Neighbouring seeds give unlike numbers, and zero is none.
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..4).for_each(|_| _ = random.next());
        random
    }

    /// For somebody else.
    pub(crate) fn split(&mut self) -> Random {
        Random::new(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(crate) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    /// What widens the races: often nothing, else a short spin, or this thread's turn goes to another.
    pub(crate) fn pause(&mut self) {
        match self.below(8) {
            0 => std::thread::yield_now(),
            1..4 => (0..self.below(300)).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
    }

    /// A few polls, with pauses.
    pub(crate) async fn hops(&mut self, most: usize) {
        for _ in 0..self.below(most + 1) {
            self.pause();
            yield_now().await;
        }
    }

    pub(crate) fn loops(&mut self) -> usize {
        [1, 2, 4][self.below(3)]
    }

    pub(crate) fn runtime(&mut self) -> Runtime {
        Runtime::builder().loops(self.loops()).build().unwrap()
    }
}

/// A counter. Relaxed, so that it orders nothing that the runtime ought to order: whoever wants an exact
/// number has joined the threads that count.
#[derive(Clone, Default)]
pub(crate) struct Tally(Arc<AtomicUsize>);

impl Tally {
    pub(crate) fn add(&self, many: usize) {
        self.0.fetch_add(many, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many guards were made, and how many of them were dropped.
#[derive(Clone, Default)]
pub(crate) struct Guards {
    made: Tally,
    dropped: Tally,
}

pub(crate) struct Guard(Tally);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.add(1);
    }
}

impl Guards {
    pub(crate) fn make(&self) -> Guard {
        self.made.add(1);
        Guard(self.dropped.clone())
    }

    pub(crate) fn left(&self) -> usize {
        self.made.get().checked_sub(self.dropped.get()).expect("a guard was dropped twice")
    }

    /// For when the last one may be on its way: the watch ends what takes too long.
    pub(crate) fn wait_for_all(&self) {
        while self.left() > 0 {
            std::thread::yield_now();
        }
    }
}

/// A lock that the sanitizer sees, too.
#[derive(Default)]
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let guard = self.0.lock().unwrap();
        sanitizer::locked(&self.0);
        guard
    }
}

/// Lets futures through once it is open.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Lock<(bool, Vec<Waker>)>>);

impl Gate {
    pub(crate) fn open(&self, random: &mut Random) {
        let wakers = {
            let mut gate = self.0.lock();
            gate.0 = true;
            std::mem::take(&mut gate.1)
        };
        for waker in wakers {
            random.pause();
            waker.wake();
        }
    }

    /// Wakes in vain, by reference.
    pub(crate) fn rattle(&self) {
        let wakers = self.0.lock().1.clone();
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    pub(crate) async fn pass(&self) {
        poll_fn(|cx| {
            let waker = cx.waker().clone();
            let mut gate = self.0.lock();
            if gate.0 {
                return Poll::Ready(());
            }
            gate.1.push(waker);
            Poll::Pending
        })
        .await;
    }
}

/// Threads that are none of the runtime's.
#[derive(Default)]
pub(crate) struct Crowd(Vec<(JoinHandle<()>, oneshot::Receiver<()>)>);

impl Crowd {
    pub(crate) fn add(&mut self, life: impl FnOnce() + Send + 'static) {
        let (done, end) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            life();
            let _ = done.send(());
        });
        self.0.push((thread, end));
    }

    /// Until all are gone; the loop goes on meanwhile.
    pub(crate) async fn gone(self) {
        for (thread, end) in self.0 {
            end.await.unwrap();
            thread.join().unwrap();
        }
    }

    pub(crate) fn join(self) {
        self.0.into_iter().for_each(|(thread, _)| thread.join().unwrap());
    }
}

/// Until `done`, letting everything else run.
pub(crate) async fn until(done: impl Fn() -> bool) {
    while !done() {
        yield_now().await;
    }
}
