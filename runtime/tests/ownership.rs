//! Who drops what where, and what is left of a runtime that has ended.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use futures::{AsyncReadExt, AsyncWriteExt};
use loopool::net::{TcpListener, TcpStream};
use loopool::{
    EventLoop, Runtime, ThreadsafeHandle, create_local_task, create_task, get_running_loop, sleep,
    spawn_on, timeout, to_thread, yield_now,
};

/// Nothing here takes this long; it is the limit against hanging.
const HANG: Duration = Duration::from_secs(30);

fn runtime(loops: usize) -> Runtime {
    Runtime::builder().loops(loops).build().unwrap()
}

fn thread() -> ThreadId {
    std::thread::current().id()
}

/// Where guards were dropped.
#[derive(Clone, Default)]
struct Drops(Arc<Mutex<Vec<ThreadId>>>);

struct Guard(Drops);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().push(thread());
    }
}

impl Drops {
    fn guard(&self) -> Guard {
        Guard(self.clone())
    }
    fn get(&self) -> Vec<ThreadId> {
        self.0.lock().unwrap().clone()
    }
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// Waits with a timer: who could not be woken would be dropped.
async fn forever<T>(kept: T) -> T {
    sleep(Duration::from_secs(3600)).await;
    kept
}

/// Leaves its waker there, and waits.
fn park_in<T>(wakers: Arc<Mutex<Vec<Waker>>>, kept: T) -> impl Future<Output = ()> + use<T>
where
    T: 'static,
{
    poll_fn(move |cx| {
        let _owned = &kept;
        wakers.lock().unwrap().push(cx.waker().clone());
        Poll::Pending
    })
}

async fn until(done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < HANG);
        yield_now().await;
    }
}

fn wait_until(done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < HANG);
        std::thread::yield_now();
    }
}

#[test]
fn a_future_whose_last_waker_goes_elsewhere_is_dropped_by_its_runtime() {
    for loops in [1, 2] {
        runtime(loops).run(async move {
            let (wakers, drops) = (Arc::<Mutex<Vec<Waker>>>::default(), Drops::default());
            drop(create_local_task(park_in(wakers.clone(), Rc::new(drops.guard()))));
            let of_any = Drops::default();
            drop(create_task(park_in(wakers.clone(), of_any.guard())));
            until(|| wakers.lock().unwrap().len() == 2).await;
            let elsewhere = std::thread::spawn(move || {
                wakers.lock().unwrap().clear();
                thread()
            });
            until(|| drops.count() + of_any.count() == 2).await;
            assert_eq!(drops.get(), [thread()]);
            assert_ne!(of_any.get(), [elsewhere.join().unwrap()]);
        });
    }
}

#[test]
fn an_output_is_dropped_by_whoever_has_the_handle() {
    runtime(2).run(async {
        let drops = Drops::default();
        let guard = drops.guard();
        let task = create_task(async move { guard });
        until(|| task.is_finished()).await;
        assert_eq!(drops.count(), 0);
        let elsewhere = std::thread::spawn(move || {
            drop(task);
            thread()
        });
        assert_eq!(elsewhere.join().unwrap(), drops.get()[0]);
    });
}

#[test]
fn wakers_and_handles_of_a_runtime_that_has_ended_do_nothing() {
    for loops in [1, 2] {
        let (wakers, drops) = (Arc::<Mutex<Vec<Waker>>>::default(), Drops::default());
        let runtime = runtime(loops);
        let handle = runtime.threadsafe_handle();
        let mut tasks = Vec::new();
        for index in 0..loops {
            let (wakers, guard) = (wakers.clone(), drops.guard());
            tasks.push(runtime.handle().spawn_on(index, move || park_in(wakers, guard)).unwrap());
        }
        tasks.push(runtime.handle().create_task(park_in(wakers.clone(), drops.guard())));
        runtime.run_until_complete(until(|| wakers.lock().unwrap().len() == loops + 1));
        drop(runtime);
        assert_eq!(drops.count(), loops + 1);
        let elsewhere = std::thread::spawn(move || {
            let wakers = std::mem::take(&mut *wakers.lock().unwrap());
            for waker in wakers {
                waker.wake_by_ref();
                let again = waker.clone();
                waker.wake();
                // The last of them frees the task's memory, here.
                drop(again);
            }
            for task in &tasks {
                assert!(task.is_finished() && task.cancel().is_none());
            }
            for task in tasks {
                assert!(block_on(task).unwrap_err().is_cancelled());
            }
        });
        elsewhere.join().unwrap();
        is_closed(&handle);
    }
}

