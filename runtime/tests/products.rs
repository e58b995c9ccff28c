//! Every way a task can end, with every way its handle can go, with every request to cancel.
//!
//! What must come of it is written down once more, as plain rules ([`expected`]), and everything is
//! counted: polls, drops of the future, drops of the output, wakes of who waits, what the handle said.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use loopool::{JoinError, Runtime, Task, create_local_task, create_task, spawn_on, yield_now};

/// Nothing here takes this long; it is the limit against hanging.
const HANG: Duration = Duration::from_secs(30);

const ON_PURPOSE: [&str; 3] = ["in the poll", "in the output's destructor", "in the future's"];

/// What the future does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    ReadyAtOnce,
    ReadyAfterAWake,
    NeverReady,
    PanicsInPoll,
    /// When it is ready, or is dropped.
    PanicsInDrop,
    OutputPanicsInDrop,
}

/// What happens to the handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handle {
    Awaited,
    /// Somebody waits from before the first poll on: his waker is in the cell when the task ends.
    AwaitedAllAlong,
    DroppedBefore,
    /// After the first poll, by somebody who had begun to wait; or after the end, if the task does not wait.
    DroppedMeanwhile,
    DroppedAfter,
    KeptBeyondTheRuntime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cancel {
    Not,
    BeforeTheFirstPoll,
    WhileIdle,
    /// In its first poll.
    ByItself,
    AfterCompletion,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    ByItsLoop,
    ByAThread,
}

/// Where the task lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Anywhere,
    Placed,
    Local,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Case {
    does: Does,
    handle: Handle,
    cancel: Cancel,
    woken: Woken,
    kind: Kind,
    loops: usize,
}

fn cases() -> impl Iterator<Item = Case> {
    use {Cancel::*, Does::*, Handle::*, Kind::*, Woken::*};
    let mut cases = Vec::new();
    let all_does =
        [ReadyAtOnce, ReadyAfterAWake, NeverReady, PanicsInPoll, PanicsInDrop, OutputPanicsInDrop];
    let all_handles = [
        Awaited,
        AwaitedAllAlong,
        DroppedBefore,
        DroppedMeanwhile,
        DroppedAfter,
        KeptBeyondTheRuntime,
    ];
    for does in all_does {
        for handle in all_handles {
            for cancel in [Not, BeforeTheFirstPoll, WhileIdle, ByItself, AfterCompletion] {
                for woken in [ByItsLoop, ByAThread] {
                    for kind in [Anywhere, Placed, Local] {
                        for loops in [1, 2] {
                            cases.push(Case { does, handle, cancel, woken, kind, loops });
                        }
                    }
                }
            }
        }
    }
    cases.into_iter()
}

impl Case {
    /// The request that the task can be reached by: without a handle there is none but the first.
    fn cancel(self) -> Cancel {
        match self.cancel {
            Cancel::BeforeTheFirstPoll => Cancel::BeforeTheFirstPoll,
            _ if self.handle == Handle::DroppedBefore => Cancel::Not,
            Cancel::AfterCompletion if self.does == Does::NeverReady => Cancel::Not,
            Cancel::AfterCompletion if self.handle == Handle::DroppedMeanwhile => Cancel::Not,
            cancel => cancel,
        }
    }

    /// Whether somebody begins to wait before the first poll.
    fn has_joiner(self) -> bool {
        matches!(self.handle, Handle::AwaitedAllAlong | Handle::DroppedMeanwhile)
    }
}

/// How the task ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Value,
    Panicked,
    Cancelled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expected {
    polls: usize,
    outcome: Outcome,
    outputs: usize,
    /// Whether it ends by itself or by the request; else the runtime's end ends it.
    before_the_end: bool,
}

/// The rules: never polled if it was asked to end before the first poll; else it is polled first, and a
/// value or a panic wins; else it is dropped, and a panic of that is the outcome.
fn expected(case: Case) -> Expected {
    let ends = |polls, outcome, outputs| Expected { polls, outcome, outputs, before_the_end: true };
    let by_dropping = match case.does {
        Does::PanicsInDrop => Outcome::Panicked,
        _ => Outcome::Cancelled,
    };
    if case.cancel() == Cancel::BeforeTheFirstPoll {
        return ends(0, by_dropping, 0);
    }
    match case.does {
        Does::ReadyAtOnce => ends(1, Outcome::Value, 1),
        Does::PanicsInPoll => ends(1, Outcome::Panicked, 0),
        // The second poll is that of the wake, or that of the request: it is ready either way.
        Does::ReadyAfterAWake | Does::OutputPanicsInDrop => ends(2, Outcome::Value, 1),
        Does::PanicsInDrop => ends(2, Outcome::Panicked, 1),
        Does::NeverReady => match case.cancel() {
            Cancel::WhileIdle | Cancel::ByItself => ends(2, Outcome::Cancelled, 0),
            // Woken once, and asked once, by the end.
            _ => Expected { before_the_end: false, ..ends(3, Outcome::Cancelled, 0) },
        },
    }
}

