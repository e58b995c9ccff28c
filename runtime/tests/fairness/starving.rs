//! Every greedy thing against every modest one, on one loop and on two.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures::channel::{mpsc, oneshot};
use futures::executor::block_on;
use futures::future::poll_fn;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt, join};
use loopool::{
    LoopHandle, create_local_task, create_task, get_running_loop, metrics, sleep, spawn_on,
    yield_now,
};

use super::steps::{Moment, Steps};
use super::{listen, pair, run};

/// How often the modest one has to get its turn, at least.
const ROUNDS: u64 = 10;

/// It goes on until so much was taken: some of the greedy begin slowly.
const STEPS: u64 = 250;

/// So many runs of the greedy ones a wait may last: a loop asks for what comes from outside after 61
/// runs of tasks and callbacks, and what that brings waits behind what is queued, which is less here.
const BOUND: u64 = 2 * 61;

/// So often it is tried without a spare worker.
const RUNS: u32 = 20;

/// Operations of a leaf that one poll may do.
const BUDGET: u64 = 128;

/// Takes all it can get, in steps, until the runtime ends or `stop` is set.
struct Greedy {
    name: &'static str,
    /// How many steps one run may make.
    steps_per_run: u64,
    /// What it has queued at a time, where that is much.
    crowd: u64,
    /// It stays on the loop on which it was started.
    stays: bool,
    start: fn(&Steps, &Arc<AtomicBool>),
}

const USUAL: Greedy =
    Greedy { name: "", steps_per_run: 1, crowd: 0, stays: false, start: self_waking };

const GREEDY: [Greedy; 9] = [
    Greedy { name: "a task that wakes itself", ..USUAL },
    Greedy {
        name: "a socket that is always ready",
        steps_per_run: BUDGET,
        start: ready_socket,
        ..USUAL
    },
    Greedy { name: "two tasks that wake each other", start: token, ..USUAL },
    Greedy { name: "a chain of tasks that make the next", start: chain, ..USUAL },
    Greedy { name: "a callback that comes again", stays: true, start: callbacks, ..USUAL },
    Greedy {
        name: "callbacks from another thread",
        stays: true,
        start: foreign_callbacks,
        ..USUAL
    },
    Greedy { name: "wakes from another thread", start: foreign_wakes, ..USUAL },
    Greedy { name: "a task that makes tasks without end", start: spawner, ..USUAL },
    Greedy {
        name: "a crowd of tasks that wake themselves",
        crowd: CROWD,
        start: self_waking_crowd,
        ..USUAL
    },
];

fn self_waking(steps: &Steps, _: &Arc<AtomicBool>) {
    let steps = steps.clone();
    drop(create_task(async move {
        loop {
            steps.step();
            yield_now().await;
        }
    }));
}

/// As many as in tokio's `io_driver_called_when_under_load`.
const CROWD: u64 = 100;

fn self_waking_crowd(steps: &Steps, stop: &Arc<AtomicBool>) {
    for _ in 0..CROWD {
        self_waking(steps, stop);
    }
}

fn ready_socket(steps: &Steps, _: &Arc<AtomicBool>) {
    let steps = steps.clone();
    drop(create_task(async move {
        let (mut client, mut server) = pair(&listen()).await;
        loop {
            // What is written is there at once.
            client.write_all(&[0; 1000]).await.unwrap();
            steps.step();
            for _ in 0..1000 {
                server.read_exact(&mut [0]).await.unwrap();
                steps.step();
            }
        }
    }));
}

fn token(steps: &Steps, _: &Arc<AtomicBool>) {
    let wakers = Arc::new(Mutex::new([None::<Waker>, None]));
    for me in 0..2 {
        let (wakers, steps) = (wakers.clone(), steps.clone());
        drop(create_task(poll_fn(move |cx| -> Poll<()> {
            steps.step();
            let mut wakers = wakers.lock().unwrap();
            wakers[me] = Some(cx.waker().clone());
            let other = wakers[1 - me].as_ref().unwrap_or(cx.waker()).clone();
            drop(wakers);
            other.wake();
            Poll::Pending
        })));
    }
}