fn is_closed(handle: &ThreadsafeHandle) {
    assert!(handle.is_closed());
    let drops = Drops::default();
    let guard = drops.guard();
    assert!(!handle.call_soon_threadsafe(move || drop(guard)).unwrap_err().is_forked());
    let guard = drops.guard();
    let task = handle.create_task(async move { drop(guard) });
    assert!(block_on(task).unwrap_err().is_cancelled());
    let guard = drops.guard();
    let job = handle.run_coroutine_threadsafe(async move { drop(guard) }).result(HANG);
    assert!(job.unwrap_err().is_rejected());
    assert_eq!(drops.get(), [thread(); 3]);
    assert_eq!(handle.metrics().tasks, 0);
}

#[test]
fn a_sleep_that_outlives_its_runtime_panics_outside_and_says_where() {
    let mut nap = Box::pin(sleep(Duration::from_millis(50)));
    let mut other = Box::pin(sleep(Duration::from_secs(3600)));
    let runtime = runtime(2);
    runtime.run_until_complete(async {
        assert!(futures::poll!(&mut nap).is_pending());
        assert!(futures::poll!(&mut other).is_pending());
    });
    drop(runtime);
    let polled = catch_unwind(AssertUnwindSafe(|| {
        other.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }));
    let message = loopool::panic_message(&*polled.unwrap_err()).to_owned();
    assert!(message.contains("outside a running loopool event loop"), "{message}");
    drop(other);
    // In another runtime it goes on.
    loopool::run(async { timeout(HANG, nap).await.unwrap() });
}

#[test]
fn streams_and_jobs_that_outlive_their_runtime() {
    for loops in [1, 2] {
        let runtime = runtime(loops);
        let (mut client, mut server, listener, job) = runtime.run_until_complete(async {
            let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = listener.local_addr().unwrap();
            let (client, server) = futures::join!(TcpStream::connect(address), listener.accept());
            let mut server = server.unwrap().0;
            let mut byte = [0];
            let read = server.read(&mut byte);
            assert!(timeout(Duration::from_millis(1), read).await.is_err());
            (client.unwrap(), server, listener, to_thread(|| 6))
        });
        let waiting = runtime.threadsafe_handle().run_coroutine_threadsafe(forever(()));
        runtime.run_until_complete(sleep(Duration::from_millis(1)));
        drop(runtime);
        let mut byte = [0];
        for outcome in
            [block_on(server.read(&mut byte)).map(drop), block_on(server.write(&byte)).map(drop)]
        {
            assert!(outcome.unwrap_err().to_string().contains("closed"));
        }
        // It may never have had to wait.
        let outcome = block_on(listener.accept()).unwrap_err().to_string();
        assert!(outcome.contains("closed") || outcome.contains("needs a running"), "{outcome}");
        assert!(block_on(waiting).unwrap_err().is_cancelled());
        match block_on(job) {
            Ok(value) => assert_eq!(value, 6),
            Err(error) => assert!(error.is_cancelled(), "{error}"),
        }
        // Another runtime takes none of them over; new ones work.
        loopool::run(async {
            assert!(server.read(&mut byte).await.is_err());
            let _ = client.close().await;
        });
        drop((client, server, listener));
    }
}

#[test]
fn handles_may_be_the_last_to_go_on_a_foreign_thread() {
    for _ in 0..50 {
        let runtime = runtime(2);
        let handle = runtime.threadsafe_handle();
        let thread = std::thread::spawn(move || {
            while handle.call_soon_threadsafe(|| ()).is_ok() {}
            is_closed(&handle);
        });
        runtime.run_until_complete(yield_now());
        drop(runtime);
        thread.join().unwrap();
    }
}

