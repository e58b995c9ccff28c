//! One thread for the whole process that calls at a time: deadlines of jobs, and pools that look whether they
//! should grow.
//!
//! # Protocol
//! 1. One lock guards the calls that are due some time and whether the thread is there. It is started with a call
//!    that finds it gone, and ends when there has been none for [`KEEP_ALIVE`], in the critical section in which it
//!    found none.
//! 2. A call is made without the lock, and caught. It must not take long: all the others wait for it. What is
//!    foreign, but for wakers, it has done [`elsewhere`]; what it shares with others it [lets go](let_go) of there, if it
//!    is the last.
//! 3. Whoever drops an [`Alarm`] takes its call back. When it is being made, it is made.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, MutexGuard};
use std::time::{Duration, Instant};

use crate::caught::{drop_caught, run_caught};
use crate::forks;
use crate::shim::Mutex;
use crate::starting;
use crate::thread::Thread;
use crate::thread_pool::ThreadPoolExecutor;
use crate::work::Executor;

/// How long the thread waits for the next call.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

pub(crate) type Call = Box<dyn FnOnce() + Send>;

struct State {
    /// In the order of their times; the number tells calls at the same time apart.
    calls: BTreeMap<(Instant, u64), Call>,
    next_number: u64,
    is_there: bool,
    /// For what is done [`elsewhere`], once there was something.
    late: Option<Arc<ThreadPoolExecutor>>,
}

static STATE: Mutex<State> =
    Mutex::new(State { calls: BTreeMap::new(), next_number: 0, is_there: false, late: None });

/// Signalled when the first call is another one.
static CHANGED: Condvar = Condvar::new();

/// A call that is due some time. Dropped, it is taken back.
#[derive(Debug)]
#[must_use = "dropped, it does not ring"]
pub(crate) struct Alarm((Instant, u64));

impl Alarm {
    /// It will ring, whatever becomes of this.
    pub(crate) fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let call = lock().calls.remove(&self.0);
        drop_caught("a call that is not made", call);
    }
}

/// Has `call` called at that time, soon after.
///
/// # Errors
/// When there is no thread for that and the system refuses one.
pub(crate) fn call_at(
    time: Instant,
    call: impl FnOnce() + Send + 'static,
) -> Result<Alarm, io::Error> {
    let call = Box::new(call);
    let mut state = lock();
    if !state.is_there {
        starting::thread("loopool-time", keep_time)?;
        state.is_there = true;
    }
    let key = (time, state.next_number);
    state.next_number += 1;
    state.calls.insert(key, call);
    let is_first = state.calls.first_key_value().is_some_and(|(first, _)| *first == key);
    drop(state);
    if is_first {
        CHANGED.notify_one();
    }
    Ok(Alarm(key))
}

/// Has something done that may take its time, by a thread of a pool of the process's own. When that takes no more work,
/// because the program is ending, by a thread of its own; by the caller when there is none to be had.
pub(crate) fn elsewhere(task: Call) {
    let Err(refused) = late_pool().submit(task).map(drop) else { return };
    let task = Arc::new(Mutex::new(Some(refused.into_work())));
    let theirs = task.clone();
    let do_it = move |task: Arc<Mutex<Option<Call>>>| {
        let task = task.lock().take();
        if let Some(task) = task {
            run_caught("what was to be done elsewhere", task);
        }
    };
    // One that the program's end waits for, as it does for the pool's.
    let thread = Thread::new(move || do_it(theirs)).name("loopool-late").daemon(false);
    if thread.start().is_err() {
        do_it(task);
    }
}

/// Lets go of something. If nobody else has it, so that it is dropped now, that is done elsewhere.
pub(crate) fn let_go<T: Send + Sync + 'static>(what: &'static str, shared: Arc<T>) {
    if let Some(last) = Arc::into_inner(shared) {
        elsewhere(Box::new(move || drop_caught(what, last)));
    }
}

/// Made without the lock, since the program's end takes it in. One that came second is let go.
fn late_pool() -> Arc<ThreadPoolExecutor> {
    let there = lock().late.clone();
    if let Some(pool) = there {
        return pool;
    }
    let builder = ThreadPoolExecutor::builder().thread_name_prefix("loopool-late");
    let new = Arc::new(builder.max_workers(64).keep_alive(Duration::from_secs(1)).build());
    let mut state = lock();
    let pool = state.late.get_or_insert_with(|| new.clone()).clone();
    drop(state);
    pool
}

fn lock() -> MutexGuard<'static, State> {
    forks::watch();
    STATE.lock()
}

/// The lock, while the process is forked (`forks.rs`).
pub(crate) struct Held(MutexGuard<'static, State>);

impl Held {
    pub(crate) fn new() -> Self {
        Held(STATE.lock())
    }

    /// There is neither the thread nor those of the pool, and the calls are the parent's. Numbers go on: somebody
    /// may still have an [`Alarm`] of before, which finds nothing then.
    pub(crate) fn make_anew(&mut self) {
        let state = &mut *self.0;
        state.is_there = false;
        std::mem::forget((std::mem::take(&mut state.calls), state.late.take()));
    }
}

/// The thread's life.
fn keep_time() {
    let mut state = lock();
    loop {
        let first = state.calls.first_key_value().map(|((time, _), _)| *time);
        let now = Instant::now();
        if first.is_some_and(|time| time <= now) {
            let call = state.calls.pop_first();
            drop(state);
            if let Some((_, call)) = call {
                run_caught("a call at a time", call);
            }
            state = lock();
            continue;
        }
        let left = first.map_or(KEEP_ALIVE, |time| time - now);
        let waited = STATE.while_released(|| CHANGED.wait_timeout(state, left));
        let (again, timed_out) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        state = again;
        if timed_out.timed_out() && first.is_none() && state.calls.is_empty() {
            state.is_there = false;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn calls_are_made_in_the_order_of_their_times_and_not_when_taken_back() {
        let (made, calls) = mpsc::channel();
        let begin = Instant::now();
        let at = |ms: u64, name: &'static str| {
            let made = made.clone();
            call_at(begin + Duration::from_millis(ms), move || {
                made.send((name, Instant::now())).unwrap();
                assert!(name != "panics", "and the next ones are made all the same");
            })
            .unwrap()
        };
        at(30, "last").forget();
        let taken_back = at(5, "taken back");
        at(20, "panics").forget();
        at(10, "first").forget();
        drop(taken_back);
        for (name, earliest) in [("first", 10), ("panics", 20), ("last", 30)] {
            let (called, when) = calls.recv().unwrap();
            assert_eq!(called, name);
            assert!(when >= begin + Duration::from_millis(earliest), "never early");
        }
    }
}
