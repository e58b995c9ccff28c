//! What may move between threads, as the compiler sees it. Each example that must not compile comes
//! after a twin that differs in one word and does.

use super::{Event, Mutex, MutexGuard, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use super::{SemaphorePermit, mpsc, oneshot};

const fn may_be_anywhere<T: Send + Sync>() {}
const fn may_go_anywhere<T: Send>() {}

/// What is moved, never shared.
type Moved = std::cell::Cell<u8>;

const _: () = {
    may_be_anywhere::<Event>();
    may_be_anywhere::<Semaphore>();
    may_be_anywhere::<SemaphorePermit<'_>>();
    may_be_anywhere::<OwnedSemaphorePermit>();
    may_be_anywhere::<Mutex<Moved>>();
    may_go_anywhere::<MutexGuard<'_, Moved>>();
    may_go_anywhere::<OwnedMutexGuard<Moved>>();
    may_be_anywhere::<MutexGuard<'_, u8>>();
    may_be_anywhere::<oneshot::Sender<Moved>>();
    may_be_anywhere::<oneshot::Receiver<Moved>>();
    may_be_anywhere::<mpsc::Sender<Moved>>();
    may_be_anywhere::<mpsc::UnboundedSender<Moved>>();
    may_go_anywhere::<mpsc::Receiver<Moved>>();
};

/// Futures that wait may move, too.
#[allow(dead_code, reason = "it is enough that it compiles")]
fn futures_may_go_anywhere(
    event: &Event,
    mutex: &Mutex<Moved>,
    semaphore: &Semaphore,
    sender: &mpsc::Sender<Moved>,
    receiver: &mut mpsc::Receiver<Moved>,
) {
    fn may_go_anywhere(_: impl Send) {}
    may_go_anywhere(event.wait());
    may_go_anywhere(mutex.lock());
    may_go_anywhere(semaphore.acquire());
    may_go_anywhere(sender.send(Moved::new(1)));
    may_go_anywhere(receiver.recv());
}

/// ```
/// let guarded = loopool::sync::Mutex::new(std::sync::atomic::AtomicU8::new(1));
/// let guard = guarded.try_lock().unwrap();
/// std::thread::scope(|scope| drop(scope.spawn(|| &*guard)));
/// ```
/// ```compile_fail,E0277
/// let guarded = loopool::sync::Mutex::new(std::cell::Cell::new(1));
/// let guard = guarded.try_lock().unwrap();
/// std::thread::scope(|scope| drop(scope.spawn(|| &*guard)));
/// ```
#[cfg(doctest)]
struct ALockDoesNotShareWhatMayNotBeShared;

/// ```
/// let mutex = loopool::sync::Mutex::new(std::sync::Arc::new(1));
/// std::thread::scope(|scope| drop(scope.spawn(|| drop(mutex.try_lock()))));
/// ```
/// ```compile_fail,E0277
/// let mutex = loopool::sync::Mutex::new(std::rc::Rc::new(1));
/// std::thread::scope(|scope| drop(scope.spawn(|| drop(mutex.try_lock()))));
/// ```
#[cfg(doctest)]
struct WhatIsNotSendStaysInItsLock;

/// ```
/// let (sender, _receiver) = loopool::sync::oneshot::channel::<std::sync::Arc<u8>>();
/// std::thread::spawn(move || drop(sender)).join();
/// ```
/// ```compile_fail,E0277
/// let (sender, _receiver) = loopool::sync::oneshot::channel::<std::rc::Rc<u8>>();
/// std::thread::spawn(move || drop(sender)).join();
/// ```
#[cfg(doctest)]
struct AChannelForOneValueThatIsNotSendStays;

/// ```
/// let (sender, _receiver) = loopool::sync::mpsc::channel::<std::sync::Arc<u8>>(1);
/// std::thread::spawn(move || drop(sender)).join();
/// ```
/// ```compile_fail,E0277
/// let (sender, _receiver) = loopool::sync::mpsc::channel::<std::rc::Rc<u8>>(1);
/// std::thread::spawn(move || drop(sender)).join();
/// ```
#[cfg(doctest)]
struct AChannelOfWhatIsNotSendStays;