fn chain(steps: &Steps, _: &Arc<AtomicBool>) {
    fn link(steps: Steps) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            steps.step();
            drop(create_task(link(steps)));
        })
    }
    drop(create_task(link(steps.clone())));
}

fn callbacks(steps: &Steps, stop: &Arc<AtomicBool>) {
    fn again(of: LoopHandle, steps: Steps, stop: Arc<AtomicBool>) {
        of.clone().call_soon(move || {
            steps.step();
            if !stop.load(Ordering::Relaxed) {
                again(of, steps, stop);
            }
        });
    }
    again(get_running_loop(), steps.clone(), stop.clone());
}

/// As many are on their way as may be without being a queue of their own.
const ON_THEIR_WAY: u64 = 16;

fn foreign_callbacks(steps: &Steps, stop: &Arc<AtomicBool>) {
    let (steps, stop) = (steps.clone(), stop.clone());
    let handle = get_running_loop().threadsafe();
    let waiting = Arc::new(AtomicU64::new(0));
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            if waiting.load(Ordering::Relaxed) >= ON_THEIR_WAY {
                thread::yield_now();
                continue;
            }
            waiting.fetch_add(1, Ordering::Relaxed);
            let (steps, waiting) = (steps.clone(), waiting.clone());
            let sent = handle.call_soon_threadsafe(move || {
                steps.step();
                waiting.fetch_sub(1, Ordering::Relaxed);
            });
            if sent.is_err() {
                return;
            }
        }
    });
}

fn foreign_wakes(steps: &Steps, stop: &Arc<AtomicBool>) {
    let (steps, stop) = (steps.clone(), stop.clone());
    let (send, waker) = std::sync::mpsc::channel::<Waker>();
    let mut send = Some(send);
    drop(create_task(poll_fn(move |cx| -> Poll<()> {
        steps.step();
        if let Some(send) = send.take() {
            let _ = send.send(cx.waker().clone());
        }
        Poll::Pending
    })));
    thread::spawn(move || {
        let Ok(waker) = waker.recv() else { return };
        while !stop.load(Ordering::Relaxed) {
            waker.wake_by_ref();
            thread::yield_now();
        }
    });
}

fn spawner(steps: &Steps, _: &Arc<AtomicBool>) {
    let steps = steps.clone();
    drop(create_task(async move {
        loop {
            for _ in 0..4 {
                let steps = steps.clone();
                drop(create_task(async move { steps.step() }));
            }
            yield_now().await;
        }
    }));
}

/// Takes turns and notes after how many steps it got each.
struct Modest {
    name: &'static str,
    /// How many things it waits for in each turn, one after another.
    waits: u64,
    turns: fn(Turns) -> Pin<Box<dyn Future<Output = ()>>>,
}

const MODEST: [Modest; 9] = [
    Modest { name: "another task", waits: 1, turns: |turns| Box::pin(task(turns)) },
    Modest { name: "a local task", waits: 1, turns: |turns| Box::pin(local_task(turns)) },
    Modest { name: "a callback", waits: 1, turns: |turns| Box::pin(callback(turns)) },
    Modest { name: "a timer", waits: 1, turns: |turns| Box::pin(timer(turns)) },
    Modest { name: "a callback's timer", waits: 1, turns: |turns| Box::pin(call_later(turns)) },
    Modest { name: "a socket", waits: 2, turns: |turns| Box::pin(socket(turns)) },
    Modest { name: "a task from outside", waits: 1, turns: |turns| Box::pin(injected(turns)) },
    Modest { name: "the main future", waits: 2, turns: |turns| Box::pin(main_future(turns)) },
    Modest { name: "who joins a task", waits: 2, turns: |turns| Box::pin(join_task(turns)) },
];

#[derive(Clone)]
struct Turns {
    steps: Steps,
    /// Until each loop has made [`STEPS`]; else all of them together.
    each: bool,
    taken: Arc<AtomicU64>,
    longest: Arc<AtomicU64>,
}

