//! What the models in `tests/` have in common. See `README.md`.

#[allow(
    missing_docs,
    unreachable_pub,
    reason = "another crate's file; the names are the standard ones"
)]
#[path = "../../executors/src/shim.rs"]
mod swapped;

mod atomic_usize;
mod model;
mod short_lock;
mod sleep;
mod token;

/// The shim that the included files are written in, with a stricter `AtomicUsize`.
pub mod shim {
    pub use crate::swapped::{Arc, Condvar, Mutex, UnsafeCell, thread};

    /// Atomics of loom.
    pub mod atomic {
        pub use crate::atomic_usize::AtomicUsize;
        pub use crate::swapped::atomic::{
            AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering, fence,
        };
    }
}

pub use model::{Bounds, model};
pub use short_lock::ShortLock;
pub use sleep::{Alarm, Eventfd};
pub use token::{Drops, Token};
