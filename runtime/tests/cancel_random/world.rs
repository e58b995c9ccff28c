//! What is watched while a program runs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Instant;

use loopool::{RequestId, Task};

use crate::program::{Act, Program};

/// One program at work.
pub(crate) struct World {
    /// All that happens to it happens on the loop's thread.
    pub(crate) alone: bool,
    pub(crate) has_sets: bool,
    pub(crate) task: OnceLock<Task<()>>,
    pub(crate) begin: Instant,
    pub(crate) fire: Instant,
    waiting: Mutex<Vec<Waiting>>,
    wrong: Mutex<Vec<String>>,
    /// Futures and tasks that were made and not dropped.
    pub(crate) alive: AtomicUsize,
    pub(crate) polls: AtomicUsize,
    /// Requests that were taken or passed on.
    pub(crate) answers: AtomicUsize,
    /// Protected futures that are at work.
    pub(crate) protects: AtomicUsize,
    pub(crate) root: Arc<Watch>,
    keys: AtomicUsize,
}

struct Waiting {
    key: usize,
    resumed: bool,
    waker: Waker,
}

/// What is known of one task of the program.
#[derive(Default)]
pub(crate) struct Watch {
    /// It was asked to end and has not been polled since.
    pub(crate) asked: AtomicBool,
    /// Ever.
    pub(crate) was_asked: AtomicBool,
    /// Nobody answered: it must not be polled again.
    pub(crate) must_end: AtomicBool,
    /// Its last line has run.
    pub(crate) finished: AtomicBool,
    /// Scopes and awaited tasks in it that wait, and raises: now, and after its last poll.
    pub(crate) open: AtomicUsize,
    pub(crate) raising: AtomicUsize,
    left: AtomicUsize,
}

impl Watch {
    pub(crate) fn ask(&self) {
        self.was_asked.store(true, Ordering::SeqCst);
        self.asked.store(true, Ordering::SeqCst);
    }

    /// After a poll: somebody could have answered if the task ended now.
    pub(crate) fn after_poll(&self) {
        let raising = self.raising.load(Ordering::SeqCst) > 0;
        let open = if raising { 0 } else { self.open.load(Ordering::SeqCst) };
        self.left.store(open, Ordering::SeqCst);
    }

    /// Whether the task ended without its value although somebody could have answered.
    pub(crate) fn was_bypassed(&self) -> bool {
        !self.finished.load(Ordering::SeqCst) && self.left.load(Ordering::SeqCst) > 0
    }
}

