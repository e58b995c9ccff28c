//! The programs on a loop of the real thing, many at a time.
//!
//! All timeouts of a batch end at one of two times. What must happen before such a time is checked to
//! have happened before it; else the batch is run again with more time.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use loopool::{
    Cancelled, EventLoop, RequestId, Task, cancellable, cancelling, create_local_task, protect,
    timeout_at,
};

use crate::event::{Event, Place};
use crate::nest::{Case, CleanUp, Fires, Level, Reply};

type Log = Vec<Event<RequestId>>;

/// One program at work.
struct Nest {
    case: Case,
    times: Times,
    log: RefCell<Log>,
    resumed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy)]
struct Times {
    begin: Instant,
    first: Instant,
    second: Instant,
}

/// Runs the programs until none has anything left to do, and gives their logs.
pub(crate) fn run(cases: &[Case]) -> Vec<Log> {
    thread_local! {
        static MARGIN: Cell<Duration> = const { Cell::new(Duration::from_millis(4)) };
    }
    loop {
        let margin = MARGIN.get();
        if let Some(logs) = try_run(cases, margin) {
            return logs;
        }
        assert!(margin < Duration::from_secs(60), "a batch does not come to rest");
        MARGIN.set(margin * 2);
    }
}

/// None when a time had come too early.
fn try_run(cases: &[Case], margin: Duration) -> Option<Vec<Log>> {
    let event_loop = EventLoop::new().expect("a loop");
    let begin = Instant::now();
    let times = Times { begin, first: begin + margin, second: begin + 2 * margin };
    let nests: Rc<Vec<_>> =
        Rc::new(cases.iter().map(|&case| Rc::new(Nest::new(case, times))).collect());
    let tasks = Rc::new(RefCell::new(Vec::new()));

    event_loop.handle().call_soon({
        let (nests, tasks) = (nests.clone(), tasks.clone());
        move || {
            for nest in nests.iter() {
                let task = create_local_task(program(nest.clone()));
                (0..nest.case.script.before).for_each(|_| nest.ask(&task));
                tasks.borrow_mut().push(task);
            }
        }
    });
    rest(&event_loop);
    for step in 0..3 {
        let act = {
            let (nests, tasks) = (nests.clone(), tasks.clone());
            move || {
                for (nest, task) in nests.iter().zip(tasks.borrow().iter()) {
                    let step = nest.case.script.steps[step];
                    (0..step.cancels).for_each(|_| nest.ask(task));
                    if step.resume {
                        nest.resume();
                    }
                }
            }
        };
        // Before the timeouts' wakes are acted upon, so that each task sees both in one poll.
        match step {
            0 => act_at(&event_loop, times.first, act)?,
            1 => act_at(&event_loop, times.second, act)?,
            _ => drop(event_loop.handle().call_soon(act)),
        }
        rest(&event_loop);
    }
    for _ in 0..32 {
        if tasks.borrow().iter().all(Task::is_finished) {
            break;
        }
        let nests = nests.clone();
        event_loop.handle().call_soon(move || nests.iter().for_each(|nest| nest.resume()));
        rest(&event_loop);
    }
    for (nest, mut task) in nests.iter().zip(tasks.take()) {
        match Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => nest.note(Event::Ended(true)),
            Poll::Ready(Err(error)) if error.is_cancelled() => nest.note(Event::Ended(false)),
            Poll::Ready(Err(error)) => panic!("{error}\n{:?}", nest.case),
            Poll::Pending => panic!("does not end:\n{:?}\n{:#?}", nest.case, nest.log.borrow()),
        }
    }
    Some(nests.iter().map(|nest| nest.log.take()).collect())
}

/// Registers `act` for the moment before `time`, and waits until both are past. None when `time` is
/// past already.
fn act_at(event_loop: &EventLoop, time: Instant, act: impl FnOnce() + 'static) -> Option<()> {
    event_loop.handle().call_at(time - Duration::from_micros(1), act);
    let early = Instant::now() < time - Duration::from_micros(2);
    while Instant::now() < time + Duration::from_micros(200) {
        std::thread::sleep(Duration::from_micros(100));
    }
    early.then_some(())
}