#[derive(Default)]
struct Log {
    polls: AtomicUsize,
    futures: AtomicUsize,
    outputs: AtomicUsize,
    waker: Mutex<Option<Waker>>,
    joiner: Arc<Joiner>,
}

/// Who waits for the task.
#[derive(Default)]
struct Joiner(AtomicUsize);

impl Wake for Joiner {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Joiner {
    fn wakes(&self) -> usize {
        self.0.load(SeqCst)
    }

    /// Begins to wait. It is none of the requests of whoever calls this.
    async fn wait(self: &Arc<Self>, task: &mut Task<Output>) {
        let waker = Waker::from(self.clone());
        let cx = &mut Context::from_waker(&waker);
        let waits = loopool::isolate(poll_fn(|_| Poll::Ready(Pin::new(&mut *task).poll(cx)))).await;
        assert!(waits.is_pending());
    }
}

struct Output {
    log: Arc<Log>,
    panics: bool,
}

impl Drop for Output {
    fn drop(&mut self) {
        self.log.outputs.fetch_add(1, SeqCst);
        if self.panics {
            panic_any(ON_PURPOSE[1]);
        }
    }
}

/// The future.
struct Subject {
    case: Case,
    log: Arc<Log>,
    me: Arc<Mutex<Option<Task<Output>>>>,
}

impl Future for Subject {
    type Output = Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        let poll = self.log.polls.fetch_add(1, SeqCst) + 1;
        if poll == 1 && self.case.cancel == Cancel::ByItself {
            // By its own handle, which lies where it can reach it.
            if let Some(task) = &*self.me.lock().unwrap() {
                assert!(task.cancel().is_some());
            }
        }
        if self.case.does == Does::PanicsInPoll {
            panic_any(ON_PURPOSE[0]);
        }
        let ready = match self.case.does {
            Does::ReadyAtOnce => true,
            Does::NeverReady => false,
            _ => poll > 1,
        };
        if ready {
            let panics = self.case.does == Does::OutputPanicsInDrop;
            return Poll::Ready(Output { log: self.log.clone(), panics });
        }
        *self.log.waker.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.log.futures.fetch_add(1, SeqCst);
        if self.case.does == Does::PanicsInDrop {
            panic_any(ON_PURPOSE[2]);
        }
    }
}

fn kind_of(outcome: &Result<Output, JoinError>) -> Outcome {
    match outcome {
        Ok(_) => Outcome::Value,
        Err(error) if error.is_panic() => Outcome::Panicked,
        Err(error) => {
            assert!(error.is_cancelled(), "{error}");
            Outcome::Cancelled
        }
    }
}

/// The output's destructor is ours to call, and may panic.
fn look(case: Case, outcome: Result<Output, JoinError>) {
    assert_eq!(kind_of(&outcome), expected(case).outcome, "{case:?}");
    let _ = catch_unwind(AssertUnwindSafe(|| drop(outcome)));
}

async fn until(case: Case, what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < HANG, "{case:?}: {what}");
        yield_now().await;
    }
}

/// Keeps the second loop from running anything until it is dropped.
struct Hold {
    _release: Option<mpsc::Sender<()>>,
}

impl Hold {
    fn new(loops: usize) -> Self {
        if loops == 1 {
            // The one loop is in our hands.
            return Hold { _release: None };
        }
        let (release, wait) = mpsc::channel::<()>();
        let (send, begun) = mpsc::channel();
        let block = move || async move {
            send.send(()).unwrap();
            let _ = wait.recv_timeout(HANG);
        };
        drop(spawn_on(1, block).unwrap());
        begun.recv_timeout(HANG).unwrap();
        Hold { _release: Some(release) }
    }
}

/// Does it here or in another thread.
async fn by(case: Case, what: impl FnOnce() + Send + 'static) {
    match case.woken {
        Woken::ByItsLoop => what(),
        Woken::ByAThread => {
            let thread = std::thread::spawn(what);
            until(case, "the other thread", || thread.is_finished()).await;
            thread.join().unwrap();
        }
    }
}

