//! Whether the service is being stopped, for all who have to know.

use std::sync::atomic::{AtomicBool, Ordering};

use event_listener::{Event, listener};
use futures_lite::FutureExt;

/// Set once, and then for ever.
#[derive(Debug, Default)]
pub struct Stop {
    stopping: AtomicBool,
    event: Event,
}

impl Stop {
    /// Sets it, and wakes all who wait for it.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.event.notify(usize::MAX);
    }

    /// Whether it is set.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Waits until it is set.
    pub async fn stopped(&self) {
        while !self.is_stopping() {
            listener!(self.event => stopped);
            // Between the look above and the registration it may have been set.
            if !self.is_stopping() {
                stopped.await;
            }
        }
    }

    /// Awaits `work`, unless the service is stopped before it is done; then it is dropped.
    pub async fn or_done<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let stopped = async {
            self.stopped().await;
            None
        };
        stopped.or(async { Some(work.await) }).await
    }
}
