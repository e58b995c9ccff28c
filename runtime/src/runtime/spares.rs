//! The threads of spare workers: started when they are needed, ended when they were not for long.
//!
//! Each has a seat: the shared half that lies behind those of the loops, and a deque. Both stay when the
//! thread ends, for the next one. Only the watch thread calls and starts them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_deque::Worker;
use loopool_executors::caught::tell;

use super::AbortOnUnwind;
use super::threads::Threads;
use crate::event_loop::{Core, Driving, Rest, Spare};
use crate::scheduler::Shared;
use crate::shim::Mutex;
use crate::shim::atomic::{AtomicBool, Ordering};
use crate::task::Runnable;

pub(super) struct Spares {
    pub(super) shared: Arc<Shared>,
    thread_name: String,
    keep_alive: Duration,
    seats: Box<[Seat]>,
    threads: Mutex<Threads>,
}

struct Seat {
    /// Who sits there is to help, or does; or who will.
    called: AtomicBool,
    /// While nobody sits there.
    deque: Mutex<Option<Worker<Runnable>>>,
}

impl Spares {
    pub(super) fn new(
        shared: Arc<Shared>,
        thread_name: &str,
        keep_alive: Duration,
        deques: impl Iterator<Item = Worker<Runnable>>,
    ) -> Arc<Self> {
        let seat = |deque| Seat { called: AtomicBool::new(false), deque: Mutex::new(Some(deque)) };
        Arc::new(Spares {
            shared,
            thread_name: format!("{thread_name}-spare"),
            keep_alive,
            seats: deques.map(seat).collect(),
            threads: Mutex::new(Threads::default()),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Whether one of them helps, or is on its way to, and is not blocked. A hint.
    pub(super) fn anybody_helps(&self, is_blocked: impl Fn(usize) -> bool) -> bool {
        let idle = &self.shared.idle;
        self.seats.iter().enumerate().any(|(number, seat)| {
            let index = self.shared.loop_count + number;
            // Relaxed: the watch thread looks again.
            let called = seat.called.load(Ordering::Relaxed);
            called && !idle.is_parked(index) && !is_blocked(index)
        })
    }

    /// Has one more spare worker help, if there is one left. By the watch thread, which sees that it did
    /// not help, and calls again.
    pub(super) fn call(self: &Arc<Self>) {
        let shared = &self.shared;
        for (number, seat) in self.seats.iter().enumerate() {
            let index = shared.loop_count + number;
            if shared.idle.is_absent(index) {
                return self.start(number);
            }
            // One that is awake and was not called has something of its own to run. Relaxed: as above.
            if shared.idle.is_parked(index) || !seat.called.load(Ordering::Relaxed) {
                // Release: pairs with the Acquires in `Spare::work` and `Spare::rest`.
                seat.called.store(true, Ordering::Release);
                return shared.wake_loop(index);
            }
        }
    }

    fn start(self: &Arc<Self>, number: usize) {
        self.seats[number].called.store(true, Ordering::Release);
        let spares = self.clone();
        let name = format!("{}-{number}", self.thread_name);
        let started = self.threads.lock().start(name, move || spares.live(number));
        if let Err(error) = started {
            tell(
                || tracing::error!(%error, "every loop is blocked, and no spare worker can be started"),
            );
        }
    }

    /// The life of a spare worker's thread.
    fn live(&self, number: usize) {
        let seat = &self.seats[number];
        // The seat may be taken: it was about to be left, or to be taken, when we were started.
        let Some(deque) = seat.deque.lock().take() else { return };
        if !self.shared.ending.join() {
            return;
        }
        // As in a loop's thread.
        let guard = AbortOnUnwind;
        // Relaxed: for metrics.
        self.shared.spares_alive.fetch_add(1, Ordering::Relaxed);
        let index = self.shared.loop_count + number;
        let mut core = Core::new(self.shared.clone(), index, deque);
        while self.work(&core, seat) == Rest::Retired {
            core = match Rc::try_unwrap(core).map(Core::into_deque) {
                Ok(deque) if self.shared.ending.retire() => {
                    *seat.deque.lock() = Some(deque);
                    break;
                }
                // Everybody else has left: the end is ours.
                Ok(deque) => Core::new(self.shared.clone(), index, deque),
                // Somebody keeps a handle in a variable of this thread.
                Err(kept) => kept,
            };
        }
        self.shared.spares_alive.fetch_sub(1, Ordering::Relaxed);
        std::mem::forget(guard);
    }

    fn work(&self, core: &Rc<Core>, seat: &Seat) -> Rest {
        let Ok(_driving) = Driving::begin(core) else { return Rest::Over };
        let rest = Spare::new(core, &seat.called, self.keep_alive).work();
        if rest == Rest::Over {
            core.clear();
        }
        rest
    }

    /// Once the watch thread has ended: those that there are.
    pub(super) fn take_threads(&self) -> Threads {
        std::mem::take(&mut *self.threads.lock())
    }
}
