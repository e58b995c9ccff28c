//! The process pool, and single processes.
//!
//! ```text
//!            program                                fork server              workers
//!  submit ─▶ queue ─▶ manager ──── control socket ───▶ serve ──── clone ────▶ live
//!                        │  ◀──────────── pidfd ─────────┘                     │
//!                        ├──────────── board: ring, arguments ─────────────▶ run
//!                        ◀──────────── board: answers, results; bell ─────────┤
//!                        ├─ arena ─── socket ─── result file, last words ─────┤
//!                        ◀─ sealed ── socket ─── sealed blobs ────────────────▶
//!                        ◀──────────── output pipe ───────────────────────────┤
//!                        └──────────── lifeline ───────────────────── (kernel kills)
//! ```
//!
//! # Who is who
//! 1. The *program* starts the *fork server*: itself, by exec, taken over before `main` (`hook`,
//!    `takeover`). The program's process, which has threads, is never forked.
//! 2. The fork server has one thread. On request it copies itself; the copies are *workers* and
//!    children of the program (`worker`). If they are to be no copies they start the executable once more (`again`). Each has a board, a socket, an output pipe and a lifeline of its own
//!    and shares nothing with the others.
//! 3. The *manager* deals with all of them (`manager`, `hearing`, `endings`, `staffing`, `worker_handle`). It is turned by the pool's thread
//!    and by threads that submit or wait (`turning`). Callers reach it through `shared`.
//! 4. A *board* is memory that the program and one worker share (`board`), in which jobs and answers lie in a *ring* of
//!    slots (`ring`); the worker works at its *desk* (`desk`). Short jobs are given ahead (`window`).
//!
//! 5. A *process of its own* ([`Process`]) is started as a fork server is, told to be none, and runs one
//!    function (`child_process` and `offspring` in the program, `alone` in the process).
//!
//! # Rules
//! 1. A worker has begun with one job at a time, and its death costs that job and no other: what it has not begun
//!    with is taken back.
//! 2. The program believes nothing that a worker says: it reads what it was sent once, into memory of
//!    its own, checks every number, makes no reference to memory that a worker can write, and never waits for one. A
//!    worker that makes no sense is killed. One that lies about what it has begun with can have a job
//!    run again, a few times.
//! 3. A worker that was told of as killed may take its time to die: its job is settled at once, its
//!    place is free at once, and it is reaped when its pidfd says so.
//! 4. A worker's number is used for signals only until it is reaped.
//! 5. What holds a worker in (`sandbox`, limits) is in force before its first job, and it says so before it is
//!    ready. Why it died is put together from its status, what it has told, and what was done to it
//!    (`evidence`).
//! 6. Workers die with the program, whichever way it ends: the kernel kills them when the last writing
//!    end of their lifeline is closed, and only the program has one (`leash`). What jobs have started in a worker's
//!    process group dies with it, and is reaped if it falls to the program (`orphans`).

mod apart;
mod cgroup;
mod child_process;
mod confinement;
mod death;
mod endings;
mod environment;
mod evidence;
mod force;
mod fork_server;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod hearing;
mod image;
mod inside;
mod leash;
mod manager;
mod offspring;
mod oom;
mod orphans;
mod placement;
mod policy;
mod pool;
mod pool_error;
mod remote_job;
mod report;
mod sandbox;
mod serving;
mod shared;
mod staffing;
mod submission;
mod tail;
mod transport;
mod turning;
mod watchdog;
mod window;
mod worker_handle;

pub use child_process::{Process, ProcessHandle};
pub(crate) use image::read as read_image;
#[doc(hidden)]
pub use inside::hook::constructor_address;
pub(crate) use leash::Held as HeldLeashes;
pub(crate) use offspring::{Held, finish};
pub(crate) use policy::with_state;
pub use policy::{
    CircuitSnapshot, DurationHistogram, JobSnapshot, PoolSnapshot, TaskSnapshot, WorkerPhase,
    WorkerSnapshot,
};
pub use pool::{ProcessPoolBuilder, ProcessPoolExecutor, StartMethod, worker_main};
pub use pool_error::ProcessPoolError;
pub use report::{CrashCause, CrashReport};
pub use sandbox::{Enforced, MemoryGuard, Sandbox, SystemCall};
pub use submission::RemoteWork;
pub(crate) use transport::mapping::Mapping;
pub(crate) use transport::sealed::{Sealed, Unsealed};
