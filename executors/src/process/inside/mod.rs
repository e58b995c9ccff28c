//! What runs in the processes that the program starts: its own code, but never its `main`.
//!
//! | file | holds |
//! |---|---|
//! | `hook.rs` | the constructor, which finds out before `main` what this start is |
//! | `takeover.rs` | the fork server: one thread that copies itself |
//! | `worker.rs`, `desk.rs` | a worker's life, and how it takes jobs from its board |
//! | `again.rs` | a worker that is not a copy but begins by an exec of its own |
//! | `alone.rs` | a process that runs one function |
//! | `trampoline.rs` | from the bytes of an argument to a call, and back |
//! | `panics.rs`, `fault.rs` | what a worker tells before it dies |
//! | `cpu_limit.rs` | the limit of a job's processor time |
//! | `child.rs`, `thread_id.rs` | what these processes do to themselves; every one has a single thread when it does |

mod again;
mod alone;
pub(super) mod child;
pub(super) mod cpu_limit;
pub(super) mod desk;
pub(super) mod fault;
pub(super) mod hook;
pub(super) mod panics;
pub(super) mod takeover;
pub(super) mod thread_id;
pub(super) mod trampoline;
pub(super) mod worker;
