//! [`Arena`]: the file in memory through which large arguments reach one worker.

use std::fs::File;
use std::io;

use super::body::{Body, KEEP_AT_MOST, Plan, new_file};

/// The smallest arena, so that a few growing arguments do not mean a few arenas.
const SMALLEST: u64 = 1 << 20;

/// Larger ones grow by this much; smaller ones are twice as large each time.
const LARGE: u64 = 8 << 20;

/// Written by the program, between jobs; never mapped here. The worker maps it once and reads in
/// place. One that is too small is replaced, not resized, and one that the worker still has a blob
/// in is left to that worker.
pub(crate) struct Arena {
    pub(crate) file: File,
    pub(crate) len: u64,
}

impl Arena {
    /// Makes one that has room for `len` bytes.
    pub(crate) fn with_room_for(len: u64) -> io::Result<Self> {
        let step = if len <= LARGE { len.max(SMALLEST).next_power_of_two() } else { LARGE };
        let len = len.checked_next_multiple_of(step).ok_or(io::ErrorKind::OutOfMemory)?;
        let file = new_file("loopool-arena")?;
        file.set_len(len)?;
        Ok(Arena { file, len })
    }

    /// Whether `plan` fits.
    pub(crate) fn has_room_for(&self, plan: &Plan) -> bool {
        plan.len <= self.len
    }

    /// Puts the part of `body` that does not travel in the frame into the arena.
    pub(crate) fn store(&self, body: &Body, plan: &Plan) -> io::Result<()> {
        body.store(plan, &self.file)
    }

    /// Whether to keep it for the next job.
    pub(crate) fn is_worth_keeping(&self) -> bool {
        self.len <= KEEP_AT_MOST
    }
}
