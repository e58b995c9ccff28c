//! Timers that never fire: one that is set and cancelled, and one that watches over something that is
//! soon ready.

use std::pin::pin;
use std::time::Duration;

use futures_lite::future::poll_once;

use crate::runtimes::Peer;

/// Timers set and cancelled: some 100 ms on the slowest peer.
pub(super) const CANCELS: u64 = 500_000;

/// Timeouts: some 100 ms on the fastest runtime.
pub(super) const TIMEOUTS: u64 = 300_000;

/// Never reached.
const LONG: Duration = Duration::from_secs(60);

pub(super) async fn cancel<P: Peer>(ops: u64) {
    for _ in 0..ops {
        assert_eq!(poll_once(pin!(P::sleep(LONG))).await, None);
    }
}

/// What is watched over lets others run once, so that the timer is set.
pub(super) async fn timeout_ready<P: Peer>(ops: u64) {
    for _ in 0..ops {
        assert_eq!(P::timeout(LONG, P::yield_now()).await, Some(()));
    }
}
