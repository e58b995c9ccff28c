//! What a thread has to do, and who does it.
//!
//! # Protocol
//! It lies where two may take it: the thread, when it begins, and who ends the runtime. One of them gets it,
//! and does it; the other one finds nothing. So a thread that the system has not let begin is not waited
//! for: at the end of a runtime it has but to leave, which who ends the runtime does in its place. To start a
//! thread and to wait until it runs costs more than all the rest of a runtime that is needed for a moment.
//!
//! Modelled in `loom-tests/tests/ending.rs`.

use crate::shim::Mutex;

pub(super) struct Life(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Life {
    pub(super) fn new(life: impl FnOnce() + Send + 'static) -> Self {
        Life(Mutex::new(Some(Box::new(life))))
    }

    /// Does it, unless somebody has begun to. Whether it was done here.
    #[must_use]
    pub(super) fn live(&self) -> bool {
        let life = self.0.lock().take();
        match life {
            Some(life) => {
                life();
                true
            }
            None => false,
        }
    }
}