impl Turns {
    fn one_more(&self) -> bool {
        // Who takes from another thread needs a processor, too.
        thread::yield_now();
        let steps = if self.each { self.steps.least() } else { self.steps.total() };
        self.taken.fetch_add(1, Ordering::Relaxed) < ROUNDS || steps < STEPS
    }

    fn now(&self) -> Moment {
        self.steps.now()
    }

    fn took_since(&self, noted: &Noted) {
        if let Some(since) = noted.lock().unwrap().take() {
            self.took(&since);
        }
    }

    fn took_since_noted(&self) {
        if let Some(since) = self.steps.noted() {
            self.took(&since);
        }
    }

    fn took(&self, since: &Moment) {
        self.longest.fetch_max(self.steps.since(since), Ordering::Relaxed);
    }
}

async fn task(turns: Turns) {
    create_task(yields(turns)).await.unwrap();
}

async fn local_task(turns: Turns) {
    create_local_task(yields(turns)).await.unwrap();
}

async fn yields(turns: Turns) {
    while turns.one_more() {
        let since = turns.now();
        yield_now().await;
        turns.took(&since);
    }
}

async fn callback(turns: Turns) {
    fn again(turns: Turns, done: oneshot::Sender<()>) {
        if !turns.one_more() {
            let _ = done.send(());
            return;
        }
        let since = turns.now();
        get_running_loop().call_soon(move || {
            turns.took(&since);
            again(turns, done);
        });
    }
    let (done, over) = oneshot::channel();
    again(turns, done);
    over.await.unwrap();
}

/// Counted from the first step that finds the time past: how long the clock takes is not the question.
async fn timer(turns: Turns) {
    let naps = async move {
        while turns.one_more() {
            let nap = sleep(Duration::from_micros(200));
            turns.steps.note(nap.deadline());
            nap.await;
            turns.took_since_noted();
        }
    };
    create_task(naps).await.unwrap();
}

async fn call_later(turns: Turns) {
    fn again(turns: Turns, done: oneshot::Sender<()>) {
        if !turns.one_more() {
            let _ = done.send(());
            return;
        }
        let when = Instant::now() + Duration::from_micros(200);
        turns.steps.note(when);
        get_running_loop().call_at(when, move || {
            turns.took_since_noted();
            again(turns, done);
        });
    }
    let (done, over) = oneshot::channel();
    again(turns, done);
    over.await.unwrap();
}

/// Waits for its own bytes, which are written once it waits.
async fn socket(turns: Turns) {
    let reads = async move {
        let (mut client, mut server) = pair(&listen()).await;
        while turns.one_more() {
            let written = Mutex::new(turns.now());
            let read = async { server.read_exact(&mut [0]).await.unwrap() };
            let write = async {
                yield_now().await;
                *written.lock().unwrap() = turns.now();
                client.write_all(b"x").await.unwrap();
            };
            join!(read, write);
            turns.took(&written.into_inner().unwrap());
        }
    };
    create_task(reads).await.unwrap();
}

/// A moment that another thread notes once it has woken somebody: before, the system might let it
/// wait in between.
type Noted = Arc<Mutex<Option<Moment>>>;

fn note(noted: &Noted, turns: &Turns) {
    *noted.lock().unwrap() = Some(turns.now());
}

async fn injected(turns: Turns) {
    let handle = get_running_loop().threadsafe();
    let (done, over) = oneshot::channel();
    let outside = thread::spawn(move || {
        while turns.one_more() {
            let noted = Noted::default();
            let (its, turn) = (noted.clone(), turns.clone());
            let task = async move { turn.took_since(&its) };
            let mut job = handle.run_coroutine_threadsafe(task);
            note(&noted, &turns);
            job.result(None).unwrap();
        }
        done.send(()).unwrap();
    });
    over.await.unwrap();
    outside.join().unwrap();
}

