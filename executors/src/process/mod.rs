//! The process pool, and single processes.
//!
//! ```text
//!            program                                fork server              workers
//!  submit ─▶ queue ─▶ manager ──── control socket ───▶ serve ──── clone ────▶ live
//!                        │  ◀──────────── pidfd ─────────┘                     │
//!                        ├──────────── job socket, arena ──────────────────▶ run
//!                        ◀──────────── answers, result file ──────────────────┤
//!                        ◀──────────── output pipe ───────────────────────────┤
//!                        └──────────── lifeline ───────────────────── (kernel kills)
//! ```
//!
//! # Who is who
//! 1. The *program* starts the *fork server*: itself, by exec, taken over before `main` (`hook`,
//!    `takeover`). The program's process, which has threads, is never forked.
//! 2. The fork server has one thread. On request it copies itself; the copies are *workers* and
//!    children of the program (`worker`). Each has a socket, an output pipe and a lifeline of its own
//!    and shares nothing with the others.
//! 3. The *manager* is the one thread in the program that deals with all of them (`manager`,
//!    `staffing`, `worker_handle`). Callers reach it through `shared`.
//!
//! 4. A *process of its own* ([`Process`]) is started as a fork server is, told to be none, and runs one
//!    function (`child_process` and `offspring` in the program, `alone` in the process).
//!
//! # Rules
//! 1. A worker has one job at a time, and what is sent to it, it is about to run. So its death costs
//!    that job and no other.
//! 2. The program believes nothing that a worker says: it reads what it was sent once, into memory of
//!    its own, checks every number, maps nothing that a worker can write, and never waits for one. A
//!    worker that makes no sense is killed.
//! 3. A worker that was told of as killed may take its time to die: its job is settled at once, its
//!    place is free at once, and it is reaped when its pidfd says so.
//! 4. A worker's number is used for signals only until it is reaped.
//! 5. Workers die with the program, whichever way it ends: the kernel kills them when the last writing
//!    end of their lifeline is closed, and only the program has one.

mod alone;
mod arena;
mod body;
mod child;
mod child_process;
mod death;
mod fault;
mod fork_server;
mod hook;
mod image;
mod manager;
mod mapping;
mod offspring;
mod panics;
mod policy;
mod pool;
mod pool_error;
mod remote_job;
mod report;
mod shared;
mod socket;
mod staffing;
mod submission;
mod tail;
mod takeover;
mod trampoline;
mod wire;
mod worker;
mod worker_handle;

pub use child_process::{Process, ProcessHandle};
#[doc(hidden)]
pub use hook::constructor_address;
pub(crate) use mapping::Mapping;
pub(crate) use offspring::finish;
pub(crate) use policy::with_state;
pub use policy::{
    CircuitSnapshot, DurationHistogram, JobSnapshot, PoolSnapshot, WorkerPhase, WorkerSnapshot,
};
pub use pool::{ProcessPoolBuilder, ProcessPoolExecutor, worker_main};
pub use pool_error::ProcessPoolError;
pub use report::{CrashCause, CrashReport};
pub use submission::RemoteWork;
