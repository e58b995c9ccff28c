//! What threads sleep on in the models. A wake-up that gets lost is a deadlock, which loom reports.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{RawWaker, RawWakerVTable, Waker};

use loom::sync::{Arc, Condvar, Mutex};

/// Stands for the descriptor that ends a loop's sleep.
#[derive(Debug, Default)]
pub struct Eventfd {
    written: Mutex<bool>,
    changed: Condvar,
    /// How often it was written. The standard library's: loom need not know.
    writes: AtomicUsize,
}

impl Eventfd {
    /// Ends the sleep, the present one or the next.
    pub fn write(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        *self.written.lock().unwrap() = true;
        self.changed.notify_one();
    }

    /// Sleeps until it is written.
    pub fn wait(&self) {
        let mut written = self.written.lock().unwrap();
        while !*written {
            written = self.changed.wait(written).unwrap();
        }
        *written = false;
    }

    /// Somebody else who sleeps on it is woken instead.
    pub fn take(&self) {
        *self.written.lock().unwrap() = false;
    }

    /// How often it was written.
    pub fn writes(&self) -> usize {
        self.writes.load(Ordering::Relaxed)
    }
}

/// Somebody who waits for wakers to be woken. Wakers that are never dropped, or dropped while they
/// are in use elsewhere, are found by loom, because they count in its `Arc`.
#[derive(Debug, Default)]
pub struct Alarm {
    bell: Eventfd,
}

impl Alarm {
    /// One that has not rung.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A waker that rings it. Wakers of one alarm wake the same.
    pub fn waker(this: &Arc<Self>) -> Waker {
        let data = Arc::into_raw(this.clone()).cast();
        // SAFETY: the functions of the table treat `data` as what it is, one count of the `Arc`.
        unsafe { Waker::from_raw(RawWaker::new(data, &ALARM)) }
    }

    /// Sleeps until it rings.
    pub fn wait(&self) {
        self.bell.wait();
    }

    /// How often it has rung.
    pub fn rings(&self) -> usize {
        self.bell.writes()
    }
}

static ALARM: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: `data` came from `Arc::into_raw`, and the waker's count is still there.
    unsafe { Arc::increment_strong_count(data.cast::<Alarm>()) };
    RawWaker::new(data, &ALARM)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: as in `clone`; the count is used up.
    unsafe { Arc::from_raw(data.cast::<Alarm>()) }.bell.write();
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: as in `clone`.
    unsafe { &*data.cast::<Alarm>() }.bell.write();
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: as in `clone`; the count is used up.
    drop(unsafe { Arc::from_raw(data.cast::<Alarm>()) });
}
