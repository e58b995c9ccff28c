//! The process pool.

mod report;

pub use report::{CrashCause, CrashReport};
