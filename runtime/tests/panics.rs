//! Foreign code that panics: futures, destructors, wakers, callbacks, and whoever listens to the reports.
//!
//! Every payload here panics itself when it is dropped, and so does the subscriber of `tracing` when it
//! is told.

use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Once};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::time::{Duration, Instant};

use futures::{AsyncReadExt, AsyncWriteExt};
use loopool::net::{TcpListener, TcpStream};
use loopool::{EventLoop, JoinError, Promise, Runtime, create_task, sleep, timeout, yield_now};

/// Nothing here takes this long; it is the limit against hanging.
const HANG: Duration = Duration::from_secs(30);

/// A payload that panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        // During another panic this would abort, whoever catches it.
        if !std::thread::panicking() {
            panic!("a payload's destructor");
        }
    }
}

fn explode() {
    if std::hint::black_box(true) {
        panic_any(Bomb);
    }
}

/// Panics when it is dropped, with a payload that does.
struct Mine;

impl Drop for Mine {
    fn drop(&mut self) {
        explode();
    }
}

/// Notes what it is told, and panics.
struct Listener;

static REPORTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl tracing::Subscriber for Listener {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("loopool")
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn fmt::Debug) {
                self.0 += &format!("{value:?} ");
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        REPORTS.lock().unwrap().push(text.0);
        explode();
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// How many reports say `what`.
fn reports(what: &str) -> usize {
    REPORTS.lock().unwrap().iter().filter(|report| report.contains(what)).count()
}

fn runtime(loops: usize) -> Runtime {
    static LISTEN: Once = Once::new();
    LISTEN.call_once(|| tracing::subscriber::set_global_default(Listener).unwrap());
    Runtime::builder().loops(loops).build().unwrap()
}

/// A waker of which some operations panic.
#[derive(Default)]
struct Foreign {
    clone: bool,
    wake: bool,
    drop: bool,
    wakes: AtomicUsize,
    drops: AtomicUsize,
}

impl Foreign {
    fn waker(self: &Arc<Self>) -> Waker {
        // SAFETY: the functions of the table treat the pointer as what it is, one count of the `Arc`.
        unsafe { Waker::from_raw(RawWaker::new(Arc::into_raw(self.clone()).cast(), &FOREIGN)) }
    }

    fn wakes(&self) -> usize {
        self.wakes.load(SeqCst)
    }
}

static FOREIGN: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

fn foreign<'a>(data: *const ()) -> &'a Foreign {
    // SAFETY: called with the data of a living waker only.
    unsafe { &*data.cast::<Foreign>() }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    if foreign(data).clone {
        explode();
    }
    // SAFETY: as in `foreign`; the count belongs to the new waker.
    unsafe { Arc::increment_strong_count(data.cast::<Foreign>()) };
    RawWaker::new(data, &FOREIGN)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: this call uses the waker's count up.
    let foreign = unsafe { Arc::from_raw(data.cast::<Foreign>()) };
    foreign.wakes.fetch_add(1, SeqCst);
    if foreign.wake {
        explode();
    }
}

unsafe fn wake_by_ref(data: *const ()) {
    foreign(data).wakes.fetch_add(1, SeqCst);
    if foreign(data).wake {
        explode();
    }
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: this call uses the waker's count up.
    let foreign = unsafe { Arc::from_raw(data.cast::<Foreign>()) };
    foreign.drops.fetch_add(1, SeqCst);
    if foreign.drop {
        explode();
    }
}

/// Polls with a waker of `foreign`, which is not dropped: what panics is what was left in the leaf.
fn poll_as<F: Future + ?Sized>(foreign: &Arc<Foreign>, future: Pin<&mut F>) -> Poll<F::Output> {
    let waker = std::mem::ManuallyDrop::new(foreign.waker());
    future.poll(&mut Context::from_waker(&waker))
}

/// Polling panics with the payload of the waker.
fn cloning_panics<F: Future + ?Sized>(future: Pin<&mut F>) {
    let foreign = Arc::new(Foreign { clone: true, ..Foreign::default() });
    let polled = catch_unwind(AssertUnwindSafe(|| poll_as(&foreign, future).is_ready()));
    let payload = polled.expect_err("the clone was asked for");
    assert!(payload.is::<Bomb>());
    std::mem::forget(payload);
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = futures::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

async fn until(done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < HANG);
        yield_now().await;
    }
}

fn expect_bomb<T>(outcome: Result<T, JoinError>) {
    let payload = outcome.err().expect("it panicked").into_panic().unwrap();
    assert!(payload.is::<Bomb>());
    std::mem::forget(payload);
}

async fn all_is_well() {
    for _ in 0..10 {
        assert_eq!(create_task(async { 1 }).await.unwrap(), 1);
    }
}

