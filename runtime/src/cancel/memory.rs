//! What a scope, timeout or await remembers from one poll to the next.

use std::num::NonZeroU64;

/// What a scope, timeout or await remembers from one poll to the next: whether it was polled (is *open*),
/// and of the last pass, that it was answered in it or below (rule 4), or that it was closed (rule 5). A
/// combinator may poll it several times in one pass.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Memory(u64);

impl Memory {
    /// Notes that it is polled. True if that is the first time.
    #[inline]
    pub(crate) fn open(&mut self) -> bool {
        let fresh = self.0 == 0;
        if fresh {
            self.0 = 1;
        }
        fresh
    }

    pub(super) fn answered_in(&mut self, pass: NonZeroU64) {
        if !self.was_closed_in(pass) {
            self.0 = pass.get() << 1;
        }
    }

    pub(super) fn was_answered_in(self, pass: NonZeroU64) -> bool {
        self.0 == pass.get() << 1
    }

    pub(super) fn closed_in(&mut self, pass: NonZeroU64) {
        self.0 = pass.get() << 1 | 1;
    }

    pub(super) fn was_closed_in(self, pass: NonZeroU64) -> bool {
        self.0 == pass.get() << 1 | 1
    }
}