#[test]
fn a_clone_of_a_runtime_dropped_by_its_own_tasks_ends_nothing() {
    let runtime = Rc::new(runtime(2));
    let (in_task, in_callback, in_main) = (runtime.clone(), runtime.clone(), runtime.clone());
    let task = runtime.handle().create_local_task(async move { drop(in_task) });
    runtime.handle().call_soon(move || drop(in_callback));
    runtime.run_until_complete(async move {
        task.await.unwrap();
        yield_now().await;
        drop(in_main);
        create_task(async {}).await.unwrap();
    });
    assert_eq!(Rc::strong_count(&runtime), 1);
    Rc::into_inner(runtime).unwrap().run(async { create_task(async {}).await.unwrap() });
}

#[test]
fn a_runtime_dropped_by_a_task_or_callback_of_another_one() {
    for loops in [1, 2] {
        let drops = Drops::default();
        let make = |drops: &Drops| {
            let inner = runtime(2);
            for index in 0..2 {
                let guard = drops.guard();
                let task = move || async move { drop(forever(Rc::new(guard)).await) };
                drop(inner.handle().spawn_on(index, task).unwrap());
                drop(inner.handle().create_task(forever(drops.guard())));
            }
            inner
        };
        let outer = runtime(loops);
        let inner = make(&drops);
        outer.run_until_complete(async move {
            let task = create_local_task(async move { drop(inner) });
            task.await.unwrap();
        });
        assert_eq!(drops.count(), 4);
        let inner = make(&drops);
        let (done, called) = mpsc::channel();
        outer.handle().call_soon(move || {
            drop(inner);
            done.send(()).unwrap();
        });
        outer.run_until_complete(until(|| called.try_recv().is_ok()));
        assert_eq!(drops.count(), 8);
        // By the end of the other one, on its own worker, too.
        let inside = drops.clone();
        let (send, receive) = mpsc::channel();
        let keep = move || async move {
            let inner = make(&inside);
            send.send(()).unwrap();
            forever(inner).await;
        };
        drop(outer.handle().spawn_on(loops - 1, keep).unwrap());
        outer.run_until_complete(until(|| receive.try_recv().is_ok()));
        drop(outer);
        assert_eq!(drops.count(), 12);
    }
}

/// What lies in a thread-local when its thread ends.
struct Parked<T>(T, mpsc::Sender<()>);

impl<T> Drop for Parked<T> {
    fn drop(&mut self) {
        self.1.send(()).unwrap();
    }
}

thread_local! {
    static RUNTIME: RefCell<Option<Parked<Runtime>>> = const { RefCell::new(None) };
    static LOOP: RefCell<Option<Parked<EventLoop>>> = const { RefCell::new(None) };
    static OWN: Runtime = runtime(2);
}

/// Tasks on both loops, a callback and a timer. Counts what is run of them on this thread.
fn burden(runtime: &Runtime, drops: &Drops, ran: &Arc<AtomicUsize>) {
    for index in 0..2 {
        let (guard, ran) = (drops.guard(), ran.clone());
        let task = move || async move {
            let _ = loopool::cancellable(forever(())).await;
            ran.fetch_add(usize::from(index == 0), SeqCst);
            drop(guard);
        };
        drop(runtime.handle().spawn_on(index, task).unwrap());
    }
    let handle = runtime.handle();
    runtime.run_until_complete(sleep(Duration::from_millis(1)));
    for delay in [None, Some(Duration::ZERO)] {
        let (guard, ran) = (drops.guard(), ran.clone());
        let callback = move || {
            ran.fetch_add(1, SeqCst);
            drop(guard);
        };
        match delay {
            None => drop(handle.call_soon(callback)),
            Some(delay) => drop(handle.call_later(delay, callback)),
        }
    }
}

#[test]
fn a_runtime_in_a_thread_local_ends_with_its_thread() {
    let (drops, (send, receive)) = (Drops::default(), mpsc::channel());
    let ran = Arc::new(AtomicUsize::new(0));
    let (counted, noted) = (drops.clone(), ran.clone());
    let id = std::thread::spawn(move || {
        // The thread-local is there before the runtime.
        RUNTIME.with_borrow(|runtime| assert!(runtime.is_none()));
        let runtime = runtime(2);
        burden(&runtime, &counted, &noted);
        RUNTIME.set(Some(Parked(runtime, send)));
        thread()
    })
    .join()
    .unwrap();
    receive.recv_timeout(HANG).unwrap();
    // The worker goes by itself.
    wait_until(|| drops.count() == 4);
    assert_eq!(drops.get().iter().filter(|thread| **thread == id).count(), 3);
    assert_eq!(ran.load(SeqCst), 0, "code was run on a thread that ends");
}

