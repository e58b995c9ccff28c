//! Protected futures that are pending: what each leaves behind, and who knows of it.

use std::num::NonZeroU64;
use std::sync::{Arc, Weak};

use crate::context;

/// What a protected future that was pending leaves behind, until it is done or dropped.
#[derive(Default, Debug)]
pub(super) struct Hold {
    /// The last poll in which it was counted, and as which finding.
    pub(super) counted: Option<(NonZeroU64, u32)>,
    /// As long as it is there, who knows of it puts the request off.
    pub(super) pending: Option<Arc<()>>,
}

impl Hold {
    #[inline]
    pub(super) fn end(&mut self) {
        self.pending = None;
        if let Some(counted) = self.counted.take() {
            context::with_record_around(|record| {
                if let Some(record) = record {
                    record.release(counted);
                }
            });
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.end();
    }
}

/// The protected futures below somebody who might drop them, as far as they were found pending in a
/// pass. A combinator that was not woken for them does not poll them in the next one, and they must not
/// be lost then.
#[derive(Default, Debug)]
pub(crate) struct Holds(Vec<Weak<()>>);

impl Holds {
    pub(super) fn add(&mut self, found: &[Weak<()>]) {
        for hold in found {
            if !self.0.iter().any(|known| known.ptr_eq(hold)) {
                self.0.push(hold.clone());
            }
        }
    }

    /// Whether one of them is pending still.
    pub(super) fn any(&mut self) -> bool {
        self.0.retain(|hold| hold.strong_count() > 0);
        !self.0.is_empty()
    }
}