/// Turns the loop until nothing moves any more.
fn rest(event_loop: &EventLoop) {
    // The longest way: a request from task to task inward, and the ends of these outward.
    for _ in 0..24 {
        event_loop.stop();
        event_loop.run_forever().expect("the loop is open");
    }
}

impl Nest {
    fn new(case: Case, times: Times) -> Self {
        Nest {
            case,
            times,
            log: RefCell::default(),
            resumed: Cell::new(false),
            waker: RefCell::default(),
        }
    }

    fn note(&self, event: Event<RequestId>) {
        self.log.borrow_mut().push(event);
    }

    fn ask(&self, task: &Task<()>) {
        let request = task.cancel();
        self.note(Event::Asked(request));
    }

    fn resume(&self) {
        if let Some(waker) = self.waker.take() {
            self.resumed.set(true);
            waker.wake();
        }
    }
}

/// Waits until the script resumes it.
struct Suspension<'a> {
    nest: &'a Nest,
    place: Place,
    waits: bool,
}

fn suspend(nest: &Nest, place: Place) -> Suspension<'_> {
    Suspension { nest, place, waits: false }
}

impl Future for Suspension<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let nest = self.nest;
        nest.note(Event::Polled(self.place));
        if !std::mem::replace(&mut self.waits, true) {
            nest.resumed.set(false);
        }
        if nest.resumed.take() {
            self.waits = false;
            nest.note(Event::Finished(self.place));
            return Poll::Ready(());
        }
        nest.waker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Suspension<'_> {
    fn drop(&mut self) {
        if self.waits {
            self.nest.waker.take();
            self.nest.note(Event::Dropped(self.place));
        }
    }
}

async fn program(nest: Rc<Nest>) {
    enter(&nest, 0).await;
    suspend(&nest, Place::Tail).await;
}

fn enter(nest: &Rc<Nest>, depth: usize) -> Pin<Box<dyn Future<Output = ()> + '_>> {
    Box::pin(async move {
        match nest.case.level(depth) {
            None => {
                for _ in 0..nest.case.leaf {
                    suspend(nest, Place::Leaf).await;
                }
            }
            Some(Level::Protect) => protect(enter(nest, depth + 1)).await,
            Some(Level::Scope(how)) => {
                if let Err(cancelled) = cancellable(enter(nest, depth + 1)).await {
                    reply(nest, depth, cancelled, how).await;
                }
            }
            Some(Level::Task(how)) => {
                let inside = nest.clone();
                let task = create_local_task(async move { enter(&inside, depth + 1).await });
                if let Err(error) = task.await {
                    assert!(error.is_cancelled(), "{error}");
                    match error.passed_on() {
                        Some(cancelled) => reply(nest, depth, cancelled, how).await,
                        None => nest.note(Event::Stranger(depth)),
                    }
                }
            }
            Some(Level::Timeout(fires, after)) => {
                // The outer one first, when both are due.
                let order = Duration::from_nanos(depth as u64);
                let deadline = match fires {
                    Fires::Opened => nest.times.begin,
                    Fires::First => nest.times.first + order,
                    Fires::Second => nest.times.second + order,
                    Fires::Never => nest.times.begin + Duration::from_secs(3600),
                };
                if timeout_at(deadline, enter(nest, depth + 1)).await.is_err() {
                    nest.note(Event::TimedOut(depth, cancelling()));
                    clean_up(nest, depth, after).await;
                }
            }
        }
    })
}

async fn reply(nest: &Nest, depth: usize, cancelled: Cancelled, how: Reply) {
    nest.note(Event::Took(depth, cancelled.request(), cancelling()));
    clean_up(nest, depth, how.clean_up).await;
    if how.raise {
        match cancelled.reraise().await {}
    }
}

async fn clean_up(nest: &Nest, depth: usize, clean_up: CleanUp) {
    let place = Place::CleanUp(depth);
    match clean_up {
        CleanUp::Nothing => {}
        CleanUp::Suspend(times) => {
            for _ in 0..times {
                suspend(nest, place).await;
            }
        }
        CleanUp::Protected => protect(suspend(nest, place)).await,
        CleanUp::Scoped => {
            if let Err(cancelled) = cancellable(suspend(nest, place)).await {
                nest.note(Event::CleanUpTook(depth, cancelled.request(), cancelling()));
            }
        }
    }
}