/// Woken by another thread, as the main future of [`run`] itself.
async fn main_future(turns: Turns) {
    let (ask, mut asked) = mpsc::unbounded::<(oneshot::Sender<()>, Noted)>();
    let others = turns.clone();
    let outside = thread::spawn(move || {
        while let Some((answer, noted)) = block_on(asked.next()) {
            answer.send(()).unwrap();
            note(&noted, &others);
        }
    });
    while turns.one_more() {
        let (answer, answered) = oneshot::channel();
        let noted = Noted::default();
        ask.unbounded_send((answer, noted.clone())).unwrap();
        answered.await.unwrap();
        turns.took_since(&noted);
    }
    drop(ask);
    outside.join().unwrap();
}

async fn join_task(turns: Turns) {
    let joins = async move {
        while turns.one_more() {
            let since = turns.now();
            create_task(async {}).await.unwrap();
            turns.took(&since);
        }
    };
    create_task(joins).await.unwrap();
}

/// Runs every modest thing against one greedy one per loop.
fn nobody_is_starved_by(number: usize) {
    let greedy = &GREEDY[number];
    for loops in [1, 2] {
        for modest in &MODEST {
            // Of those that move, one loop may get all.
            let crowd = greedy.crowd * loops as u64;
            let bound = (BOUND + crowd) * modest.waits * greedy.steps_per_run;
            let longest = longest_wait(greedy, modest, loops);
            let who = format!("{} against {} on {loops} loops", greedy.name, modest.name);
            assert!(longest <= bound, "{who}: {longest} steps, {bound} are allowed");
        }
    }
}

/// In steps. Not of a run in which the system put all loops aside, so that a spare worker was called: that one
/// makes no steps, and while the system puts it aside in turn, what it has taken waits for it.
fn longest_wait(greedy: &Greedy, modest: &Modest, loops: usize) -> u64 {
    for _ in 0..RUNS {
        let steps = Steps::new(loops);
        let longest = Arc::<AtomicU64>::default();
        let turns = Turns {
            steps: steps.clone(),
            each: greedy.stays,
            taken: Arc::default(),
            longest: longest.clone(),
        };
        let metrics = run(loops, async {
            let stop = Stop::default();
            for index in 0..loops {
                let (start, steps, stop) = (greedy.start, steps.clone(), stop.0.clone());
                let start = move || async move {
                    // Starting is a step: nothing is counted before every loop has made one.
                    steps.step();
                    start(&steps, &stop);
                };
                spawn_on(index, start).unwrap().await.unwrap();
            }
            assert!(steps.least() > 0);
            // It has begun to take.
            while steps.total() <= loops as u64 {
                yield_now().await;
            }
            (modest.turns)(turns).await;
            metrics()
        });
        if metrics.spare_workers == 0 {
            return longest.load(Ordering::Relaxed);
        }
    }
    panic!("spare workers in each of {RUNS} runs");
}

/// Ends what runs on other threads, and callbacks that come again.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_task_that_wakes_itself_starves_nobody() {
    nobody_is_starved_by(0);
}

#[test]
fn a_socket_that_is_always_ready_starves_nobody() {
    nobody_is_starved_by(1);
}

#[test]
fn two_tasks_that_wake_each_other_starve_nobody() {
    nobody_is_starved_by(2);
}

#[test]
fn a_chain_of_tasks_that_make_the_next_starves_nobody() {
    nobody_is_starved_by(3);
}

#[test]
fn a_callback_that_comes_again_starves_nobody() {
    nobody_is_starved_by(4);
}

#[test]
fn callbacks_from_another_thread_starve_nobody() {
    nobody_is_starved_by(5);
}

#[test]
fn wakes_from_another_thread_starve_nobody() {
    nobody_is_starved_by(6);
}

#[test]
fn a_task_that_makes_tasks_without_end_starves_nobody() {
    nobody_is_starved_by(7);
}

#[test]
fn a_crowd_of_tasks_that_wake_themselves_starves_nobody() {
    nobody_is_starved_by(8);
}
