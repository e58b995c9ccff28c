//! An event that is set and taken back, made of event-listener's, which only tells that something
//! happened: the pattern that its documentation shows.

use std::sync::atomic::{AtomicBool, Ordering};

use event_listener::Event;

/// A flag that many can wait for.
#[derive(Debug, Default)]
pub struct Flag {
    set: AtomicBool,
    changed: Event,
}

impl Flag {
    pub(super) fn set(&self) {
        // Release: pairs with the loads in `wait`. That a waiter sees either this or the notification is
        // up to the fences in `notify` and `listen`.
        self.set.store(true, Ordering::Release);
        self.changed.notify(usize::MAX);
    }

    pub(super) fn clear(&self) {
        // Relaxed: who clears orders it otherwise with those that wait.
        self.set.store(false, Ordering::Relaxed);
    }

    pub(super) async fn wait(&self) {
        // Acquire: pairs with the store in `set`, here and below.
        while !self.set.load(Ordering::Acquire) {
            let changed = self.changed.listen();
            if self.set.load(Ordering::Acquire) {
                return;
            }
            changed.await;
        }
    }
}