#[test]
fn a_runtime_that_is_made_by_its_thread_local_ends_with_its_thread() {
    let (drops, ran) = (Drops::default(), Arc::new(AtomicUsize::new(0)));
    let (counted, noted) = (drops.clone(), ran.clone());
    let id = std::thread::spawn(move || {
        OWN.with(|runtime| burden(runtime, &counted, &noted));
        thread()
    })
    .join()
    .unwrap();
    wait_until(|| drops.count() == 4);
    assert_eq!(drops.get().iter().filter(|thread| **thread == id).count(), 3);
    assert_eq!(ran.load(SeqCst), 0, "code was run on a thread that ends");
}

#[test]
fn a_loop_in_a_thread_local_ends_with_its_thread() {
    let (drops, (send, receive)) = (Drops::default(), mpsc::channel());
    let counted = drops.clone();
    let id = std::thread::spawn(move || {
        let event_loop = EventLoop::new().unwrap();
        let guard = counted.guard();
        drop(event_loop.handle().create_local_task(forever(Rc::new(guard))));
        event_loop.run_until_complete(yield_now()).unwrap();
        let guard = counted.guard();
        event_loop.handle().call_soon(move || {
            // Called, it would not be dropped.
            std::mem::forget(guard);
        });
        LOOP.set(Some(Parked(event_loop, send)));
        thread()
    })
    .join()
    .unwrap();
    receive.recv_timeout(HANG).unwrap();
    assert_eq!(drops.get(), [id; 2]);
}

#[test]
fn destructors_of_thread_locals_may_ask_for_the_loop() {
    struct Ask(mpsc::Sender<bool>);
    impl Drop for Ask {
        fn drop(&mut self) {
            let own = EventLoop::new().unwrap();
            let inside = own.run_until_complete(async {
                let task = create_local_task(async { get_running_loop().index() });
                task.await.unwrap() == 0
            });
            let outside = loopool::try_get_running_loop().is_none();
            self.0.send(outside && inside.unwrap()).unwrap();
        }
    }
    thread_local!(static ASK: RefCell<Option<Ask>> = const { RefCell::new(None) });
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        ASK.set(Some(Ask(send)));
        loopool::run(async { spawn_on(0, || async {}).unwrap().await.unwrap() });
    })
    .join()
    .unwrap();
    assert!(receive.recv_timeout(HANG).unwrap());
}

/// A future that is in nobody's way when it is dropped: every thread sees each drop once.
#[test]
fn wakes_from_everywhere_while_the_runtime_ends() {
    for round in 0..100 {
        let runtime = runtime(2);
        let (wakers, drops) = (Arc::<Mutex<Vec<Waker>>>::default(), Drops::default());
        let polls = Arc::new(AtomicUsize::new(0));
        for index in 0..8 {
            let (wakers, guard, polls) = (wakers.clone(), drops.guard(), polls.clone());
            let task = move || {
                let mut parked = Box::pin(park_in(wakers, guard));
                poll_fn(move |cx| {
                    polls.fetch_add(1, SeqCst);
                    Pin::new(&mut parked).poll(cx)
                })
            };
            if index < 4 {
                drop(runtime.handle().spawn_on(index % 2, task).unwrap());
            } else {
                drop(runtime.handle().create_task(task()));
            }
        }
        runtime.run_until_complete(until(|| polls.load(SeqCst) >= 8));
        let (begin, begun) = mpsc::channel();
        let waking = std::thread::spawn(move || {
            for number in 0..200 {
                let waker = wakers.lock().unwrap().pop();
                let Some(waker) = waker else { continue };
                if number % 3 == 0 {
                    waker.wake_by_ref();
                    wakers.lock().unwrap().insert(0, waker);
                } else {
                    waker.wake();
                }
                if number == round {
                    let _ = begin.send(());
                }
            }
            wakers
        });
        let _ = begun.recv_timeout(HANG);
        drop(runtime);
        assert_eq!(drops.count(), 8);
        drop(waking.join().unwrap());
    }
}