/// One more, as long as this lives.
pub(crate) struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    pub(crate) fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(crate) fn new(alone: bool, program: &Program, begin: Instant, fire: Instant) -> Arc<Self> {
        Arc::new(World {
            alone,
            has_sets: program.has_sets(),
            task: OnceLock::new(),
            begin,
            fire,
            waiting: Mutex::default(),
            wrong: Mutex::default(),
            alive: AtomicUsize::new(0),
            polls: AtomicUsize::new(0),
            answers: AtomicUsize::new(0),
            protects: AtomicUsize::new(0),
            root: Arc::default(),
            keys: AtomicUsize::new(0),
        })
    }

    pub(crate) fn complain(&self, what: impl Into<String>) {
        lock(&self.wrong).push(what.into());
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        lock(&self.wrong).clone()
    }

    pub(crate) fn key(&self) -> usize {
        self.keys.fetch_add(1, Ordering::SeqCst)
    }

    /// Whether the one with this key was resumed; if not, it waits.
    pub(crate) fn wait(&self, key: usize, waker: &Waker) -> bool {
        let waker = waker.clone();
        let mut waiting = lock(&self.waiting);
        let found = waiting.iter().position(|one| one.key == key);
        let (resumed, old) = match found {
            Some(index) if waiting[index].resumed => (true, Some(waiting.remove(index).waker)),
            Some(index) => (false, Some(std::mem::replace(&mut waiting[index].waker, waker))),
            None => {
                waiting.push(Waiting { key, resumed: false, waker });
                (false, None)
            }
        };
        drop(waiting);
        drop(old);
        resumed
    }

    pub(crate) fn forget(&self, key: usize) {
        let mut waiting = lock(&self.waiting);
        let found = waiting.iter().position(|one| one.key == key);
        let old = found.map(|index| waiting.remove(index));
        drop(waiting);
        drop(old);
    }

    /// Cancels the program's task.
    pub(crate) fn ask(&self) {
        if let Some(task) = self.task.get() {
            // First: on another thread the task may end before we come back.
            let finished = task.is_finished();
            if !self.alone && !finished {
                self.root.ask();
            }
            match task.cancel() {
                Some(_) if finished => self.complain("a request to a task that is done"),
                Some(_) => self.root.ask(),
                None if self.alone && !finished => self.complain("a request was refused"),
                None => {}
            }
        }
    }

    pub(crate) fn act(&self, act: Act) {
        match act {
            Act::Cancel => self.ask(),
            Act::Resume(which) => {
                let waker = {
                    let mut waiting = lock(&self.waiting);
                    let count = waiting.len().max(1);
                    waiting.get_mut(which % count).map(|one| {
                        one.resumed = true;
                        one.waker.clone()
                    })
                };
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Act::ResumeAll => {
                let wakers: Vec<_> = lock(&self.waiting)
                    .iter_mut()
                    .map(|one| {
                        one.resumed = true;
                        one.waker.clone()
                    })
                    .collect();
                wakers.into_iter().for_each(Waker::wake);
            }
        }
    }

    /// What must hold whenever everything rests.
    pub(crate) fn check_rest(&self) {
        let finished = self.task.get().is_none_or(Task::is_finished);
        let asked = self.root.asked.load(Ordering::SeqCst);
        if asked && !finished && self.protects.load(Ordering::SeqCst) == 0 {
            self.complain("a request waits although nothing puts it off");
        }
    }

    /// What must hold when nothing of it is left to do.
    pub(crate) fn check_end(&self) {
        let alive = self.alive.load(Ordering::SeqCst);
        let state = |flag: &AtomicBool| flag.load(Ordering::SeqCst);
        let finished = state(&self.root.finished);
        let Some(task) = self.task.get() else { return self.complain("it was not started") };
        if !task.is_finished() || alive > 0 {
            return self.complain(format!("it hangs; {alive} futures are alive; {task:?}"));
        }
        if task.cancel().is_some() {
            self.complain("a request to a task that is done");
        }
        if finished && state(&self.root.must_end) {
            self.complain("a request that nobody answered did not end its task");
        }
        if !finished && !state(&self.root.was_asked) {
            self.complain("it ended without having been asked");
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.task.get().is_some_and(Task::is_finished) && self.alive.load(Ordering::SeqCst) == 0
    }
}

/// A line of code that goes on by itself, and the requests that it was given.
///
/// The branches of a join or a set have one each, which begins with what their parent knew.
#[derive(Default)]
pub(crate) struct Flow {
    pub(crate) watch: Arc<Watch>,
    parent: Option<Arc<Flow>>,
    seen: Mutex<Vec<RequestId>>,
    raised: Mutex<Vec<RequestId>>,
}

impl Flow {
    pub(crate) fn of(watch: Arc<Watch>) -> Arc<Flow> {
        Arc::new(Flow { watch, ..Flow::default() })
    }

    pub(crate) fn branch(parent: &Arc<Flow>) -> Arc<Flow> {
        Arc::new(Flow {
            watch: parent.watch.clone(),
            seen: Mutex::new(lock(&parent.seen).clone()),
            parent: Some(parent.clone()),
            raised: Mutex::default(),
        })
    }

    /// A request was taken. False when it had been taken before and was not raised since.
    pub(crate) fn take(&self, request: RequestId) -> bool {
        let mut raised = lock(&self.raised);
        let again = raised.iter().position(|&id| id == request).map(|index| raised.remove(index));
        drop(raised);
        let right = again.is_some() || !lock(&self.seen).contains(&request);
        self.up(|flow| lock(&flow.seen).push(request));
        right
    }

    /// A request is raised: who encloses this may take it again.
    pub(crate) fn raise(&self, request: RequestId) {
        self.up(|flow| lock(&flow.raised).push(request));
    }

    fn up(&self, mut visit: impl FnMut(&Flow)) {
        visit(self);
        let mut above = self.parent.as_ref();
        while let Some(flow) = above {
            visit(flow);
            above = flow.parent.as_ref();
        }
    }
}