#[test]
fn a_poll_that_panics_is_the_tasks_outcome() {
    for loops in [1, 2] {
        runtime(loops).run(async {
            expect_bomb(create_task(async { explode() }).await);
            // Nobody takes the payload.
            drop(create_task(async { explode() }));
            let task = create_task(async { explode() });
            until(|| task.is_finished()).await;
            drop(task);
            all_is_well().await;
        });
    }
    assert!(reports("the destructor of a task's output panicked") >= 4);
}

#[test]
fn the_first_panic_counts_and_the_second_is_reported() {
    runtime(2).run(async {
        let task = create_task(poll_fn({
            let mine = Mine;
            move |_| -> Poll<()> {
                let _owned = &mine;
                panic!("the first");
            }
        }));
        let payload = task.await.unwrap_err().into_panic().unwrap();
        assert_eq!(loopool::panic_message(&*payload), "the first");
        all_is_well().await;
    });
    assert!(reports("the destructor of a task's future panicked") >= 1);
}

#[test]
fn a_future_that_panics_when_it_is_dropped() {
    for loops in [1, 2] {
        runtime(loops).run(async {
            let waiting = || {
                let mine = Mine;
                async move {
                    let _mine = mine;
                    pending::<()>().await;
                }
            };
            let polled = create_task(waiting());
            let unpolled = create_task(waiting());
            unpolled.cancel();
            expect_bomb(unpolled.await);
            for _ in 0..10 {
                yield_now().await;
            }
            polled.cancel();
            expect_bomb(polled.await);
            // Ready, and then it panics: the value is dropped, caught as well.
            let mine = Mine;
            expect_bomb(
                create_task(poll_fn(move |_| {
                    let _owned = &mine;
                    Poll::Ready(Mine)
                }))
                .await,
            );
            all_is_well().await;
            // These are left for the end.
            drop(create_task(waiting()));
            drop(loopool::create_local_task(waiting()));
        });
    }
}

/// What a handle could have carried, had there been one, or had it been asked.
#[test]
fn a_panic_that_nobody_asks_for_is_reported_once_with_the_place_where_the_task_was_made() {
    let reports_of = |place: String| {
        let reports = REPORTS.lock().unwrap();
        let is_it = |report: &&String| {
            report.contains("nobody has asked for the outcome") && report.contains(&place)
        };
        reports.iter().filter(is_it).filter(|report| report.contains("by the test's rule")).count()
    };
    for loops in [1, 2] {
        runtime(loops).run(async {
            let panics = || async { panic!("by the test's rule") };
            // Its handle has gone before, goes after, and is asked.
            for asked in [None, Some(false), Some(true)] {
                let task: loopool::Task<()> = create_task(panics());
                let place = task.spawn_location().to_string();
                let before = reports_of(place.clone());
                match asked {
                    None => drop(task),
                    Some(is_asked) => {
                        until(|| task.is_finished()).await;
                        assert_eq!(reports_of(place.clone()), before);
                        if is_asked {
                            assert!(task.await.unwrap_err().is_panic());
                        } else {
                            drop(task);
                        }
                    }
                }
                let expected = before + usize::from(asked != Some(true));
                until(|| reports_of(place.clone()) == expected).await;
                all_is_well().await;
                assert_eq!(reports_of(place.clone()), expected);
            }
        });
    }
}

