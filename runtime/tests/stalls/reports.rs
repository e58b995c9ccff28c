//! Who is blamed for a stall, and who is not.

use std::cell::Cell;
use std::fmt::Debug;
use std::future::Future;
use std::panic::Location;
use std::rc::Rc;
use std::sync::{Arc, Mutex, Once, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use loopool::{RuntimeMetrics, ThreadsafeHandle, create_task, get_running_loop, sleep, yield_now};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::support::{HANG, builder, wait_until};

/// What `tracing` was told.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Notebook;

impl Subscriber for Notebook {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        SAID.lock().unwrap().push(line.0);
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!(" {field}={value:?}");
    }
}

pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Notebook).unwrap());
}

pub(crate) fn said(about: impl Fn(&str) -> bool) -> Vec<String> {
    SAID.lock().unwrap().iter().filter(|line| about(line)).cloned().collect()
}

/// The same, and they are forgotten.
pub(crate) fn take_said(about: impl Fn(&str) -> bool) -> Vec<String> {
    SAID.lock().unwrap().extract_if(.., |line| about(line)).collect()
}

/// What is wrong is so each time, while a system that keeps a thread from running may let it pass for
/// stuck now and then.
pub(crate) fn in_one_of_five_attempts<E: Debug>(attempt: impl Fn() -> Result<(), E>) {
    let failures: Vec<E> = (0..5).map_while(|_| attempt().err()).collect();
    assert!(failures.len() < 5, "{failures:#?}");
}

/// Waits until the metrics say that a loop is stuck in what was made there.
fn wait_until_blamed(
    handle: &ThreadsafeHandle,
    name: Option<&str>,
    made_at: Option<&'static Location<'static>>,
) {
    let blamed = |metrics: RuntimeMetrics| {
        metrics.loops.into_iter().any(|l| {
            let stuck = l.stuck.filter(|stuck| stuck.spawned_at == made_at);
            let stuck = stuck.filter(|stuck| stuck.task.as_deref() == name);
            stuck.is_some_and(|stuck| stuck.duration >= Duration::from_millis(20) && l.stalls > 0)
        })
    };
    wait_until("nobody is blamed", || blamed(handle.metrics()));
}

#[test]
fn the_culprit_is_named_while_it_is_stuck() {
    listen();
    // With one loop only the watch thread can tell.
    for (loops, named) in [(1, false), (2, false), (1, true), (2, true)] {
        let runtime =
            builder(loops).slow_poll_threshold(Duration::from_millis(20)).build().unwrap();
        let handle = runtime.threadsafe_handle();
        runtime.run(async move {
            let (release, released) = mpsc::channel();
            let task = create_task(async move { released.recv_timeout(HANG).unwrap() });
            if named {
                task.set_name("the culprit");
            }
            let location = task.spawn_location();
            let mut about = format!("spawned_at={location}");
            if named {
                about = format!("task=\"the culprit\" {about}");
            }
            // What was said of the task before, which was made here as well.
            take_said(|line| line.contains(&location.to_string()));
            let (looking, about_it) = (handle.clone(), about.clone());
            let looker = thread::spawn(move || {
                wait_until_blamed(&looking, named.then_some("the culprit"), Some(location));
                wait_until("it was not reported twice", || {
                    said(|line| line.starts_with("WARN") && line.contains(&about_it)).len() >= 2
                });
                let said = said(|line| line.contains(&about_it));
                release.send(()).unwrap();
                said
            });
            task.await.unwrap();
            while said(|line| line.starts_with("INFO") && line.contains(&about)).is_empty() {
                sleep(Duration::from_millis(1)).await;
            }
            let said = looker.join().unwrap();
            assert!(said.iter().all(|line| line.contains("what=\"a task\"")), "{said:#?}");
            assert!(said.iter().all(|line| line.contains("duration_ms=")), "{said:#?}");
            // This loop may be, by now, since it has waited for a thread.
            let blamed = |stuck: &loopool::Stuck| stuck.spawned_at == Some(location);
            assert!(!handle.metrics().loops.iter().any(|l| l.stuck.as_ref().is_some_and(blamed)));
        });
    }
}

#[test]
fn a_callback_is_named_as_such() {
    listen();
    let runtime = builder(2).slow_poll_threshold(Duration::from_millis(20)).build().unwrap();
    let handle = runtime.threadsafe_handle();
    runtime.run(async move {
        let (done, finished) = oneshot::channel();
        get_running_loop().call_soon(move || {
            let looker = thread::spawn(move || {
                wait_until_blamed(&handle, None, None);
                wait_until("it is not reported", || {
                    let about = |line: &str| line.contains("what=\"a callback\"");
                    !said(|line| line.starts_with("WARN") && about(line)).is_empty()
                });
            });
            looker.join().unwrap();
            done.send(()).unwrap();
        });
        finished.await.unwrap();
    });
}

#[test]
fn a_stall_that_a_message_begins_is_seen() {
    listen();
    for loops in [1, 2] {
        let runtime =
            builder(loops).slow_poll_threshold(Duration::from_millis(20)).build().unwrap();
        let handle = runtime.threadsafe_handle();
        runtime.run(async move {
            let (done, finished) = oneshot::channel();
            let of = get_running_loop().threadsafe();
            let caller = thread::spawn(move || {
                // All loops sleep by then, and so does whoever watches them.
                thread::sleep(Duration::from_millis(200));
                of.call_soon_threadsafe(move || {
                    wait_until_blamed(&handle, None, None);
                    done.send(()).unwrap();
                })
                .unwrap();
            });
            finished.await.unwrap();
            caller.join().unwrap();
        });
    }
}

#[test]
fn a_loop_that_slept_or_ran_much_is_not_reported() {
    const THRESHOLD: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_millis(150);
    in_one_of_five_attempts(|| {
        let runtime = builder(2).slow_poll_threshold(THRESHOLD).build().unwrap();
        runtime.run(async {
            sleep(LONG).await;
            let begun = Instant::now();
            // Both loops, so that the watch thread looks, too.
            let busy = create_task(async move {
                while begun.elapsed() < LONG {
                    yield_now().await;
                }
            });
            while begun.elapsed() < LONG {
                let turns = Rc::new(Cell::new(0));
                let counter = turns.clone();
                get_running_loop().call_soon(move || counter.set(1));
                while turns.get() == 0 {
                    yield_now().await;
                }
            }
            busy.await.unwrap();
            sleep(LONG).await;
            let metrics = loopool::metrics();
            let none = metrics.loops.iter().all(|l| l.stalls == 0 && l.stuck.is_none());
            if none { Ok(()) } else { Err(metrics) }
        })
    });
}

#[test]
fn a_stall_in_a_waker_is_seen() {
    struct Blocks(ThreadsafeHandle, Mutex<Option<oneshot::Sender<()>>>);
    impl Wake for Blocks {
        fn wake(self: Arc<Self>) {
            let done = self.1.lock().unwrap().take();
            if let Some(done) = done {
                wait_until_blamed(&self.0, None, None);
                done.send(()).unwrap();
            }
        }
    }
    listen();
    let runtime = builder(2).slow_poll_threshold(Duration::from_millis(20)).build().unwrap();
    let handle = runtime.threadsafe_handle();
    runtime.run(async move {
        let (done, finished) = oneshot::channel();
        let waker = Waker::from(Arc::new(Blocks(handle, Mutex::new(Some(done)))));
        // All loops sleep by then, and so does whoever watches them.
        let mut sleeps = Box::pin(sleep(Duration::from_millis(200)));
        assert!(sleeps.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        finished.await.unwrap();
    });
}
