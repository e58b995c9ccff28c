//! What must not move between threads, as the compiler sees it.
//!
//! Types are asked here and now. The bounds of functions are examples that must not compile, each after
//! a twin that differs in one word and compiles, so that no example fails for another reason.

use std::marker::PhantomData;
use std::rc::Rc;

use crate::{
    EventLoop, Handle, LoopHandle, NoSuchLoop, Runtime, Task, ThreadsafeCallbackHandle,
    ThreadsafeHandle, TimerHandle,
};

const fn may_be_anywhere<T: Send + Sync>() {}

const _: () = {
    may_be_anywhere::<ThreadsafeHandle>();
    may_be_anywhere::<ThreadsafeCallbackHandle>();
    may_be_anywhere::<Task<u8>>();
    // The output is moved, never shared.
    may_be_anywhere::<Task<std::cell::Cell<u8>>>();
    may_be_anywhere::<NoSuchLoop<u8>>();
};

/// `Ask::<T>::STAYS` is false if `T` is `Send` or `Sync`: then inherent constants come first.
struct Ask<T: ?Sized>(PhantomData<T>);

trait Stays {
    const STAYS: bool = true;
}

impl<T: ?Sized> Stays for Ask<T> {}

#[allow(dead_code, reason = "found only if the assertions below are about to fail")]
impl<T: ?Sized + Send> Ask<T> {
    const STAYS: bool = false;
}