/// What comes back is the handle, if it is still to be looked at.
async fn live(case: Case, log: Arc<Log>) -> Option<Task<Output>> {
    let expected = expected(case);
    let me = Arc::default();
    let hold = Hold::new(case.loops);
    let subject = Subject { case, log: log.clone(), me: Arc::clone(&me) };
    let mut task = match case.kind {
        Kind::Anywhere => create_task(subject),
        Kind::Placed => spawn_on(case.loops - 1, move || subject).unwrap(),
        Kind::Local => create_local_task(subject),
    };
    assert!(!task.is_finished());
    if case.has_joiner() {
        log.joiner.wait(&mut task).await;
    }
    if case.cancel() == Cancel::BeforeTheFirstPoll {
        assert!(task.cancel().is_some(), "{case:?}");
    }
    let handle: Arc<Mutex<Option<Task<Output>>>> = me;
    if case.handle != Handle::DroppedBefore {
        *handle.lock().unwrap() = Some(task);
    } else {
        drop(task);
    }
    drop(hold);

    if expected.polls > 1 {
        until(case, "its first poll", || log.waker.lock().unwrap().is_some()).await;
        let let_go = || {
            if case.handle == Handle::DroppedMeanwhile {
                handle.lock().unwrap().take();
            }
        };
        // Else the request comes first.
        if case.cancel() != Cancel::WhileIdle {
            let_go();
        }
        if case.handle == Handle::DroppedMeanwhile && case.cancel() == Cancel::Not {
            assert_eq!(Arc::strong_count(&log.joiner), 1, "{case:?}: its waker was kept");
        }
        match case.cancel() {
            Cancel::WhileIdle => {
                let handle = handle.clone();
                let ask = move || {
                    let handle = handle.lock().unwrap();
                    assert!(handle.as_ref().unwrap().cancel().is_some());
                };
                by(case, ask).await;
                let_go();
            }
            Cancel::ByItself => {}
            _ => {
                let waker = log.waker.lock().unwrap().take().unwrap();
                by(case, move || waker.wake()).await;
                until(case, "its second poll", || log.polls.load(SeqCst) >= 2).await;
            }
        }
    }
    if expected.before_the_end {
        until(case, "its end", || match &*handle.lock().unwrap() {
            Some(task) => task.is_finished(),
            None => log.futures.load(SeqCst) == 1 && log.outputs.load(SeqCst) == expected.outputs,
        })
        .await;
        if case.handle == Handle::AwaitedAllAlong {
            until(case, "who waits for it is woken", || log.joiner.wakes() > 0).await;
        }
    } else {
        assert_eq!(log.joiner.wakes(), 0, "{case:?}");
    }
    let task = handle.lock().unwrap().take();
    let task = task?;
    assert_eq!(task.is_finished(), expected.before_the_end, "{case:?}");
    if case.cancel() == Cancel::AfterCompletion {
        assert_eq!(task.cancel(), None, "{case:?}");
    }
    match case.handle {
        Handle::Awaited | Handle::AwaitedAllAlong if expected.before_the_end => {
            look(case, task.await);
        }
        Handle::DroppedAfter | Handle::DroppedMeanwhile if expected.before_the_end => {
            drop(task);
            assert_eq!(log.outputs.load(SeqCst), expected.outputs, "{case:?}");
        }
        _ => return Some(task),
    }
    None
}

fn check(case: Case) {
    let log = Arc::new(Log::default());
    let runtime = Runtime::builder().loops(case.loops).build().unwrap();
    let task = runtime.run_until_complete(live(case, log.clone()));
    drop(runtime);
    if let Some(task) = task {
        assert!(task.is_finished(), "{case:?}");
        match case.handle {
            Handle::DroppedAfter | Handle::DroppedMeanwhile => drop(task),
            _ => look(case, futures::executor::block_on(task)),
        }
    }
    log.waker.lock().unwrap().take();
    let expected = expected(case);
    let counted = |counter: &AtomicUsize| counter.load(SeqCst);
    assert_eq!(
        (counted(&log.polls), counted(&log.futures), counted(&log.outputs)),
        (expected.polls, 1, expected.outputs),
        "{case:?}"
    );
    // Who waits is woken once, unless the handle went before the end.
    let wakes = log.joiner.wakes();
    let right = match case.handle {
        Handle::AwaitedAllAlong => wakes == 1,
        Handle::DroppedMeanwhile if expected.polls > 1 && case.cancel() == Cancel::Not => {
            wakes == 0
        }
        Handle::DroppedMeanwhile => wakes <= 1,
        _ => wakes == 0,
    };
    assert!(right, "{case:?}: {wakes} wakes");
    // Nobody keeps anything of it.
    assert_eq!((Arc::strong_count(&log), Arc::strong_count(&log.joiner)), (1, 1), "{case:?}");
}

#[test]
fn every_end_of_a_task() {
    // The panics are on purpose; those of this thread are not.
    let here = std::thread::current().id();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<&str>();
        if std::thread::current().id() == here && text.is_none_or(|text| !ON_PURPOSE.contains(text))
        {
            before(info);
        }
    }));
    let mut count = 0;
    for case in cases() {
        check(case);
        count += 1;
    }
    assert_eq!(count, 6 * 6 * 5 * 2 * 3 * 2);
}
