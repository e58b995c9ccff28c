//! [`Enforced`]: what a worker reports of its sandbox and limits.

use serde::{Deserialize, Serialize};

/// What the kernel really enforces on the workers of a pool, as the last worker that started has told it
/// before its first job. From [`ProcessPoolExecutor::enforced`](crate::ProcessPoolExecutor::enforced).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Enforced {
    /// Whether programs that a job starts can't get more rights than it has.
    pub no_new_privs: bool,
    /// The version of Landlock's interface that is in use; none when no Landlock rules are in force.
    pub landlock_abi: Option<u32>,
    /// Whether a seccomp filter is in force.
    pub seccomp: bool,
    /// The most address space, in bytes.
    pub memory_limit: Option<u64>,
    /// The most resident memory, in bytes, and who sees to it.
    pub rss_limit: Option<(u64, MemoryGuard)>,
    /// The most open descriptors.
    pub open_files: Option<u64>,
    /// What was asked for and is not enforced, in words. Empty unless the sandbox is one of
    /// [best effort](crate::Sandbox::best_effort).
    pub missing: Vec<String>,
}

/// Who sees to it that a job's resident memory stays below its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MemoryGuard {
    /// The kernel, by a control group (version 2) for each worker.
    ControlGroup,
    /// The program, which looks every few milliseconds while jobs run.
    Program,
}

impl Enforced {
    /// Whether everything that was asked for is enforced.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }
}