macro_rules! stays {
    ($($type:ty),*) => {
        const _: () = {
            // The question itself: a reference to `T` is `Send` if `T` is `Sync`.
            $(assert!(Ask::<$type>::STAYS && Ask::<&'static $type>::STAYS);)*
        };
    };
}

stays!(LoopHandle, EventLoop, Runtime, Handle, TimerHandle, Task<Rc<u8>>);
const _: () = assert!(!Ask::<ThreadsafeHandle>::STAYS && !Ask::<&'static Task<u8>>::STAYS);

/// ```
/// # loopool::run(async {
/// let kept = std::sync::Arc::new(1);
/// let task = loopool::create_task(async move { *kept });
/// # drop(task) });
/// ```
/// ```compile_fail,E0277
/// # loopool::run(async {
/// let kept = std::rc::Rc::new(1);
/// let task = loopool::create_task(async move { *kept });
/// # drop(task) });
/// ```
#[cfg(doctest)]
struct AFutureThatIsNotSendMayNotBeStolen;

/// ```
/// # loopool::run(async {
/// let task = loopool::create_task(async { std::sync::Arc::new(1) });
/// # drop(task) });
/// ```
/// ```compile_fail,E0277
/// # loopool::run(async {
/// let task = loopool::create_task(async { std::rc::Rc::new(1) });
/// # drop(task) });
/// ```
#[cfg(doctest)]
struct AnOutputThatIsNotSendMayNotLeaveAStolenTask;

/// ```
/// # loopool::run(async {
/// let kept = std::sync::Arc::new(1);
/// let job = loopool::to_thread(move || *kept);
/// # drop(job) });
/// ```
/// ```compile_fail,E0277
/// # loopool::run(async {
/// let kept = std::rc::Rc::new(1);
/// let job = loopool::to_thread(move || *kept);
/// # drop(job) });
/// ```
#[cfg(doctest)]
struct AClosureThatIsNotSendMayNotGoToAThread;

/// ```
/// # loopool::run(async {
/// let pool = loopool::ThreadPoolExecutor::new(1);
/// let kept = std::sync::Arc::new(1);
/// let job = loopool::run_in_executor(&pool, move || *kept);
/// # drop(job) });
/// ```
/// ```compile_fail,E0277
/// # loopool::run(async {
/// let pool = loopool::ThreadPoolExecutor::new(1);
/// let kept = std::rc::Rc::new(1);
/// let job = loopool::run_in_executor(&pool, move || *kept);
/// # drop(job) });
/// ```
#[cfg(doctest)]
struct AClosureThatIsNotSendMayNotGoToAPool;

/// ```
/// # let event_loop = loopool::EventLoop::new().unwrap();
/// let handle = event_loop.threadsafe_handle();
/// std::thread::spawn(move || drop(handle)).join();
/// ```
/// ```compile_fail,E0277
/// # let event_loop = loopool::EventLoop::new().unwrap();
/// let handle = event_loop.handle();
/// std::thread::spawn(move || drop(handle)).join();
/// ```
#[cfg(doctest)]
struct ALoopHandleStaysOnItsThread;

/// ```
/// let kept = std::sync::Arc::new(loopool::EventLoop::new().unwrap().threadsafe_handle());
/// std::thread::spawn(move || drop(kept)).join();
/// ```
/// ```compile_fail,E0277
/// let kept = std::sync::Arc::new(loopool::EventLoop::new().unwrap());
/// std::thread::spawn(move || drop(kept)).join();
/// ```
#[cfg(doctest)]
struct AnEventLoopStaysOnItsThread;

/// ```
/// # let runtime = loopool::Runtime::builder().loops(1).build().unwrap();
/// let kept = runtime.threadsafe_handle();
/// std::thread::spawn(move || drop(kept)).join();
/// ```
/// ```compile_fail,E0277
/// # let runtime = loopool::Runtime::builder().loops(1).build().unwrap();
/// let kept = runtime;
/// std::thread::spawn(move || drop(kept)).join();
/// ```
#[cfg(doctest)]
struct ARuntimeStaysOnItsThread;

/// ```
/// # let event_loop = loopool::EventLoop::new().unwrap();
/// let task = event_loop.handle().create_local_task(async { std::sync::Arc::new(1) });
/// std::thread::spawn(move || drop(task)).join();
/// ```
/// ```compile_fail,E0277
/// # let event_loop = loopool::EventLoop::new().unwrap();
/// let task = event_loop.handle().create_local_task(async { std::rc::Rc::new(1) });
/// std::thread::spawn(move || drop(task)).join();
/// ```
#[cfg(doctest)]
struct TheHandleOfAnOutputThatIsNotSendStays;

/// ```
/// # let handle = loopool::EventLoop::new().unwrap().threadsafe_handle();
/// let kept = std::sync::Arc::new(1);
/// let called = handle.call_soon_threadsafe(move || drop(kept));
/// ```
/// ```compile_fail,E0277
/// # let handle = loopool::EventLoop::new().unwrap().threadsafe_handle();
/// let kept = std::rc::Rc::new(1);
/// let called = handle.call_soon_threadsafe(move || drop(kept));
/// ```
#[cfg(doctest)]
struct ACallbackThatIsNotSendMayNotBeSent;

/// ```
/// # let handle = loopool::EventLoop::new().unwrap().threadsafe_handle();
/// let kept = std::sync::Arc::new(1);
/// let job = handle.run_coroutine_threadsafe(async move { *kept });
/// ```
/// ```compile_fail,E0277
/// # let handle = loopool::EventLoop::new().unwrap().threadsafe_handle();
/// let kept = std::rc::Rc::new(1);
/// let job = handle.run_coroutine_threadsafe(async move { *kept });
/// ```
#[cfg(doctest)]
struct ACoroutineThatIsNotSendMayNotBeSent;

/// ```
/// # let handle = loopool::EventLoop::new().unwrap().threadsafe_handle();
/// let kept = std::sync::Arc::new(1);
/// let task = handle.spawn_on(0, move || async move { *kept });
/// ```
/// ```compile_fail,E0277
/// # let handle = loopool::EventLoop::new().unwrap().threadsafe_handle();
/// let kept = std::rc::Rc::new(1);
/// let task = handle.spawn_on(0, move || async move { *kept });
/// ```
#[cfg(doctest)]
struct AMakerThatIsNotSendMayNotBePlaced;

/// ```
/// # let handle = loopool::EventLoop::new().unwrap().threadsafe_handle();
/// let task = handle.spawn_on(0, || async { std::sync::Arc::new(1) });
/// ```
/// ```compile_fail,E0277
/// # let handle = loopool::EventLoop::new().unwrap().threadsafe_handle();
/// let task = handle.spawn_on(0, || async { std::rc::Rc::new(1) });
/// ```
#[cfg(doctest)]
struct AnOutputThatIsNotSendMayNotLeaveItsLoop;

/// ```
/// # let handle = loopool::EventLoop::new().unwrap().threadsafe_handle();
/// let kept = std::sync::Arc::new(1);
/// let tasks = handle.spawn_on_each(move |_| { let kept = kept.clone(); async move { *kept } });
/// ```
/// ```compile_fail,E0277
/// # let handle = loopool::EventLoop::new().unwrap().threadsafe_handle();
/// let kept = std::rc::Rc::new(1);
/// let tasks = handle.spawn_on_each(move |_| { let kept = kept.clone(); async move { *kept } });
/// ```
#[cfg(doctest)]
struct AMakerForEachLoopMustBeSend;
