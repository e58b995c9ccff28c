//! Values that must be dropped exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::alloc::Track;

/// A value whose end is counted. One that is never dropped is found by loom at the end of the
/// execution.
#[derive(Debug)]
pub struct Token {
    drops: Drops,
    _dropped: Track<()>,
}

/// Counts dropped tokens.
#[derive(Debug, Clone, Default)]
pub struct Drops(Arc<AtomicUsize>);

impl Drops {
    /// A token that is counted here.
    pub fn token(&self) -> Token {
        Token { drops: self.clone(), _dropped: Track::new(()) }
    }

    /// How many tokens were dropped.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.drops.0.fetch_add(1, Ordering::Relaxed);
    }
}
