//! Who does a blocked loop's work for it: one at a time.
//!
//! Several may find at the same time that a loop does not come round. The one who gets the role asks its
//! reactor and expires its timers, and gives the role back before it wakes anybody, which is foreign code.
//! So it never waits for anything while it has it, and a steward that is stuck itself is none. The owner
//! needs no role: it may come back at any moment, and its own turn and a steward's are both right.
//!
//! Modelled in `loom-tests/tests/steward.rs`.

use crate::shim::atomic::{AtomicBool, Ordering};

#[derive(Debug, Default)]
pub(crate) struct Stewardship(AtomicBool);

/// The role, until it is dropped.
pub(crate) struct Steward<'a>(&'a Stewardship);

impl Stewardship {
    /// Takes the role, if nobody has it.
    #[must_use]
    pub(crate) fn take(&self) -> Option<Steward<'_>> {
        // Acquire: pairs with the Release of the one before, so that what it has taken is not seen again.
        self.0
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
            .then_some(Steward(self))
    }
}

impl Drop for Steward<'_> {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Release);
    }
}