/// CPython's `test_log_destroyed_pending_task`.
#[test]
fn a_pending_task_that_nothing_can_wake_is_reported_once_with_the_place_where_it_was_made() {
    fn reports_of(task: &'static std::panic::Location<'static>) -> usize {
        let place = task.to_string();
        let reports = REPORTS.lock().unwrap();
        reports
            .iter()
            .filter(|report| report.contains("a pending task was destroyed"))
            .filter(|report| report.contains(&place))
            .count()
    }
    struct Told(Arc<AtomicUsize>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    for loops in [1, 2] {
        runtime(loops).run(async {
            let (polls, drops) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let waiting = || {
                let (polls, told) = (polls.clone(), Told(drops.clone()));
                poll_fn(move |_| -> Poll<()> {
                    let _owned = &told;
                    polls.fetch_add(1, SeqCst);
                    Poll::Pending
                })
            };
            // The handle was the last that could have woken it.
            let task = create_task(waiting());
            let idle = task.spawn_location();
            let before = reports_of(idle);
            until(|| polls.load(SeqCst) == 1).await;
            all_is_well().await;
            assert_eq!(
                (reports_of(idle) - before, drops.load(SeqCst)),
                (0, 0),
                "its handle is there"
            );
            drop(task);
            until(|| drops.load(SeqCst) == 1).await;
            assert_eq!(reports_of(idle) - before, 1);
            // Nobody has it while it is queued, or is polled.
            let task = create_task(waiting());
            let queued = task.spawn_location();
            let before = reports_of(queued);
            drop(task);
            until(|| drops.load(SeqCst) == 2).await;
            assert_eq!((reports_of(queued) - before, polls.load(SeqCst)), (1, 2));
            // One that was asked to end is not.
            let task = create_task(waiting());
            let asked = task.spawn_location();
            let before = reports_of(asked);
            until(|| polls.load(SeqCst) == 3).await;
            task.cancel();
            drop(task);
            until(|| drops.load(SeqCst) == 3).await;
            all_is_well().await;
            assert_eq!(reports_of(asked) - before, 0);
        });
    }
}

#[test]
fn an_output_that_panics_when_it_is_dropped() {
    for loops in [1, 2] {
        runtime(loops).run(async {
            drop(create_task(async { Mine }));
            let finished = create_task(async { Mine });
            until(|| finished.is_finished()).await;
            drop(finished);
            let late = create_task(async {
                yield_now().await;
                Mine
            });
            drop(late);
            all_is_well().await;
        });
    }
}

#[test]
fn wakers_of_timers_that_panic_keep_nobody_else_from_being_woken() {
    for loops in [1, 2] {
        runtime(loops).run(async {
            let bad = Arc::new(Foreign { wake: true, drop: true, ..Foreign::default() });
            let good = Arc::new(Foreign::default());
            let at = Instant::now() + Duration::from_millis(150);
            let mut sleeps: Vec<_> = (0..20).map(|_| Box::pin(loopool::sleep_until(at))).collect();
            for (number, sleep) in sleeps.iter_mut().enumerate() {
                let waker = if number % 2 == 0 { &bad } else { &good };
                assert!(poll_as(waker, sleep.as_mut()).is_pending());
            }
            let mut given_up = Box::pin(sleep(HANG));
            assert!(poll_as(&bad, given_up.as_mut()).is_pending());
            until(|| bad.wakes() == 10 && good.wakes() == 10).await;
            for sleep in &mut sleeps {
                assert!(poll_as(&good, sleep.as_mut()).is_ready());
            }
            assert_eq!(bad.drops.load(SeqCst), 0, "a wake uses the waker up");
            drop(given_up);
            assert_eq!(bad.drops.load(SeqCst), 1);
            all_is_well().await;
        });
    }
}

#[test]
fn wakers_of_sockets_that_panic_keep_nobody_else_from_being_woken() {
    for loops in [1, 2] {
        runtime(loops).run(async {
            let bad = Arc::new(Foreign { wake: true, drop: true, ..Foreign::default() });
            let good = Arc::new(Foreign::default());
            let (mut client, server) = pair().await;
            // Two who wait for the same readiness.
            let (mut first, mut second) = ([0], [0]);
            let (mut one, mut other) = (&server, &server);
            let mut one = one.read(&mut first);
            let mut other = other.read(&mut second);
            assert!(poll_as(&bad, pin!(&mut one)).is_pending());
            assert!(poll_as(&good, pin!(&mut other)).is_pending());
            client.write_all(b"ab").await.unwrap();
            until(|| bad.wakes() == 1 && good.wakes() == 1).await;
            assert_eq!(one.await.unwrap(), 1);
            assert_eq!(other.await.unwrap(), 1);
            // And one whose source goes while it waits.
            let mut byte = [0];
            let mut reader = &server;
            let mut waiting = reader.read(&mut byte);
            assert!(poll_as(&bad, pin!(&mut waiting)).is_pending());
            drop(server);
            all_is_well().await;
        });
    }
}

#[test]
fn a_waker_that_panics_when_it_is_dropped_leaves_an_accept_in_order() {
    runtime(2).run(async {
        let bad = Arc::new(Foreign { wake: true, drop: true, ..Foreign::default() });
        let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut accept = Box::pin(listener.accept());
        assert!(poll_as(&bad, accept.as_mut()).is_pending());
        let other = Arc::new(Foreign { drop: true, ..Foreign::default() });
        assert!(poll_as(&other, accept.as_mut()).is_pending());
        drop(accept);
        let (client, server) = futures::join!(TcpStream::connect(address), listener.accept());
        assert_eq!(client.unwrap().local_addr().unwrap(), server.unwrap().1);
    });
}

#[test]
fn a_join_waker_that_panics() {
    for loops in [1, 2] {
        runtime(loops).run(async {
            let bad = Arc::new(Foreign { wake: true, drop: true, ..Foreign::default() });
            let kept: Arc<Mutex<Option<Waker>>> = Arc::default();
            let gate = kept.clone();
            let mut first = true;
            let mut task = create_task(poll_fn(move |cx| {
                *gate.lock().unwrap() = Some(cx.waker().clone());
                if std::mem::take(&mut first) { Poll::Pending } else { Poll::Ready(7) }
            }));
            assert!(poll_as(&bad, Pin::new(&mut task)).is_pending());
            // Another waker in its place.
            let other = Arc::new(Foreign { wake: true, drop: true, ..Foreign::default() });
            assert!(poll_as(&other, Pin::new(&mut task)).is_pending());
            assert!(bad.drops.load(SeqCst) >= 1);
            until(|| kept.lock().unwrap().is_some()).await;
            kept.lock().unwrap().take().unwrap().wake();
            until(|| other.wakes() == 1).await;
            assert_eq!(task.await.unwrap(), 7);
            all_is_well().await;
        });
    }
}

#[test]
fn a_waker_that_cannot_be_cloned_leaves_nothing_half_written() {
    runtime(2).run(async {
        let timers = || loopool::metrics().loops.iter().map(|each| each.timers).sum::<u64>();
        let mut nap = Box::pin(sleep(Duration::from_secs(3600)));
        cloning_panics(nap.as_mut());
        assert_eq!(timers(), 0);
        let good = Arc::new(Foreign::default());
        assert!(poll_as(&good, nap.as_mut()).is_pending());
        // Once more, with a timer that is there already.
        cloning_panics(nap.as_mut());
        assert!(poll_as(&good, nap.as_mut()).is_pending());
        assert_eq!(timers(), 1);
        drop(nap);
        assert_eq!(timers(), 0);
        let mut short = Box::pin(sleep(Duration::from_millis(150)));
        cloning_panics(short.as_mut());
        timeout(HANG, short).await.unwrap();

        let (open, gate) = futures::channel::oneshot::channel();
        let mut task = create_task(async move { gate.await.unwrap() });
        cloning_panics(Pin::new(&mut task));
        assert!(poll_as(&good, Pin::new(&mut task)).is_pending());
        cloning_panics(Pin::new(&mut task));
        assert!(poll_as(&good, Pin::new(&mut task)).is_pending());
        open.send(5).unwrap();
        assert_eq!(timeout(HANG, task).await.unwrap().unwrap(), 5);

        let (mut client, mut server) = pair().await;
        let mut byte = [0];
        cloning_panics(pin!(server.read(&mut byte)));
        client.write_all(b"a").await.unwrap();
        timeout(HANG, server.read_exact(&mut byte)).await.unwrap().unwrap();

        let (promise, mut job) = Promise::new();
        cloning_panics(Pin::new(&mut job));
        promise.set_result(3).unwrap();
        assert_eq!(timeout(HANG, job).await.unwrap().unwrap(), 3);
        all_is_well().await;
    });
}

#[test]
fn a_jobs_waker_that_panics_when_it_is_dropped_loses_no_outcome() {
    let bad = Arc::new(Foreign { wake: true, drop: true, ..Foreign::default() });
    let (promise, mut job) = Promise::new();
    assert!(poll_as(&bad, Pin::new(&mut job)).is_pending());
    assert!(poll_as(&bad, Pin::new(&mut job)).is_pending());
    promise.set_result(3).unwrap();
    assert_eq!(bad.wakes(), 1);
    assert!(matches!(poll_as(&bad, Pin::new(&mut job)), Poll::Ready(Ok(3))));
}

#[test]
fn callbacks_that_panic_and_those_that_cannot_even_be_dropped() {
    runtime(1);
    let event_loop = EventLoop::new().unwrap();
    let (handle, remote) = (event_loop.handle(), event_loop.threadsafe_handle());
    handle.call_soon(explode);
    handle.call_later(Duration::ZERO, explode);
    remote.call_soon_threadsafe(explode).unwrap();
    // Mines, in callbacks that are taken back, and in some that are left at the end.
    let mine = || {
        let mine = Mine;
        move || std::mem::forget(mine)
    };
    handle.call_soon(mine()).cancel();
    handle.call_later(Duration::ZERO, mine()).cancel();
    remote.call_soon_threadsafe(mine()).unwrap().cancel();
    let (send, receive) = std::sync::mpsc::channel();
    handle.call_soon(move || send.send(()).unwrap());
    event_loop.run_until_complete(sleep(Duration::from_millis(1))).unwrap();
    receive.try_recv().unwrap();
    handle.call_soon(mine());
    handle.call_later(HANG, mine());
    remote.call_soon_threadsafe(mine()).unwrap();
    event_loop.close();
    assert!(reports("a callback panicked") >= 3);
    assert!(reports("the destructor of a cancelled callback panicked") >= 6);
}

#[test]
fn a_coroutine_whose_value_nobody_wants_and_nobody_can_drop() {
    let runtime = runtime(2);
    let remote = runtime.threadsafe_handle();
    drop(remote.run_coroutine_threadsafe(async { Mine }));
    let mut panicking = remote.run_coroutine_threadsafe(async { explode() });
    let error = panicking.result(HANG).unwrap_err();
    assert!(error.is_panic());
    // Its payload is ours to drop now.
    std::mem::forget(error);
    runtime.run(all_is_well());
}
