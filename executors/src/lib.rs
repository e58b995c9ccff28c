//! Pools of threads, of cores and of processes behind one [`Executor`] interface.
//!
//! | executor | for | a job that crashes or hangs |
//! |---|---|---|
//! | [`ThreadPoolExecutor`] | calls that block | takes its thread, or the program |
//! | [`CpuExecutor`] | computing, on every core (rayon) | takes its thread, or the program |
//! | [`ProcessPoolExecutor`] | what may crash, leak or hang | costs exactly that job |
//!
//! Beside them, [`Thread`] and [`Process`]: one of each, with a value to join. The program's end waits for
//! whatever of all these is not a daemon: see [`exit`](exit()).
//!
//! Submitted work is a [`Job`]: awaited in any runtime, or waited on with
//! [`result`](Job::result). This crate knows nothing of any runtime; `loopool` builds on it.

mod blob;
mod blob_buf;
mod call_with;
mod cancel_token;
#[doc(hidden)]
pub mod caught;
mod counters;
mod cpu;
#[doc(hidden)]
pub mod engine;
mod error;
mod exit;
mod forks;
mod in_hand;
mod job;
pub mod jobs;
mod local_job;
mod not_started;
mod options;
#[doc(hidden)]
pub mod origin;
mod os;
mod own_pool;
#[doc(hidden)]
pub mod patience;
mod place;
pub mod process;
mod promise;
mod queue;
mod retry;
#[doc(hidden)]
pub mod shim;
#[doc(hidden)]
pub mod starting;
mod stats;
mod thread;
mod thread_pool;
mod timekeeper;
mod work;

pub use blob::Blob;
pub use blob_buf::BlobBuf;
pub use call_with::{CallWith, call_with};
pub use cancel_token::CancelToken;
pub use cpu::{CpuExecutor, CpuExecutorBuilder};
pub use error::{JobError, RejectReason, Rejected, panic_message};
pub use exit::{exit, register_at_exit};
pub use job::{CancelOnDrop, Job};
pub use not_started::{NotStarted, StartError};
pub use options::{JobOptions, Priority, With};
pub use place::{Place, SubmitAsync};
pub use process::{
    CircuitSnapshot, CrashCause, CrashReport, DurationHistogram, Enforced, JobSnapshot,
    MemoryGuard, PoolSnapshot, Process, ProcessHandle, ProcessPoolBuilder, ProcessPoolError,
    ProcessPoolExecutor, RemoteWork, Sandbox, StartMethod, SystemCall, TaskSnapshot, WorkerPhase,
    WorkerSnapshot, worker_main,
};
pub use promise::{JobOwner, Outcome, Promise};
pub use retry::{IdempotentRetry, Retry};
pub use stats::ExecutorStats;
pub use thread::{Thread, ThreadHandle};
pub use thread_pool::{ThreadPoolBuilder, ThreadPoolExecutor};
pub use work::{BoxedWork, Call, Executor, Work, call};
