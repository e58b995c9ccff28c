//! What a pool counts besides the ends of its jobs. Statistics only: nothing is decided by them, so every access is
//! relaxed and pairs with nothing.

use std::sync::atomic::AtomicU64;

#[derive(Default)]
pub(in crate::process) struct Metrics {
    /// Workers that were replaced because they had had their time.
    pub(in crate::process) recycled: AtomicU64,
}
